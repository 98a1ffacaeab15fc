"""A filmstrip of an episode: drawn from the state where the task is known, else as the environment draws it, or the frames themselves."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from mmadv_rl.episodes import Episodes, Game

FRAMES = 6
WIDTH, HEIGHT = 96, 64
"""Of a frame in the report."""


def films(adv: Episodes) -> Markup:
    """Two filmstrips at the same moments: the episode of the same seed when nothing is touched, and this one; nothing if neither can be drawn.

    Args:
        adv: one row, played to its end.
    """
    game, seed = adv.game, int(adv.seed[0])
    calm, acts = adv.calm[0, : int(adv.calm_length[0])].numpy(), adv.acts[0, : int(adv.length[0])].numpy()
    # At even moments of the attacked episode, which is the shorter one where the attack brought it down, and at its end.
    last = len(acts)
    moments = sorted({round(last * at / (FRAMES - 1)) for at in range(FRAMES)})
    strips = [_strip(name, game, seed, actions, moments) for name, actions in (("clean", calm), ("attacked", acts))]
    return Markup("").join(strips) if all(strips) else Markup("")


def _strip(name: str, game: Game, seed: int, acts: np.ndarray, moments: Sequence[int]) -> Markup:
    try:
        frames = _frames(game, seed, acts, moments)
    except Exception:  # what can't be drawn here, such as for want of a display, is left out of the report
        return Markup("")
    cells = Markup("").join(
        Markup('<span style="display:inline-block;text-align:center">{}<br><small>step {}</small></span>').format(
            frame, at
        )
        for at, frame in frames
    )
    return Markup('<div class="film"><small>{}</small><br>{}</div>').format(name, cells) if frames else Markup("")


def _frames(game: Game, seed: int, acts: np.ndarray, moments: Sequence[int]) -> list[tuple[int, Markup]]:
    """The pictures at some moments of an episode played again; those after its end are left out."""
    draw = DRAWN.get(game.name)
    pictured = draw is None and len(game.shape) not in (2, 3)
    env = game.built(render_mode="rgb_array") if pictured else game.built()
    found: list[tuple[int, Markup]] = []
    try:
        seen = env.reset(seed=seed)[0]
        for step in range(len(acts) + 1):
            if step in moments:
                picture = env.render() if pictured else np.asarray(seen)
                found.append((step, _picture(picture) if draw is None else draw([float(one) for one in seen])))
            if step < len(acts):
                act = acts[step]
                seen = env.step(int(act[0]) if game.actions is not None else _action(game, act))[0]
    finally:
        env.close()
    return found


def _action(game: Game, act: np.ndarray) -> np.ndarray:
    assert game.reach is not None
    low = game.reach[0]
    return act.reshape(low.shape).astype(low.dtype)


def _picture(pixels: Any) -> Markup:
    """An array of pixels (H, W), (H, W, 3) or (C, H, W) as a small PNG inside the document; of other channels the last."""
    pixels = np.asarray(pixels)
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        pixels = pixels[-1] if pixels.shape[0] < pixels.shape[2] else pixels[:, :, -1]
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    image.thumbnail((2 * WIDTH, 2 * HEIGHT))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return Markup('<img alt="a frame" height="{}" src="data:image/png;base64,{}">').format(HEIGHT, data)


def _svg(inside: Markup) -> Markup:
    return Markup(
        '<svg role="img" aria-label="a frame" viewBox="0 0 {0} {1}" width="{0}" height="{1}">{2}</svg>'
    ).format(WIDTH, HEIGHT, inside)


def _line(x: float, y: float, to_x: float, to_y: float, width: float, colour: str = "currentColor") -> Markup:
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="{}"></line>').format(
        x, y, to_x, to_y, colour, width
    )


def _cart(reach: float, at: int, angle: int) -> Callable[[Sequence[float]], Markup]:
    """A cart on a rail that ends at ±`reach`, with a pole; where in the state its place and the pole's angle stand."""

    def draw(state: Sequence[float]) -> Markup:
        x = WIDTH / 2 + state[at] / reach * (WIDTH / 2 - 8)
        floor, length = HEIGHT - 14, 36
        pole = _line(
            x, floor - 4, x + length * math.sin(state[angle]), floor - 4 - length * math.cos(state[angle]), 3, "#c33"
        )
        rail = _line(0, floor + 5, WIDTH, floor + 5, 1)
        cart = Markup('<rect x="{:.1f}" y="{}" width="18" height="9" fill="currentColor"></rect>').format(
            x - 9, floor - 4
        )
        return _svg(rail + cart + pole)

    return draw


def _pendulum(state: Sequence[float]) -> Markup:
    """State: cos θ, sin θ from upright."""
    x, y = WIDTH / 2, HEIGHT / 2
    rod = _line(x, y, x - 26 * state[1], y - 26 * state[0], 5, "#c33")
    return _svg(rod + Markup('<circle cx="{}" cy="{}" r="3" fill="currentColor"></circle>').format(x, y))


DRAWN: dict[str, Callable[[Sequence[float]], Markup]] = {
    "CartPole-v1": _cart(2.4, 0, 2),
    "InvertedPendulum-v5": _cart(1.0, 0, 1),
    "Pendulum-v1": _pendulum,
}
"""How the states of some tasks are drawn, without a display and in a few hundred bytes."""
