"""From the start of a process to the end of its first training step.

python first_step.py PREPARED METHOD OUT
"""

import json
import os
import sys
import time
from pathlib import Path

began = time.perf_counter()

from fewmask.training import ProgressEvent, TrainRequest, train  # noqa: E402  the clock runs


def stop(progress: ProgressEvent) -> None:
    """After the first step there is nothing more to see."""
    if progress.done:
        cost = {"cpu_s": time.process_time(), "wall_s": time.perf_counter() - began}
        print(json.dumps(cost), flush=True)
        os._exit(0)


prepared, method, out = sys.argv[1:]
train(
    TrainRequest(prepared=Path(prepared), method=method, out=Path(out), slices=10, steps=2),
    on_progress=stop,
)
