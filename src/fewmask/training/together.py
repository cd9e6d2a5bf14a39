"""Several processes that make one training run (`torchrun`): each learns from its share of every
batch, the first one writes.

The gradients are averaged once per step (`blocks/team.py`), and not by torch's wrapper
`DistributedDataParallel`: that one hooks into `forward` of one module, and methods have losses over
several networks, some of which take no part in some steps. What it would gain is that sums travel
while the backward pass still runs.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from fewmask.blocks.team import add_up, telling
from fewmask.core.batch import Batch, BatchSpec, Labelled, Unlabelled, Weak
from fewmask.core.errors import BadConfig, FewmaskError, NoRoom
from fewmask.core.run_record import RunRecord
from fewmask.core.signals import StopRequest
from fewmask.methods import build, is_external
from fewmask.methods._method import Stage
from fewmask.training.request import TrainRequest

Stream = TypeVar("Stream", Labelled, Weak, Unlabelled)
_STREAMS = ("labelled", "weak", "unlabelled", "empty")
_OF_A_MACHINE = ("device", "threads", "workers", "save_minutes", "embeddings_gib", "log")
"""Settings that may differ between processes, or that the first one alone looks at."""
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What `torchrun` says in the environment of each process."""


def is_first() -> bool:
    """Is this the process that writes and speaks? Where nobody started several, it is."""
    return not _is_started_by_torchrun() or os.environ["RANK"] == "0"


def _is_started_by_torchrun() -> bool:
    named = all(name in os.environ for name in _TORCHRUN)
    return named and os.environ["WORLD_SIZE"] != "1"


class Team:
    """The processes of a training run, as one of them sees them."""

    def __init__(self, place: int = 0, members: int = 1, group: Any = None) -> None:
        """`group` carries words between them on the CPU, so that no GPU is waited for."""
        self.place, self.members, self._group = place, members, group
        self._has_told = False

    def device(self, wanted: str | None) -> str | None:
        """Each process of a machine has a GPU of its own, in their order."""
        if self.members == 1 or wanted not in (None, "cuda") or not torch.cuda.is_available():
            return wanted
        return f"cuda:{os.environ['LOCAL_RANK']}"

    def tell(self, message: RunRecord | FewmaskError | None) -> None:
        """Once, to those who wait: what is trained, why not, or that nothing is left to do."""
        if self.members > 1 and not self._has_told:
            self._has_told = True
            with telling():
                distributed.broadcast_object_list([message], 0, group=self._group)

    def hear(self) -> RunRecord | None:
        """What the first process has settled, or None; raises what it raised."""
        box: list[Any] = [None]
        with telling():
            distributed.broadcast_object_list(box, 0, group=self._group)
        if isinstance(box[0], FewmaskError):
            raise box[0]
        record: RunRecord | None = box[0]
        return record

    def agree(self, asked: StopRequest) -> None:
        """A stop that any of them was asked for is asked of all."""
        if self.members == 1:
            return
        words = torch.tensor([asked.signal or 0, int(asked.by_caller)])
        with telling():
            distributed.all_reduce(words, distributed.ReduceOp.MAX, group=self._group)
        asked.signal, asked.by_caller = int(words[0]) or None, bool(words[1])

    def check_alike(self, request: TrainRequest) -> None:
        """Raise `BadConfig` (C02), in all of them, unless all were asked for the same training."""
        if self.members == 1:
            return
        told: list[Any] = [None] * self.members
        with telling():
            distributed.all_gather_object(told, _told(request), group=self._group)
        if lines := unlike(told):
            self._has_told = True  # all of them know
            raise BadConfig(
                "the processes of this training were asked for unlike things",
                where=lines,
                did="nothing was trained",
                fix="give all of them the same command, as torchrun does",
                code="C02",
            )

    def check_same(self, done: int) -> None:
        """Raise `NoRoom` (F23) unless all of them go on from the same step; -1 where one does not
        see the run folder.
        """
        if self.members == 1:
            return
        steps = torch.zeros(self.members, dtype=torch.long)
        steps[self.place] = done
        found = add_up(steps, self._group).tolist()
        if len(set(found)) > 1:
            raise NoRoom(
                "the processes of the training do not see the same run folder",
                where=[f"process {place}: {_found(step)}" for place, step in enumerate(found)],
                did="nothing was trained",
                fix="give all of them one `out`, on a drive that all machines share",
                code="F23",
            )

    def share(self, batch: Batch) -> Batch:
        """The items of a batch that this process learns from."""
        if self.members == 1:
            return batch
        parts = {name: self._share(getattr(batch, name)) for name in _STREAMS}
        names = {stream: items[self._rows(len(items))] for stream, items in batch.names.items()}
        return Batch(**parts, names=names)

    def _share(self, stream: Stream | None) -> Stream | None:
        if stream is None:
            return None
        rows = self._rows(len(stream.image))
        cut: dict[str, Any] = {
            name: part[rows] for name, part in vars(stream).items() if isinstance(part, Tensor)
        }
        return replace(stream, draws=stream.draws[rows], **cut)

    def _rows(self, count: int) -> slice:
        each = count // self.members
        return slice(self.place * each, (self.place + 1) * each)


