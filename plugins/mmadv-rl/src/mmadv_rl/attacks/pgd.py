"""Projected gradient descent on the policy's own action (Huang et al., arXiv 1702.02284, with the steps of arXiv 1706.06083).

discrete:    s' = project(s' + lr · ε · ascend(∇ loss(π(s'), π(s)'s best action)))
continuous:  s' = project(s' + lr · ε · ascend(∇ ‖μ(s') − μ(s)‖²)), from a random start: at s the gradient is 0

The end of FGSM's one long step is the first candidate: short steps can stay on a hill that it leaps over, and with it the best
candidate of an observation is never worse than FGSM's (law 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmadv import Loss, Oracle, losses
from mmadv.errors import ParameterError
from mmadv.search.pgd import Ascent, State
from mmadv_rl.attacks.base import Climb, continuous, divergence, refuse_unused

APART = "of continuous actions the distance is climbed"


@dataclass(frozen=True, kw_only=True)
class PGD(Climb):
    """Steepest ascent away from the policy's own action, or towards a certain one.

    Args:
        loss: of discrete actions: `ce` or `margin`.
        action: in episodes, the discrete action to head for; any other will do if not given.

    Example:
        >>> PGD(action=0).steps
        20
    """

    loss: str = "ce"
    action: int | None = None

    steps: ClassVar[int] = 20

    def check(self, oracle: Oracle) -> None:
        Ascent.check(self, oracle)
        check_action(self.loss, self.action, oracle)
        if continuous(oracle):
            refuse_unused(self, ("loss",), APART)
        if continuous(oracle) and not self.random_start:
            raise ParameterError(
                "the distance of actions has no gradient at the clean observation",
                where="random_start",
                fix="use random_start=True for continuous actions",
            )

    def objective(self, values: bool) -> Loss:
        return apart if values else led(self.action)

    def facts(self, oracle: Oracle) -> Any:
        return super().facts(oracle) if continuous(oracle) else None

    def init(self, oracle: Oracle) -> State:
        state = super().init(oracle)
        oracle.evaluate(leap(self.loss, self.action, state.facts, oracle))
        return state

    def climb(self, adv: Tensor, facts: Any, oracle: Oracle) -> Tensor:
        return climbed(self.loss, self.action, adv, facts, oracle)


def check_action(loss: str, action: int | None, oracle: Oracle) -> None:
    """See that loss and action fit the victim.

    Raises:
        ParameterError: they don't.
    """
    losses.by_name(loss)
    if action is not None and (
        continuous(oracle) or isinstance(action, bool) or not isinstance(action, int) or action < 0
    ):
        raise ParameterError(
            f"action is {action!r}",
            where="action",
            fix="give the number of a discrete action; continuous ones have none",
        )


def climbed(loss: str, action: int | None, adv: Tensor, facts: Any, oracle: Oracle) -> Tensor:
    """The gradient away from the clean action, or towards `action` or the goal's target."""
    if continuous(oracle):
        return oracle.evaluate(adv, loss=apart, towards=facts, grad=True).grad
    if action is not None:
        y = oracle.y
        return oracle.evaluate(adv, loss=headed(loss, action), towards=y, grad=True).grad
    return oracle.evaluate(adv, loss=losses.by_name(loss), grad=True).grad


def leap(loss: str, action: int | None, facts: Any, oracle: Oracle) -> Tensor:
    """The end of one step as long as the ball allows: from the clean observation, or, where that has no gradient, from beside it."""
    region = oracle.region
    if not continuous(oracle):
        return region.climb_(region.x, climbed(loss, action, region.x, facts, oracle), 1.0)
    start = region.project(region.x + 0.1 * (region.jitter(oracle.noise) - region.x))
    # From beside the clean observation, ε alone would not reach the far side of the ball.
    return region.climb_(start, climbed(loss, action, start, facts, oracle), 2.0)


def led(action: int | None) -> Loss:
    """What of two candidates for one observation is kept: the one where the own action is left, or `action` is reached, more clearly.

    By the margin, which has the sign of the decision whatever the loss that is climbed.
    """
    return headed("margin", action)


def headed(loss: str, action: int | None) -> Loss:
    """The loss of the own action, or less that of the one to head for."""
    function = losses.by_name(loss)

    def objective(output: Tensor, y: Tensor, facts: Any = None) -> Tensor:
        if action is not None and action >= output.shape[-1]:
            raise ParameterError(
                f"action is {action}", where="action", fix=f"the policy has actions 0 to {output.shape[-1] - 1}"
            )
        return function(output, y) if action is None else -function(output, torch.full_like(y, action))

    return objective


def apart(output: Tensor, y: Tensor, facts: Tensor) -> Tensor:
    """(…,) squared distance of means, in the environment's unit."""
    width = output.shape[-1] // 2
    return divergence(output, torch.cat([facts[..., :width], torch.zeros_like(facts[..., width:])], -1), False)
