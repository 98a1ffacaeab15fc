"""What a report shows of an episode: the dimensions of the observations over time, as they were and as they were shown."""

from __future__ import annotations

from markupsafe import Markup

from mmadv_rl.episodes import Episodes

WIDTH, HEIGHT, ROWS = 360, 44, 6


def example(adv: Episodes, caption: tuple[str, str]) -> str:
    """HTML of one episode: a line for each of the first dimensions, and marks where the policy did something else.

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
    return str(Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(Markup("<br>").join(parts), text))


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
