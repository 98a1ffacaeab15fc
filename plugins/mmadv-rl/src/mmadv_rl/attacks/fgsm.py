"""The fast gradient sign method on the policy's own action (Huang et al., arXiv 1702.02284).

    s' = project(s + ε · ascend(∇ loss(π(s), π(s)'s best action)))

Continuous actions begin a tenth of the way to a random point of the ball: at s itself their distance has no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mmadv import Attack, Loss, Oracle
from mmadv_rl.attacks.base import continuous, refuse_unused
from mmadv_rl.attacks.pgd import APART, apart, check_action, leap, led


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """One step of steepest ascent, as long as ε.

    Args:
        loss: of discrete actions: `ce` or `margin`.
        action: in episodes, the discrete action to head for; any other will do if not given.

    Example:
        >>> FGSM().single_step
        True
    """

    loss: str = "ce"
    action: int | None = None

    steps: ClassVar[int] = 1
    single_step: ClassVar[bool] = True

    def check(self, oracle: Oracle) -> None:
        check_action(self.loss, self.action, oracle)
        if continuous(oracle):
            refuse_unused(self, ("loss",), APART)

    def objective(self, values: bool) -> Loss:
        return apart if values else led(self.action)

    def known(self, x: Tensor, answer: Tensor, values: bool) -> Tensor:
        """(A, F) what the objective has to know of the clean answers."""
        return answer

    def init(self, oracle: Oracle) -> Tensor:
        facts = oracle.evaluate(oracle.region.x).output.detach() if continuous(oracle) else None
        return leap(self.loss, self.action, facts, oracle)

    def step(self, state: Tensor, oracle: Oracle) -> Tensor:
        oracle.evaluate(state)
        return state
