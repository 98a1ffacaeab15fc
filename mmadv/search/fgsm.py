"""Fast gradient sign method (Goodfellow et al., arXiv 1412.6572).

adv = project(x + ε · ascend(∇ loss(x)))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mmadv.oracle import Oracle
from mmadv.protocol import Attack


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """One step of length ε along the steepest ascent of the loss: the sign of the gradient for Linf.

    Args:
        loss: `ce`, `margin` or `dlr`; only `ce` for victims that have a loss of their own, such as recognisers.

    Example:
        >>> FGSM(loss="margin").loss
        'margin'
    """

    loss: str = "ce"

    single_step: ClassVar[bool] = True

    def check(self, oracle: Oracle) -> None:
        oracle.loss(self.loss)

    def init(self, oracle: Oracle) -> Any:
        return oracle.region.x

    def step(self, adv: Any, oracle: Oracle) -> Any:
        seen = oracle.evaluate(adv, loss=oracle.loss(self.loss), grad=True)
        return oracle.region.climb_(adv, seen.grad, 1.0)

    def pending(self, adv: Any) -> Any:
        return adv
