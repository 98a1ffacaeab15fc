"""The peers, one thin file each: `ATTACKS` maps "attack-norm" to a function with the one signature below.

    attack(model, x, y, *, norm, eps, steps, seed) -> adv

`eps` is infinite for minimum-norm attacks. The global generators are seeded by the caller. Where a peer leaves a
choice open, all get the same: what follows.
"""

from __future__ import annotations

# Carlini and Wagner's own defaults (0.01, 1e-3) are for 10,000 steps: with 60 steps in 5 rounds they leave 20 % of the
# rows unbroken. These gave adv-lib and foolbox their smallest medians of lr .01-.1 x const 1e-3-1.
CW_ROUNDS = 5
CW_LR = 0.1
CW_CONST = 1.0


def step_size(eps: float, steps: int) -> float:
    """PGD's usual step, 2.5 ε / steps: it crosses the ball and can still come back."""
    return 2.5 * eps / steps
