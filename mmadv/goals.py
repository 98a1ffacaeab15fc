"""What an attacker wants: `(output, y, towards) -> (score, hit)`.

`output` is what the victim answered, (…, L) logits or, where only decisions are granted, (…,) labels. Goals are asked through
`judged` and `right`, which also know what to make of several passes.
A hit is what anyone recomputing it with argmax would find; the score grows towards it. A goal with `graded = True` says that
successes have degrees, by their scores: an audit then goes on at larger ε with what was fooled, and keeps the better success.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from mmadv import losses
from mmadv.losses import Loss


class Verdict(NamedTuple):
    """A goal's judgement of a batch of outputs.

    Args:
        score: (…,) floating, larger is nearer to what the attacker wants.
        hit: (…,) bool.
    """

    score: Tensor
    hit: Tensor


@runtime_checkable
class Goal(Protocol):
    """What an attacker wants of one example."""

    name: ClassVar[str]
    needs_target: ClassVar[bool]

    def __call__(self, output: Tensor, y: Tensor, towards: Tensor | None) -> Verdict:
        """Judge outputs (…, L) or labels (…,) against y (…,) and, for a targeted goal, towards (…,)."""
        ...

    def right(self, output: Tensor, y: Tensor) -> Tensor:
        """(…,) bool: whether the victim is right, so that the example counts."""
        ...

    def loss(self, function: Loss, output: Tensor, y: Tensor, towards: Tensor | None) -> Tensor:
        """(…,) `function` seen from this goal, so that climbing it serves the goal."""
        ...


def decision(output: Tensor) -> Tensor:
    """The labels that outputs (…, L) decide on; labels (…,) of integers stay as they are.

    Example:
        >>> import torch
        >>> decision(torch.tensor([[0.1, 0.9]]))
        tensor([1])
    """
    return output.argmax(-1) if output.is_floating_point() else output


def judged(goal: Goal, output: Tensor, y: Tensor, towards: Tensor | None) -> Verdict:
    """A goal's verdict on outputs (…, L), on labels (…,), or on the labels (…, P) of several passes.

    Of passes each is judged by itself, since wrong labels that all differ have no majority: the score is the mean, and a hit is
    what at least half of them are. A goal with `passes` judges them together, as those do whose score is a mean itself.

    Example:
        >>> judged(Untargeted(), torch.tensor([[5, 7, 0, 0, 8]]), torch.tensor([0]), None)
        Verdict(score=tensor([0.6000]), hit=tensor([True]))
    """
    if not _several(output, y) or getattr(goal, "passes", False):
        return goal(output, y, towards)
    score, hit = goal(output, *_beside(output, y, towards))
    return Verdict(score.mean(-1), 2 * hit.sum(-1) >= hit.shape[-1])


def right(goal: Goal, output: Tensor, y: Tensor) -> Tensor:
    """(…,) bool: whether the victim is right, of several passes in more than half."""
    if not _several(output, y) or getattr(goal, "passes", False):
        return goal.right(output, y)
    each = goal.right(output, *_beside(output, y))
    return 2 * each.sum(-1) > each.shape[-1]


def _several(output: Tensor, y: Tensor) -> bool:
    return not output.is_floating_point() and output.dim() > y.dim()


def _beside(output: Tensor, *per_row: Any) -> list[Any]:
    """Values (…,) of rows beside those of their passes (…, P)."""
    return [None if part is None else part.unsqueeze(-1).expand(output.shape) for part in per_row]


@dataclass(frozen=True)
class Untargeted:
    """Any class but the right one."""

    name: ClassVar[str] = "untargeted"
    needs_target: ClassVar[bool] = False

    def __call__(self, output: Tensor, y: Tensor, towards: Tensor | None = None) -> Verdict:
        """The score is the margin by which another class leads, or 0/1 where only labels are seen."""
        hit = decision(output) != y
        return Verdict(losses.margin(output, y) if output.is_floating_point() else hit.float(), hit)

    def right(self, output: Tensor, y: Tensor) -> Tensor:
        return decision(output) == y

    def loss(self, function: Loss, output: Tensor, y: Tensor, towards: Tensor | None = None) -> Tensor:
        return function(output, y)


@dataclass(frozen=True)
class Targeted:
    """Exactly the class `towards`."""

    name: ClassVar[str] = "targeted"
    needs_target: ClassVar[bool] = True

    def __call__(self, output: Tensor, y: Tensor, towards: Tensor | None) -> Verdict:
        """The score is the margin by which the wanted class leads all others."""
        assert towards is not None
        hit = decision(output) == towards
        return Verdict(-losses.margin(output, towards) if output.is_floating_point() else hit.float(), hit)

    def right(self, output: Tensor, y: Tensor) -> Tensor:
        return decision(output) == y

    def loss(self, function: Loss, output: Tensor, y: Tensor, towards: Tensor | None) -> Tensor:
        assert towards is not None
        return -function(output, towards)


@dataclass(frozen=True)
class Steered:
    """What a change is good for shows only later, as in an episode that is being played: the attack itself says what it is after.

    Nothing is ever a hit, and the candidate that ranks highest is kept, the clean input never: by `function`, or by the
    `merit` that the attack hands to `Oracle.evaluate`.

    Args:
        function: `(output, y, towards) -> (…,)`, where `towards` may be rows of any kind; the newest is kept if not given.

    Example:
        >>> Steered(lambda output, y, towards: -output[..., 0])(torch.tensor([[3.0]]), torch.tensor([0]))
        Verdict(score=tensor([-3.]), hit=tensor([False]))
    """

    function: Loss | None = None

    name: ClassVar[str] = "steered"
    needs_target: ClassVar[bool] = False
    steered: ClassVar[bool] = True

    def __call__(self, output: Tensor, y: Tensor, towards: Any = None) -> Verdict:
        hit = torch.zeros(y.shape, dtype=torch.bool, device=y.device)
        return Verdict(hit.float() if self.function is None else self.function(output, y, towards), hit)

    def right(self, output: Tensor, y: Tensor) -> Tensor:
        return torch.ones(y.shape, dtype=torch.bool, device=y.device)

    def loss(self, function: Loss, output: Tensor, y: Tensor, towards: Any = None) -> Tensor:
        return function(output, y)
