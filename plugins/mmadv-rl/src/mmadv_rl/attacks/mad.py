"""Maximal action difference (Zhang et al., arXiv 2003.08938).

    s' = random start; repeat: s' = project(s' + lr · ε · ascend(∇ D(π(s), π(s'))))
    D = KL for discrete actions, Σ((μ(s') − μ(s)) / σ)² for continuous ones

At s the gradient of D is exactly zero, so that the start must be random. D also grows where the policy becomes surer of what it
does anyway: starts come in pairs on opposite sides of s, so that one of them climbs towards something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mmadv import Loss, Oracle
from mmadv.errors import ParameterError
from mmadv.search.pgd import State
from mmadv_rl.attacks.base import Climb, divergence


@dataclass(frozen=True, kw_only=True)
class MAD(Climb):
    """Ascent of the divergence from the policy's clean answer.

    Args:
        restarts: random starts for each observation, every second one the mirror image of another.

    Example:
        >>> MAD().random_start
        True
    """

    restarts: int = 2

    steps: ClassVar[int] = 10

    def check(self, oracle: Oracle) -> None:
        super().check(oracle)
        if not self.random_start:
            raise ParameterError(
                "the divergence has no gradient at the clean observation", where="random_start", fix="leave it out"
            )

    def init(self, oracle: Oracle) -> State:
        state, half = super().init(oracle), self.restarts // 2
        if half:
            adv = state.adv
            mirrored = oracle.region.project(2 * oracle.region.x.unsqueeze(1) - adv[:, :half])
            state.adv = torch.cat([adv[:, :half], mirrored, adv[:, 2 * half :]], 1)
        return state

    def objective(self, values: bool) -> Loss:
        return lambda output, y, facts: divergence(output, facts, not values)
