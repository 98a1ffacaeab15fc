"""What a report shows of a series: clean and adversarial curves over each other, and the difference, as inline SVG."""

from __future__ import annotations

from markupsafe import Markup
from torch import Tensor

CHANNELS = 3
"""Shown of a series: those that were changed most."""
POINTS = 400
"""Of a curve; longer series are thinned, since a figure has no more pixels."""
WIDTH, HEIGHT, EDGE = 360.0, 110.0, 6.0


def example(x: Tensor, adv: Tensor, caption: tuple[str, str]) -> str:
    """HTML of two figures.

    Args:
        x: clean (C, T).
        adv: adversarial.
        caption: what is right, and what the victim says.
    """
    clean, other = x.detach().cpu().double(), adv.detach().cpu().double()
    delta = other - clean
    # How much a channel moves is seen against its own curve.
    spread = (clean.amax(1) - clean.amin(1)).clamp_min(1e-12)
    most = (delta.abs().amax(1) / spread).argsort(descending=True, stable=True)[:CHANNELS].sort().values.tolist()
    cut = "" if len(clean) <= CHANNELS else f" (channels {', '.join(map(str, most))} of {len(clean)})"
    peak = float(delta.abs().amax())
    shown = (
        ([[clean[row], other[row]] for row in most], f"{caption[0]} (thin), read as {caption[1]} (bold){cut}"),
        ([[delta[row]] for row in most], f"difference, at most {peak:.3g}"),
    )
    return str(Markup("").join(_figure(panels, text) for panels, text in shown))


def _figure(panels: list[list[Tensor]], text: str) -> Markup:
    """One panel for each channel, one below the other, each curve in the panel's own range."""
    height = HEIGHT / len(panels) + 2 * EDGE
    drawn = Markup("")
    for number, curves in enumerate(panels):
        low = min(float(curve.min()) for curve in curves)
        span = max(float(curve.max()) for curve in curves) - low or 1.0
        for style, curve in enumerate(curves[::-1]):  # the clean curve on top of the adversarial one
            bold = len(curves) == 2 and style == 0
            drawn += Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="{}"/>').format(
                _points(curve, low, span, number * height, height),
                "var(--s1)" if bold or len(curves) == 1 else "var(--ink)",
                "2.5" if bold else "1",
            )
    return Markup(
        '<figure><svg viewBox="0 0 {:.0f} {:.1f}" role="img" aria-label="{}">{}</svg><figcaption>{}</figcaption></figure>'
    ).format(WIDTH, height * len(panels), text, drawn, text)


def _points(curve: Tensor, low: float, span: float, top: float, height: float) -> str:
    every = -(-len(curve) // POINTS)
    last = max(len(curve) - 1, 1)
    return " ".join(
        f"{EDGE + (WIDTH - 2 * EDGE) * step / last:.1f},{top + EDGE + (height - 2 * EDGE) * (1 - (value - low) / span):.1f}"
        for step, value in list(enumerate(curve.tolist()))[::every]
    )
