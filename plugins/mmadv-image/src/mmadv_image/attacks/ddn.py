"""Decoupled direction and norm (Rony et al., arXiv 1811.09600): an L2 ball that shrinks on success and grows on failure.

δ = δ + α ∇ loss / ‖∇ loss‖₂          α falls from 1 to 0.01 along a cosine
r = (1 − γ) r where adv fools, (1 + γ) r elsewhere
adv = clamp(x + r δ / ‖δ‖₂)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mmadv import Attack, Oracle, losses
from mmadv.errors import ParameterError
from mmadv.norms import distance, unit
from mmadv.rows import like

AHEAD = 2.0
"""How far beyond the linear estimate a row starts: victims curve away, and shrinking is the quicker way to the boundary."""


@dataclass
class State:
    """Rows: the iterate (A, …) and the radius (A,)."""

    adv: Tensor
    radius: Tensor
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class DDN(Attack):
    """Minimum-norm L2 search; the distance is a radius that each row's successes and failures move.

    Args:
        gamma: by which share a radius shrinks or grows.
        initial_radius: of the first step; the paper's is 1 for small images, whatever the victim. If not given, each row
            starts at `AHEAD` times its linear estimate |loss| / ‖∇ loss‖₂ at x.
        loss: `ce`, `margin` or `dlr`.

    Example:
        >>> DDN(gamma=0.1).gamma
        0.1
    """

    gamma: float = 0.05
    initial_radius: float | None = None
    loss: str = "ce"

    keeps: ClassVar[Literal["hit", "nearest"]] = "nearest"
    steps: ClassVar[int] = 100

    def check(self, oracle: Oracle) -> None:
        losses.by_name(self.loss)
        if oracle.region.norm != "l2":
            raise ParameterError(
                f"DDN is an L2 attack and the norm is {oracle.region.norm}", where="norm", fix="use norm='l2'"
            )
        if not 0 < self.gamma < 1 or (self.initial_radius is not None and not self.initial_radius > 0):
            raise ParameterError(
                "gamma lies in (0, 1) and initial_radius is positive", where="DDN", fix="give such values"
            )

    def init(self, oracle: Oracle) -> State:
        return State(oracle.region.x, torch.full_like(oracle.region.eps, self.initial_radius or 1.0))

    def step(self, state: State, oracle: Oracle) -> State:
        x = oracle.region.x
        answer = oracle.evaluate(state.adv, loss=losses.by_name(self.loss), grad=True)
        length = 0.01 + 0.99 * (1 + math.cos(math.pi * state.step / oracle.steps)) / 2
        delta = unit(answer.grad.flatten(1), "l2").reshape(x.shape).mul_(length).add_(state.adv).sub_(x)
        radius = state.radius
        if state.step == 0 and self.initial_radius is None:
            slope = distance(answer.grad.flatten(1), "l2")
            radius = torch.where(
                slope > 0, (AHEAD * answer.loss.abs() / slope.clamp_min(1e-12)).clamp_min(1e-6), radius
            )
        radius = radius * torch.where(answer.hit, 1 - self.gamma, 1 + self.gamma)
        size = distance(delta.flatten(1), "l2").clamp_min(1e-12)
        adv = oracle.region.project_(delta.mul_(like(radius / size, delta)).add_(x))
        return State(adv, radius, state.step + 1)

    def pending(self, state: State) -> Tensor:
        return state.adv
