"""The critic attack (Patanaik et al., arXiv 1712.03632, as in arXiv 2003.08938): observations that the victim's critic holds worthless.

    s' = random start; repeat: s' = project(s' − lr · ε · ascend(∇ V(s')))

The critic is asked apart from the policy, so that its passes are no queries of the victim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle
from mmadv.errors import ParameterError
from mmadv.search.pgd import default_lr


@dataclass(frozen=True, kw_only=True)
class Critic(Attack):
    """Descent of the value that the policy's own critic, or the one given to the target, has for observations.

    Args:
        lr: length of a step as a share of ε.

    Example:
        >>> Critic().steps
        10
    """

    lr: float | None = None

    access: ClassVar[Access] = Access.DECISION
    steps: ClassVar[int] = 10

    def check(self, oracle: Oracle) -> None:
        if self.lr is not None and not self.lr > 0:
            raise ParameterError(
                f"lr is {self.lr}", where="Critic", fix="give a positive share of eps, or leave it out"
            )
        if oracle.problem.threat.goal.needs_target:
            raise ParameterError(
                "targets is given, and the critic has no aim but low values", where="Critic", fix="use rl.pgd"
            )
        target = oracle.problem.target
        if not hasattr(target, "critic"):
            raise ParameterError("the target has no critic", where=target.name, fix="adapt the policy by this plugin")

    def init(self, oracle: Oracle) -> Tensor:
        return oracle.region.jitter(oracle.noise)

    def step(self, state: Tensor, oracle: Oracle) -> Tensor:
        with torch.enable_grad():
            adv = state.detach().requires_grad_()
            target = oracle.problem.target
            memory = getattr(target, "memory", 0)
            value = target.critic(adv[:, : adv.shape[1] - memory] if memory else adv)  # type: ignore[attr-defined]
            grad = torch.autograd.grad(value.sum(), adv)[0]
        oracle.evaluate(state, merit=-value.detach().to(state.dtype))
        grad = torch.nan_to_num(-grad, 0.0, 0.0, 0.0)
        return oracle.region.climb_(state, grad, self.lr or default_lr(oracle.steps))

    def pending(self, state: Tensor) -> None:
        return None
