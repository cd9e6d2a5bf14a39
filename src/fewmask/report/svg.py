"""Small charts as SVG: they need no script and print well."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """From numbers to a place on the page."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, values: Sequence[float], zero: bool = False, log: bool = False) -> "Axis":
        """Holds all values, from 0 on if asked; never empty."""
        low, high = min(values, default=0.0), max(values, default=1.0)
        if log:
            low = max(low, 1e-9)
            return cls(low / 1.3, max(high, low) * 1.3, True)
        low = min(low, 0.0) if zero else low
        room = (high - low or abs(high) or 1.0) * 0.06
        return cls(low if zero and low == 0 else low - room, high + room)

    def at(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        if self.log:
            return math.log(max(value, 1e-9) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, about: int = 5) -> list[float]:
        """Round numbers within; of a log axis 1, 2, 5, 10, 20, ..."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            marks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
            marks = [mark for mark in marks if self.low <= mark <= self.high]
            return marks[:: max(1, math.ceil(len(marks) / about))]
        rough = (self.high - self.low) / about
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(step * size for step in _STEPS if step * size >= rough - 1e-12)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)]


def words(value: float) -> str:
    """A tick's number, without needless zeros."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


@dataclass
class Plot:
    """A chart in the making: x to the right, y upwards."""

    x: Axis
    y: Axis
    label: str
    """What it shows, for those who do not see it."""
    width: float = 520.0
    height: float = 250.0
    left: float = 52.0
    bottom: float = 40.0
    top: float = 12.0
    right: float = 14.0
    parts: list[Markup] = field(default_factory=list)

    def px(self, value: float) -> float:
        """Across, in pixels."""
        return round(self.left + self.x.at(value) * (self.width - self.left - self.right), 1)

    def py(self, value: float) -> float:
        """Down, in pixels."""
        return round(
            self.height - self.bottom - self.y.at(value) * (self.height - self.bottom - self.top), 1
        )

    def axes(self, x_title: str, y_title: str, y_words: Callable[[float], str] = words) -> None:
        """Grid, numbers and titles."""
        base, end = self.height - self.bottom, self.width - self.right
        for tick in self.y.ticks(4):
            self.line([(self.left, self.py(tick)), (end, self.py(tick))], "grid")
            self.text(self.left - 7, self.py(tick) + 4, y_words(tick), "end")
        self.x_axis(x_title)
        self.parts.append(
            Markup(
                '<text transform="rotate(-90)" x="{}" y="13" text-anchor="middle">{}</text>'
            ).format(-(base + self.top) / 2, y_title)
        )

    def x_axis(self, title: str) -> None:
        """The line below, with its numbers and title."""
        base, end = self.height - self.bottom, self.width - self.right
        self.line([(self.left, base), (end, base)], "axis")
        for tick in self.x.ticks(5):
            self.line([(self.px(tick), base), (self.px(tick), base + 4)], "axis")
            self.text(self.px(tick), base + 17, words(tick), "middle")
        self.text((self.left + end) / 2, base + 34, title, "middle")

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Through points given in pixels; its look is the style sheet's `kind`."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.parts.append(Markup('<polyline class="{}" points="{}"/>').format(kind, path))

    def curve(self, xs: Sequence[float], ys: Sequence[float], kind: str = "curve") -> None:
        """Through points given as numbers."""
        self.line([(self.px(x), self.py(y)) for x, y in zip(xs, ys, strict=True)], kind)

    def across(self, value: float, kind: str) -> None:
        """A line at y = value, from side to side."""
        y = self.py(value)
        self.line([(self.left, y), (self.width - self.right, y)], kind)

    def dot(self, x: float, y: float, colour: str, name: str, shift: float = 0.0) -> None:
        """One scan; its name shows under the pointer."""
        self.parts.append(
            Markup('<circle cx="{}" cy="{}" r="4.5" fill="{}"><title>{}</title></circle>').format(
                self.px(x), round(self.py(y) + shift, 1), colour, name
            )
        )

    def text(self, x: float, y: float, content: str, anchor: str, kind: str = "") -> None:
        """Words at pixels."""
        self.parts.append(
            Markup('<text x="{:g}" y="{:g}" text-anchor="{}"{}>{}</text>').format(
                x, y, anchor, Markup(' class="{}"').format(kind) if kind else "", content
            )
        )

    def draw(self) -> Markup:
        """The chart."""
        return Markup(
            '<svg class="chart" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">{}</svg>'
        ).format(self.width, self.height, escape(self.label), Markup("").join(self.parts))