ALONE = Team()


def unlike(told: Sequence[Mapping[str, str]]) -> list[str]:
    """A line per setting in which processes differ: `` `seed`: 0, 1 (process 0, 1) ``."""
    lines = []
    for name in told[0]:
        values = [one.get(name, "") for one in told]
        if len(set(values)) > 1:
            places = ", ".join(str(place) for place in range(len(told)))
            lines.append(f"`{name}`: {', '.join(values)} (process {places})")
    return lines


def _told(request: TrainRequest) -> dict[str, str]:
    """What must be the same for all. Paths may not be: machines may call one drive by two names."""
    texts = {field.name: getattr(request, field.name) for field in fields(request)}
    return {
        name: "a path" if isinstance(value, Path) else str(value)
        for name, value in texts.items()
        if name not in _OF_A_MACHINE
    }


def _found(step: int) -> str:
    return "no such run folder" if step < 0 else f"a state of step {step}" if step else "no state"


@contextmanager
def team() -> Iterator[Team]:
    """The processes that `torchrun` started beside this one; alone where it did not.

    What the first one raises in the block is raised in all. Raises `NoRoom` (F24) where they cannot
    reach each other.
    """
    if not _is_started_by_torchrun():
        yield ALONE
        return
    joined = not distributed.is_initialized()
    if joined:
        with telling():
            distributed.init_process_group("gloo" if not torch.cuda.is_available() else None)
    group = distributed.new_group(backend="gloo")
    found = Team(distributed.get_rank(), distributed.get_world_size(), group)
    try:
        yield found
        if found.place == 0:
            found.tell(None)
    except FewmaskError as error:
        if found.place == 0:
            with suppress(FewmaskError):
                found.tell(error)
        raise
    finally:
        if joined:
            with suppress(RuntimeError):
                distributed.destroy_process_group()


def check_together(
    crew: Team, request: TrainRequest, plan: tuple[Stage, ...], record: RunRecord
) -> None:
    """Raise `BadConfig` (C02) for a training that several processes cannot make as one would."""
    if crew.members == 1:
        return
    why, fix = _why_not(crew.members, request, plan, record)
    if why:
        raise BadConfig(
            f"{request.method} learns in one process here: {why}",
            where=f"{crew.members} processes were started",
            fix=fix,
            code="C02",
        )


def _why_not(
    members: int, request: TrainRequest, plan: tuple[Stage, ...], record: RunRecord
) -> tuple[str, str]:
    start = "start it without torchrun"
    if len(plan) > 1:
        return f"it has {len(plan)} trainings, one after the other", start
    if is_external(request.method):
        return "it is a program that is not ours", start
    if request.steps is None:
        return "minutes are measured in one process", "give `steps=1000` or as many as you want"
    method = build(request.method, plan[0].config, record.task)
    if method.learns_alone:
        return method.learns_alone, start
    odd = {name: count for name, count in _counts(method.batch_spec).items() if count % members}
    if odd:
        name, count = next(iter(odd.items()))
        more = -(-count // members) * members
        told = f"{name}={count} items per step are no equal shares for {members} processes"
        return told, f"use `{name}={more}`"
    return "", ""


def _counts(spec: BatchSpec) -> dict[str, int]:
    return {name: getattr(spec, name) for name in _STREAMS}
