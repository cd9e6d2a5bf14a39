"""Work for a cluster that costs nothing, in a module that imports little."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from fewmask.core.errors import BadScan


@dataclass(frozen=True)
class Square:
    """Of numbers; 3 kills its process, once or always."""

    folder: Path
    always: bool = False

    def __call__(self, number: int) -> tuple[int, int]:
        if number == 13:
            raise BadScan("thirteen", fix="take another")
        seen = self.folder / "killed"
        if number == 3 and (self.always or not seen.exists()):
            seen.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number**2, os.getpid()
