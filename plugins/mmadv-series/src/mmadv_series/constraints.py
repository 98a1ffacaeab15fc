"""Constraints on series beside the ball: how fast a perturbation may move."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mmadv import norms
from mmadv.errors import ParameterError


@dataclass(frozen=True)
class Band:
    """Perturbations that are sums of slow cosines: the first ⌈share · T⌉ vectors of the DCT-II in each channel.

    Low-frequency subspaces are those of Guo et al. (arXiv 1809.08758), in one dimension and as a part of the threat
    model, so that every attack of the modality is held to them.

    Args:
        share: of the T cosines that are left, in (0, 1].

    Raises:
        ParameterError: not in (0, 1].

    Example:
        >>> steps = torch.tensor([[[1.0, 1.0, -1.0, -1.0]]])
        >>> Band(0.25).kept(steps).abs().amax().item() < 1e-6
        True
        >>> Band(1.0).kept(steps)
        tensor([[[ 1.,  1., -1., -1.]]])
    """

    share: float

    def __post_init__(self) -> None:
        if isinstance(self.share, bool) or not isinstance(self.share, (int, float)) or not 0 < self.share <= 1:
            raise ParameterError(
                f"band is {self.share!r}", where="band", fix="give the share of cosines that are left, above 0 up to 1"
            )

    def count(self, length: int) -> int:
        """How many cosines are left of a series of `length` steps.

        Example:
            >>> Band(0.25).count(150), Band(0.07).count(100)
            (38, 7)
        """
        # 0.07 · 100 is a little more than 7 in floating numbers.
        return max(1, math.ceil(round(self.share * length, 9)))

    def kept(self, delta: Tensor) -> Tensor:
        """The orthogonal projection of perturbations (…, T), in their dtype.

        A series followed by its mirror image has the DCT-II as its Fourier transform. It is taken in float64, so that
        what a batch does to the order of summation is gone after rounding.
        """
        length = delta.shape[-1]
        spectrum = torch.fft.rfft(torch.cat([delta, delta.flip(-1)], -1).double())
        spectrum[..., self.count(length) :] = 0
        return torch.fft.irfft(spectrum, 2 * length)[..., :length].to(delta.dtype)

    def distance(self, adv: Tensor, x: Tensor) -> Tensor:
        """(A,) the L2 norm of what lies outside of the band."""
        delta = adv.double() - x.double()
        return norms.distance((delta - self.kept(delta)).flatten(-2), "l2")

    def feasible(self, adv: Tensor, x: Tensor) -> Tensor:
        """(A,) or (A, K) bool: whether no more lies outside than rounding explains.

        δ is rounded, scaled and added to x, each to half a unit in the last place of at most |x| + |adv|.
        """
        size = norms.distance(torch.maximum(adv.abs(), x.abs()).double().flatten(-2), "l2")
        return self.distance(adv, x) <= 4 * torch.finfo(adv.dtype).eps * size
