"""Draw the figures of `docs/results` from the committed rows, for light and for dark pages.

    pip install "fewmask[figures]"
    python experiments/figures.py

A line runs through the means over draws, a dot is a draw: the mean Dice over its scans, after the
run's own clean-up where that was scored. A figure says in its description which numbers it was
drawn from, so that a test can tell whether it is behind its rows.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from leaders import COSTS, HERE, entries, rows_of

from fewmask.benchmark.rows import LEARNED, ORACLE, RunRow
from fewmask.io.text import read_toml

FIGURES = HERE.parent / "docs" / "figures"
SECONDS = next(cost["seconds"] for cost in COSTS if "lite-unet-dev" in cost["sweeps"])
"""Of a step on two idle cores in bfloat16 (`benchmarks/cost.py step`), the student with labelling.
"""
COLOURS = {
    "lite_unet": "#3b7dd8",
    "noisy_student": "#d9822b",
    "unet": "#4a9c5d",
    "sam_mix": "#b0529f",
    "vnet": "#4a9c5d",
    "mean_teacher": "#8a8f98",
    "bcp": "#3b7dd8",
    "cps": "#2a9d9d",
    "canvas_sam": "#b0529f",
    "cfr": "#d9822b",
    "nnunet": "#8a8f98",
}
THEMES = {"light": "#24292f", "dark": "#d0d7de"}
"""Colour of words and axes; the ground is the page's."""
SLICES, MINUTES, SCANS = "outlined slices", "minutes on two cores", "labelled scans"
CORE_MINUTES = "minutes on one core"
TICKS = {
    SLICES: (2, 5, 10, 20, 50, 100),
    MINUTES: (2, 5, 10, 20),
    CORE_MINUTES: (5, 10, 30),
    SCANS: (1, 4, 8, 16),
}
FIRST_MASKS = {"lite_unet": 0.21, "nnunet": 2.7}
"""Seconds of a step in `first-masks.toml`, one core (docs/performance.md)."""
Point = tuple[float, list[float]]
"""A place on the axis, and a mean Dice per draw."""


@dataclass(frozen=True)
class Panel:
    """One plot."""

    title: str
    axis: str
    lines: dict[tuple[str, str], list[Point]]
    """(method, budget or nothing) -> its points from left to right."""
    lowest: float = 0.7
    """Dice at the foot of the plot."""
    names: tuple[str, ...] = ()
    """Of places 1, 2, ... where the axis counts nothing, such as structures."""


def by_slices(rows: Iterable[RunRow], domain: str) -> dict[tuple[str, str], list[Point]]:
    """Dice against outlined slices, each method in its usual number of steps."""
    usual = {"lite_unet": 1000, "noisy_student": 1000, "unet": 900, "sam_mix": 235}
    kept = [row for row in cleaned(rows, domain) if row.steps == usual.get(row.method)]
    return collect(kept, lambda row: (row.method, ""), lambda row: float(row.slices or 0))


def by_minutes(rows: Iterable[RunRow], domain: str) -> dict[tuple[str, str], list[Point]]:
    """Dice against minutes of two idle cores, by what a step costs there."""
    kept = [row for row in cleaned(rows, domain) if row.method in SECONDS]
    return collect(
        kept,
        lambda row: (row.method, f"{row.slices} slices"),
        lambda row: round((row.steps or 0) * SECONDS[row.method] / 60, 1),
    )


def by_core_minutes(rows: Iterable[RunRow]) -> dict[tuple[str, str], list[Point]]:
    """Dice against minutes of one core, ours beside nnU-Net; its settings are the plan's."""
    kept = [row for row in rows if row.cleanup == LEARNED]
    return collect(
        kept,
        lambda row: (row.method, f"{row.slices} slices"),
        lambda row: round((row.steps or 0) * FIRST_MASKS[row.method] / 60),
    )


def by_scans(sweep: str, methods: Iterable[str]) -> dict[tuple[str, str], list[Point]]:
    """Dice on test scans against labelled scans, of methods as they are in their fewest steps."""
    fewest: dict[tuple[str, float], list[RunRow]] = {}
    for own in entries(rows_of(sweep), "default").values():
        for entry in sorted(own, key=lambda entry: -max(row.steps for row in entry.rows)):
            place = float(entry.rows[0].volumes or 0)
            if entry.setting.method in methods and not entry.setting.settings:
                fewest[entry.setting.method, place] = entry.rows
    rows = [row for own in fewest.values() for row in own if row.domain == "test"]
    return collect(rows, lambda row: (row.method, ""), lambda row: float(row.volumes or 0))


def by_structure(
    sweep: str, structures: tuple[str, ...], runs: dict[tuple[str, int], str]
) -> dict[tuple[str, str], list[Point]]:
    """Dice of each structure, of runs known by their method and steps; settings that are not the
    method's own count too, the highest mean first.
    """
    lines: dict[tuple[str, str], list[Point]] = {}
    for own in entries(rows_of(sweep), "default").values():
        for entry in own:
            budget = runs.get((entry.setting.method, max(row.steps for row in entry.rows)))
            line = (entry.setting.method, budget or "")
            if budget == entry.setting.budget and line not in lines:
                tested = [row for row in entry.rows if row.domain == "test"]
                points = collect(
                    tested,
                    lambda row: (row.method, ""),
                    lambda row: float(structures.index(row.label) + 1),
                )
                lines[line] = points[entry.setting.method, ""]
    return lines


