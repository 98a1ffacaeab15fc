"""Uniform noise inside the ball: the baseline that every attack has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mmadv import Access, Attack, Oracle


@dataclass(frozen=True, kw_only=True)
class Random(Attack):
    """One draw an observation, whatever the policy makes of it.

    Example:
        >>> Random().access
        <Access.DECISION: 1>
    """

    access: ClassVar[Access] = Access.DECISION
    steps: ClassVar[int] = 1
    single_step: ClassVar[bool] = True

    def init(self, oracle: Oracle) -> Tensor:
        return oracle.region.jitter(oracle.noise)

    def step(self, state: Tensor, oracle: Oracle) -> Tensor:
        oracle.evaluate(state)
        return state
