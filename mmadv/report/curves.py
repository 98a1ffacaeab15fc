"""Accuracy-against-ε curves as inline SVG: no script, no font, no colour that has to be told apart to read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from mmadv.report.words import amount

WIDTH, HEIGHT = 640, 384
LEFT, RIGHT, TOP, BOTTOM = 66, 34, 38, 86
STYLES = 6
"""Colours that the style sheet has (Okabe & Ito's, darker on light paper); dashes and markers repeat what they say."""
DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2 1 2 1 2", "12 4")
MARKERS = (
    "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0Z",
    "M-3.3-3.3h6.6v6.6h-6.6Z",
    "M0-4.2 4 3H-4Z",
    "M0-4.6 4.6 0 0 4.6-4.6 0Z",
    "M0 4.2 4-3H-4Z",
    "M-1.4-4h2.8v2.6h2.6v2.8h-2.6v2.6h-2.8v-2.6h-2.6v-2.8h2.6Z",
)
WIDE, NARROW = 13, 19
"""Font sizes of the style sheet, on a wide screen and on a phone, in units of the drawing."""
FEW = 12
"""Radii up to this many have a mark and a tick each."""
READ_OFF = 20
"""Parts of the axis at which a finer curve can be read off."""


@dataclass(frozen=True)
class Point:
    """A rate at one ε, with its 95 % interval and what it counts."""

    eps: float
    value: float
    low: float
    high: float
    hits: int
    total: int

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}] ({self.hits} of {self.total})"


@dataclass(frozen=True)
class Line:
    """One curve.

    Args:
        name: for the legend.
        points: in ascending ε.
        bold: draw it as the main one, with its interval and figures.
        steps: the rate stays as it is up to the next point.
    """

    name: str
    points: Sequence[Point]
    bold: bool = False
    steps: bool = False

    def at(self, eps: float) -> Point | None:
        """What it says of a radius: in steps, the last point up to there."""
        found = [point for point in self.points if point.eps == eps or (self.steps and point.eps < eps)]
        return found[-1] if found else None


def chart(lines: Sequence[Line], *, title: str, axis: str, scale: Mapping[float, str] | None = None) -> Markup:
    """A chart of accuracy against ε and its legend; each ε tells its figures when it is pointed at.

    Args:
        lines: one polyline each; a line without points is in the legend only.
        title: read out in place of the picture.
        axis: what ε is, and its unit.
        scale: what an ε is on a scale that people know.

    Example:
        >>> drawn = chart([Line("pgd", [Point(0, 1, 0.7, 1, 9, 9), Point(0.1, 0, 0, 0.3, 0, 9)])], title="t", axis="ε")
        >>> drawn.count("<polyline"), "pgd: 0.0 % [0.0, 30.0] (0 of 9)" in drawn
        (1, True)
    """
    radii = sorted({point.eps for line in lines for point in line.points})
    plot = _Plot(max(radii, default=0.0) or 1.0)
    ticks = radii if len(radii) <= FEW else _round_ticks(plot.most)
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, title),
        _grid(plot, ticks),
        Markup('<text class="axis" x="0" y="16">accuracy</text>'),
        Markup('<text class="axis" x="{:.0f}" y="{}" dy="4.2em" text-anchor="middle">{}</text>').format(
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM, axis
        ),
    ]
    numbered = list(enumerate(lines))
    parts += [_band(plot, line) for line in lines if line.bold]
    # The bold line lies under the others, so that an attack which is the worst by itself can still be seen.
    parts += [_drawn(plot, line, number) for number, line in sorted(numbered, key=lambda pair: not pair[1].bold)]
    parts += [_figures(plot, line) for line in lines if line.bold]
    # Lines that are no steps say nothing between their points.
    fine = len(radii) > FEW and all(line.steps for line in lines)
    parts.append(_pointed_at(plot, _even(plot.most) if fine else radii, lines, scale or {}))
    return Markup("").join([*parts, Markup("</svg>"), _legend(lines)])


@dataclass(frozen=True)
class _Plot:
    most: float

    def x(self, eps: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * eps / self.most

    def y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value)


def _grid(plot: _Plot, ticks: Sequence[float]) -> Markup:
    drawn = Markup("")
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = plot.y(share)
        drawn += Markup('<path class="{}" d="M{} {:.1f}H{}"/>').format(
            "grid" if share else "base", LEFT, y, WIDTH - RIGHT
        )
        drawn += Markup('<text x="{}" y="{:.1f}" dy=".35em" text-anchor="end">{:.0f} %</text>').format(
            LEFT - 9, y, 100 * share
        )
    both, wide = _fitting(plot, ticks, NARROW), _fitting(plot, ticks, WIDE)
    for eps in ticks:
        x, y = plot.x(eps), plot.y(0)
        drawn += Markup('<path class="base" d="M{:.1f} {:.1f}v5"/>').format(x, y)
        if eps in wide:
            drawn += Markup('<text{} x="{:.1f}" y="{:.1f}" dy="1.6em" text-anchor="middle">{}</text>').format(
                Markup("") if eps in both else Markup(' class="wide"'), x, y, amount(eps)
            )
    return drawn


