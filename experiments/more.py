"""Numbers of docs/evidence.md, from the committed rows. How well `fewmask more` foretells: every
series is fitted without its largest budget, which is then compared with what was foretold. And what
scans of another source cost in Dice.

python experiments/more.py
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewmask.benchmark.more import Series, not_rising, series_of, too_little
from fewmask.benchmark.plan import HOME
from fewmask.benchmark.rows import LEARNED, RAW, RunRow, read_rows
from fewmask.evaluate.growth import RUN_NOISE, Growth, fit_growth, run_noise
from fewmask.evaluate.intervals import Interval

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "experiments" / "rows"
PAGE = ROOT / "docs" / "evidence.md"
NAMES = ("few-slices", "mr-hippocampus", "mr-left-atrium", "sam-mix-table", "next-hippocampus")
LIVER = ("ct-liver", "few-slices", "sam-mix-table")
"""Tables with scans of another source beside the test scans."""
ELSEWHERE = "ct-abdomen-other"
GAIN = 0.01
"""A gain worth asking for; smaller ones are within the noise of runs."""
_MARK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.S)


@dataclass(frozen=True)
class Foretold:
    """One check: a series without its largest budget, and what that brought."""

    table: str
    series: Series
    """With the largest budget."""
    growth: Growth
    """Fitted without it."""

    @property
    def predicted(self) -> Interval:
        """Dice at the largest budget."""
        return self.growth.predict(self.series.budgets[-1], len(self.series.runs[-1]))

    @property
    def true(self) -> float:
        """What came."""
        return float(self.series.scores[-1].mean())

    @property
    def gain(self) -> float:
        """What the largest budget brought."""
        return self.true - self.growth.dice[-1]

    @property
    def more(self) -> Interval:
        """Outlines foretold for this gain."""
        return self.growth.more(self.gain)

    @property
    def true_more(self) -> int:
        """Outlines that it took."""
        return self.series.budgets[-1] - self.growth.budgets[-1]

    @property
    def inside(self) -> bool:
        """Did it come as foretold?"""
        return self.predicted.low <= self.true <= self.predicted.high


def checks(table: str, rows: list[RunRow]) -> tuple[list[Foretold], dict[str, int]]:
    """Checks of a table, and how many series were silent, by the reason. Cleaned masks alone where
    there are some: the drawn ones are of the same runs. Test scans alone: others are two.
    """
    rows = [row for row in rows if row.domain == HOME]
    cleaned = [row for row in rows if row.cleanup == LEARNED]
    found: list[Foretold] = []
    silent: dict[str, int] = {}
    for whole in series_of(cleaned or rows):
        for series in _shortened(whole):
            before = series.without_largest()
            growth = None
            if not (why := too_little(before)):
                growth = fit_growth(before.budgets, before.scores, before.runs)
                why = not_rising(growth)
            if growth is None or why:
                reason = "too few budgets" if "budget" in why else "no clear rise"
                silent[reason] = silent.get(reason, 0) + 1
            else:
                found.append(Foretold(table, series, growth))
    return found, silent


def _shortened(series: Series) -> Iterator[Series]:
    """The series of three budgets or more; then as if its largest budgets had not been tried, as
    long as three are left to fit when the next one is left out.
    """
    if len(series.budgets) < 3:
        return
    yield series
    while len(series.budgets) > 4:
        series = series.without_largest()
        yield series


def table_of(found: list[Foretold]) -> str:
    """Markdown: a line per check."""
    heads = (
        "table",
        "series",
        "fitted on",
        "left out",
        "foretold Dice",
        "true",
        "inside",
        "foretold more",
        "true",
    )
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for one in found:
        fitted, last = one.growth.budgets, one.series.budgets[-1]
        needed = _about(one.more.mean)
        if not math.isinf(one.more.mean):
            needed += f" ({_about(one.more.low)} to {_about(one.more.high)})"
        cells = [
            one.table,
            _short(one.series.name),
            ", ".join(map(str, fitted)),
            str(last),
            f"{one.predicted.mean:.3f} ({one.predicted.ends(3)})",
            f"{one.true:.3f}",
            "yes" if one.inside else "**no**",
            f"{needed} for {one.gain:+.3f}" if one.gain > 0 else "-",
            str(one.true_more),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(found: list[Foretold], silent: dict[str, int], noise: list[float]) -> str:
    """Coverage in words."""
    errors = [abs(one.predicted.mean - one.true) for one in found]
    widths = [one.predicted.high - one.predicted.low for one in found]
    said = " and ".join(f"{n} for {why}" for why, n in silent.items())
    clear = [one for one in found if one.gain >= GAIN]
    answered = [one for one in clear if not math.isinf(one.more.mean)]
    held = sum(one.more.low <= one.true_more <= one.more.high for one in answered)
    inside = sum(one.inside for one in found)
    return "\n".join(
        [
            f"- The 95 % interval held the truth in {inside} of {len(found)} checks, and was "
            f"{np.median(widths):.2f} wide (median). The foretold Dice was off by "
            f"{np.mean(errors):.3f} on average, {max(errors):.3f} at most.",
            f"- Of {len(clear)} gains of {GAIN} or more, the number of outlines was foretold in "
            f"{len(answered)}, in a range that held {held}; else the curve ended too low: silent.",
            f"- Series without a check: {said}.",
            f"- Runs of one budget differ by {np.median(noise):.2f} of their error (median of "
            f"{len(noise)} settings with several draws); the fit takes {RUN_NOISE}.",
        ]
    )


def noise_of(rows: list[RunRow]) -> list[float]:
    """Of every setting and budget with several draws or seeds, as a share of the error."""
    shares = []
    for series in series_of([row for row in rows if row.domain == "test"]):
        for runs in series.runs:
            share, free = run_noise([runs])
            if free:
                shares.append(math.sqrt(share))
    return shares


def elsewhere(rows: list[RunRow]) -> str:
    """What scans of another source cost in Dice, of settings that were scored on both."""
    dice: dict[tuple[str, int], dict[str, float]] = {}
    for series in series_of([row for row in rows if row.cleanup == RAW]):
        for budget, scores in zip(series.budgets, series.scores, strict=True):
            if scores.size:
                own = dice.setdefault((series.name, budget), {})
                own[series.domain] = float(scores.mean())
    both = [one for one in dice.values() if {HOME, ELSEWHERE} <= one.keys()]
    gained = np.array([one[ELSEWHERE] - one[HOME] for one in both])
    patients = {d: len({row.patient for row in rows if row.domain == d}) for d in (HOME, ELSEWHERE)}
    return (
        f"In our CT liver tables {len(both)} settings were scored on {patients[HOME]} test scans "
        f"of the source they learned from and on {patients[ELSEWHERE]} of another one "
        f"(`{ELSEWHERE}`). Dice was lower there in {int((gained < 0).sum())}; the difference was "
        f"{np.median(gained):+.3f} (median), from {gained.min():+.3f} to {gained.max():+.3f}."
    )


def measure() -> dict[str, str]:
    """Mark -> what stands between it and its end."""
    found: list[Foretold] = []
    silent: dict[str, int] = {}
    noise: list[float] = []
    tables = {name: read_rows(ROWS / f"{name}.csv") for name in (*NAMES, *LIVER)}
    for name in NAMES:
        rows = tables[name]
        more, quiet = checks(name, rows)
        found += more
        noise += noise_of(rows)
        for why, n in quiet.items():
            silent[why] = silent.get(why, 0) + n
    liver = [row for name in LIVER for row in tables[name]]
    return {
        "foretold": table_of(found),
        "coverage": summary(found, silent, noise),
        "elsewhere": elsewhere(liver),
    }


def page(text: str, parts: dict[str, str]) -> str:
    """The page with what stands between marks made anew."""
    return _MARK.sub(lambda m: f"{m[1]}{parts[m[2]]}\n{m[3]}" if m[2] in parts else m[0], text)


def _short(name: str) -> str:
    """Without settings that tell no two series apart."""
    return re.sub(r" channels=\S+ lr=\S+|unet rule=|, \d+ steps", "", name).replace(
        " + clean-up", ""
    )


def _about(number: float) -> str:
    return "unknown" if math.isinf(number) else str(max(1, round(number)))


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), measure()), encoding="utf-8")
