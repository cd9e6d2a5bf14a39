"""Named points at which a test may kill the process: `FEWMASK_FAULT=kill@NAME`. Does nothing
otherwise.
"""

import os
import signal


def point(name: str) -> None:
    """Die here if the test asked for it."""
    if os.environ.get("FEWMASK_FAULT") == f"kill@{name}":
        os.kill(os.getpid(), signal.SIGKILL)
