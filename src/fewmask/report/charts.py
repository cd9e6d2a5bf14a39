"""Charts of a page: losses, scores, volumes, and how volumes agree with the truth."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from fewmask.core.colours import colour_of
from fewmask.evaluate.agreement import limits_of_agreement
from fewmask.evaluate.scores import CaseScore
from fewmask.report.failures import FIFTHS, Positions
from fewmask.report.scans import Scan
from fewmask.report.svg import Axis, Plot

_ROW = 40
_PLACES = (0.0, 1.0, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class Chart:
    """A chart and the words under it."""

    title: str
    svg: Markup
    words: str = ""


def spread(
    values: Mapping[str, Sequence[tuple[str, float]]],
    colours: Mapping[str, str],
    title: str,
    unit: str,
    axis: Axis,
) -> Markup:
    """A row of dots per structure, one dot a scan (case, number), the median as a line."""
    names = list(values)
    rows = Axis(-0.5, len(names) - 0.5)
    wide = min(170.0, 22.0 + max((len(name) for name in names), default=0) * 7)
    told = "; ".join(
        f"{name}: {len(dots)}, median {np.median([v for _, v in dots]):.3g}"
        for name, dots in values.items()
        if dots
    )
    plot = Plot(axis, rows, f"{title}. {told}.", 560.0, _ROW * len(names) + 56.0, wide)
    plot.x_axis(unit)
    for place_of_row, (name, dots) in enumerate(reversed(list(values.items()))):
        row = float(place_of_row)
        plot.text(wide - 10, plot.py(row) + 4, _cut(name), "end")
        plot.across(row, "grid")
        for place, (case, value) in enumerate(sorted(dots, key=lambda dot: dot[1])):
            # Dots beside each other in turn, so that scans alike do not hide each other.
            shift = (place % 3 - 1) * 6.0
            plot.dot(value, row, colours[name], f"{case}: {value:.3g}", shift)
        if dots:
            middle = plot.px(float(np.median([value for _, value in dots])))
            plot.line([(middle, plot.py(row) - 15), (middle, plot.py(row) + 15)], "middle")
    return plot.draw()


def _cut(name: str) -> str:
    return name if len(name) <= 20 else name[:19] + "…"


def dice_chart(scores: Sequence[CaseScore], classes: Sequence[str]) -> Chart | None:
    """Dice of every scan; None without any."""
    known = [score for score in scores if not math.isnan(score.dice)]
    if not known:
        return None
    dots = _rows(classes, [(s.label, s.case, s.dice) for s in known])
    svg = spread(dots, _colours(classes), "Dice of every scan", "Dice", Axis(0.0, 1.001))
    return Chart("Dice", svg, "One dot a scan; the line is the median.")


def volume_chart(scans: Sequence[Scan]) -> Chart | None:
    """Volume of every structure in every scan where it was drawn; None for fewer than two scans."""
    classes = [line.extent.structure for line in scans[0].lines] if scans else []
    dots = _rows(
        classes,
        [
            (line.extent.structure, scan.case, line.extent.ml)
            for scan in scans
            for line in scan.lines
            if line.extent.span is not None
        ],
    )
    values = [value for row in dots.values() for _, value in row]
    if len(scans) < 2 or not values:
        return None
    wide = max(values) > 30 * max(min(values), 1e-6) and len(classes) > 1
    axis = Axis.around(values, zero=not wide, log=wide)
    title, unit = "Volume of every mask", "mL (log)" if wide else "mL"
    svg = spread(dots, _colours(classes), title, unit, axis)
    return Chart("Volumes of the masks", svg, "One dot a scan; the line is the median.")


def bland_altman(scores: Sequence[CaseScore], classes: Sequence[str]) -> list[Chart]:
    """Per structure the difference of volumes against their mean, with bias and limits."""
    charts = []
    for name in classes:
        mine = [s for s in scores if s.label == name and s.status == "ok"]
        if len(mine) < 2:
            continue
        pred = np.array([score.pred_ml for score in mine])
        true = np.array([score.truth_ml for score in mine])
        found = limits_of_agreement(pred, true)
        words = (
            f"{found.n} scans: mask minus truth {found.bias:+.0f} mL on the mean, 95 % limits of "
            f"agreement {found.low:+.0f} to {found.high:+.0f} mL."
        )
        apart = pred - true
        y = Axis.around([*apart, found.low, found.high, 0.0])
        plot = Plot(Axis.around(list((pred + true) / 2)), y, f"{name}. {words}")
        plot.axes("mean of mask and truth, mL", "mask minus truth, mL")
        plot.across(0.0, "axis")
        plot.across(found.bias, "middle")
        for limit in (found.low, found.high):
            plot.across(limit, "limit")
        for score, x, d in zip(mine, (pred + true) / 2, apart, strict=True):
            plot.dot(float(x), float(d), _colours(classes)[name], f"{score.case}: {d:+.0f} mL")
        charts.append(Chart(name, plot.draw(), words))
    return charts


def size_chart(scores: Sequence[CaseScore], classes: Sequence[str]) -> Chart | None:
    """Dice against true volume; None for fewer than three."""
    known = [s for s in scores if s.truth_ml > 0 and not math.isnan(s.dice)]
    if len(known) < 3:
        return None
    sizes = [score.truth_ml for score in known]
    wide = max(sizes) > 10 * min(sizes)
    x = Axis.around(sizes, log=wide)
    plot = Plot(x, Axis(0.0, 1.001), f"Dice against true volume of {len(known)} structures.")
    plot.axes(f"true volume, mL{' (log)' if wide else ''}", "Dice")
    for score in known:
        name = f"{score.case}, {score.label}: Dice {score.dice:.2f}, {score.truth_ml:.0f} mL"
        plot.dot(score.truth_ml, score.dice, _colours(classes)[score.label], name)
    return Chart("By size", plot.draw(), "Small structures on the left.")


def position_chart(positions: Positions) -> list[Chart]:
    """Per structure the Dice of its fifths, from its first slice to its last."""
    charts = []
    for name in positions.counts:
        dice = positions.dice(name)
        told = ", ".join(
            f"{fifth} {d:.2f}" for fifth, d in zip(FIFTHS, dice, strict=True) if not math.isnan(d)
        )
        plot = Plot(Axis(-0.5, 4.5), Axis(0.0, 1.001), f"{name}, Dice along the structure: {told}.")
        base = plot.height - plot.bottom
        for tick in plot.y.ticks(4):
            plot.across(tick, "grid")
            plot.text(plot.left - 7, plot.py(tick) + 4, f"{tick:g}", "end")
        for place, fifth, value in zip(_PLACES, FIFTHS, dice, strict=True):
            plot.text(plot.px(place), base + 17, fifth, "middle")
            if math.isnan(value):
                continue
            height = round(base - plot.py(value), 1)
            plot.parts.append(
                Markup('<rect class="bar" x="{}" y="{}" width="44" height="{}"/>').format(
                    plot.px(place) - 22, plot.py(value), height
                )
            )
            plot.text(plot.px(place), plot.py(value) - 5, f"{value:.2f}", "middle")
        plot.text((plot.left + plot.width) / 2, base + 34, "slices of the structure", "middle")
        charts.append(Chart(name, plot.draw()))
    return charts


def loss_charts(rows: Sequence[Mapping[str, str]]) -> list[Chart]:
    """One small chart per loss, smoothed over a fiftieth of the steps."""
    names = [name for name in (rows[0] if rows else {}) if name != "step"]
    charts = []
    for name in names:
        points = [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
        points = [(step, value) for step, value in points if math.isfinite(value)]
        if len(points) < 2:
            continue
        steps, values = (np.array(column, float) for column in zip(*points, strict=True))
        width = max(1, len(values) // 50)
        groups = np.array_split(np.arange(len(values)), math.ceil(len(values) / width))
        xs = [float(steps[group].mean()) for group in groups]
        ys = [float(values[group].mean()) for group in groups]
        label = f"Loss {name}: {ys[0]:.3g} at first, {ys[-1]:.3g} at last."
        plot = Plot(Axis.around(xs), Axis.around(ys, zero=True), label, 300.0, 170.0)
        plot.axes("step", "")
        plot.curve(xs, ys)
        charts.append(Chart(name, plot.draw()))
    return charts


def _rows(
    classes: Sequence[str], values: Sequence[tuple[str, str, float]]
) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {name: [] for name in classes}
    for name, case, value in values:
        found.setdefault(name, []).append((case, value))
    return {name: dots for name, dots in found.items() if dots}


def _colours(classes: Sequence[str]) -> dict[str, str]:
    return _Colours({name: colour_of(index) for index, name in enumerate(classes, 1)})


class _Colours(dict[str, str]):
    """A structure that the run does not name has the first colour."""

    def __missing__(self, name: str) -> str:
        return colour_of(1)
