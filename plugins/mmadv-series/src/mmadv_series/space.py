"""The space of series: balls in units of each channel, and within a band of frequencies if there is one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmadv import BallRegion, BallSpace, norms
from mmadv.errors import InputError, ParameterError, nearest
from mmadv.rows import like, shared
from mmadv_series.constraints import Band

NORMS = ("linf", "l2")


@dataclass
class SeriesRegion(BallRegion):
    """Around series x (A, C, T): ‖(adv − x) / unit‖ ≤ ε, and adv − x within the band.

    Args:
        unit: (C, 1) how much of a channel counts as 1.
        band: frequencies that a perturbation may have, or None for all.
    """

    unit: Tensor = shared()  # noqa: RUF009 (it is a field)
    band: Band | None = shared()  # noqa: RUF009

    def project_(self, adv: Tensor) -> Tensor:
        if self.norm == "linf" and self.band is None:
            return adv.clamp_(*self._bounds(adv))
        x = self.clean(adv)
        delta = adv - x
        if self.band is not None:
            delta = self.band.kept(delta)
        # Subspace and ball are centred at x, so that scaling stays in the one and ends on the edge of the other: for L2
        # this is the nearest point, for Linf a point along the same ray.
        size = norms.distance(self._flat(delta / self.unit), self.norm)
        limit = self.radius(size).expand_as(size)
        inside = size <= limit
        if self.band is not None:
            inside &= self.band.feasible(adv, x)
        scale = (limit / size.clamp_min(torch.finfo(size.dtype).tiny)).clamp_max_(1.0)
        moved = delta.mul_(like(scale, delta)).add_(x)
        return torch.where(like(inside, adv), adv, moved)

    def ascend_(self, grad: Tensor, adv: Tensor) -> Tensor:
        """Steepest in units of the channels; in Linf within a band, the band's part of the signs of the gradient's part."""
        if self.band is None:
            return super().ascend_(grad * self.unit, adv).mul_(self.unit)
        way = super().ascend_(self.band.kept(grad * self.unit), adv)
        return norms.unit(self._flat(self.band.kept(way)), self.norm).reshape(grad.shape).mul_(self.unit)

    def _stretched(self, start: Tensor) -> Tensor:
        return super()._stretched(start).mul_(self.unit)

    def distance(self, adv: Tensor) -> Tensor:
        return norms.distance(self._flat((adv - self.clean(adv)) / self.unit), self.norm)

    def feasible(self, adv: Tensor) -> Tensor:
        x = self.clean(adv)
        # Rounding of `x + δ` goes with the size of the series, and is seen in units.
        size = torch.maximum(adv.abs(), x.abs()).mul_(torch.finfo(adv.dtype).eps).div_(self.unit)
        slack = norms.distance(self._flat(size), self.norm)
        distance = self.distance(adv)
        limit = self.eps if distance.dim() == 1 else self.eps.unsqueeze(1)
        # A distance of NaN or inf fails, also where there is no limit.
        inside = (distance <= limit * (1 + 1e-6) + slack) & torch.isfinite(distance)
        return inside if self.band is None else inside & self.band.feasible(adv, x)

    def judging(self) -> SeriesRegion:
        low, high = self.box
        return dataclasses.replace(self, lower=low, upper=high)


@dataclass(frozen=True)
class SeriesSpace(BallSpace):
    """Series (B, C, T) of any finite values, perturbed inside a ball over all channels and steps.

    Args:
        norm: `linf` or `l2` of the perturbation in units.
        eps: the radius in units.
        unit: what counts as 1: a number for all channels or one for each, in the data's own unit. With the training set's
            standard deviations ε is in standard deviations; with 1 it is raw.
        band: frequencies that the perturbation may have; all if not given.

    Raises:
        ParameterError: another norm, a negative or NaN ε, a unit that isn't positive.

    Example:
        >>> region = SeriesSpace("linf", 0.1, unit=(1.0, 10.0)).around(torch.zeros(1, 2, 3))
        >>> region.project(torch.full((1, 2, 3), 5.0))
        tensor([[[0.1000, 0.1000, 0.1000],
                 [1.0000, 1.0000, 1.0000]]])
    """

    low: float = field(default=float("-inf"), init=False)
    high: float = field(default=float("inf"), init=False)
    unit: tuple[float, ...] = (1.0,)
    band: Band | None = None

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ParameterError(f"unknown norm {self.norm!r}", where="norm", fix=nearest(str(self.norm), NORMS))
        super().__post_init__()
        if not self.unit or not all(0 < value < float("inf") for value in self.unit):
            raise ParameterError(
                f"unit is {self.unit}", where="unit", fix="give one positive number, or one for each channel"
            )

    def around(self, x: Tensor, eps: Tensor | None = None) -> SeriesRegion:
        """The region around series.

        Args:
            x: (A, C, T), finite.
            eps: (A,) radii in place of the space's own, for several radii in one batch.

        Raises:
            InputError: a value that is not finite.
            ParameterError: as many units as there are no channels.
        """
        finite = torch.isfinite(x).flatten(1).all(1)
        if not bool(finite.all()):
            raise InputError(
                f"{int((~finite).sum())} of {len(x)} series hold NaN or inf",
                where=f"row {int((~finite).nonzero()[0, 0])}",
                fix="fill the gaps, or leave these series out",
            )
        if len(self.unit) not in (1, x.shape[1]):
            raise ParameterError(
                f"unit has {len(self.unit)} numbers, and the series {x.shape[1]} channels",
                where="unit",
                fix="give one number, or one for each channel",
            )
        unit = torch.tensor(self.unit, dtype=x.dtype, device=x.device).unsqueeze(1).expand(x.shape[1], 1)
        radii = torch.full((len(x),), self.eps, dtype=x.dtype, device=x.device) if eps is None else eps.to(x)
        low, high = x.new_tensor(self.low), x.new_tensor(self.high)
        lower, upper = low, high
        if self.norm == "linf":
            reach = like(radii, x) * unit
            lower, upper = x - reach, x + reach
        return SeriesRegion(x, radii, lower, upper, self.norm, (low, high), unit, self.band)

    def measures(self, x: Tensor, adv: Tensor) -> dict[str, Tensor]:
        """Norms in units, the roughness, and the share of the perturbation's energy that is slow."""
        units = torch.tensor(self.unit, dtype=x.dtype, device=x.device).unsqueeze(1)
        delta = (adv - x) / units
        energy = delta.square().flatten(1).sum(1)
        slow = SLOW.kept(delta).square().flatten(1).sum(1)
        return {
            **{norm: norms.distance(delta.flatten(1), norm) for norm in NORMS},
            "roughness": roughness(x, adv),
            "slow share": torch.where(energy > 0, slow / energy.clamp_min(torch.finfo(energy.dtype).tiny), 1.0),
        }


