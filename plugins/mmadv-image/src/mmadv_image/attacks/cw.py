"""Carlini & Wagner's L2 attack (arXiv 1608.04644): the least ‖adv − x‖² + c · max(z_y − max_{j≠y} z_j + κ, 0).

    adv = (tanh w + 1) / 2, Adam on w; c is searched for each row: down where an adversarial was found, up where not

Two scales come from a linear victim with the margin m and gradient g that are found at x: its nearest adversarial is at
d = m/‖g‖. There the two terms balance for c = 2m/‖g‖², where c starts; and n pixels move by d/√n each, which is Adam's
step, times 2 for the slope of tanh. So neither the scale of the logits nor the size of the image asks for tuning, as the
paper's fixed 1e-3 and 0.01 do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mmadv import Attack, Oracle, losses
from mmadv.errors import ParameterError
from mmadv.norms import distance
from mmadv.rows import like

SHRINK = 0.98
"""Of the range that tanh has at x: pixels of exactly 0 and 1 start where it is finite and has a slope, and can be left."""


@dataclass
class State:
    """Rows: Adam's variables and moments (A, …), and each row's step and bracket around c (A,)."""

    w: Tensor
    first: Tensor
    second: Tensor
    rate: Tensor
    c: Tensor
    low: Tensor
    high: Tensor
    hit: Tensor
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class CW(Attack):
    """Minimum-norm L2 search by penalty, with a search over the penalty for each row.

    Args:
        rounds: values of c tried, one after the other.
        lr: of Adam, in units of tanh's argument; each row's linear estimate if not given.
        confidence: κ, the margin in logits that a success must have within the search.
        initial_c: where every row's c starts; its linear estimate if not given.

    `steps` counts the iterations of one round.

    Example:
        >>> CW(rounds=5).iterations(60)
        300
    """

    rounds: int = 9
    lr: float | None = None
    confidence: float = 0.0
    initial_c: float | None = None

    keeps: ClassVar[Literal["hit", "nearest"]] = "nearest"
    steps: ClassVar[int] = 100

    def iterations(self, steps: int) -> int:
        return steps * self.rounds

    def check(self, oracle: Oracle) -> None:
        if oracle.region.norm != "l2":
            raise ParameterError(
                f"C&W is an L2 attack and the norm is {oracle.region.norm}", where="norm", fix="use norm='l2'"
            )
        if (
            self.rounds < 1
            or (self.lr is not None and not self.lr > 0)
            or self.confidence < 0
            or (self.initial_c is not None and not self.initial_c > 0)
        ):
            raise ParameterError(
                "rounds counts from 1, lr and initial_c are positive, confidence is not negative",
                where="CW",
                fix="give such values",
            )

    def init(self, oracle: Oracle) -> State:
        x = oracle.region.x
        clean = oracle.evaluate(x, loss=losses.margin, grad=True)
        # A margin of 0 or a flat victim gives no estimate; any positive one will do, the search moves on from it.
        missing = (self.confidence - clean.loss).clamp_min(1e-6)
        slope = distance(clean.grad.flatten(1), "l2").clamp_min(1e-12)
        c = (
            (2 * missing / slope.square()).clamp(1e-10, 1e10)
            if self.initial_c is None
            else torch.full_like(slope, self.initial_c)
        )
        size = x[0].numel() ** 0.5
        rate = (2 * missing / slope / size).clamp(1e-5, 0.5) if self.lr is None else torch.full_like(slope, self.lr)
        w, zero = self._start(oracle), torch.zeros_like(x)
        return State(
            w,
            zero,
            zero,
            rate,
            c,
            torch.zeros_like(c),
            torch.full_like(c, float("inf")),
            torch.zeros_like(c, dtype=torch.bool),
        )

    def _start(self, oracle: Oracle) -> Tensor:
        low, high = oracle.region.box
        shrunk = ((oracle.region.x - low) / (high - low) * 2 - 1) * SHRINK
        return (torch.log1p(shrunk) - torch.log1p(-shrunk)) / 2  # atanh rounds a row differently in another batch

    def step(self, state: State, oracle: Oracle) -> State:
        x, (low, high) = oracle.region.x, oracle.region.box
        squashed = torch.tanh(state.w)
        middle, reach = (low + high) / 2, (high - low) / 2
        # What x loses by shrinking is added again, so that the search starts at x itself.
        adv = (squashed * reach + middle + (1 - SHRINK) * (x - middle)).clamp_(low, high)
        answer = oracle.evaluate(adv, loss=losses.margin, grad=True)
        short = answer.loss < self.confidence
        pull = 2 * (adv - x) - like(state.c * short, x) * answer.grad
        gradient = pull * (1 - squashed.square()) * reach

        at = state.step % oracle.steps + 1
        first = state.first * 0.9 + gradient * 0.1
        second = state.second * 0.999 + gradient.square() * 0.001
        w = state.w - like(state.rate, x) * (first / (1 - 0.9**at)) / ((second / (1 - 0.999**at)).sqrt() + 1e-8)
        hit = state.hit | answer.hit & ~short
        if at < oracle.steps:
            return State(w, first, second, state.rate, state.c, state.low, state.high, hit, state.step + 1)

        lower, upper = torch.where(hit, state.low, state.c), torch.where(hit, state.c, state.high)
        c = torch.where(torch.isinf(upper), state.c * 10, (lower + upper) / 2)
        zero = torch.zeros_like(w)
        return State(
            self._start(oracle), zero, zero, state.rate, c, lower, upper, torch.zeros_like(hit), state.step + 1
        )
