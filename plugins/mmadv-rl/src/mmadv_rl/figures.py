"""What a report shows: an episode as filmstrips and as observations over time, and returns against what the attacker may do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mmadv.report.words import amount
from mmadv_rl.episodes import Episodes
from mmadv_rl.film import films

WIDTH, HEIGHT, ROWS = 360, 44, 6


def example(adv: Episodes, caption: tuple[str, str]) -> str:
    """HTML of one episode: it and the clean one of the same seed as filmstrips, and a line for each of the first dimensions.

    Args:
        adv: one row, played to its end.
        caption: the return asked for, and the one that came of it.
    """
    steps = int(adv.length[0])
    dimensions = min(adv.game.size, ROWS)
    parts = [
        _trace(adv.true[0, :steps, at].tolist(), adv.seen[0, :steps, at].tolist(), f"dimension {at} over {steps} steps")
        for at in range(dimensions)
    ]
    changed = int(adv.changed[0])
    text = (
        f"seed {int(adv.seed[0])}: a return of {caption[1]} where {caption[0]} was asked for, over {steps} steps "
        f"({int(adv.calm_length[0])} when nothing is touched); another action at {changed} of them. Thin: what the environment "
        "said; thick: what the policy was shown."
    )
    drawn = films(adv) + Markup("<br>").join(parts)
    return str(Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(drawn, text))


def _trace(true: list[float], seen: list[float], label: str) -> Markup:
    """Two lines over time as an SVG image."""
    low, high = min(true + seen, default=0.0), max(true + seen, default=1.0)
    scale = (HEIGHT - 4) / ((high - low) or 1.0)

    def points(values: list[float]) -> str:
        width = WIDTH / max(len(values) - 1, 1)
        return " ".join(f"{at * width:.1f},{HEIGHT - 2 - (value - low) * scale:.1f}" for at, value in enumerate(values))

    return Markup(
        '<svg role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">'
        '<polyline points="{}" fill="none" stroke="#c33" stroke-width="2" opacity="0.6"></polyline>'
        '<polyline points="{}" fill="none" stroke="currentColor" stroke-width="1"></polyline></svg>'
    ).format(label, WIDTH, HEIGHT, WIDTH, HEIGHT, points(seen), points(true))


COLOURS = ("#2a6fb0", "#c9822b", "#3b8f5a", "#8a5aa8", "#b04a4a", "#5b6b7a", "#a09020", "#40a0a0")
CHART = (340, 200, 52, 34)
"""Width, height, and the margins left and below."""


@dataclass(frozen=True)
class Curve:
    """Returns of one attack.

    Args:
        name: for the legend.
        points: (what the attacker may do, mean return, lower and upper end of its interval), in ascending order.
        bold: drawn as the main one, with its interval.
    """

    name: str
    points: Sequence[tuple[float, float, float, float]]
    bold: bool = False


def chart(curves: Sequence[Curve], *, title: str, axis: str) -> Markup:
    """A chart of mean returns against what the attacker may do, with its legend.

    Args:
        curves: one line each.
        title: read out in place of the picture.
        axis: what stands below.

    Example:
        >>> drawn = chart([Curve("worst", [(0, 9.0, 9.0, 9.0), (0.1, 2.0, 1.0, 3.0)], True)], title="t", axis="ε")
        >>> drawn.count("<polyline"), drawn.count("<polygon"), "worst" in drawn
        (1, 1, True)
    """
    wide, high, left, below = CHART
    points = [point for curve in curves for point in curve.points]
    if not points:
        return Markup("")
    most = max(point[0] for point in points) or 1.0
    low, top = min(0.0, *(point[2] for point in points)), max(0.0, *(point[3] for point in points))
    scale = (high - below - 10) / ((top - low) or 1.0)

    def at(means: float, value: float) -> str:
        return f"{left + (wide - left - 12) * means / most:.1f},{10 + (top - value) * scale:.1f}"

    frame = Markup('<path d="M{} 6V{}H{}" fill="none" stroke="currentColor" opacity="0.5"></path>').format(
        left, high - below, wide
    )
    words = Markup('<text x="{}" y="{}" text-anchor="{}" font-size="11" fill="currentColor">{}</text>').format
    parts = [frame]
    for value in sorted({low, (low + top) / 2, top}):
        parts.append(words(left - 6, f"{14 + (top - value) * scale:.1f}", "end", f"{value:.4g}"))
    for means in sorted({point[0] for point in points}):
        parts.append(words(at(means, low).split(",")[0], high - below + 14, "middle", amount(means)))
    parts.append(words((wide + left) / 2, high - 4, "middle", axis))
    names = []
    for number, curve in enumerate(curves):
        colour = "currentColor" if curve.bold else COLOURS[number % len(COLOURS)]
        if curve.bold:
            around = [at(x, up) for x, _, _, up in curve.points] + [at(x, down) for x, _, down, _ in curve.points[::-1]]
            parts.append(
                Markup('<polygon points="{}" fill="{}" opacity="0.12"></polygon>').format(" ".join(around), colour)
            )
        line = " ".join(at(x, mean) for x, mean, _, _ in curve.points)
        parts.append(
            Markup(
                '<polyline points="{}" fill="none" stroke="{}" stroke-width="{}"><title>{}</title></polyline>'
            ).format(line, colour, 3 if curve.bold else 1.5, curve.name)
        )
        names.append(Markup('<span style="color:{}">— {}</span>').format(colour, curve.name))
    return Markup(
        '<figure style="display:inline-block"><svg role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">{}</svg>'
        "<figcaption>{}</figcaption></figure>"
    ).format(title, wide, high, wide, high, Markup("").join(parts), Markup(" ").join(names))
