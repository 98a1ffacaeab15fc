"""The critic attack (Patanaik et al., arXiv 1712.03632, as in arXiv 2003.08938): observations that the victim's critic holds worthless.

    s' = random start; repeat: s' = project(s' − lr · ε · ascend(∇ V(s')))

The critic is asked in the same pass as the policy, and its gradients are the victim's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from mmadv import Attack, Oracle
from mmadv.errors import ParameterError
from mmadv.search.pgd import check_lr, default_lr


@dataclass(frozen=True, kw_only=True)
class Critic(Attack):
    """Descent of the value that the policy's own critic, or the one given to the target, has for observations.

    Args:
        lr: length of a step as a share of ε.

    Example:
        >>> Critic().access
        <Access.GRADIENT: 3>
    """

    lr: float | None = None

    steps: ClassVar[int] = 10

    def check(self, oracle: Oracle) -> None:
        check_lr(self.lr, "Critic")
        if oracle.problem.threat.goal.needs_target:
            raise ParameterError(
                "targets is given, and the critic has no aim but low values", where="Critic", fix="use rl.pgd"
            )
        target = oracle.problem.target
        if not hasattr(target, "valued"):
            raise ParameterError("the target has no critic", where=target.name, fix="adapt the policy by this plugin")

    def init(self, oracle: Oracle) -> Tensor:
        return oracle.region.jitter(oracle.noise)

    def step(self, state: Tensor, oracle: Oracle) -> Tensor:
        valued: Any = oracle.problem.target.valued  # type: ignore[attr-defined]

        def worthless(x: Tensor) -> tuple[Tensor, Tensor]:
            answer, value = valued(x)
            return answer, -value

        grad = oracle.evaluate(state, value=worthless, grad=True).grad
        return oracle.region.climb_(state, grad, self.lr or default_lr(oracle.steps))

    def pending(self, state: Tensor) -> None:
        return None
