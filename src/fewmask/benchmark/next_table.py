"""What a simulation of `fewmask next` says: Dice by rule and budget, differences to `random`, and
which rule is better, if one is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fewmask.benchmark.rows import LEARNED, RunRow
from fewmask.evaluate.differences import Difference, compare, correct
from fewmask.evaluate.intervals import Interval, by_patient, t_interval

TO_BEAT = "random"
_Cell = dict[tuple[str, str, str, int, int], float]
"""(patient, case, structure, draw, slices) -> Dice."""


@dataclass(frozen=True)
class NextLine:
    """A rule with a budget, or over all budgets after the first."""

    rule: str
    slices: int | None
    """None: all budgets after the first, which no network chose."""
    dice: Interval
    """Mean over structures, draws and scans, by patient; 95 % interval."""
    difference: Difference | None
    """To `random` with the same budget, draws and scans; None for `random` itself, and where they
    share none.
    """


def next_table(rows: Iterable[RunRow]) -> list[NextLine]:
    """Lines of cleaned masks: all rules of the first budget, and so on; those over all budgets
    last. P values are corrected among lines of one kind: by budget, and over all.

    Over all budgets only draws count of which a rule has every budget that `random` has.
    """
    cells: dict[str, _Cell] = {}
    for row in rows:
        rule = rule_of(row)
        if rule and row.cleanup == LEARNED and row.slices is not None and row.dice == row.dice:
            place = (row.patient, row.case, row.label, row.draw, row.slices)
            cells.setdefault(rule, {})[place] = row.dice
    budgets = sorted({place[-1] for cell in cells.values() for place in cell})
    single = [
        _line(cells, rule, n) for n in budgets for rule in _order(cells) if _has(cells, rule, n)
    ]
    whole = {rule: _whole_draws(cell, budgets) for rule, cell in cells.items()}
    overall = [_line(whole, rule, None) for rule in _order(whole) if whole[rule]]
    return [*_corrected(single), *_corrected(overall)]


def winner(lines: Sequence[NextLine]) -> str | None:
    """The rule that is decidedly better than `random` over all budgets, the best if there are
    several; else `random`. None where no rule is compared with it.
    """
    if not any(line.difference is not None for line in lines):
        return None
    better = [
        (line.difference.interval.mean, line.rule)
        for line in lines
        if line.slices is None
        and line.difference is not None
        and line.difference.decided
        and line.difference.interval.mean > 0
    ]
    return max(better)[1] if better else TO_BEAT


def rule_of(row: RunRow) -> str:
    """The rule of a row of a simulation; empty for other rows."""
    words = [word for word in row.settings.split() if word.startswith("rule=")]
    return words[0].removeprefix("rule=") if words else ""


def _order(cells: Iterable[str]) -> list[str]:
    return sorted(cells, key=lambda rule: (rule != TO_BEAT, rule))


def _has(cells: dict[str, _Cell], rule: str, n: int) -> bool:
    return any(place[-1] == n for place in cells[rule])


def _whole_draws(cell: _Cell, budgets: Sequence[int]) -> _Cell:
    """Budgets after the first, of draws that have all."""
    has: dict[int, set[int]] = {}
    for place in cell:
        has.setdefault(place[3], set()).add(place[-1])
    whole = {draw for draw, found in has.items() if found == set(budgets)}
    return {
        place: dice for place, dice in cell.items() if place[3] in whole and place[-1] != budgets[0]
    }


def _line(cells: dict[str, _Cell], rule: str, n: int | None) -> NextLine:
    mine = {place: dice for place, dice in cells[rule].items() if n in (None, place[-1])}
    mean = t_interval(by_patient([(place[0], dice) for place, dice in mine.items()], {}), 0.0, 1.0)
    other = cells.get(TO_BEAT, {})
    shared = [place for place in mine if place in other]
    if rule == TO_BEAT or not shared:
        return NextLine(rule, n, mean, None)
    pairs = [(place[0], mine[place] - other[place]) for place in shared]
    return NextLine(rule, n, mean, compare(pairs, len({place[3] for place in shared})))


def _corrected(lines: Sequence[NextLine]) -> list[NextLine]:
    kept = iter(correct([line.difference for line in lines if line.difference is not None]))
    return [
        line if line.difference is None else NextLine(line.rule, line.slices, line.dice, next(kept))
        for line in lines
    ]
