"""Spaces: what inputs look like, and which perturbations of them are feasible.

A `Space` is the frozen description in a threat model. `space.around(x)` gives a `Region`: rows that know
everything a search needs about the feasible set around each clean input, computed once.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from mmadv import norms
from mmadv.errors import InputError, ParameterError, nearest
from mmadv.noise import Noise
from mmadv.norms import NORMS
from mmadv.rows import like, shared


@runtime_checkable
class Constraint(Protocol):
    """One feasible set around each clean input; a space composes them."""

    def distance(self, adv: Any, x: Any) -> Tensor:
        """(A,) in the constraint's own unit."""
        ...

    def feasible(self, adv: Any, x: Any) -> Tensor:
        """(A,) bool."""
        ...


class Region(Protocol):
    """Rows: the feasible set around each clean input. Attacks of a modality may use more than this.

    What a region may have besides: `keys(adv)`, (A,) or (A, K) int64 that tell candidates apart, so that none is asked about twice;
    `outside(adv)`, what a search could have known to be infeasible; `terms()`, what each row is attacked under, by name and (A,)
    each, such as a threshold or how many candidates there are, for every record, NaN where there is nothing to say. Of these
    `untouchable` is 1 where no point but the clean input is feasible: such rows are counted beside the number.
    """

    x: Any

    def project(self, adv: Any) -> Any:
        """The nearest feasible point; idempotent; (A, …) or (A, K, …)."""
        ...

    def distance(self, adv: Any) -> Tensor:
        """(A,) or (A, K) from the clean input, in the threat model's unit."""
        ...

    def feasible(self, adv: Any) -> Tensor:
        """(A,) or (A, K) bool, judged from nothing but `adv` and the clean input."""
        ...

    def judging(self) -> Region:
        """The same region with no more than `feasible` and `distance` need, so that taking rows of it is cheap."""
        ...


class Space(Protocol):
    """The frozen description of inputs and feasible perturbations."""

    def around(self, x: Any) -> Region:
        """The region around clean rows."""
        ...

    def relaxed(self) -> Space:
        """The same without the limit on distance: where minimum-norm attacks search."""
        ...

    def measures(self, x: Any, adv: Any) -> dict[str, Tensor]:
        """Further figures of each perturbation, (A,) each, in units of their own, for records."""
        ...


