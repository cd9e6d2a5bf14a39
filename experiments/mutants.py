"""Faults put into a copy of the code, one at a time: does a test notice?

    python experiments/mutants.py [--only NAME ...] [--jobs 2]

Each mutant is one edit of one source file, with the tests that should fail for it. These tests
must pass in an unchanged copy first. Prints one line per mutant, then the survivors; exit code 1 if
there are any. The working tree is only read.

A mutant that survives is a missing test: write the test, and leave the mutant in the list.
`tests/test_mutants.py` sees to it that every edit still fits its file.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("src", "tests", "docs", "experiments", "README.md", "pyproject.toml")
_SECONDS = 900
"""A mutant that makes its tests hang this long is caught."""


@dataclass(frozen=True)
class Mutant:
    """One edit of one file."""

    name: str
    file: str
    """Below `src/fewmask`."""
    old: str
    """Stands exactly once in the file."""
    new: str
    tests: tuple[str, ...]
    """Below `tests`, as pytest takes them."""

    def apply(self, root: Path) -> None:
        """Edit the file in the tree at `root`."""
        path = root / "src" / "fewmask" / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {self.file} holds its old text {text.count(self.old)} times"
            )
        path.write_text(text.replace(self.old, self.new))


def _mutant(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, file, old, new, tests)


MUTANTS = (
    # evaluate
    _mutant(
        "hd95-percentile", "evaluate/surfaces.py",
        "np.percentile(distances, 95) for distances in directed",
        "np.percentile(distances, 90) for distances in directed",
        "evaluate/test_scores.py",
    ),
    _mutant(
        "hd95-smaller-direction", "evaluate/surfaces.py",
        "max(np.percentile(distances, 95)", "min(np.percentile(distances, 95)",
        "evaluate/test_scores.py",
    ),
    _mutant(
        "hd95-not-pooled", "evaluate/surfaces.py",
        "np.percentile(self._pooled, 95)",
        "np.percentile(self.pred_to_truth_mm, 95)", "evaluate/test_scores.py",
    ),
    _mutant(
        "volume-error-sign", "evaluate/scores.py",
        "pred_ml - truth_ml,", "truth_ml - pred_ml,", "evaluate/test_scores.py",
    ),
    _mutant(
        "missed-is-spurious", "evaluate/scores.py",
        '"spurious" if pred.any() else "missed"', '"missed" if pred.any() else "spurious"',
        "evaluate/test_scores.py",
    ),
    _mutant(
        "interval-of-90-percent", "evaluate/intervals.py",
        "_UPPER = 0.975", "_UPPER = 0.95", "evaluate/test_intervals.py",
    ),
    _mutant(
        "winner-of-two-patients", "evaluate/differences.py",
        "self.n >= _PATIENTS and", "self.n >= 2 and", "evaluate/test_differences.py",
    ),
    _mutant(
        "winner-of-one-draw", "evaluate/differences.py",
        "and self.draws >= _DRAWS", "and self.draws >= 1", "evaluate/test_differences.py",
    ),
    _mutant(
        "many-looks-not-paid-for", "evaluate/differences.py",
        "times = np.arange(ps.shape[-1], 0, -1)", "times = 1",
        "evaluate/test_differences.py",
    ),
    _mutant(
        "jaccard", "evaluate/protocols.py",
        "dice / (2 - dice)", "dice / (1 + dice)", "evaluate/test_scores.py",
    ),
    # core
    _mutant(
        "placement-half-pixel", "core/placement.py",
        "half = 0.5 if self.step == 1.0", "half = 0.0 if self.step == 1.0",
        "core/test_placement.py",
    ),
    _mutant(
        "placement-box-edges", "core/placement.py",
        "edges = np.asarray(box, float) - 0.5", "edges = np.asarray(box, float)",
        "core/test_placement.py",
    ),
    _mutant(
        "placement-aliases", "core/placement.py",
        "width = max(1.0, step)", "width = 1.0", "core/test_placement.py",
    ),
    _mutant(
        "placement-mask-rounds-down", "core/placement.py",
        "np.floor(at + 0.5)", "np.floor(at)", "core/test_placement.py",
    ),
    _mutant(
        "unreviewed-is-background", "core/placement.py",
        "np.full(self.shape, unknown, mask.dtype)", "np.zeros(self.shape, mask.dtype)",
        "data/test_patches.py",
    ),
    _mutant(
        "budget-not-nested", "core/budget.py",
        'permutation(len(names), draw, "budget-patients")',
        'permutation(len(names), draw + n, "budget-patients")', "core/test_budget.py",
    ),
    _mutant(
        "recipe-size-rounds-down", "core/recipe.py",
        "32 * math.ceil(cover", "32 * math.floor(cover", "core/test_recipe.py",
    ),
    _mutant(
        "recipe-central-slices", "core/recipe.py",
        "first = math.ceil(middle", "first = math.floor(middle", "core/test_recipe.py",
    ),
    _mutant(
        "names-run-together", "core/randomness.py",
        '"\\x1f".join', '"".join', "core/test_randomness.py",
    ),
    _mutant(
        "slope-not-applied", "core/volume.py",
        "out *= np.float32(slope)", "out *= np.float32(1)", "core/test_volume.py",
    ),
    # io
    _mutant(
        "renamed-before-verified", "io/atomic.py",
        "            verify(temp)\n        temp.replace(path)\n",
        "            verify(temp.replace(path))\n        sync(path)\n",
        "io/test_atomic.py",
    ),
    _mutant(
        "lock-of-a-reused-number", "io/lock.py",
        'return not is_alive(pid) or (start != "" and start != holder.get("process_start"))',
        "return not is_alive(pid)", "io/test_lock.py",
    ),
    _mutant(
        "lock-of-another-container", "io/lock.py",
        'if holder.get("pid_space") != here["pid_space"]:\n        return False',
        'if holder.get("pid_space") != here["pid_space"]:\n        return True',
        "io/test_lock.py",
    ),
    _mutant(
        "sform-and-qform-apart", "io/header.py",
        "if apart > 0.1 + slack", "if apart > 10 + slack", "io/test_header.py",
    ),
    _mutant(
        "qform-handedness", "io/header.py",
        "affine[:3, 2] *= -1.0 if turn < 0 else 1.0", "affine[:3, 2] *= 1.0",
        "io/test_header.py",
    ),
    _mutant(
        "dicom-slope", "io/dicom.py",
        'instance.number("RescaleSlope", 1.0)', "1.0", "io/test_dicom.py",
    ),
    _mutant(
        "gzip-checksum-unread", "io/stream.py",
        "while found <= CHUNK and (piece := self._next(_PIECE)):\n            found += len(piece)",
        "pass", "faults/test_corpus.py",
    ),
    _mutant(
        "torn-line-stays", "io/tables.py",
        "file.truncate(_whole_lines(file))\n", "_whole_lines(file)\n", "io/test_tables.py",
    ),
    _mutant(
        "later-losses-stay", "io/run.py",
        '10**12) < before', '10**12) <= before', "io/test_run.py",
    ),
    _mutant(
        "moments-forgotten", "io/weights.py",
        '{"state": state, ', '{"state": {}, ', "io/test_weights.py",
    ),
    # prepare
    _mutant(
        "tags-off-by-one", "prepare/tags.py",
        "(depth - 1 - last, depth - 1 - first)", "(depth - last, depth - first)",
        "prepare/test_tags.py",
    ),
    _mutant(
        "twins-in-two-parts", "prepare/splits.py",
        "test = {case for case, row in rows.items() if kin[row.patient] in chosen}",
        "test = {case for case, row in rows.items() if row.patient in chosen}",
        "prepare/test_splits.py",
    ),
    _mutant(
        "too-few-to-learn-from", "prepare/splits.py",
        "len(set(kin.values())) - 3)", "len(set(kin.values())) - 1)",
        "prepare/test_splits.py",
    ),
    # data
    _mutant(
        "label-guard-open", "data/label_guard.py",
        "if case not in self._train or not self._budget.grants(case, d):",
        "if case not in self._train:", "data/test_slices.py",
    ),
    _mutant(
        "label-guard-shows-test-cases", "data/label_guard.py",
        "if case not in self._train or not", "if not", "data/test_slices.py",
    ),
    _mutant(
        "augmentation-turns-the-other-way", "data/augment.py",
        "[[cos, -sin, 2 * dx], [sin, cos, 2 * dy]]",
        "[[cos, sin, 2 * dx], [-sin, cos, 2 * dy]]", "data/test_augment.py",
    ),
    # blocks
    _mutant(
        "dice-without-smoothing", "blocks/losses.py",
        "(2 * overlap + smooth) / (probs", "(2 * overlap) / (probs", "blocks/test_prompts.py",
    ),
    _mutant(
        "untagged-counts-as-absent", "blocks/losses.py",
        "** gamma * entropy * known)", "** gamma * entropy)", "blocks/test_prompts.py",
    ),
    _mutant(
        "teacher-without-warm-up", "blocks/semi/objective.py",
        "keep = min(1 - 1 / (step.index + 1), decay)", "keep = decay", "blocks/test_semi.py",
    ),
    _mutant(
        "ramp-constant", "blocks/ramp.py",
        "math.exp(-5 *", "math.exp(-3 *", "blocks/test_prompts.py",
    ),
    _mutant(
        "schedule-starts-at-nothing", "blocks/ramp.py",
        "(step.index + 1) / max(1, warmup)", "step.index / max(1, warmup)",
        "blocks/test_prompts.py",
    ),
    _mutant(
        "lora-starts-as-something", "blocks/sam/lora.py",
        "nn.Parameter(torch.zeros(width, rank))", "nn.Parameter(torch.ones(width, rank))",
        "blocks/test_sam.py",
    ),
    _mutant(
        "box-edges-at-max", "blocks/prompts.py",
        "last = line.shape[1] - line.flip(1)", "last = line.shape[1] - 1 - line.flip(1)",
        "blocks/test_prompts.py",
    ),
    _mutant(
        "prompt-leaves-the-image", "blocks/prompts.py",
        "(boxes + move * extent).clamp(0, side)", "boxes + move * extent",
        "blocks/test_prompts.py",
    ),
    _mutant(
        "activation-cut-of-one", "blocks/cam.py",
        "(up >= cut * peak)", "(up >= cut)", "blocks/test_prompts.py",
    ),
    _mutant(
        "montage-order", "blocks/montage.py",
        "row, column = divmod(place, n)", "column, row = divmod(place, n)",
        "blocks/test_montage.py",
    ),
    # predict
    _mutant(
        "presence-end", "predict/presence.py",
        "yes >= no\n    for", "odds[-1] >= 0\n    for", "predict/test_presence.py",
    ),
    _mutant(
        "windows-sigma", "predict/windows.py", "(n / 8)", "(n / 4)", "predict/test_windows.py",
    ),
    _mutant(
        "windows-stop-short", "predict/windows.py",
        "[*range(0, n - side, step), n - side]", "[*range(0, max(1, n - side), step)]",
        "predict/test_windows.py",
    ),
    # benchmark, methods
    _mutant(
        "spread-over-n", "benchmark/compare.py",
        "np.std(means, ddof=1)", "np.std(means)", "benchmark/test_compare.py",
    ),
    _mutant(
        "feedback-starts-as-something", "methods/ada_sam.py",
        "self.gate = nn.Parameter(torch.zeros(()))", "self.gate = nn.Parameter(torch.ones(()))",
        "methods/test_ada_sam.py::test_feedback_starts_as_nothing_and_its_gate_learns",
    ),
)  # fmt: skip


def copy_tree(root: Path) -> None:
    """What the tests need, at `root`."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, root / name)