SLOW = Band(0.25)
"""What measures call slow: the slowest quarter of cosines."""


def roughness(x: Tensor, adv: Tensor) -> Tensor:
    """(B,) total variation of adversarial series over time as a multiple of the clean one's; 1 is as smooth as before.

    NaN where the clean series is flat, and has no variation of its own to compare with.

    Example:
        >>> x = torch.tensor([[[0.0, 1.0, 2.0, 3.0]]])
        >>> roughness(x, torch.tensor([[[0.0, 2.0, 1.0, 3.0]]]))
        tensor([1.6667])
    """
    clean, other = (series.diff(dim=-1).abs().flatten(1).sum(1) for series in (x, adv))
    return torch.where(other == clean, 1.0, torch.where(clean > 0, other / clean, float("nan")))


def units(x: Tensor) -> list[float]:
    """The standard deviation of each channel over series (N, C, T): the unit in which ε is one standard deviation.

    Of the training set, not of what is attacked, so that the threat model is the same whatever is attacked. Four significant digits,
    as a spec has room for.

    Raises:
        InputError: no batch of series, a value that is not finite, or a channel that is constant and so has no unit.

    Example:
        >>> units(torch.tensor([[[0.0, 2.0], [10.0, 30.0]]]))
        [1.414, 14.14]
    """
    wide = checked(x).detach().double().transpose(0, 1).flatten(1)
    if not bool(torch.isfinite(wide).all()):
        raise InputError("series hold NaN or inf", where="x", fix="fill the gaps, or leave these series out")
    # By its extremes: the deviation of equal numbers from their rounded mean need not be 0.
    flat = (wide.amax(1) == wide.amin(1)).nonzero().flatten().tolist() if wide.numel() else list(range(len(wide)))
    if flat:
        raise InputError(
            f"{len(flat)} of {len(wide)} channels never change",
            where=f"channel {flat[0]}",
            fix="leave the channel out, or give its unit by hand",
        )
    return [float(f"{value:.4g}") for value in wide.std(1).tolist()]


def checked(x: Any) -> Tensor:
    """Series as a tensor; values are judged by the space.

    Raises:
        InputError: no batch of series, or whole numbers.
    """
    series = torch.as_tensor(x)
    if series.dim() != 3:
        hint = {1: "; one series becomes one by x[None, None]", 2: "; of one channel they become one by x[:, None]"}
        raise InputError(
            f"x has shape {tuple(series.shape)}",
            where="x",
            fix=f"give a batch of series (N, channels, steps){hint.get(series.dim(), '')}",
        )
    if not series.is_floating_point():
        raise InputError(f"x has dtype {series.dtype}", where="x", fix="give floating values: x.float()")
    return series
