"""Rows of several parts, and the product of their spaces: a perturbation is feasible where each part's is.

The distance is the largest share that any part takes of its own radius, so that ε = 1 is all of every budget and ε = 0.5 half
of each. Attacks know nothing of parts: a step of steepest ascent is one in every part, and so is a projection.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from mmadv import BallRegion, BallSpace, Noise
from mmadv.errors import InputError, ParameterError
from mmadv.rows import shared

Layout = tuple[tuple[str, tuple[int, ...]], ...]
"""Name and shape of each part, in the order of names."""


@dataclass(eq=False, repr=False)
class Joint:
    """Rows of parts, in one tensor so that one gradient is that of all.

    Args:
        flat: (A, n) or (A, K, n), the parts one after another.
        layout: their names and shapes.

    Example:
        >>> rows = Joint.of({"range": torch.zeros(2, 3), "camera": torch.ones(2, 1, 4, 4)})
        >>> rows
        Joint(2 rows of camera (1, 4, 4), range (3,))
        >>> rows.parts["range"].shape
        torch.Size([2, 3])
    """

    flat: Tensor
    layout: Layout = shared()  # noqa: RUF009 (it is a field)

    @classmethod
    def of(cls, parts: Mapping[str, Tensor]) -> Joint:
        """Rows of tensors (A, …) by name."""
        names = sorted(parts)
        layout = tuple((name, tuple(parts[name].shape[1:])) for name in names)
        return cls(torch.cat([parts[name].flatten(1) for name in names], 1), layout)

    def __len__(self) -> int:
        return len(self.flat)

    def __repr__(self) -> str:
        return f"Joint({len(self)} rows of {', '.join(f'{name} {shape}' for name, shape in self.layout)})"

    @property
    def parts(self) -> dict[str, Tensor]:
        """(A, …) or (A, K, …) by name; views of `flat`."""
        return split(self.flat, self.layout)


def split(flat: Tensor, layout: Layout) -> dict[str, Tensor]:
    """Values (…, n) of all parts as those of each, (…, *shape)."""
    sizes = [math.prod(shape) for _, shape in layout]
    return {
        name: part.reshape(*part.shape[:-1], *shape)
        for (name, shape), part in zip(layout, flat.split(sizes, -1), strict=True)
    }


@dataclass
class JointRegion:
    """The product of the regions of all parts.

    Args:
        x: clean rows.
        regions: of each part, by name.
        radii: of each part at ε = 1.
    """

    x: Joint
    regions: dict[str, BallRegion]
    radii: dict[str, float] = shared()  # noqa: RUF009 (it is a field)

    norm = "product"

    def project(self, adv: Joint) -> Joint:
        parts = adv.parts
        return self._joined(
            {name: region.project(parts[name]) for name, region in self.regions.items()}, adv.flat.dim()
        )

    def climb_(self, adv: Joint, grad: Tensor, share: float | Tensor) -> Joint:
        """One projected step of steepest ascent in every part, `share` of its radius long; may use `grad`'s memory.

        Args:
            adv: (A, …) or (A, K, …).
            grad: (A, n) or (A, K, n).
            share: of ε, one number or per row.
        """
        parts, slopes = adv.parts, split(grad, self.x.layout)
        return self._joined(
            {name: region.climb_(parts[name], slopes[name], share) for name, region in self.regions.items()},
            adv.flat.dim(),
        )

    def jitter(self, noise: Noise, candidates: int | None = None) -> Joint:
        """Feasible starts, each part's as in its own region."""
        parts = {name: region.jitter(noise, candidates) for name, region in self.regions.items()}
        return self._joined(parts, 2 if candidates is None else 3)

    def distance(self, adv: Joint) -> Tensor:
        """The largest share of its radius that any part takes; inf where one without a radius is touched."""
        parts, shares = adv.parts, []
        for name, region in self.regions.items():
            far, radius = region.distance(parts[name]), self.radii[name]
            shares.append(far / radius if radius else torch.where(far > 0, math.inf, far))
        return torch.stack(shares).amax(0)

    def feasible(self, adv: Joint) -> Tensor:
        parts = adv.parts
        return torch.stack([region.feasible(parts[name]) for name, region in self.regions.items()]).all(0)

    def judging(self) -> JointRegion:
        return dataclasses.replace(self, regions={name: region.judging() for name, region in self.regions.items()})

    def _joined(self, parts: Mapping[str, Tensor], dim: int) -> Joint:
        return Joint(torch.cat([parts[name].flatten(dim - 1) for name, _ in self.x.layout], -1), self.x.layout)


