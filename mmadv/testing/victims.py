"""Closed-form victims: their nearest adversarials are known, so that attacks can be measured against the optimum."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """W x + b, computed as a sum over a fixed axis so that no row's answer depends on the others, bit by bit.

    Args:
        weight: (L, n).
        bias: (L,).

    Example:
        >>> Linear(torch.ones(2, 3), torch.zeros(2))(torch.ones(1, 1, 1, 3)).tolist()
        [[3.0, 3.0]]
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        # One product and one sum a class, each over a contiguous last axis: a matrix product would choose
        # its order of summation by the batch's size.
        return torch.stack([(flat * row).sum(1) for row in self.weight], 1) + self.bias

    def nearest(self, x: Tensor, y: Tensor, norm: str) -> Tensor:
        """(B,) the exact distance from x to the nearest other class, the box left out; 0 where x is already wrong.

        min over j≠y of (z_y − z_j) / ‖w_y − w_j‖*, with the dual norm: L1 for Linf, L2 for L2, Linf for L1.
        """
        with torch.no_grad():
            logits = self(x).double()
            weight = self.weight.double()
            gaps = logits.gather(1, y.unsqueeze(1)) - logits
            slopes = torch.linalg.vector_norm(weight[y].unsqueeze(1) - weight, {"linf": 1, "l2": 2, "l1": math.inf}[norm], dim=-1)
            return (gaps / slopes).scatter(1, y.unsqueeze(1), math.inf).amin(1).clamp_min(0)


def linear_victim(
    rows: int = 32, shape: Sequence[int] | None = None, features: int | None = None, classes: int = 2, seed: int = 0
) -> tuple[Linear, Tensor, Tensor]:
    """A linear victim with inputs well inside [0, 1], so that the box is out of reach.

    Args:
        rows: examples.
        shape: of one input, or
        features: the length of a flat one.
        classes: of the victim.
        seed: of weights and inputs.

    Returns:
        The victim, x (rows, *shape) and its own labels y (rows,).

    Example:
        >>> victim, x, y = linear_victim(rows=4, features=6)
        >>> bool((victim(x).argmax(1) == y).all())
        True
    """
    generator = torch.Generator().manual_seed(seed)
    shape = tuple(shape or (features or 16,))
    n = math.prod(shape)
    victim = Linear(torch.randn(classes, n, generator=generator) / n**0.5, torch.zeros(classes)).eval()
    x = 0.35 + 0.3 * torch.rand(rows, *shape, generator=generator)
    with torch.no_grad():
        # Centre the classes on these inputs, so that none is empty.
        victim.bias -= victim(x).mean(0)
        y = victim(x).argmax(1)
    return victim, x, y
