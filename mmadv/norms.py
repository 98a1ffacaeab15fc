"""Exact batched Lp geometry: distances, projections onto ball ∩ box, steepest ascent; ε per row.

Everything works on the last axis, (…, n), with per-row ε of shape (…,). "Exact" means the Euclidean
projection onto the intersection, not one projection after the other, which lands too short.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from mmadv.rows import settled

Norm = Literal["linf", "l2", "l1"]
NORMS: tuple[Norm, ...] = get_args(Norm)
ORDER = {"l2": 2.0, "l1": 1.0, "l0": 0.0}


def distance(delta: Tensor, norm: str) -> Tensor:
    """‖δ‖ over the last axis.

    Args:
        delta: (…, n).
        norm: `linf`, `l2`, `l1` or `l0`.

    Returns:
        (…,)

    Example:
        >>> distance(torch.tensor([[3.0, -4.0]]), "l2")
        tensor([5.])
    """
    if norm == "linf":  # vector_norm's own maximum is many times slower on the CPU
        return torch.maximum(delta.amax(-1), -delta.amin(-1))
    return torch.linalg.vector_norm(delta, ORDER[norm], dim=-1)


def slack(norm: str, n: int, dtype: torch.dtype) -> float:
    """How far rounding alone can carry `x + δ` out of a ball: the norm of one unit in the last place of 1 in each of n entries.

    Example:
        >>> slack("linf", 100, torch.float32) < 2e-7
        True
    """
    unit = torch.finfo(dtype).eps
    return unit * {"linf": 1.0, "l2": n**0.5, "l1": float(n)}[norm]


def project_l2(delta: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The nearest point to δ with ‖·‖₂ ≤ ε and low ≤ · ≤ high.

    The solution is clamp(√t·δ, low, high) for the largest t ≤ 1 inside the ball. Σ min(t·δ², room²) is
    concave and piecewise linear in t, so Newton's iteration from the left climbs to the root without
    overshooting: every iterate is feasible, and the root is exact once its piece is reached.

    Args:
        delta: (…, n).
        eps: (…,), may be inf.
        low: ≤ 0, broadcastable to delta: the room below.
        high: ≥ 0, broadcastable to delta: the room above.

    Returns:
        (…, n)

    Example:
        >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
        >>> project_l2(torch.tensor([[3.0, 4.0]]), torch.tensor([0.5]), zero, one)
        tensor([[0.3000, 0.4000]])
    """
    squares = delta.square()
    radius = eps.to(delta.dtype).square().unsqueeze(-1)
    tiny = torch.finfo(delta.dtype).tiny
    t = (radius / squares.sum(-1, keepdim=True).clamp_min(tiny)).clamp_max_(1.0)
    clipped = torch.clamp(delta, low, high)
    room = torch.where(delta == clipped, float("inf"), clipped.square())
    done = torch.zeros_like(t, dtype=torch.bool)
    for _ in range(16):
        scaled = t * squares
        free = scaled < room
        left = radius - torch.where(free, scaled, room).sum(-1, keepdim=True)
        slope = torch.where(free, squares, 0.0).sum(-1, keepdim=True)
        step = torch.where(slope > 0, left / slope.clamp_min(tiny), 1.0).clamp_min_(0.0)
        # A row that is done stays as it is, so that it does not depend on how long the others take.
        step = torch.minimum(step, 1.0 - t).masked_fill_(done, 0.0)
        t = t + step
        done |= step <= 4 * torch.finfo(delta.dtype).eps * t
        if settled(done):
            break
    return torch.clamp(delta * t.sqrt_(), low, high)


def project_l1(delta: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The nearest point to δ with ‖·‖₁ ≤ ε and low ≤ · ≤ high (arXiv 2103.01208, section 3).

    The solution is sign(δ)·clamp(|δ| − λ, 0, room) for the least λ ≥ 0 inside the ball; λ is found by
    Newton's iteration kept inside a bracket, and what rounding leaves over is scaled away.

    Args:
        delta: (…, n).
        eps: (…,), may be inf.
        low: ≤ 0, broadcastable to delta.
        high: ≥ 0, broadcastable to delta.

    Returns:
        (…, n)

    Example:
        >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
        >>> project_l1(torch.tensor([[0.9, 0.5, 0.0]]), torch.tensor([1.0]), zero, one)
        tensor([[0.7000, 0.3000, 0.0000]])
    """
    size = delta.abs()
    room = torch.where(delta > 0, high.expand_as(delta), -low.expand_as(delta))
    radius = eps.to(delta.dtype).unsqueeze(-1)
    lower = torch.zeros_like(radius)
    upper = size.amax(-1, keepdim=True)
    shrink = lower.clone()
    done = torch.zeros_like(lower, dtype=torch.bool)
    for _ in range(64):
        over = size - shrink
        excess = torch.minimum(over.clamp_min(0.0), room).sum(-1, keepdim=True) - radius
        slope = ((over > 0) & (over < room)).sum(-1, keepdim=True)
        lower = torch.where(excess > 0, shrink, lower)
        upper = torch.where(excess > 0, upper, shrink)
        newton = shrink + excess / slope.clamp_min(1)
        middle = (lower + upper) / 2
        inside = (newton > lower) & (newton < upper) & (slope > 0)
        following = torch.where(inside, newton, middle)
        # A row that is done stays as it is, so that it does not depend on how long the others take.
        following = torch.where(done | (excess <= 0) & (shrink == 0), shrink, following)
        done |= (following - shrink).abs() <= 4 * torch.finfo(delta.dtype).eps * upper
        shrink = following
        if settled(done):
            break
    found = torch.minimum((size - shrink).clamp_min_(0.0), room)
    total = found.sum(-1, keepdim=True)
    tiny = torch.finfo(delta.dtype).tiny
    return found.mul_((radius / total.clamp_min(tiny)).clamp_max_(1.0)).copysign_(delta)


def unit(vector: Tensor, norm: str) -> Tensor:
    """v / ‖v‖, and 0 for a zero vector; safe where squares would under- or overflow.

    Example:
        >>> unit(torch.tensor([[3e-30, 4e-30], [0.0, 0.0]]), "l2")
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    tiny = torch.finfo(vector.dtype).tiny
    scaled = vector / vector.abs().amax(-1, keepdim=True).clamp_min_(tiny)
    return scaled / distance(scaled, norm).unsqueeze(-1).clamp_min_(tiny)


def ascend_l1(grad: Tensor, low: Tensor, high: Tensor, share: float = 0.01) -> Tensor:
    """A sparse step of unit L1 norm: the `share` steepest entries that still have room, equally (SLIDE, arXiv 1904.13000).

    Args:
        grad: (…, n).
        low: room below, ≤ 0, broadcastable to grad.
        high: room above, ≥ 0, broadcastable to grad.
        share: of the n entries that move.

    Returns:
        (…, n)
    """
    room = torch.where(grad > 0, high.expand_as(grad), -low.expand_as(grad))
    steepness = torch.where(room > 0, grad.abs(), 0.0)
    kept = max(1, round(share * grad.shape[-1]))
    threshold = steepness.topk(kept, dim=-1).values[..., -1:]
    signs = torch.where((steepness >= threshold) & (steepness > 0), grad.sign(), 0.0)
    return unit(signs, "l1")
