"""Random noise of the whole radius: the baseline that every attack has to beat.

adv = project(x + ε · ascend(n)), n ~ N(0, 1), drawn anew in each step
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mmadv import rows
from mmadv.access import Access
from mmadv.oracle import Oracle
from mmadv.protocol import Attack


@dataclass(frozen=True, kw_only=True)
class RandomNoise(Attack):
    """A new draw in each step, at the full radius: random signs for Linf, white noise of the given SNR for waveforms.

    Example:
        >>> RandomNoise().access
        <Access.DECISION: 1>
    """

    access: ClassVar[Access] = Access.DECISION
    steps: ClassVar[int] = 1

    def init(self, oracle: Oracle) -> None:
        return None

    def step(self, state: None, oracle: Oracle) -> None:
        leaf: Any = next(rows.leaves(oracle.region.x))
        drawn = oracle.noise.normal(leaf.shape[1:], leaf.dtype)
        oracle.evaluate(oracle.region.climb_(oracle.region.x, drawn, 1.0))
