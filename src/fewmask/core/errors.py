"""One exception class per kind of user error; the text always says what, where, what we did, and
the fix.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class FewmaskError(Exception):
    """A problem the user can act on.

    Texts name a setting by its Python keyword between backticks, with or without a value, such as
    `slices=5` or `out`. The command line prints the flag in its place (`cli/flags.py`); no text
    below `cli` holds a flag.

    Parameters
    ----------
    what
        What is wrong, in one sentence without a full stop.
    where
        Lines that name the file, field, slice or voxel, what was got and what was wanted.
    did
        What was done instead, where that is more than the class says.
    fix
        One command or one edit that solves it.
    code
        Name of the fault in docs/errors.md (`N20`, `M03`, ...), shown in brackets.
    """

    exit_code = 1
    title = "error: "
    """How the message begins."""
    did = ""
    """What is true of every error of this class when nothing else is said; no claim by default."""

    def __init__(
        self,
        what: str,
        *,
        where: str | Sequence[str] = (),
        did: str | None = None,
        fix: str = "",
        code: str = "",
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = (where,) if isinstance(where, str) else tuple(where)
        self.did = type(self).did if did is None else did
        self.fix = fix
        self.code = code

    def __str__(self) -> str:
        """The whole message, as printed on stderr."""
        head = f"{self.title}{self.what}" + (f"   [{self.code}]" if self.code else "")
        tail = [self.did] if self.did else []
        if self.fix:
            tail.append(f"fix: {self.fix}")
        return "\n".join([head, *(f"  {line}" for line in self.where), *tail])

    def as_dict(self) -> dict[str, object]:
        """The same as plain data, for `--json` and for the list of refused cases."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "where": list(self.where),
            "did": self.did,
            "fix": self.fix,
            "code": self.code,
            "exit_code": self.exit_code,
        }


class BadScan(FewmaskError):
    """One scan or mask cannot be used."""

    exit_code = 3


class BadDataset(FewmaskError):
    """A folder, prepared dataset, split or budget cannot be used."""

    exit_code = 3


class BadCheckpoint(FewmaskError):
    """Weights or a saved state cannot be used."""

    exit_code = 3
    did = "nothing was loaded"


class BadConfig(FewmaskError):
    """A flag, config key or value is wrong, or the request cannot be met."""

    exit_code = 2
    did = "nothing was started"


class LabelWithheld(FewmaskError):
    """A mask was asked for that the budget does not grant."""

    exit_code = 2


class NoRoom(FewmaskError):
    """The machine lacks disk, memory, permission, a device or a lock."""

    exit_code = 4


@contextmanager
def saying(did: str) -> Iterator[None]:
    """Errors of the block say that this was done instead, whatever those who raise them say for
    purposes of their own (`no dataset was made`, where nobody makes one).
    """
    try:
        yield
    except FewmaskError as error:
        if not isinstance(error, Interrupted):
            error.did = did
        raise


def of_the_machine(error: OSError | MemoryError) -> NoRoom:
    """The same as a user error, for what no one nearer to the file has told in better words."""
    if isinstance(error, MemoryError):
        return NoRoom(
            "the machine's memory is full",
            where=str(error).splitlines()[:1],
            did="what was written before is whole",
            fix="close other programs, or use a machine with more memory",
            code="F20",
        )
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return NoRoom(
        f"the system refuses: {error.strerror or error}",
        where=[f"file  {name}" for name in files],
        did="what was written before is whole",
        fix=(
            f"see whether {files[0] if files else 'the folder'} is there, may be read and written, "
            "and has room"
        ),
        code="F10",
    )


class TrainingFailed(FewmaskError):
    """Training cannot continue (not a number, for example)."""

    exit_code = 1


class PartlyDone(FewmaskError):
    """Some cases failed; the others were done."""

    exit_code = 5


class Interrupted(FewmaskError):
    """A signal asked us to stop; everything up to here is saved."""

    title = ""

    def __init__(self, what: str, *, exit_code: int = 130, **rest: object) -> None:
        super().__init__(what, **rest)  # type: ignore[arg-type]
        self.exit_code = exit_code
