"""The constraints of pixel space, judged on their own: what a region enforces, re-stated for who composes them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmadv_image.space import PixelSpace


@dataclass(frozen=True)
class PixelBall:
    """‖adv − x‖ ≤ ε over all channels and pixels, and adv in [0, 1].

    Args:
        norm: `linf`, `l2` or `l1`.
        eps: the radius.

    Example:
        >>> import torch
        >>> PixelBall("linf", 0.1).feasible(torch.full((1, 1, 2, 2), 0.2), torch.zeros(1, 1, 2, 2))
        tensor([False])
    """

    norm: str
    eps: float

    def distance(self, adv: Tensor, x: Tensor) -> Tensor:
        """(A,) in pixel values."""
        return PixelSpace(self.norm, self.eps).around(x).distance(adv)

    def feasible(self, adv: Tensor, x: Tensor) -> Tensor:
        """(A,) bool."""
        return PixelSpace(self.norm, self.eps).around(x).feasible(adv)

    def project(self, adv: Tensor, x: Tensor) -> Tensor:
        """The nearest feasible images."""
        return PixelSpace(self.norm, self.eps).around(x).project(adv)