@dataclass
class BallRegion:
    """Around tensors x (A, …): ‖adv − x‖ ≤ ε and low ≤ adv ≤ high.

    For Linf, ball and box are one pair of bounds and projecting is one clamp.

    Args:
        x: (A, …) clean.
        eps: (A,) radii.
        lower: the bounds to clamp to; Linf: (A, …), otherwise those of the box, broadcastable.
        upper: likewise.
        norm: `linf`, `l2` or `l1`.
        box: (low, high) of the box itself.
    """

    x: Tensor
    eps: Tensor
    lower: Tensor
    upper: Tensor
    norm: str = shared()
    box: tuple[Tensor, Tensor] = shared()

    def _bounds(self, adv: Tensor) -> tuple[Tensor, Tensor]:
        """The bounds with an axis for K candidates where `adv` has one."""
        if adv.dim() > self.x.dim() and self.norm == "linf":
            return self.lower.unsqueeze(1), self.upper.unsqueeze(1)
        return self.lower, self.upper

    def _flat(self, values: Tensor) -> Tensor:
        return values.flatten(-(self.x.dim() - 1)) if self.x.dim() > 1 else values.unsqueeze(-1)

    def clean(self, adv: Tensor) -> Tensor:
        """x with an axis for K candidates where `adv` has one."""
        return self.x.unsqueeze(1) if adv.dim() > self.x.dim() else self.x

    def radius(self, adv: Tensor) -> Tensor:
        """ε shaped to broadcast over `adv`."""
        return like(self.eps, adv)

    def project(self, adv: Tensor) -> Tensor:
        return self.project_(adv.clone())

    def project_(self, adv: Tensor) -> Tensor:
        """`project` that may use `adv`'s memory."""
        lower, upper = self._bounds(adv)
        if self.norm == "linf":
            return adv.clamp_(lower, upper)
        x = self.clean(adv)
        low, high = self._room(adv, x)
        eps = self.eps.unsqueeze(1).expand(adv.shape[:2]) if adv.dim() > self.x.dim() else self.eps
        ball = norms.project_l2 if self.norm == "l2" else norms.project_l1
        delta = ball(self._flat(adv - x), eps, low, high)
        return delta.reshape(adv.shape).add_(x).clamp_(lower, upper)

    def _room(self, adv: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """How far each entry may go down and up inside the box, as (…, n)."""
        low, high = self.box
        return self._flat((low - x).expand_as(adv)), self._flat((high - x).expand_as(adv))

    def ascend_(self, grad: Tensor, adv: Tensor) -> Tensor:
        """The direction of unit norm that climbs steepest from `adv`; may use `grad`'s memory. 0 where `grad` is 0."""
        if self.norm == "linf":
            return grad.sign_()
        flat = self._flat(grad)
        if self.norm == "l2":
            return norms.unit(flat, "l2").reshape(grad.shape)
        return norms.ascend_l1(flat, *self._room(adv, adv)).reshape(grad.shape)

    def climb_(self, adv: Tensor, grad: Tensor, share: float | Tensor) -> Tensor:
        """One projected step of steepest ascent, `share` · ε long; may use `grad`'s memory, never `adv`'s.

        Args:
            adv: (A, …) or (A, K, …).
            grad: of the same shape.
            share: of ε, one number or per row.
        """
        step = self.eps * share
        return self.project_(self.ascend_(grad, adv).mul_(like(step, adv)).add_(adv))

    def jitter(self, noise: Noise, candidates: int | None = None) -> Tensor:
        """Feasible starts: uniform in the Linf ball, on random rays with uniform radius otherwise.

        Args:
            noise: of these rows.
            candidates: K, for an axis of candidates.
        """
        shape = (*(() if candidates is None else (candidates,)), *self.x.shape[1:])
        if self.norm == "linf":
            start = noise.uniform(shape, self.x.dtype).mul_(2).sub_(1)
        else:
            start = noise.normal(shape, self.x.dtype)
            reach = noise.uniform(shape[: -len(self.x.shape[1:])] or (), self.x.dtype)
            start = norms.unit(self._flat(start), self.norm).reshape(start.shape).mul_(like(reach, start))
        return self.project_(self._stretched(start).add_(self.clean(start)))

    def _stretched(self, start: Tensor) -> Tensor:
        """Points of the unit ball as ones of this ball around 0; may use their memory."""
        return start.mul_(self.radius(start))

    def distance(self, adv: Tensor) -> Tensor:
        return norms.distance(self._flat(adv - self.clean(adv)), self.norm)

    def feasible(self, adv: Tensor) -> Tensor:
        low, high = self.box
        flat = self._flat(adv)
        inside = (flat.amin(-1) >= low) & (flat.amax(-1) <= high)  # NaN fails both
        limit = self.eps + norms.slack(self.norm, flat.shape[-1], adv.dtype)
        distance = self.distance(adv)
        return inside & (distance <= (limit if distance.dim() == 1 else limit.unsqueeze(1)))

    def judging(self) -> BallRegion:
        low, high = self.box
        return dataclasses.replace(self, lower=low, upper=high)


@dataclass(frozen=True)
class BallSpace:
    """Tensors in a box, perturbed inside an Lp ball.

    Args:
        norm: `linf`, `l2` or `l1`.
        eps: the ball's radius in the inputs' own unit; inf for a minimum-norm search.
        low: of the box.
        high: of the box.

    Raises:
        ParameterError: an unknown norm, a negative or NaN ε, low above high.

    Example:
        >>> region = BallSpace("linf", 0.1).around(torch.tensor([[0.0, 0.5]]))
        >>> region.project(torch.tensor([[-1.0, 0.55]]))
        tensor([[0.0000, 0.5500]])
    """

    norm: str
    eps: float = float("inf")
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ParameterError(f"unknown norm {self.norm!r}", where="norm", fix=nearest(str(self.norm), NORMS))
        if not isinstance(self.eps, (int, float)) or not self.eps >= 0:
            raise ParameterError(
                f"eps is {self.eps!r}", where="eps", fix="give a number of at least 0, in the inputs' own unit"
            )
        if not self.low <= self.high:
            raise ParameterError(
                f"the box [{self.low}, {self.high}] is empty", where="low, high", fix="give low <= high"
            )

    def around(self, x: Tensor, eps: Tensor | None = None) -> BallRegion:
        """The region around x (A, …).

        Args:
            x: inside the box.
            eps: (A,) radii in place of the space's own, for several radii in one batch.

        Raises:
            InputError: a row of x outside the box, or not finite.
        """
        low, high = torch.as_tensor(self.low).to(x), torch.as_tensor(self.high).to(x)
        # One pass for the whole batch; written so that NaN fails it.
        if x.numel() and not bool((x.amin() >= low) & (x.amax() <= high)):
            bad = ~((x >= low) & (x <= high)).flatten(1).all(1)
            row = int(bad.nonzero()[0, 0])
            raise InputError(
                f"{int(bad.sum())} of {len(x)} inputs leave [{self.low:g}, {self.high:g}] or hold NaN",
                where=f"row {row}: minimum {x[row].min():g}, maximum {x[row].max():g}",
                fix=f"scale the inputs to [{self.low:g}, {self.high:g}]; put the victim's own normalisation into the target",
            )
        radii = torch.full((len(x),), self.eps, dtype=x.dtype, device=x.device) if eps is None else eps.to(x)
        lower, upper = low, high
        if self.norm == "linf":
            reach = like(radii, x)
            lower, upper = torch.maximum(x - reach, low), torch.minimum(x + reach, high)
        return BallRegion(x, radii, lower, upper, self.norm, (low, high))

    def refuse_all(self, x: Tensor, meant: str = "") -> None:
        """Refuse a radius that limits nothing: it was given in another unit.

        Args:
            x: inputs (A, …).
            meant: what was probably meant, for the hint.

        Raises:
            ParameterError: ε reaches further than any two points of the box are apart.
        """
        width = self.high - self.low
        if math.isinf(self.eps) or math.isinf(width) or not x.numel():
            return
        farthest = width * x[0].numel() ** {"linf": 0, "l2": 0.5, "l1": 1}[self.norm]
        if self.eps > farthest * (1 + 1e-6):
            raise ParameterError(
                f"eps is {self.eps:g}, and no two inputs are further apart than {farthest:.4g} in {self.norm}: it limits nothing",
                where="eps",
                fix=f"give it in the unit of the inputs, which lie in [{self.low:g}, {self.high:g}]{meant and f'; {meant}'}",
            )

    def relaxed(self) -> Self:
        return dataclasses.replace(self, eps=float("inf"))

    def measures(self, x: Tensor, adv: Tensor) -> dict[str, Tensor]:
        delta = (adv - x).flatten(1)
        return {norm: norms.distance(delta, norm) for norm in NORMS}
