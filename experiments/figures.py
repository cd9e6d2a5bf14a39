"""Draw the figures of `docs/results.md` from the committed rows, for light and for dark pages.

    pip install "fewmask[figures]"
    python experiments/figures.py

A line runs through the means over draws, a dot is a draw: the mean Dice over its scans, after the
run's own clean-up. A figure says in its description which numbers it was drawn from, so that a test
can tell whether it is behind its rows.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from fewmask.benchmark.rows import LEARNED, ORACLE, RunRow, read_rows

HERE = Path(__file__).parent
FIGURES = HERE.parent / "docs" / "figures"
SECONDS = {"lite_unet": 0.37, "noisy_student": 0.42, "unet": 0.33, "sam_mix": 1.28}
"""Of a step on two idle cores in bfloat16 (`benchmarks/cost.py step`), the student with labelling.
"""
COLOURS = {
    "lite_unet": "#3b7dd8",
    "noisy_student": "#d9822b",
    "unet": "#4a9c5d",
    "sam_mix": "#b0529f",
}
THEMES = {"light": "#24292f", "dark": "#d0d7de"}
"""Colour of words and axes; the ground is the page's."""
TICKS = {"outlined slices": (2, 5, 10, 20, 50, 100), "minutes on two cores": (2, 5, 10, 20)}
Point = tuple[float, list[float]]
"""A place on the axis, and a mean Dice per draw."""


@dataclass(frozen=True)
class Panel:
    """One plot."""

    title: str
    axis: str
    lines: dict[tuple[str, str], list[Point]]
    """(method, budget or nothing) -> its points from left to right."""


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
        if row.dice is not None:
            draws = found.setdefault(line(row), {}).setdefault(place(row), {})
            draws.setdefault(row.draw, []).append(row.dice)
    return {
        name: [(x, [mean(draws[key]) for key in sorted(draws)]) for x, draws in sorted(xs.items())]
        for name, xs in sorted(found.items())
    }


def figures() -> dict[str, list[Panel]]:
    """Every figure's panels, from the rows as they are."""
    few = read_rows(HERE / "rows" / "few-slices.csv")
    kept_aside = read_rows(HERE / "rows" / "lite-unet-dev.csv")
    slices, minutes = TICKS
    return {
        "slices": [
            Panel("six test patients", slices, by_slices(few, "test")),
            Panel("two scans from elsewhere", slices, by_slices(few, "ct-abdomen-other")),
        ],
        "minutes": [Panel("four training patients", minutes, by_minutes(kept_aside, "test"))],
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
            1, len(panels), figsize=(3.8 * len(panels) + 2.2, 3.4), sharey=True, squeeze=False
        )
        for axis, panel in zip(axes[0], panels, strict=True):
            for (method, budget), points in panel.lines.items():
                colour, style = COLOURS[method], "--" if budget == "5 slices" else "-"
                places, middles = [x for x, _ in points], [mean(values) for _, values in points]
                name = f"{method} {budget}".strip()
                axis.plot(places, middles, style, color=colour, label=name, marker="o", ms=3)
                dots = [(x, value) for x, values in points for value in values]
                axis.plot(*zip(*dots, strict=True), "o", color=colour, ms=4, alpha=0.5, mew=0)
            axis.set(xscale="log", title=panel.title, xlabel=panel.axis, ylim=(0.7, 0.98))
            axis.set_xticks(TICKS[panel.axis], [str(tick) for tick in TICKS[panel.axis]])
            axis.minorticks_off()
            axis.grid(alpha=0.2, color=ink)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0][0].set_ylabel("Dice")
        axes[0][-1].legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
        figure.tight_layout()
        figure.savefig(
            path, transparent=True, metadata={"Date": None, "Description": digest(panels)}
        )
        pyplot.close(figure)


if __name__ == "__main__":
    FIGURES.mkdir(exist_ok=True)
    for name, panels in figures().items():
        for theme, ink in THEMES.items():
            draw(panels, FIGURES / f"{name}-{theme}.svg", ink)
