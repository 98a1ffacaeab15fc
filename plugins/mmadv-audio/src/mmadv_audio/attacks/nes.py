"""Natural evolution strategies from scores alone (Ilyas et al., arXiv 1804.08598; on speech FAKEBOB, arXiv 1911.01840).

    repeat:
        u_i normal, i = 1 … samples / 2;   u_{i + samples/2} = −u_i
        g   = mean over i of loss(adv + σ u_i) · u_i / σ
        m   = momentum · m + (1 − momentum) · g
        adv = project(adv + lr · ε · ascend(m));  lr halves where loss(adv) has not risen for `patience` steps

Each step costs `samples` + 1 queries, the iterate's own among them; the best is kept as any other. The paper's figures are 50 samples, σ = .001,
momentum .9; its ε of .002 is here the threat model's, and its rate of .001 the share lr = .5 of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle, losses
from mmadv.errors import ParameterError
from mmadv_audio.waves import Waves


@dataclass
class State:
    """Rows: iterate and momentum (A, T), the step's length as a share of ε, the best loss, and steps since it rose."""

    adv: Waves
    momentum: Tensor
    lr: Tensor
    best: Tensor
    waited: Tensor


@dataclass(frozen=True, kw_only=True)
class NES(Attack):
    """Steepest ascent along a gradient that is estimated from antithetic samples.

    Args:
        samples: queries of a step besides that about the iterate; even.
        sigma: standard deviation of the samples, in sample values.
        momentum: of the estimates.
        lr: length of the first steps as a share of ε.
        patience: steps without a higher loss before the length is halved.

    Example:
        >>> NES(samples=20).samples
        20
    """

    samples: int = 50
    sigma: float = 1e-3
    momentum: float = 0.9
    lr: float = 0.5
    patience: int = 5

    access: ClassVar[Access] = Access.SCORE
    steps: ClassVar[int] = 100

    def check(self, oracle: Oracle) -> None:
        if self.samples < 2 or self.samples % 2:
            raise ParameterError(
                f"samples is {self.samples}", where="NES", fix="give an even number: samples come in pairs"
            )
        if not self.sigma > 0 or not self.lr > 0 or not 0 <= self.momentum < 1 or self.patience < 1:
            raise ParameterError(
                f"sigma is {self.sigma}, lr {self.lr}, momentum {self.momentum}, patience {self.patience}",
                where="NES",
                fix="give sigma > 0, lr > 0, 0 <= momentum < 1 and patience >= 1",
            )

    def init(self, oracle: Oracle) -> State:
        x = oracle.region.x
        start = x.samples.new_full((len(oracle.y),), self.lr)
        return State(x, torch.zeros_like(x.samples), start, torch.full_like(start, float("-inf")), oracle.y * 0)

    def step(self, state: State, oracle: Oracle) -> State:
        region, adv = oracle.region, state.adv.samples
        # The axis of time first, so that draws don't depend on how far a batch is padded.
        drawn = oracle.noise.normal((adv.shape[1], self.samples // 2), adv.dtype).transpose(1, 2)
        drawn = torch.cat([drawn, -drawn], 1)
        around = region.project(region.like(adv.unsqueeze(1) + self.sigma * torch.cat([0 * drawn[:, :1], drawn], 1)))
        own, loss = oracle.evaluate(around, loss=losses.log_odds).loss.split([1, self.samples], 1)
        known = torch.isfinite(loss)
        mean = torch.where(known, loss, 0.0).sum(1) / known.sum(1).clamp_min(1)
        gain = torch.where(known, loss - mean.unsqueeze(1), 0.0).to(adv.dtype)
        grad = torch.zeros_like(state.adv.samples)
        for one in range(self.samples):  # one after the other: a sum that knows nothing of other rows' lengths
            grad = torch.addcmul(grad, drawn[:, one], gain[:, one, None])
        momentum = self.momentum * state.momentum + (1 - self.momentum) * grad / (self.samples * self.sigma)
        own = own.squeeze(1).to(state.best)
        rose = own > state.best
        waited = torch.where(rose, 0, state.waited + 1)
        halved = waited >= self.patience
        lr = torch.where(halved, state.lr / 2, state.lr)
        moved = region.climb_(state.adv, momentum.clone(), lr)
        return State(moved, momentum, lr, torch.where(rose, own, state.best), torch.where(halved, 0, waited))

    def pending(self, state: State) -> Waves:
        return state.adv
