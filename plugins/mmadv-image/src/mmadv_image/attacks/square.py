"""Square attack (Andriushchenko et al., arXiv 1912.00049): random search with square changes, from scores alone.

    Linf: adv = x ± ε in vertical stripes; then change a random square of the best point to x ± ε, keep it if the loss rises
    L2:   adv = x + ε · tiles of centred bumps; then move the mass of one random square into another, where a bump is added

The squares' side follows from the share of pixels p, which halves on the paper's schedule. Each row draws its
own place and signs; all rows of a step share the side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle, losses, rows
from mmadv.errors import ParameterError
from mmadv.norms import distance
from mmadv.rows import like

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Iterations of 10,000 after which p halves."""


@dataclass
class State:
    """Rows: the candidate to ask about next, the best point so far and its loss, (A, …) and (A,)."""

    candidate: Tensor
    best: Tensor
    loss: Tensor
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Random search by squares; its budget is counted in queries or steps, one query a step.

    Args:
        p: the share of pixels that the first squares cover.
        loss: `margin`, `ce` or `dlr`.

    Example:
        >>> Square(p=0.3).p
        0.3
    """

    p: float = 0.8
    loss: str = "margin"

    access: ClassVar[Access] = Access.SCORE
    steps: ClassVar[int] = 5000

    def check(self, oracle: Oracle) -> None:
        losses.by_name(self.loss)
        if oracle.region.norm not in ("linf", "l2"):
            raise ParameterError(
                f"Square works in linf and l2, not in {oracle.region.norm}", where="norm", fix="use norm='linf' or 'l2'"
            )
        if not 0 < self.p <= 1:
            raise ParameterError(f"p is {self.p}", where="Square", fix="give a share of pixels in (0, 1]")

    def init(self, oracle: Oracle) -> State:
        x = oracle.region.x
        low = torch.full_like(oracle.region.eps, float("-inf"))
        if oracle.region.norm == "linf":
            stripes = oracle.noise.signs((x.shape[1], 1, x.shape[3]), x.dtype).mul_(like(oracle.region.eps, x))
            start = oracle.region.project_(x + stripes)
        else:
            start = self._on_sphere(oracle, _tiles(oracle, x))
        return State(start, x, low)

    def step(self, state: State, oracle: Oracle) -> State:
        answer = oracle.evaluate(state.candidate, loss=losses.by_name(self.loss))
        better = answer.loss > state.loss
        best, loss = rows.where(better, (state.candidate, answer.loss), (state.best, state.loss))
        side = self._side(state.step, oracle)
        move = self._linf if oracle.region.norm == "linf" else self._l2
        return State(move(best, side, oracle), best, loss, state.step + 1)

    def pending(self, state: State) -> Tensor:
        return state.candidate

    def _side(self, step: int, oracle: Oracle) -> int:
        queries = oracle.problem.threat.budget.queries
        horizon = min(oracle.steps, queries or oracle.steps)
        progress = 10_000 * step / horizon
        share = self.p / 2 ** sum(progress > mark for mark in HALVINGS)
        height, width = oracle.region.x.shape[-2:]
        return max(1, min(round((share * height * width) ** 0.5), height, width))

    def _linf(self, best: Tensor, side: int, oracle: Oracle) -> Tensor:
        region, noise = oracle.region, oracle.noise
        channels = best.shape[1]
        inside = _window(best, side, noise.integers(best.shape[2] - side + 1), noise.integers(best.shape[3] - side + 1))
        signs = noise.signs((channels, 1, 1), best.dtype)
        reach = like(region.eps, best)
        moved = torch.where(inside, region.project_(region.x + signs * reach), best)
        # Signs that change nothing are a wasted query: such rows take the opposite ones.
        stuck = (moved - best).abs().flatten(1).amax(1) == 0
        other = torch.where(inside, region.project_(region.x - signs * reach), best)
        return rows.where(stuck, other, moved)

    def _l2(self, best: Tensor, side: int, oracle: Oracle) -> Tensor:
        region, noise = oracle.region, oracle.noise
        side = max(3, side + 1 - side % 2)
        side = min(side, *best.shape[-2:])
        delta = best - region.x
        height, width = best.shape[2] - side + 1, best.shape[3] - side + 1
        top, left = noise.integers(height), noise.integers(width)
        target = _window(best, side, top, left)
        source = _window(best, side, noise.integers(height), noise.integers(width))
        # The bump, its orientation and signs drawn for each row, laid at the target window.
        bump = _bump(side, best).expand(len(best), side, side)
        bump = rows.where(noise.signs(()) > 0, bump, bump.transpose(1, 2))
        rising = bump.unsqueeze(1) * noise.signs((best.shape[1], 1, 1), best.dtype)
        inside = _cut(delta, side, top, left)
        fresh = rising + inside / inside.square().sum((2, 3), keepdim=True).sqrt().clamp_min(1e-10)
        # Per channel: what the two windows hold, and an equal part of what is left of ε².
        held = (delta.square() * (target | source)).sum((2, 3), keepdim=True)
        left_over = (region.eps.square() - delta.flatten(1).square().sum(1)).clamp_min(0).reshape(
            -1, 1, 1, 1
        ) / best.shape[1]
        fresh = fresh / fresh.square().sum((2, 3), keepdim=True).sqrt().clamp_min(1e-10) * (held + left_over).sqrt()
        delta = delta.masked_fill(target | source, 0.0)
        return self._on_sphere(oracle, _paste(delta, fresh, side, top, left))

    def _on_sphere(self, oracle: Oracle, delta: Tensor) -> Tensor:
        """x + δ scaled until it touches the sphere, pixels that reach the box staying there, so that all of ε is used."""
        region = oracle.region
        size = distance(delta.flatten(1), "l2").clamp_min(1e-12)
        return region.project_(delta.mul_(like(100 * region.eps / size, delta)).add_(region.x))


def _window(best: Tensor, side: int, top: Tensor, left: Tensor) -> Tensor:
    """(A, 1, H, W) bool: each row's square with its corner at (top, left)."""
    down = torch.arange(best.shape[2], device=best.device) - top.unsqueeze(1)
    across = torch.arange(best.shape[3], device=best.device) - left.unsqueeze(1)
    return (((down >= 0) & (down < side)).unsqueeze(2) & ((across >= 0) & (across < side)).unsqueeze(1)).unsqueeze(1)


