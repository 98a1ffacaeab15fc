"""Projected gradient descent (Madry et al., arXiv 1706.06083), in every space that has gradients.

    adv = random start, or x
    repeat: adv = project(adv + lr · ε · ascend(∇ loss(adv)))

Linf steps with a constant length are a deterministic map on a finite set of iterates, so a row that
comes back to an earlier iterate will only repeat itself, and ends (arXiv 2503.19347).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmadv import rows
from mmadv.errors import ParameterError
from mmadv.oracle import Oracle
from mmadv.protocol import Attack


@dataclass
class State:
    """Rows: the iterate (A, …), or (A, R, …) with restarts, what the attack knows of each row, and the hashes of all
    earlier iterates (A, R, steps)."""

    adv: Any
    facts: Any
    seen: Tensor | None
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Ascent(Attack):
    """Iterated steepest ascent of whatever `climb` is the gradient of, projected; restarts share the batch.

    Args:
        lr: length of a step as a share of ε; see `default_lr` if not given.
        random_start: begin inside the ball instead of at the clean input.
        restarts: random starts for each example, all in one batch.
        cycle_stop: end a row whose iterates repeat; only where that is sound (Linf, a deterministic victim).
    """

    lr: float | None = None
    random_start: bool = True
    restarts: int = 1
    cycle_stop: bool = True

    steps: ClassVar[int] = 40

    def climb(self, adv: Any, facts: Any, oracle: Oracle) -> Any:
        """Ask the victim about `adv`; the gradient of what is climbed, shaped like it."""
        raise NotImplementedError

    def facts(self, oracle: Oracle) -> Any:
        """Rows of what `climb` needs to know of each example, found once."""
        return None

    def check(self, oracle: Oracle) -> None:
        name = type(self).__name__
        if not isinstance(self.restarts, int) or self.restarts < 1:
            raise ParameterError(f"restarts is {self.restarts!r}", where=name, fix="give a whole number of at least 1")
        if self.restarts > 1 and not self.random_start:
            raise ParameterError(
                "restarts without random_start would all be the same",
                where=name,
                fix="leave restarts out, or use random_start=True",
            )
        check_lr(self.lr, name)

    def init(self, oracle: Oracle) -> State:
        region, facts = oracle.region, self.facts(oracle)
        adv = (
            region.jitter(oracle.noise, self.restarts if self.restarts > 1 else None) if self.random_start else region.x
        )
        if not (self.cycle_stop and region.norm == "linf" and oracle.deterministic and oracle.early_stop):
            return State(adv, facts, None)
        shape = len(oracle.y), self.restarts, oracle.steps
        return State(adv, facts, torch.zeros(shape, dtype=torch.int64, device=oracle.y.device))

    def step(self, state: State, oracle: Oracle) -> State:
        grad = self.climb(state.adv, state.facts, oracle)
        oracle.ascended(state.step)
        adv = oracle.region.climb_(state.adv, grad, self.lr or default_lr(oracle.steps))
        if state.seen is not None:
            leaf = next(rows.leaves(adv))
            mark = fingerprint(leaf.flatten(2) if self.restarts > 1 else leaf.flatten(1).unsqueeze(1))
            repeated = (state.seen == mark.unsqueeze(2)).any(2)
            oracle.retire(repeated.all(1))
            state.seen[:, :, state.step] = mark
        return State(adv, state.facts, state.seen, state.step + 1)

    def pending(self, state: State) -> Any:
        return state.adv


@dataclass(frozen=True, kw_only=True)
class PGD(Ascent):
    """Steepest ascent of a loss of the right or the wanted class; the other parameters are those of `Ascent`.

    Args:
        loss: `ce`, `margin` or `dlr`; only `ce` for victims that have a loss of their own, such as recognisers.
        lr: length of a step as a share of ε.
        random_start: begin inside the ball instead of at the clean input.
        restarts: random starts for each example, all in one batch.
        cycle_stop: end a row whose iterates repeat.

    Example:
        >>> PGD(restarts=5).restarts
        5
    """

    loss: str = "ce"

    def check(self, oracle: Oracle) -> None:
        super().check(oracle)
        oracle.loss(self.loss)

    def climb(self, adv: Any, facts: Any, oracle: Oracle) -> Any:
        return oracle.evaluate(adv, loss=oracle.loss(self.loss), grad=True).grad


def check_lr(lr: object, name: str) -> None:
    """See that a length of steps means something.

    Raises:
        ParameterError: it doesn't.
    """
    if lr is not None and not (isinstance(lr, (int, float)) and lr > 0):
        raise ParameterError(f"lr is {lr}", where=name, fix="give a positive share of eps, or leave it out")


def default_lr(steps: int) -> float:
    """Length of a step as a share of ε: 2.5 / steps, but no less than 0.2.

    Since the best iterate is kept, long steps cost nothing and leave flat places behind: with 40 steps on an
    adversarially trained CNN, 2.5 / steps left 57.9 % and 8 / steps 56.4 %.
    """
    return max(2.5 / steps, 0.2)


@lru_cache(8)
def _weights(entries: int, words: int, device: torch.device) -> Tensor:
    """(words,) odd int32 factors, all different, never to be altered; float64 has two words an entry."""
    weights = torch.arange(1, entries + 1, device=device, dtype=torch.int32).mul_(-1640531535).bitwise_or_(1)
    if words == entries:
        return weights
    second = torch.tensor([0, 2], dtype=torch.int32, device=device)
    return weights.repeat_interleave(2).add_(second.repeat(entries))


def fingerprint(values: Tensor) -> Tensor:
    """An exact, order-independent hash of each (…, n) row's bits, (…,) int64, never 0.

    Integer sums don't depend on how a reduction is split, so equal rows hash alike in any batch.
    """
    bits = values.contiguous().view(torch.int32)
    mixed = bits * _weights(values.shape[-1], bits.shape[-1], values.device)
    return mixed.bitwise_xor_(mixed >> 15).mul_(-2048144789).sum(-1).bitwise_or_(1)
