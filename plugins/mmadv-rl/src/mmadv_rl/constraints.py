"""When an attacker may act: at every step, at a share of them, or at most so many times an episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmadv.errors import ParameterError

if TYPE_CHECKING:
    from mmadv_rl.episodes import Game


@dataclass(frozen=True)
class Turns:
    """The steps of an episode that may be touched.

    Args:
        most: how many, at most (arXiv 1703.06748).
        share: how many of those played so far, at most, at any time.
        gap: only where the policy prefers its best action to its worst by more than this, as a difference of probabilities.

    Raises:
        ParameterError: a number that means nothing.

    Example:
        >>> Turns(most=2).open(torch.tensor([0, 1, 2]), step=5)
        tensor([ True,  True, False])
    """

    most: int | None = None
    share: float | None = None
    gap: float | None = None

    def __post_init__(self) -> None:
        if self.most is not None and (not isinstance(self.most, int) or isinstance(self.most, bool) or self.most < 0):
            raise ParameterError(f"most is {self.most!r}", where="most", fix="give a number of steps")
        for name, value in (("share", self.share), ("gap", self.gap)):
            if value is not None and not (isinstance(value, (int, float)) and 0 <= value <= 1):
                raise ParameterError(f"{name} is {value!r}", where=name, fix="give a number from 0 to 1")

    def open(self, spent: Tensor, step: int | Tensor) -> Tensor:
        """(A,) bool: whether one more step may be touched, `spent` (A,) having been among the first `step`."""
        may = torch.ones_like(spent, dtype=torch.bool)
        if self.most is not None:
            may &= spent < self.most
        if self.share is not None:
            may &= spent + 1 <= self.share * (step + 1) + 1e-9
        return may

    def distance(self, adv: Any, x: Any) -> Tensor:
        """(A,) steps touched."""
        return adv.touched.sum(1)

    def feasible(self, adv: Any, x: Any) -> Tensor:
        spent = adv.touched.cumsum(1)
        good = torch.ones(len(adv), dtype=torch.bool)
        if self.most is not None and spent.shape[1]:
            good &= spent[:, -1] <= self.most
        if self.share is not None and spent.shape[1]:
            played = torch.arange(1, spent.shape[1] + 1)
            good &= ((spent <= self.share * played + 1e-9) | ~adv.touched).all(1)
        return good


def gap(answer: Tensor) -> Tensor:
    """(A,) by how much scores of actions (A, actions) prefer the best to the worst, as probabilities (arXiv 1703.06748)."""
    chance = answer.softmax(1)
    return chance.amax(1) - chance.amin(1)


def preference(answer: Tensor, game: Game) -> Tensor:
    """`gap` of the answers in a game.

    Raises:
        ParameterError: continuous actions, which have no preference of that kind.
    """
    if game.actions is None:
        raise ParameterError(
            "continuous actions have no preference gap", where="gap", fix="use most: or share: to say when to act"
        )
    return gap(answer)
