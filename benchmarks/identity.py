"""Does another version of the code give the same bits? Every method, ten steps, resumed.

    python benchmarks/identity.py --against ../other-checkout

Each method is trained by both checkouts from the same prepared phantoms on one thread, killed after
step 5 and resumed, in processes of their own. Prints per method the first digits of the SHA-256 of
its losses and of its weights, and whether the two agree. Hashes depend on the processor, so they
are compared on one machine and kept nowhere.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parents[1]
STEPS = 10
PHANTOMS = """
import sys
from pathlib import Path
try:
    from fewmask.synth.phantom import write_phantoms
except ImportError:  # where it lay in 0.1
    from fewmask.prepare.phantom import write_phantoms
write_phantoms(Path(sys.argv[1]), 5)
"""
NAMES = """
from fewmask.methods import is_external, names
print(*(name for name in names() if not is_external(name)))
"""
SLICES = ("ada_sam", "multimix", "sam_mix", "sam_pp", "trans_unet", "unet")
SETTINGS = {
    "sam_mix": ["classifier_width=8", "pseudo_weight=0.1"],
    "magicnet": ["cubes=2"],
}
PATCH = ["patch=(32,32,32)"]
TWO_STAGES = ["finetune.patch=(32,32,32)", "finetune.canvas=128"]


def run_python(tree: Path, *arguments: str, fault: str = "", check: bool = True) -> str:
    """Standard output of this Python with the package of `tree`."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "FEWMASK_FAULT": fault}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(  # noqa: S603
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        raise SystemExit(f"{tree}: {' '.join(arguments)}\n{done.stderr[-2000:]}")
    return done.stdout


def train(tree: Path, prepared: Path, method: str, out: Path) -> tuple[str, str]:
    """Digests of losses and weights after ten steps, killed after five and resumed."""
    settings = SETTINGS.get(method, [])
    budget = ["--slices", "3"]
    if method not in SLICES:
        budget = ["--volumes", "1"]
        settings = [*settings, *PATCH, *(["canvas=128"] if method == "canvas_sam" else [])]
        settings += TWO_STAGES if method in ("cfr", "sfr_plus") else []
    command = ["-m", "fewmask", "train", str(prepared), "--out", str(out), "--method", method]
    command += [*budget, "--steps", str(STEPS), "--amp", "off", "--threads", "1"]
    command += ["--device", "cpu", "--save-steps", "3"]
    command += ["--encoder", "tiny"] if "sam" in method or method in ("cfr", "sfr_plus") else []
    command += [word for setting in settings for word in ("--set", setting)]
    run_python(tree, *command, fault="kill@step:5", check=False)
    if (out / "weights.safetensors").exists():
        raise SystemExit(f"{method}: was not killed")
    run_python(tree, *command)
    losses, weights = (
        hashlib.sha256((out / name).read_bytes()).hexdigest()[:12]
        for name in ("losses.csv", "weights.safetensors")
    )
    return losses, weights


def main() -> None:
    """Compare this checkout with another."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, required=True, help="another checkout")
    parser.add_argument("--methods", nargs="*", help="only these")
    arguments = parser.parse_args()
    differ = 0
    with tempfile.TemporaryDirectory() as folder:
        scans, prepared = Path(folder) / "scans", Path(folder) / "prepared"
        run_python(HERE, "-c", PHANTOMS, str(scans))
        command = ["prepare", str(scans), "--out", str(prepared), "--label", "liver=1"]
        command += ["--masks", "complete", "--tags", "from-masks", "--recipe", "ct"]
        run_python(HERE, "-m", "fewmask", *command, "--size", "64")
        for method in arguments.methods or run_python(HERE, "-c", NAMES).split():
            here, there = (
                train(tree, prepared, method, Path(folder) / f"{method}-{name}")
                for name, tree in (("here", HERE), ("there", arguments.against.resolve()))
            )
            differ += here != there
            verdict = "equal" if here == there else f"DIFFERENT: {' '.join(there)}"
            print(f"{method:14} losses {here[0]}  weights {here[1]}  {verdict}", flush=True)
    if differ:
        raise SystemExit(f"{differ} methods differ")


if __name__ == "__main__":
    main()
