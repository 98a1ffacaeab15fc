"""Imperceptible audio (Qin et al., arXiv 1903.10346): two stages, one that succeeds and one that goes unheard.

    stage 1, the first half of the steps: δ = clip(δ + lr · sign(∇ loss), bound); at each success bound = .8 · max |δ|
    stage 2, from the smallest success:   δ = δ + Adam(∇ loss − α · ∇ excess over the masking threshold);
        α · 1.2 after 20 successes, α · .8 after 50 failures

`excess` is the paper's hinge in linear power. Gradients of both terms are scaled to the same length, so that α means the
same for every victim. Beyond the paper, stage 2 runs inside a ball that shrinks as in `cw`. Under `norm="masking"` it begins
in the ball of what can't be heard, radius 1, with steps that are as loud in each bin as the threshold lets them be; a row that
has no success there soon is given more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mmadv import Attack, Oracle, losses, norms
from mmadv.errors import ParameterError
from mmadv.rows import like
from mmadv_audio import masking
from mmadv_audio.attacks import cw
from mmadv_audio.waves import Waves


@dataclass
class State:
    """Rows: the search of stage 2; of stage 1 the iterate, its bound (A,) and the smallest success; α, and what counts towards it."""

    search: cw.State
    adv: Waves
    bound: Tensor
    found: Waves
    alpha: Tensor
    successes: Tensor
    failures: Tensor
    threshold: masking.Threshold
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Imperceptible(Attack):
    """Minimum-norm search that starts from a success and moves it under the masking threshold.

    Args:
        lr: of stage 1, in sample values.
        quiet_lr: of stage 2.
        alpha: the first weight of the masking term.
        bound: the largest change of a sample that stage 1 begins with; 2 is no limit.
        shrink: of the bound, and of the radius, at a success.
        patience: steps of stage 2 without a success before the radius grows again.
        share: of the radius, a step of stage 2 under `norm="masking"`, in place of `quiet_lr`.

    Example:
        >>> Imperceptible(alpha=0.1).steps
        400
    """

    lr: float = 2e-3
    quiet_lr: float = 5e-4
    alpha: float = 0.05
    bound: float = 2.0
    shrink: float = 0.8
    patience: int = 25
    share: float = 0.2

    keeps: ClassVar[Literal["hit", "nearest"]] = "nearest"
    steps: ClassVar[int] = 400

    def check(self, oracle: Oracle) -> None:
        for lr in (self.lr, self.quiet_lr):
            cw.refuse_odd(lr, self.shrink, self.patience)
        if not self.bound > 0 or self.alpha < 0 or not self.share > 0:
            raise ParameterError(
                f"bound is {self.bound}, alpha {self.alpha}, share {self.share}",
                where="Imperceptible",
                fix="give bound > 0, alpha >= 0 and share > 0",
            )

    def init(self, oracle: Oracle) -> State:
        x = oracle.region.x
        threshold = oracle.region.threshold or masking.threshold(x)
        bound = x.samples.new_full((len(oracle.y),), self.bound)
        zero = oracle.y * 0
        search = cw.started(oracle, x, None)
        return State(search, x, bound, x, torch.full_like(bound, self.alpha), zero, zero, threshold)

    def step(self, state: State, oracle: Oracle) -> State:
        first = state.step < max(1, oracle.steps // 2)
        if not first and state.step == max(1, oracle.steps // 2):
            state = self._turned(state, oracle)
        answer = oracle.evaluate(state.adv, loss=losses.log_odds, grad=True)
        state = replace(state, step=state.step + 1)
        return self._louder(state, oracle, answer) if first else self._quieter(state, oracle, answer)

    def _turned(self, state: State, oracle: Oracle) -> State:
        """Where stage 2 begins."""
        search = state.search
        if oracle.region.threshold is not None:
            search = replace(search, radius=(self.shrink * search.best).clamp_max(1.0))
            state = replace(state, found=oracle.region.within(search.radius).project(state.found))
        return replace(state, adv=state.found, search=replace(search, adv=state.found))

    def _louder(self, state: State, oracle: Oracle, answer: object) -> State:
        """A step of stage 1."""
        region = oracle.region
        hit, grad = answer.hit, answer.grad  # type: ignore[attr-defined]
        peak = region.delta(state.adv).abs().amax(-1)
        bound = torch.where(hit, torch.minimum(peak, state.bound) * self.shrink, state.bound)
        # Until there is a success, the last iterate is what stage 2 has to begin with.
        known = state.search.best.isfinite() & ~hit
        found = state.found.with_samples(torch.where(like(known, grad), state.found.samples, state.adv.samples))
        best = torch.where(hit, region.distance(state.adv), state.search.best)
        radius = torch.where(hit, best, state.search.radius)
        limit = like(bound, grad)
        delta = (region.delta(state.adv) + self.lr * grad.sign()).clamp(-limit, limit)
        adv = region.project(region.like(region.x.samples + delta))
        return replace(state, adv=adv, bound=bound, found=found, search=replace(state.search, best=best, radius=radius))

    def _quieter(self, state: State, oracle: Oracle, answer: object) -> State:
        """A step of stage 2."""
        hit, grad = answer.hit, answer.grad  # type: ignore[attr-defined]
        with torch.enable_grad():
            delta = oracle.region.delta(state.adv).detach().requires_grad_()
            heard = torch.autograd.grad(masking.excess(delta, state.threshold).sum(), delta)[0]
        pull = norms.unit(grad, "l2") - like(state.alpha, grad) * norms.unit(heard, "l2")
        patience: int | Tensor = self.patience
        if oracle.region.threshold is not None:
            # What can't be heard is tried first, and not for long where it isn't enough.
            patience = torch.where(state.successes > 0, self.patience, 1 + self.patience // 3)
        search = cw.narrowed(state.search, oracle, hit, self.shrink, patience)
        if oracle.region.threshold is None:
            search = cw.moved(search, oracle, pull, self.quiet_lr)
        else:
            search = replace(search, adv=oracle.region.within(search.radius).climb_(search.adv, pull, self.share))
        successes, failures = state.successes + hit, state.failures + ~hit
        up, down = hit & (successes % 20 == 0), ~hit & (failures % 50 == 0)
        alpha = state.alpha * torch.where(up, 1.2, torch.where(down, 0.8, 1.0)).to(state.alpha)
        return replace(state, search=search, adv=search.adv, alpha=alpha, successes=successes, failures=failures)

    def pending(self, state: State) -> Waves:
        return state.adv
