"""The targeted audio attack of Carlini & Wagner (arXiv 1801.01944), in any norm of the threat model.

    radius = start
    repeat:
        δ = project(δ + Adam(−∇ loss of the wanted transcript), radius)
        where the victim answers what is wanted: keep δ; best = its size; radius = shrink · best

Beyond the paper, a row that has not succeeded within `patience` steps gets half of what the last cut took away back, so
that the search ends near the least radius and not just within a factor of `shrink` of it, and one that never has succeeded
twice its radius; and in L2 norms Adam has one second moment for the whole waveform, as one for each sample walks along the
sign of the gradient, which is Linf's way.

The loss is the recogniser's own, CTC or teacher-forced cross-entropy; success is judged by free-running decoding. An
untargeted goal climbs the loss of what is right instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mmadv import Attack, Oracle, losses
from mmadv.errors import ParameterError
from mmadv_audio.waves import Waves


@dataclass
class State:
    """Rows: iterate (A, T), Adam's two means (A, T), the radius, the least success, steps since (A,), and steps made."""

    adv: Waves
    mean: Tensor
    square: Tensor
    radius: Tensor
    best: Tensor
    waited: Tensor
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class CW(Attack):
    """Minimum-norm search by gradient descent inside a ball that shrinks at each success.

    Args:
        lr: Adam's rate, in sample values.
        shrink: of the radius at a success.
        patience: steps without a success before the radius grows again.
        start: the first radius, in the threat model's unit; none, so that steps alone limit the size, if not given.

    Example:
        >>> CW(lr=2e-3).keeps
        'nearest'
    """

    lr: float = 1e-3
    shrink: float = 0.8
    patience: int = 50
    start: float | None = None

    keeps: ClassVar[Literal["hit", "nearest"]] = "nearest"
    steps: ClassVar[int] = 300

    def check(self, oracle: Oracle) -> None:
        refuse_odd(self.lr, self.shrink, self.patience)
        if self.start is not None and not self.start > 0:
            raise ParameterError(f"start is {self.start}", where="CW", fix="give a positive radius, or leave it out")

    def init(self, oracle: Oracle) -> State:
        return started(oracle, oracle.region.x, self.start)

    def step(self, state: State, oracle: Oracle) -> State:
        answer = oracle.evaluate(state.adv, loss=losses.log_odds, grad=True)
        return moved(narrowed(state, oracle, answer.hit, self.shrink, self.patience), oracle, answer.grad, self.lr)

    def pending(self, state: State) -> Waves:
        return state.adv


def refuse_odd(lr: float, shrink: float, patience: int) -> None:
    """Refuse figures that make no search.

    Raises:
        ParameterError: names them.
    """
    numbers = all(isinstance(one, (int, float)) for one in (lr, shrink)) and isinstance(patience, int)
    if not numbers or not lr > 0 or not 0 < shrink < 1 or patience < 1:
        raise ParameterError(
            f"lr is {lr!r}, shrink {shrink!r}, patience {patience!r}",
            where="attack",
            fix="give lr > 0, 0 < shrink < 1 and a whole patience >= 1",
        )


def started(oracle: Oracle, adv: Waves, start: float | None) -> State:
    """A search that begins at `adv`."""
    zero = torch.zeros_like(adv.samples)
    radius = adv.samples.new_full((len(oracle.y),), float("inf") if start is None else start)
    return State(adv, zero, zero, radius, torch.full_like(radius, float("inf")), oracle.y * 0)


def narrowed(state: State, oracle: Oracle, hit: Tensor, shrink: float, patience: int | Tensor) -> State:
    """The radius smaller where the iterate `hit` (A,), and larger where none has for `patience` steps."""
    best = torch.where(hit, torch.minimum(state.best, oracle.region.distance(state.adv)), state.best)
    waited = torch.where(hit, 0, state.waited + 1)
    tired = waited >= patience
    wider = torch.where(best.isfinite(), (state.radius * best).sqrt(), 2 * state.radius)  # half of the way in dB
    radius = torch.where(hit, shrink * best, torch.where(tired, wider, state.radius))
    return replace(state, radius=radius, best=best, waited=torch.where(tired, 0, waited))


def moved(state: State, oracle: Oracle, grad: Tensor, lr: float) -> State:
    """One step of Adam up `grad` (A, T), inside the radius."""
    region = oracle.region
    count = state.step + 1
    mean = 0.9 * state.mean + 0.1 * grad
    squares = grad.square()
    if region.norm in ("l2", "snr"):
        squares = (squares.double().sum(-1) / region.x.length).to(grad).unsqueeze(-1).expand_as(grad)
    square = 0.999 * state.square + 0.001 * squares
    rate = (mean / (1 - 0.9**count)) / ((square / (1 - 0.999**count)).sqrt() + 1e-12)
    adv = region.within(state.radius).project(state.adv.with_samples(state.adv.samples + lr * rate))
    return replace(state, adv=adv, mean=mean, square=square, step=count)
