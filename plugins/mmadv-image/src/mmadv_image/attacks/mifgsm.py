"""Momentum iterative FGSM (Dong et al., arXiv 1710.06081).

g   = decay · g + ∇ loss(adv) / ‖∇ loss(adv)‖₁
adv = project(adv + lr · ε · ascend(g))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Attack, Oracle, losses
from mmadv.errors import ParameterError
from mmadv.norms import unit
from mmadv.search.pgd import default_lr


@dataclass
class State:
    """Rows: the iterate and the momentum, (A, …)."""

    adv: Tensor
    momentum: Tensor


@dataclass(frozen=True, kw_only=True)
class MIFGSM(Attack):
    """Iterated steepest ascent along an accumulated, L1-normalised gradient.

    Args:
        loss: `ce`, `margin` or `dlr`.
        decay: of the momentum; the paper's μ.
        lr: length of a step as a share of ε; the paper's is 1 / steps, and `pgd.default_lr`, which finds more, is
            taken if not given.

    Example:
        >>> MIFGSM(decay=0.9).decay
        0.9
    """

    loss: str = "ce"
    decay: float = 1.0
    lr: float | None = None

    steps: ClassVar[int] = 10

    def check(self, oracle: Oracle) -> None:
        losses.by_name(self.loss)
        if self.decay < 0 or (self.lr is not None and not self.lr > 0):
            raise ParameterError(
                f"decay is {self.decay}, lr is {self.lr}", where="MIFGSM", fix="give decay >= 0 and lr > 0"
            )

    def init(self, oracle: Oracle) -> State:
        return State(oracle.region.x, torch.zeros_like(oracle.region.x))

    def step(self, state: State, oracle: Oracle) -> State:
        answer = oracle.evaluate(state.adv, loss=losses.by_name(self.loss), grad=True)
        fresh = unit(answer.grad.flatten(1), "l1").reshape(answer.grad.shape)
        momentum = state.momentum * self.decay + fresh
        adv = oracle.region.climb_(state.adv, momentum.clone(), self.lr or default_lr(oracle.steps))
        return State(adv, momentum)

    def pending(self, state: State) -> Tensor:
        return state.adv