def _places(images: Tensor, side: int, top: Tensor, left: Tensor) -> Tensor:
    """(A, C, side·side) flat indices of each row's square."""
    span = torch.arange(side, device=images.device)
    flat = (top.unsqueeze(1) + span).unsqueeze(2) * images.shape[3] + (left.unsqueeze(1) + span).unsqueeze(1)
    return flat.flatten(1).unsqueeze(1).expand(-1, images.shape[1], -1)


def _cut(images: Tensor, side: int, top: Tensor, left: Tensor) -> Tensor:
    """(A, C, side, side) what stands in each row's square."""
    return images.flatten(2).gather(2, _places(images, side, top, left)).unflatten(2, (side, side))


def _paste(images: Tensor, patch: Tensor, side: int, top: Tensor, left: Tensor) -> Tensor:
    """The images with `patch` in each row's square."""
    return images.flatten(2).scatter(2, _places(images, side, top, left), patch.flatten(2)).reshape(images.shape)


def _rings(height: int, width: int, like_this: Tensor) -> Tensor:
    """A centred bump (height, width): Σ_k 1/k² over centred rectangles that grow by one pixel each way, unit L2 norm."""
    centre = (height // 2, width // 2)
    rank = [
        (torch.arange(size, device=like_this.device) - middle).abs()
        for size, middle in zip((height, width), centre, strict=True)
    ]
    ring = torch.maximum(rank[0].unsqueeze(1), rank[1].unsqueeze(0))
    weights = torch.arange(1, max(centre) + 2, device=like_this.device, dtype=like_this.dtype).pow_(-2)
    total = weights.flip(0).cumsum(0).flip(0)  # ring k lies in the rectangles k, k+1, …
    bump = total[ring.clamp_max(max(centre))]
    return bump / bump.square().sum().sqrt()


def _bump(side: int, like_this: Tensor) -> Tensor:
    """A positive bump above a negative one, (side, side), unit L2 norm."""
    upper = _rings(side // 2, side, like_this)
    lower = _rings(side - side // 2, side, like_this)
    both = torch.cat([upper, -lower])
    return both / both.square().sum().sqrt()


def _tiles(oracle: Oracle, x: Tensor) -> Tensor:
    """A perturbation of bumps on a grid of fifths of the image, each with signs of its own, (A, C, H, W)."""
    height, width = x.shape[-2:]
    side = max(1, min(height, width) // 5)
    down, across = height // side, width // side
    if side == 1:
        return oracle.noise.signs(x.shape[1:], x.dtype)
    tile = _bump(side, x)
    signs = oracle.noise.signs((x.shape[1], down, 1, across, 1), x.dtype)
    delta = torch.zeros_like(x)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    filled = (signs * tile[:, None, :]).reshape(len(x), x.shape[1], down * side, across * side)
    delta[:, :, top : top + down * side, left : left + across * side] = filled
    return delta