def _fitting(plot: _Plot, ticks: Sequence[float], size: int) -> set[float]:
    """The ticks whose figures don't run into each other: the outer two first, then from the right."""
    kept: dict[float, tuple[float, float]] = {}
    for eps in [*ticks[-1:], *ticks[:1], *ticks[-2:0:-1]]:
        half = 0.3 * size * (len(amount(eps)) + 1)
        ends = plot.x(eps) - half, plot.x(eps) + half
        if all(ends[1] < low or high < ends[0] for low, high in kept.values()):
            kept[eps] = ends
    return set(kept)


def _round_ticks(most: float) -> list[float]:
    """Three to six round radii.

    Example:
        >>> _round_ticks(1.3)
        [0.0, 0.5, 1.0]
    """
    rough = most / 4
    base = 10 ** math.floor(math.log10(rough))
    step = next(base * times for times in (1, 2, 5, 10) if base * times >= rough)
    return [float(f"{step * number:.6g}") for number in range(int(most / step) + 1)]


def _even(most: float) -> list[float]:
    """Radii to read off where there are too many points to name each; the last is not rounded, or what ends there is missed."""
    return [*(float(f"{most * number / READ_OFF:.3g}") for number in range(READ_OFF)), most]


def _places(plot: _Plot, line: Line, share: str = "value") -> list[tuple[float, float]]:
    places: list[tuple[float, float]] = []
    for point in line.points:
        if line.steps and places:
            places.append((plot.x(point.eps), places[-1][1]))
        places.append((plot.x(point.eps), plot.y(getattr(point, share))))
    return places


def _joined(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _band(plot: _Plot, line: Line) -> Markup:
    around = [*_places(plot, line, "high"), *reversed(_places(plot, line, "low"))]
    return Markup('<polygon class="band" points="{}"/>').format(_joined(around)) if len(line.points) > 1 else Markup("")


def _drawn(plot: _Plot, line: Line, number: int) -> Markup:
    if not line.points:
        return Markup("")
    style, dash = _style(line, number)
    drawn = Markup('<g class="{}"><polyline points="{}"{}/>').format(style, _joined(_places(plot, line)), dash)
    if len(line.points) <= FEW:
        for point in line.points:
            drawn += Markup('<path class="mark" transform="translate({:.1f} {:.1f})" d="{}"/>').format(
                plot.x(point.eps), plot.y(point.value), _marker(line, number)
            )
    return drawn + Markup("</g>")


def _style(line: Line, number: int) -> tuple[str, Markup]:
    if line.bold:
        return "line worst", Markup("")
    # After six lines the colours come again, with the next line's dashes.
    dash = DASHES[(number + number // STYLES) % STYLES]
    return f"line s{number % STYLES}", Markup(' stroke-dasharray="{}"').format(dash) if dash else Markup("")


def _marker(line: Line, number: int) -> str:
    return MARKERS[0] if line.bold else MARKERS[number % STYLES]


def _figures(plot: _Plot, line: Line) -> Markup:
    """The main line's values in percent, each below its ε, where they hide no line."""
    drawn, points = Markup(""), {point.eps: point for point in line.points}
    if len(points) > FEW:
        return drawn
    both, wide = _fitting(plot, list(points), NARROW), _fitting(plot, list(points), WIDE)
    for eps in sorted(wide):
        drawn += Markup(
            '<text class="figure{}" x="{:.1f}" y="{:.1f}" dy="2.8em" text-anchor="middle">{:.1f}</text>'
        ).format("" if eps in both else " wide", plot.x(eps), plot.y(0), 100 * points[eps].value)
    return drawn


def _pointed_at(plot: _Plot, radii: Sequence[float], lines: Sequence[Line], scale: Mapping[float, str]) -> Markup:
    """A column around each ε that tells every line's figures, so that no line hides another's."""
    drawn, bottom = Markup(""), plot.y(0)
    edges = [LEFT - 4.0, *((plot.x(a) + plot.x(b)) / 2 for a, b in pairwise(radii)), WIDTH - 4.0]
    for number, eps in enumerate(radii):
        known = f" ({scale[eps]})" if scale.get(eps) else ""
        told = [f"ε = {amount(eps)}{known}" if eps else "clean, ε = 0"]
        for line in sorted(lines, key=lambda line: not line.bold):
            told += [f"{line.name}: {point}" for point in [line.at(eps)] if point is not None]
        drawn += Markup(
            '<g class="at"><title>{}</title><path class="guide" d="M{:.1f} {}V{:.1f}"/>'
            '<rect x="{:.1f}" y="{}" width="{:.1f}" height="{:.1f}"/></g>'
        ).format(
            "\n".join(told), plot.x(eps), TOP, bottom,
            edges[number], TOP, max(edges[number + 1] - edges[number], 0.0), bottom - TOP,
        )  # fmt: skip
    return drawn


def _legend(lines: Sequence[Line]) -> Markup:
    entries = Markup("")
    for number, line in sorted(enumerate(lines), key=lambda pair: not pair[1].bold):
        style, dash = _style(line, number)
        entries += Markup(
            '<li><svg class="chart-key" viewBox="0 0 36 12" width="36" height="12" aria-hidden="true"><g class="{}">'
            '<path class="stroke" d="M1 6H35"{}/><path class="mark" transform="translate(18 6)" d="{}"/></g></svg>{}</li>'
        ).format(style, dash, _marker(line, number), line.name)
    return Markup('<ul class="legend">{}</ul>').format(entries)
