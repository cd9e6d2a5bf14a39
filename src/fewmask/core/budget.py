"""What a person had to provide: which masks may be seen, and how patients are split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fewmask.core.errors import BadConfig, BadDataset
from fewmask.core.randomness import permutation


@dataclass(frozen=True)
class Split:
    """Case ids by part. `patients` maps a case to its patient (default: itself); no patient may
    stand in two parts.
    """

    train: tuple[str, ...]
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def check(self, patients: Mapping[str, str], place: str = "split.toml") -> None:
        """Raise `BadDataset` on duplicates, cases that are not there, an empty training part, or a
        patient in two parts; `place` is the file to mend.
        """
        seen: dict[str, str] = {}
        for part in ("train", "val", "test"):
            cases: tuple[str, ...] = getattr(self, part)
            absent = [case for case in cases if case not in patients]
            if absent:
                raise BadDataset(
                    f"split names cases that are not there: {', '.join(absent[:5])}",
                    where=f"{place}, {part}",
                    fix="take them out, or correct their names",
                    code="S04",
                )
            if len(set(cases)) != len(cases):
                raise BadDataset(
                    "split names a case twice",
                    where=f"{place}, {part}",
                    fix="name each case once",
                    code="S04",
                )
            for case in cases:
                other = seen.setdefault(patients[case], part)
                if other != part:
                    raise BadDataset(
                        f"patient {patients[case]} is in {other} and in {part}",
                        where=f"{place}, case {case}",
                        fix="put all scans of one patient in one part of the split",
                        code="S01",
                    )
        if not self.train:
            raise BadDataset(
                "split has no training case",
                where=place,
                fix="name at least one case under `train`",
                code="S04",
            )


@dataclass(frozen=True)
class Budget:
    """The masks that training may see. `slices` are (case, d) pairs; `volumes` are whole cases.
    Nothing else has a mask.
    """

    kind: Literal["slices", "volumes"]
    draw: int
    slices: tuple[tuple[str, int], ...] = ()
    volumes: tuple[str, ...] = ()

    @property
    def masks(self) -> int:
        """How many masks a person had to outline: slices, or volumes."""
        return len(self.slices) if self.kind == "slices" else len(self.volumes)

    def grants(self, case: str, d: int) -> bool:
        """May the mask of slice d of this case be seen?"""
        return (case, d) in self._granted or case in self.volumes

    @property
    def _granted(self) -> frozenset[tuple[str, int]]:
        return frozenset(self.slices)


def draw_slices(
    candidates: Mapping[str, Sequence[int]], patients: Mapping[str, str], n: int, draw: int
) -> Budget:
    """n positive slices, round-robin over patients in an order keyed by `draw`; a smaller n is a
    prefix of a larger (0: none).

    `candidates` holds, per training case, the d of every reviewed slice with a structure in it.
    """
    by_patient: dict[str, list[tuple[str, int]]] = {}
    for case in sorted(candidates):
        slices = by_patient.setdefault(patients[case], [])
        slices += [(case, d) for d in sorted(candidates[case])]
    names = sorted(name for name, slices in by_patient.items() if slices)
    available = sum(map(len, by_patient.values()))
    if n == 0:
        return Budget("slices", draw)  # methods that learn from tags alone
    _check_count(n, available, "slices")
    order = [names[i] for i in permutation(len(names), draw, "budget-patients")]
    queues: list[list[tuple[str, int]]] = []
    for patient in order:
        slices = by_patient[patient]
        shuffled = permutation(len(slices), draw, "budget-slices", patient)
        queues.append([slices[i] for i in shuffled])
    # In turns: the first slice of every patient, then the second of those that have one, and so on.
    ordered: list[tuple[str, int]] = []
    for turn in range(max(map(len, queues))):
        ordered += [queue[turn] for queue in queues if turn < len(queue)]
    return Budget("slices", draw, slices=tuple(ordered[:n]))


def draw_volumes(
    candidates: Sequence[str],
    patients: Mapping[str, str],
    n: int,
    draw: int,
    in_order: bool = False,
) -> Budget:
    """n completely reviewed cases, at most one per patient until all patients have one; nested as
    `draw_slices`.

    With `in_order` the list's own order counts, as in the papers ("the first n are labelled"): draw
    0 takes the first n, draw 1 the next n, and so on, from the beginning again where the list ends.
    """
    _check_count(n, len(candidates), "volumes")
    if in_order:
        chosen = [candidates[(draw * n + i) % len(candidates)] for i in range(n)]
    else:
        one_slice_each = {case: [0] for case in candidates}
        ordered = draw_slices(one_slice_each, patients, len(candidates), draw)
        chosen = [case for case, _ in ordered.slices[:n]]
    return Budget("volumes", draw, volumes=tuple(chosen))


def _check_count(n: int, available: int, kind: str) -> None:
    if 0 < n <= available:
        return
    fix = "outline at least one slice, or see `fewmask check`"
    if available:
        fix = f"use --{kind} with a number from 1 to {available}"
    raise BadConfig(
        f"{n} labelled {kind} asked for, {available} available in the training part",
        fix=fix,
        code="C02",
    )
