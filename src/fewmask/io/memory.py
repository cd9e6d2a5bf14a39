"""How much memory may still be used, before anything large is read."""

from pathlib import Path

from fewmask.core.errors import NoRoom

_CGROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def available_bytes() -> int | None:
    """The smaller of free RAM and what the cgroup still allows; None where the system
    does not say.
    """
    figures = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        if "MemAvailable" in lines:
            figures.append(int(lines["MemAvailable"].split()[0]) * 1024)
    for folder, limit, used in _CGROUPS:
        group = Path(folder)
        if not ((group / limit).exists() and (group / used).exists()):
            continue
        allowed = (group / limit).read_text().strip()
        if allowed.isdigit():  # else "max": no limit
            taken = int((group / used).read_text()) - _reclaimable(group / "memory.stat")
            figures.append(max(0, int(allowed) - taken))
    return min(figures, default=None)


def check_room(needed: int, what: str) -> None:
    """Raise `NoRoom` if `needed` bytes are not available for `what`."""
    available = available_bytes()
    if available is not None and needed > available:
        raise NoRoom(
            f"{what} needs {needed / 2**30:.1f} GiB of memory, {available / 2**30:.1f} GiB are "
            "available",
            did="nothing was read",
            fix="close other programs, or use a machine with more memory",
            code="F20",
        )


def _reclaimable(stat: Path) -> int:
    """Page cache counts as used, but is given up on demand."""
    lines = stat.read_text().splitlines() if stat.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
