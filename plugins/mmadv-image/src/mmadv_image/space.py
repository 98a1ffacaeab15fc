"""Pixel space: images (B, C, H, W), floating, in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmadv import BallRegion, BallSpace
from mmadv.errors import InputError


@dataclass(frozen=True)
class PixelSpace(BallSpace):
    """Images in [0, 1], perturbed inside an Lp ball of pixel values.

    Args:
        norm: `linf`, `l2` or `l1`, over all channels and pixels of an image.
        eps: the ball's radius; Linf 8/255 is eight grey levels.

    Example:
        >>> region = PixelSpace("l2", 0.5).around(torch.zeros(2, 3, 4, 4))
        >>> region.distance(region.project(torch.ones(2, 3, 4, 4)))
        tensor([0.5000, 0.5000])
    """

    def around(self, x: Tensor, eps: Tensor | None = None) -> BallRegion:
        if eps is None:
            self.refuse_all(x, f"did you mean {self.eps:g}/255?" if self.norm == "linf" else "")
        return super().around(x, eps)


def checked(x: Any) -> Tensor:
    """Images as a tensor; values are judged by the space.

    Raises:
        InputError: no batch of images, or whole numbers where [0, 1] is meant.
    """
    try:
        images = torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"x is no tensor: {error}", where="x", fix="give a batch of images (N, C, H, W)") from error
    if images.dim() != 4:
        raise InputError(
            f"x has shape {tuple(images.shape)}",
            where="x",
            fix="give a batch of images (N, C, H, W)"
            + ("; one image becomes a batch by x[None]" if images.dim() == 3 else ""),
        )
    if images.numel() and images.shape[1] not in (1, 2, 3, 4) and images.shape[3] in (1, 3, 4):
        raise InputError(
            f"x has shape {tuple(images.shape)}: channels stand last", where="x", fix="use x.permute(0, 3, 1, 2)"
        )
    if not images.is_floating_point():
        raise InputError(f"x has dtype {images.dtype}", where="x", fix="scale it to [0, 1]: x.float() / 255 for uint8")
    return images


def stored(images: Tensor) -> Tensor:
    """What an 8-bit file keeps of images, (…,) in [0, 1].

    Example:
        >>> stored(torch.tensor([0.5]))
        tensor([0.5020])
    """
    return to_bytes(images).to(images.dtype).div_(255)


def to_bytes(images: Tensor) -> Tensor:
    """Images as uint8, rounded to the nearest level."""
    return images.mul(255).round_().clamp_(0, 255).to(torch.uint8)