@dataclass(frozen=True)
class JointSpace:
    """A ball for each part, all scaled together.

    Args:
        parts: of each part by name: `norm`, `eps` in the part's own unit, and the box `low` to `high`, [0, 1] if not given.
        eps: the share of those radii, inf for a minimum-norm search.

    Raises:
        ParameterError: no part, a radius that is missing, infinite or negative, none above 0, or an ε below 0.

    Example:
        >>> space = JointSpace({"camera": BallSpace("linf", 8 / 255), "range": BallSpace("l2", 0.5, -5, 5)}, 0.5)
        >>> region = space.around(Joint.of({"camera": torch.full((1, 1, 2, 2), 0.5), "range": torch.zeros(1, 3)}))
        >>> other = region.project(Joint.of({"camera": torch.ones(1, 1, 2, 2), "range": torch.ones(1, 3)}))
        >>> round(region.distance(other).item(), 4), bool(region.feasible(other))
        (0.5, True)
    """

    parts: Mapping[str, BallSpace]
    eps: float = 1.0

    def __post_init__(self) -> None:
        if not self.parts:
            raise ParameterError("there are no parts", where="parts", fix="give norm and eps for each part by name")
        for name, part in self.parts.items():
            if part.eps == math.inf:
                fix = "give its radius, in its own unit; eps beside parts scales all of them"
                raise ParameterError("eps is missing", where=f"parts.{name}", fix=fix)
        if not any(part.eps for part in self.parts.values()):
            raise ParameterError("every part has eps 0", where="parts", fix="give at least one a radius above 0")
        if not isinstance(self.eps, (int, float)) or not self.eps >= 0:
            raise ParameterError(f"eps is {self.eps!r}", where="eps", fix="give a share of the parts' radii, such as 1")

    def around(self, x: Joint) -> JointRegion:
        """The region around rows.

        Raises:
            InputError: rows whose parts are not the space's, or leave their boxes.
        """
        names = [name for name, _ in x.layout]
        if set(names) != set(self.parts):
            raise InputError(
                f"the inputs have the parts {', '.join(names)}, and the space {', '.join(sorted(self.parts))}",
                where="parts",
                fix="give each part of the inputs a space; eps: 0 leaves one as it is",
            )
        regions, own = {}, x.parts
        for name in names:
            part = self.parts[name]
            radius = part.eps * self.eps if part.eps else 0.0  # nothing, however large the share
            try:
                regions[name] = dataclasses.replace(part, eps=radius).around(own[name])
            except InputError as error:
                error.where = f"part {name!r}, {error.where}"
                raise
        return JointRegion(x, regions, {name: self.parts[name].eps for name in names})

    def relaxed(self) -> Self:
        return dataclasses.replace(self, eps=math.inf)

    def measures(self, x: Joint, adv: Joint) -> dict[str, Tensor]:
        """How far each part was moved, in its own norm and unit."""
        clean, other = x.parts, adv.parts
        return {
            f"{name} {part.norm}": dataclasses.replace(part, eps=math.inf).around(clean[name]).distance(other[name])
            for name, part in self.parts.items()
        }


def checked(x: Any) -> Joint:
    """Rows of what a user passed: a dict of tensors (N, …) by name.

    Raises:
        InputError: no dict, a part that is no floating tensor of N rows, or parts of different lengths or types.
    """
    if isinstance(x, Joint):
        return x
    if not isinstance(x, Mapping) or not x:
        raise InputError(
            "x has no parts" if isinstance(x, Mapping) else f"x is a {type(x).__name__}",
            where="x",
            fix="give a dict of tensors (N, …), one for each part",
        )
    for name, part in x.items():
        if not isinstance(name, str) or not isinstance(part, Tensor) or part.dim() < 2 or not part.is_floating_point():
            found = f"{part.dtype} {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
            raise InputError(
                f"the part {name!r} is {found}",
                where="x",
                fix="give a floating tensor (N, …) with a name that is a string",
            )
    told = {name: (len(part), part.dtype, part.device) for name, part in x.items()}
    if len(set(told.values())) > 1:
        listed = ", ".join(f"{name} {rows} × {dtype} on {device}" for name, (rows, dtype, device) in told.items())
        raise InputError(f"the parts differ: {listed}", where="x", fix="give N rows of one dtype, on one device")
    return Joint.of(x)
