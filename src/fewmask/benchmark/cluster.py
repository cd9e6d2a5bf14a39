"""Items of long work on the machines of a Ray cluster (extra `ray`): scans of a cohort, runs of a
sweep.

Ray starts tasks, and starts them again where a worker or a machine dies; all else is as in one
process. Files are written whole or not at all into a folder that every machine sees, and what is
there is not made again, so that a death costs the item that was in work. Only a few tasks are in
flight at a time: this process keeps no list of results. Ray's usage reports and its dashboard are
off.
"""

import os
import secrets
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fewmask.core.errors import BadConfig, FewmaskError, NoRoom
from fewmask.core.spread import Spread
from fewmask.io.atomic import make_folder, part_beside, write_text
from fewmask.io.extra import need
from fewmask.io.lock import in_name_of

T = TypeVar("T")
R = TypeVar("R")
AUTO = "auto"
"""The cluster that this machine belongs to; where it belongs to none, one of this machine alone."""
_RETRIES = 3
"""How often an item is begun again after its process died."""
_AHEAD = 2
"""Items in flight per place where one can run."""
_ANSWER_SECONDS = 10.0
_LOOK_SECONDS = 120.0
_SAVE_SECONDS = 60.0
"""For tasks that are told to stop; a training finishes its step and saves."""


@dataclass(frozen=True)
class _Terms:
    """What each task is told beside its item."""

    token: Path
    """A file in the output folder that the starting machine wrote ..."""
    secret: str
    """... and what it says: whoever reads that sees the same folder."""
    threads: int


@contextmanager
def on_ray(
    address: str, out: Path, inputs: Sequence[Path], threads: int | None = None, gpu: bool = False
) -> Iterator[Spread]:
    """What spreads items over a Ray cluster, for as long as the block runs.

    `address` is `HOST:PORT` of a cluster, or `auto`. Every item gets `threads` CPUs (None: as many
    as this process uses, so that bits are the same as here) and, with `gpu`, a GPU.

    Raises `BadConfig` (C02) without Ray, where nobody answers at `address`, and where no machine
    has so many CPUs or a GPU; `NoRoom` (F23) where a machine does not see the folder `out`, or one
    of the `inputs`.
    """
    ray = _import_ray()
    make_folder(out)
    token = part_beside(out.absolute() / "ray")
    terms = _Terms(token, secrets.token_hex(8), threads or _threads_here())
    _join(ray, address)
    try:
        write_text(token, terms.secret)
        needs = {"num_cpus": terms.threads, "num_gpus": int(gpu)}
        _check_room(ray, needs)
        _check_folders(ray, terms, [path.absolute() for path in inputs])

        def spread(
            function: Callable[[T], R], items: Iterable[T]
        ) -> Generator[R | FewmaskError, None, None]:
            return _run(ray, terms, needs, function, items)

        yield spread
    finally:
        token.unlink(missing_ok=True)
        ray.shutdown()


def _threads_here() -> int:
    import torch  # heavy, and a machine that is only looked at needs none

    return torch.get_num_threads()


def _import_ray() -> Any:
    """Ray as it behaves here: silent on the network but between its own machines."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    return need("ray", "ray", "work on several machines (`ray`)")


def _join(ray: Any, address: str) -> None:
    if ray.is_initialized():  # a program of the user's that joined one itself
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if address != AUTO:
        _knock(address)
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        if address == AUTO and isinstance(error, ConnectionError):
            ray.init(address="local", include_dashboard=False, **quiet)
            return
        raise _no_answer(address, str(error)) from error


def _knock(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise BadConfig(
            f"`ray={address}` is no address of a Ray cluster",
            fix="use `ray=HOST:6379` as `ray start` prints it, or `ray=auto`",
            code="C02",
        )
    try:
        socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, str(error)) from error


def _no_answer(address: str, why: str) -> BadConfig:
    return BadConfig(
        f"no Ray cluster answers at {address}",
        where=why.splitlines()[:1],
        fix="start one with `ray start` (docs/scale.md), run this on one of its machines, and give "
        "the address that it prints; or use `ray=auto`",
        code="C02",
    )


def _machines(ray: Any) -> list[dict[str, Any]]:
    """Those that do work."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0)]


def _check_room(ray: Any, needs: dict[str, int]) -> None:
    if _places(ray, needs):
        return
    cpus = [int(node["Resources"]["CPU"]) for node in _machines(ray)]
    gpus = [int(node["Resources"].get("GPU", 0)) for node in _machines(ray)]
    raise BadConfig(
        f"no machine of the cluster has {needs['num_cpus']} CPUs"
        + (" and a GPU" if needs["num_gpus"] else ""),
        where=[f"CPUs  {cpus}", f"GPUs  {gpus}"],
        fix=f"use `threads={max(cpus, default=1)}` or less"
        + (", or `device=cpu`" if needs["num_gpus"] else ""),
        code="C02",
    )