def run_tests(root: Path, tests: tuple[str, ...], seconds: float | None) -> tuple[int, str]:
    """Exit code of pytest (0 = all passed, 1 = some failed, or time is up) and the test that failed
    first, or its last line.
    """
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow"]
    try:
        done = subprocess.run(  # noqa: S603  our own tests
            [*command, *(f"tests/{test}" for test in dict.fromkeys(tests))],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, f"not done within {seconds} s"
    lines = (done.stdout + done.stderr).strip().splitlines() or [""]
    failed = [line for line in lines if line.startswith("FAILED")]
    return done.returncode, failed[0] if failed else lines[-1]


def check(mutant: Mutant | None, tests: tuple[str, ...]) -> tuple[int, str]:
    """The tests in a fresh copy with this edit (None: without any)."""
    with tempfile.TemporaryDirectory(prefix="fewmask-mutant-") as folder:
        root = Path(folder)
        copy_tree(root)
        if mutant is not None:
            mutant.apply(root)
        return run_tests(root, tests, _SECONDS if mutant else None)


def survives(mutant: Mutant) -> bool:
    """Whether all its tests pass in spite of it; prints how it went."""
    start = time.monotonic()
    code, last = check(mutant, mutant.tests)
    outcome = {0: "SURVIVED", 1: "caught"}.get(code, f"caught (pytest ends with {code})")
    seconds = time.monotonic() - start
    print(f"{outcome:9} {mutant.name:34} {seconds:5.0f} s  {last[:100]}", flush=True)
    return code == 0


def main() -> None:
    """Run the mutants that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [mutant.name for mutant in MUTANTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1)
    wanted = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if mutant.name in wanted.only]
    code, last = check(None, tuple(test for mutant in chosen for test in mutant.tests))
    if code:
        sys.exit(f"the tests fail without any mutant: {last}")
    with ThreadPoolExecutor(wanted.jobs) as pool:
        survived = list(pool.map(survives, chosen))
    left = [mutant.name for mutant, alive in zip(chosen, survived, strict=True) if alive]
    print(f"{len(left)} of {len(chosen)} mutants survived{': ' if left else ''}{', '.join(left)}")
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main()