def cleaned(rows: Iterable[RunRow], domain: str) -> list[RunRow]:
    """Rows of methods as they are, automatic and after clean-up, of these scans."""
    return [
        row
        for row in rows
        if row.domain == domain
        and row.cleanup == LEARNED
        and row.prompts != ORACLE
        and not row.settings
    ]


def collect(
    rows: Iterable[RunRow],
    line: Callable[[RunRow], tuple[str, str]],
    place: Callable[[RunRow], float],
) -> dict[tuple[str, str], list[Point]]:
    """Mean Dice per line, place and draw."""
    found: dict[tuple[str, str], dict[float, dict[int, list[float]]]] = {}
    for row in rows:
        dice = row.number("dice")
        if dice is not None:
            draws = found.setdefault(line(row), {}).setdefault(place(row), {})
            draws.setdefault(row.draw, []).append(dice)
    return {
        name: [(x, [mean(draws[key]) for key in sorted(draws)]) for x, draws in sorted(xs.items())]
        for name, xs in sorted(found.items())
    }


def figures() -> dict[str, list[Panel]]:
    """Every figure's panels, from the rows as they are."""
    few = rows_of("few-slices")
    kept_aside = rows_of("lite-unet-dev")
    organs = tuple(read_toml(HERE / "ct-organs.toml")["label"])
    names = tuple(text.split("=")[0] for text in organs)
    atrium = by_scans("mr-left-atrium", ("vnet", "mean_teacher", "bcp", "canvas_sam", "cfr"))
    hippocampus = by_scans("mr-hippocampus", ("vnet", "cps", "bcp", "canvas_sam", "cfr"))
    of_slices = by_structure("ct-organs-2d", names, {("lite_unet", 3000): "50 slices"})
    of_scans = by_structure(
        "ct-organs", names, {("vnet", 1200): "7 volumes", ("cfr", 1200): "7 volumes"}
    )
    return {
        "slices": [
            Panel("six test patients", SLICES, by_slices(few, "test")),
            Panel("two scans from elsewhere", SLICES, by_slices(few, "ct-abdomen-other")),
        ],
        "minutes": [Panel("four training patients", MINUTES, by_minutes(kept_aside, "test"))],
        "first-masks": [
            Panel(
                "left atrium, eight test scans",
                CORE_MINUTES,
                by_core_minutes(rows_of("first-masks")),
                0.4,
            )
        ],
        "left-atrium": [Panel("left atrium, eight test scans", SCANS, atrium, 0.4)],
        "hippocampus": [Panel("hippocampus, 26 test scans", SCANS, hippocampus, 0.6)],
        "organs": [Panel("thirteen organs, six test scans", "", of_slices | of_scans, 0.0, names)],
    }


def digest(panels: list[Panel]) -> str:
    """Of the numbers drawn, to four places."""
    lines = [
        [panel.title, *line, x, *(f"{value:.4f}" for value in values)]
        for panel in panels
        for line, points in panel.lines.items()
        for x, values in points
    ]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]


def draw(panels: list[Panel], path: Path, ink: str) -> None:
    """One figure in one colour of ink, as SVG; the same numbers give the same file."""
    import matplotlib as mpl
    from matplotlib import pyplot

    mpl.use("svg")
    settings: dict[str, Any] = {
        "svg.hashsalt": "fewmask",
        "svg.fonttype": "none",
        "font.size": 11,
        "font.family": "sans-serif",
        **dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink
        ),
    }
    with mpl.rc_context(settings):
        figure, axes = pyplot.subplots(
            1,
            len(panels),
            figsize=(9, 5) if panels[0].names else (3.8 * len(panels) + 2.2, 3.4),
            sharey=True,
            squeeze=False,
        )
        for axis, panel in zip(axes[0], panels, strict=True):
            plot(axis, panel, ink)
        axes[0][0].set_ylabel("Dice")
        axes[0][-1].legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
        figure.tight_layout()
        figure.savefig(
            path, transparent=True, metadata={"Date": None, "Description": digest(panels)}
        )
        pyplot.close(figure)


def plot(axis: Any, panel: Panel, ink: str) -> None:
    """One panel: a line or, over names, a mark per mean, and a dot per draw."""
    for (method, budget), points in panel.lines.items():
        colour, style = COLOURS[method], "--" if budget == "5 slices" else "-"
        places, middles = [x for x, _ in points], [mean(values) for _, values in points]
        name = f"{method} {budget}".strip().replace("volumes", "scans")
        style, size = ("none", 7) if panel.names else (style, 3)
        axis.plot(places, middles, linestyle=style, color=colour, label=name, marker="o", ms=size)
        dots = [(x, value) for x, values in points for value in values]
        axis.plot(*zip(*dots, strict=True), "o", color=colour, ms=4, alpha=0.5, mew=0)
    last = max((x for points in panel.lines.values() for x, _ in points), default=0)
    axis.set(title=panel.title, xlabel=panel.axis, ylim=(panel.lowest, 0.98))
    if panel.names:
        axis.set_xticks(range(1, len(panel.names) + 1), panel.names, rotation=55, ha="right")
    else:
        axis.set(xscale="log")
        ticks = [tick for tick in TICKS[panel.axis] if tick <= 1.2 * last]
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
    axis.grid(alpha=0.2, color=ink)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    FIGURES.mkdir(exist_ok=True)
    for name, panels in figures().items():
        for theme, ink in THEMES.items():
            draw(panels, FIGURES / f"{name}-{theme}.svg", ink)