def _places(ray: Any, needs: dict[str, int]) -> int:
    """How many items can be in work at the same time."""
    count = 0
    for node in _machines(ray):
        had = node["Resources"]
        places = int(had["CPU"] // needs["num_cpus"])
        count += min(places, int(had.get("GPU", 0))) if needs["num_gpus"] else places
    return count


def _check_folders(ray: Any, terms: _Terms, inputs: list[Path]) -> None:
    """Every machine sees what it reads and where it writes."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0, max_retries=0)(_look)
    asked = []
    for node in _machines(ray):
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        name = node["NodeManagerHostname"]
        asked.append((name, look.options(scheduling_strategy=there).remote(terms, inputs)))
    for name, answer in asked:
        try:
            unseen = ray.get(answer, timeout=_LOOK_SECONDS)
        except ray.exceptions.RayTaskError as error:
            raise NoRoom(
                f"the machine {name} cannot run fewmask",
                where=str(error.cause or error).splitlines()[-1:],
                did="nothing was started",
                fix="install this version of fewmask on every machine of the cluster",
                code="F23",
            ) from error
        except ray.exceptions.RayError as error:
            raise NoRoom(
                f"the machine {name} of the Ray cluster does not answer",
                where=str(error).splitlines()[:1],
                did="nothing was started",
                fix="see `ray status`, and the same command again",
                code="F23",
            ) from error
        if unseen:
            raise _unseen(name, unseen)


def _look(terms: _Terms, inputs: list[Path]) -> list[Path]:
    """On a machine: the folders that it does not see."""
    out = [] if _sees(terms) else [terms.token.parent]
    return out + [path for path in inputs if not path.exists()]


def _sees(terms: _Terms) -> bool:
    try:
        return terms.token.read_text(encoding="utf-8") == terms.secret
    except OSError:
        return False


def _unseen(name: str, paths: list[Path]) -> NoRoom:
    return NoRoom(
        f"the machine {name} of the Ray cluster does not see the same folder",
        where=[f"folder  {path}" for path in paths],
        did="it was given no work",
        fix="use a folder on a drive that all machines share, under the same path",
        code="F23",
    )


_opened: dict[str, Any] = {}
"""In a worker: the function of the last items, since it may hold a network."""


def _do(terms: _Terms, key: str, box: list[Any], item: Any) -> Any:
    """One item in a worker."""
    import ray
    import torch

    if key not in _opened:
        if not _sees(terms):  # a machine that came later: its masks would go nowhere
            raise _unseen(socket.gethostname(), [terms.token.parent])
        torch.set_num_threads(terms.threads)
        _opened.clear()
        _opened[key] = ray.get(box[0])
    # A retry has the same id: it takes over what the dead one held, on whatever machine.
    with in_name_of(f"ray {ray.get_runtime_context().get_task_id()}"):
        return _opened[key](item)


def _run(
    ray: Any, terms: _Terms, needs: dict[str, int], function: Callable[[T], R], items: Iterable[T]
) -> Generator[R | FewmaskError, None, None]:
    """Results in order, with a few tasks in flight."""
    key, box = secrets.token_hex(8), [_put(ray, function)]
    task = ray.remote(max_retries=_RETRIES, **needs)(_do)
    waiting, left = deque[Any](), iter(items)
    try:
        while True:
            room = _AHEAD * max(1, _places(ray, needs)) - len(waiting)
            for _, item in zip(range(room), left, strict=False):
                waiting.append(task.remote(terms, key, box, item))
            if not waiting:
                return
            yield _result(ray, waiting.popleft())
    finally:
        _stop(ray, list(waiting))


def _put(ray: Any, function: Callable[..., Any]) -> Any:
    """The function where every machine can get it."""
    try:
        return ray.put(function)
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise BadConfig(
            "what predicts here cannot be sent to other machines",
            where=str(error).splitlines()[:1],
            fix="leave `engine` out, or leave `ray` out and use `part`",
            code="C02",
        ) from error


def _result(ray: Any, answer: Any) -> Any:
    try:
        return ray.get(answer)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, FewmaskError):
            raise error.cause from error
        raise
    except ray.exceptions.RayError as error:
        return NoRoom(
            f"the process that did it died {_RETRIES + 1} times",
            where=str(error).strip().splitlines()[:2],
            did="the others go on",
            fix="see whether memory suffices (`ray status`), and give the same command again",
            code="F22",
        )


def _stop(ray: Any, waiting: list[Any]) -> None:
    """Tasks in flight end as by Ctrl-C: what they were writing is whole or gone."""
    for answer in waiting:
        with suppress(Exception):
            ray.cancel(answer, force=False)
    if waiting:
        with suppress(Exception):
            ray.wait(waiting, num_returns=len(waiting), timeout=_SAVE_SECONDS)
