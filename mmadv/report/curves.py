"""Accuracy-against-ε curves as inline SVG: no script, no font, no colour that only some can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 44
# Okabe & Ito's palette, told apart by people who see fewer colours; the dashes repeat what the colours say.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 3", "10 4")


@dataclass(frozen=True)
class Line:
    """One curve.

    Args:
        name: for the legend.
        points: (ε, accuracy) in ascending ε; an accuracy of None is left out.
        bold: draw it as the main one.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    bold: bool = False


def grey_levels(eps: float) -> str:
    """A radius as it is usually written: in 255ths where it is near a quarter of one.

    Example:
        >>> grey_levels(8 / 255), grey_levels(0.5 / 255), grey_levels(0.15)
        ('8/255', '0.5/255', '0.15')
    """
    levels = eps * 255
    near = round(levels * 4) / 4
    return f"{near:g}/255" if 0 < near <= 32 and abs(levels - near) < 1e-3 else f"{eps:.4g}"


def chart(lines: Sequence[Line], *, title: str, unit: str) -> Markup:
    """A chart of accuracy against ε; every point tells its value when it is pointed at.

    Args:
        lines: at least one, each with at least one point.
        title: read out in place of the picture.
        unit: of ε.
    """
    most = max((eps for line in lines for eps, _ in line.points), default=1.0) or 1.0

    def at(eps: float, value: float) -> tuple[float, float]:
        return LEFT + (WIDTH - LEFT - RIGHT) * eps / most, TOP + (HEIGHT - TOP - BOTTOM) * (1 - value)

    parts = [Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, title)]
    for share in (0, 0.25, 0.5, 0.75, 1):
        _, y = at(0, share)
        parts.append(
            Markup('<line class="grid" x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}"/>').format(LEFT, y, WIDTH - RIGHT, y)
            + Markup('<text x="{}" y="{:.1f}" text-anchor="end">{:.0%}</text>').format(LEFT - 6, y + 4, share)
        )
    for eps in sorted({eps for line in lines for eps, _ in line.points}):
        x, _ = at(eps, 0)
        parts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                x, HEIGHT - BOTTOM + 18, grey_levels(eps) if eps else "0"
            )
        )
    parts.append(
        Markup('<text x="{}" y="{}" text-anchor="middle">ε ({})</text>').format(
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, unit
        )
    )
    for number, line in enumerate(lines):
        parts.append(_drawn(line, number, at))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts) + _legend(lines)


def _style(line: Line, number: int) -> tuple[str, str, float]:
    if line.bold:
        return "currentColor", "", 3
    return COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)], 1.6


def _drawn(line: Line, number: int, at: object) -> Markup:
    colour, dash, width = _style(line, number)
    places = [(*at(eps, value), eps, value) for eps, value in line.points if value is not None]  # type: ignore[operator]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in places)
    drawn = Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="{}" stroke-dasharray="{}"/>').format(
        path, colour, width, dash
    )
    for x, y, eps, value in places:
        drawn += Markup(
            '<circle cx="{:.1f}" cy="{:.1f}" r="{}" fill="{}"><title>{}: {:.1%} at ε {}</title></circle>'
        ).format(x, y, width + 1.6, colour, line.name, value, grey_levels(eps) if eps else "0")
    return drawn


def _legend(lines: Sequence[Line]) -> Markup:
    entries = Markup("").join(
        Markup(
            '<li><svg viewBox="0 0 28 8" width="28" height="8" aria-hidden="true"><line x1="0" y1="4" x2="28" y2="4" '
            'stroke="{}" stroke-width="{}" stroke-dasharray="{}"/></svg> {}</li>'
        ).format(*(_style(line, number)[index] for index in (0, 2, 1)), escape(line.name))
        for number, line in enumerate(lines)
    )
    return Markup('<ul class="legend">{}</ul>').format(entries)
