"""Auto-PGD (Croce & Hein, arXiv 2003.01690): PGD with momentum whose step halves, row by row, when it stops paying.

    z   = project(adv + η · ascend(∇f(adv)))
    adv = project(adv + α (z − adv) + (1 − α)(adv − previous))        α = 0.75, and 1 in the first iteration
    at checkpoints, for each row: halve η and go back to the best point, if
        fewer than ρ = 0.75 of the iterations since the last one raised f, or
        η was not halved at the last one and the best f has not risen since

With `loss="dlr_targeted"` the attack is run once for each of the classes that the clean input is
likeliest to be taken for, one after the other, each only on rows still standing (APGD-T).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Attack, Oracle, losses, rows
from mmadv.errors import ParameterError, nearest

MOMENTUM, RHO, TARGET_CLASSES = 0.75, 0.75, 9


def checkpoints(steps: int) -> set[int]:
    """Iterations after which step sizes are looked at: gaps of 0.22n, shrinking by 0.03n down to 0.06n.

    Example:
        >>> sorted(checkpoints(100))[:4]
        [22, 41, 57, 70]
    """
    gap, least, shrink = (max(1, int(share * steps)) for share in (0.22, 0.06, 0.03))
    found, at = set(), gap
    while at < steps:
        found.add(at)
        gap = max(gap - shrink, least)
        at += gap
    return found


@dataclass
class State:
    """Rows, (A, …) or (A,): where the search is, the best point so far, and the record since the last checkpoint."""

    adv: Tensor
    previous: Tensor
    eta: Tensor
    best: Tensor
    best_grad: Tensor
    best_loss: Tensor
    last_loss: Tensor
    improved: Tensor
    best_before: Tensor
    halved: Tensor
    classes: Tensor | None
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """PGD that sets its own step sizes.

    Args:
        loss: `ce`, `dlr`, `margin` or `dlr_targeted`.
        restarts: random starts, one after the other, each only on rows still standing.
        target_classes: how many classes `dlr_targeted` tries, 9 if not given; fewer where the victim has fewer.

    `steps` counts the iterations of one run; restarts and target classes multiply them.

    Example:
        >>> APGD(loss="dlr_targeted").iterations(20)
        180
    """

    loss: str = "ce"
    restarts: int = 1
    target_classes: int | None = None

    steps: ClassVar[int] = 100

    @property
    def targeted(self) -> bool:
        """Whether each run heads for a class of its own."""
        return self.loss == "dlr_targeted"

    @property
    def classes(self) -> int:
        """How many classes `dlr_targeted` tries."""
        return TARGET_CLASSES if self.target_classes is None else self.target_classes

    def iterations(self, steps: int) -> int:
        return steps * self.restarts * (self.classes if self.targeted else 1)

    def check(self, oracle: Oracle) -> None:
        if oracle.region.norm not in ("linf", "l2"):
            raise ParameterError(
                f"APGD works in linf and l2, not in {oracle.region.norm}",
                where="norm",
                fix="use norm='linf' or 'l2', or image.pgd",
            )
        if not self.targeted:
            if self.loss not in losses.LOSSES:
                known = (*losses.LOSSES, "dlr_targeted")
                raise ParameterError(f"unknown loss {self.loss!r}", where="loss", fix=nearest(self.loss, known))
        elif oracle.towards is not None:
            raise ParameterError(
                "dlr_targeted chooses its own classes", where="loss", fix="use loss='ce' together with targets"
            )
        if self.target_classes is not None and not self.targeted:
            raise ParameterError(
                f"target_classes is given, and the loss {self.loss!r} heads for no class",
                where="target_classes",
                fix="leave it out, or use loss='dlr_targeted'",
            )
        if self.restarts < 1 or self.classes < 1:
            raise ParameterError(
                "restarts and target_classes count from 1", where="APGD", fix="give whole numbers of at least 1"
            )

    def init(self, oracle: Oracle) -> State:
        classes = None
        if self.targeted:
            clean = oracle.evaluate(oracle.region.x).output
            losses.dlr_targeted(clean, oracle.y, oracle.y)  # refuses too few classes
            classes = losses.others(clean, oracle.y).topk(min(self.classes, clean.shape[-1] - 1), dim=-1).indices
        return self._start(oracle, classes, 0)

    def _start(self, oracle: Oracle, classes: Tensor | None, step: int) -> State:
        adv = oracle.region.jitter(oracle.noise)
        zeros = torch.zeros_like(oracle.region.eps)
        low = torch.full_like(zeros, float("-inf"))
        return State(adv, adv, zeros + 2.0, adv, adv, low, low, zeros, low, zeros.bool(), classes, step)

    def step(self, state: State, oracle: Oracle) -> State:
        run, at = divmod(state.step, oracle.steps)
        towards = None
        if state.classes is not None:
            towards = state.classes[:, min(run // self.restarts, state.classes.shape[1] - 1)]
        function = losses.dlr_targeted if self.targeted else losses.by_name(self.loss)
        answer = oracle.evaluate(state.adv, loss=function, towards=towards, grad=True)
        oracle.ascended(state.step)

        up = answer.loss > state.best_loss
        best, best_grad, best_loss = rows.where(
            up, (state.adv, answer.grad, answer.loss), (state.best, state.best_grad, state.best_loss)
        )
        improved = state.improved + (answer.loss > state.last_loss)

        adv, grad, eta, halved, best_before = state.adv, answer.grad, state.eta, state.halved, state.best_before
        marks = checkpoints(oracle.steps)
        if at in marks:
            gap = at - max((mark for mark in marks if mark < at), default=0)
            halve = (improved < RHO * gap) | (~halved & (best_before >= best_loss))
            eta = torch.where(halve, eta / 2, eta)
            adv, grad = rows.where(halve, (best, best_grad), (adv, grad))
            halved, best_before, improved = halve, best_loss, torch.zeros_like(improved)
        elif at == 0:
            improved, best_before = torch.zeros_like(improved), best_loss

        if at == oracle.steps - 1 and state.step + 1 < self.iterations(oracle.steps):
            if state.classes is not None and (run + 1) // self.restarts >= state.classes.shape[1]:
                oracle.retire(torch.ones_like(up))  # the victim has no further class to head for
            return self._start(oracle, state.classes, state.step + 1)

        alpha = MOMENTUM if at else 1.0
        ahead = oracle.region.climb_(adv, grad.clone(), eta)
        # adv + α (ahead − adv) + (1 − α)(adv − previous)
        moved = ahead.mul_(alpha).add_(adv, alpha=2 * (1 - alpha)).sub_(state.previous, alpha=1 - alpha)
        return State(
            oracle.region.project_(moved),
            adv,
            eta,
            best,
            best_grad,
            best_loss,
            answer.loss,
            improved,
            best_before,
            halved,
            state.classes,
            state.step + 1,
        )

    def pending(self, state: State) -> Tensor:
        return state.adv
