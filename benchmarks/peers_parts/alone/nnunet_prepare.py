"""Run by an interpreter that has nnU-Net: fingerprint, plan, preprocess (2d, one process each).

python nnunet_prepare.py FOLDER    # with raw/Dataset001_Peers in it
"""

import contextlib
import io
import json
import os
import resource
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1])
for name in ("raw", "preprocessed", "results"):
    os.environ[f"nnUNet_{name}"] = str(folder / name)

from nnunetv2.experiment_planning import plan_and_preprocess_api as api  # noqa: E402


def spent() -> float:
    """Processor time of this process and of those it started."""
    total = time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return total + children.ru_utime + children.ru_stime


def main() -> None:
    """Measure."""
    wall, cpu = time.perf_counter(), spent()
    with contextlib.redirect_stdout(io.StringIO()):
        api.extract_fingerprints([1], num_processes=1, check_dataset_integrity=False, clean=True)
        api.plan_experiments([1])
        api.preprocess([1], configurations=["2d"], num_processes=[1])
    print(json.dumps({"cpu_s": spent() - cpu, "wall_s": time.perf_counter() - wall}))


if __name__ == "__main__":
    main()
