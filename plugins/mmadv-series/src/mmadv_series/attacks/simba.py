"""Simple black-box attack (Guo et al., arXiv 1905.07121) along the cosines of the DCT-II.

for q in the basis, in random order:
    for way in (+1, −1):
        if score(project(adv + way · ε · q)) > score(adv): adv = project(adv + way · ε · q), next q

Within a band of frequencies the basis is that of the band, so that no query is spent on what would be projected away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle, norms
from mmadv.errors import ParameterError
from mmadv.rows import like
from mmadv_series.space import SeriesRegion


@dataclass
class State:
    """Rows: the best series so far (A, C, T), its score (A,), and the order of the basis (A, C · k)."""

    adv: Tensor
    score: Tensor
    order: Tensor
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class SimBA(Attack):
    """Random search from scores: one cosine of one channel at a time is added, or else taken away, where that helps.

    A step costs one query, and a second one where adding does not help. Where the basis is used up it is gone through
    again with steps half as long; the paper stops there.

    Args:
        lr: length of a step as a share of ε.

    Example:
        >>> SimBA(lr=0.5).lr
        0.5
    """

    lr: float = 0.3

    access: ClassVar[Access] = Access.SCORE
    steps: ClassVar[int] = 500

    def check(self, oracle: Oracle) -> None:
        if not 0 < self.lr <= 2:
            raise ParameterError(f"lr is {self.lr}", where="SimBA", fix="give a share of eps above 0, up to 2")

    def init(self, oracle: Oracle) -> State:
        region: SeriesRegion = oracle.region
        _, channels, length = region.x.shape
        draws = oracle.noise.uniform((channels * slowest(region, length),))
        return State(region.x, oracle.evaluate(region.x).score, draws.argsort(dim=1, stable=True))

    def step(self, state: State, oracle: Oracle) -> State:
        region: SeriesRegion = oracle.region
        rounds, place = divmod(state.step, state.order.shape[1])
        way = cosine(state.order[:, place], region).mul_(like(region.eps * (self.lr * 0.5**rounds), region.x))
        adv, score = state.adv, state.score
        open_ = torch.ones_like(oracle.y, dtype=torch.bool)
        for sign in (1.0, -1.0):
            if not bool(open_.any()):  # not every victim has an answer to a batch of none
                break
            tried = region.project_(state.adv + sign * way)
            told = oracle.evaluate(tried.unsqueeze(1), valid=open_.unsqueeze(1)).score.squeeze(1)
            better = told > score
            adv, score = torch.where(like(better, adv), tried, adv), torch.where(better, told, score)
            open_ &= ~better
        return State(adv, score, state.order, state.step + 1)


def slowest(region: SeriesRegion, length: int) -> int:
    """How many cosines there are to choose from in each channel."""
    return length if region.band is None else region.band.count(length)


def cosine(number: Tensor, region: SeriesRegion) -> Tensor:
    """One vector of the DCT-II in one channel for each row, of norm 1 in the region's own norm and units.

    Args:
        number: (A,) channel · k + frequency.
        region: around series (A, C, T).

    Returns:
        (A, C, T), 0 in the other channels.

    Example:
        >>> from mmadv_series.space import SeriesSpace
        >>> cosine(torch.tensor([4]), SeriesSpace("linf", 1.0).around(torch.zeros(1, 2, 4)))
        tensor([[[0., 0., 0., 0.],
                 [1., 1., 1., 1.]]])
    """
    channels, length = region.x.shape[1:]
    count = slowest(region, length)
    channel, frequency = number // count, number % count
    odd = 2 * torch.arange(length, device=number.device) + 1
    # The phase in units of π / 2T, whole turns taken off in whole numbers: exact for long series too.
    phase = (frequency.unsqueeze(1) * odd).remainder(4 * length)
    waves = norms.unit(torch.cos(math.pi / (2 * length) * phase.to(region.x.dtype)), region.norm)
    chosen = torch.arange(channels, device=number.device) == channel.unsqueeze(1)
    return waves.unsqueeze(1) * chosen.unsqueeze(2) * region.unit
