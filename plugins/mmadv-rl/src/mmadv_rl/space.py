"""The space of observations: balls in units of each dimension's own, inside the environment's box; and of whole episodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from mmadv import norms
from mmadv.errors import InputError, ParameterError, nearest
from mmadv.norms import NORMS
from mmadv.rows import like, shared
from mmadv.space import BallRegion
from mmadv_rl.constraints import Turns
from mmadv_rl.episodes import Episodes

if TYPE_CHECKING:
    from mmadv_rl.target import PolicyTarget

UNITS = ("raw", "std", "policy", "range")
LEAST = 1e-30
"""The unit of what can't be touched."""


@dataclass
class ObsRegion(BallRegion):
    """Around observations x (A, …): ‖(adv − x) / unit‖ ≤ ε inside the box, with a unit for each dimension.

    Args:
        unit: (…) how much of a dimension counts as 1.
    """

    unit: Tensor = shared()  # noqa: RUF009 (it is a field)

    def _bounds(self, adv: Tensor) -> tuple[Tensor, Tensor]:
        if adv.dim() > self.x.dim():
            return self.lower.unsqueeze(1), self.upper.unsqueeze(1)
        return self.lower, self.upper

    def _room(self, adv: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.box
        return self._flat(((low - x) / self.unit).expand_as(adv)), self._flat(((high - x) / self.unit).expand_as(adv))

    def project_(self, adv: Tensor) -> Tensor:
        lower, upper = self._bounds(adv)
        if self.norm == "linf":
            return adv.clamp_(lower, upper)
        x = self.clean(adv)
        eps = self.eps.unsqueeze(1).expand(adv.shape[:2]) if adv.dim() > self.x.dim() else self.eps
        ball = norms.project_l2 if self.norm == "l2" else norms.project_l1
        delta = ball(self._flat((adv - x) / self.unit), eps, *self._room(adv, x))
        return (delta.reshape(adv.shape) * self.unit).add_(x).clamp_(lower, upper)

    def ascend_(self, grad: Tensor, adv: Tensor) -> Tensor:
        return super().ascend_(grad * self.unit, adv) * self.unit

    def _stretched(self, start: Tensor) -> Tensor:
        return super()._stretched(start) * self.unit

    def pushed(self, push: Tensor) -> Tensor:
        """Where pushes in [−1, 1], (A, …) or (A, K, …), lead: as many ε of each dimension, projected.

        Example:
            >>> ObsSpace("linf", 0.1, unit=(1.0, 10.0)).around(torch.zeros(1, 2)).pushed(torch.tensor([[0.5, -1.0]]))
            tensor([[ 0.0500, -1.0000]])
        """
        return self.project_(self._stretched(push.clone()).add_(self.clean(push)))

    def distance(self, adv: Tensor) -> Tensor:
        return norms.distance(self._flat((adv - self.clean(adv)) / self.unit), self.norm)

    def feasible(self, adv: Tensor) -> Tensor:
        low, high = self.box
        clean = self.clean(adv)
        # What is subtracted from large numbers has their rounding, seen in units.
        size = torch.maximum(adv.abs(), clean.abs())
        slack = norms.slack("l1", 1, adv.dtype) + 2 * torch.finfo(adv.dtype).eps * size / self.unit
        slack = torch.where((adv != clean) & (self.unit > LEAST), slack, 0.0)
        reach = self._flat(slack).amax(-1) if self.norm == "linf" else norms.distance(self._flat(slack), self.norm)
        inside = ((adv >= low) & (adv <= high)).flatten(-(self.x.dim() - 1)).all(-1)
        distance = self.distance(adv)
        eps = self.eps if distance.dim() == 1 else self.eps.unsqueeze(1)
        return inside & (distance <= eps * (1 + 1e-6) + reach)

    def judging(self) -> ObsRegion:
        anything = self.eps.new_tensor(float("inf"))
        return dataclasses.replace(self, lower=-anything, upper=anything)


@dataclass
class EpisodeRegion:
    """Around episodes: each step's observation in its own ball, and no more steps touched than the attacker has turns.

    Args:
        x: the episodes.
        space: of the observations.
    """

    x: Episodes
    space: ObsSpace = shared()  # noqa: RUF009 (it is a field)

    def project(self, adv: Episodes) -> Episodes:
        raise ParameterError("episodes are played, not projected", where="rl", fix="use an attack on observations")

    def distance(self, adv: Episodes) -> Tensor:
        """(A,) the largest of any step."""
        if not adv.seen.shape[1]:
            return torch.zeros(len(adv))
        region = self.space.around(adv.true.flatten(0, 1))
        return region.distance(adv.seen.flatten(0, 1)).reshape(adv.seen.shape[:2]).mul(adv.touched).amax(1)

    def feasible(self, adv: Episodes) -> Tensor:
        good = (adv.seed == self.x.seed) & self.space.turns.feasible(adv, self.x)
        if not adv.seen.shape[1]:
            return good
        region = self.space.around(adv.true.flatten(0, 1))
        each = region.feasible(adv.seen.flatten(0, 1)).reshape(adv.seen.shape[:2])
        return good & (each | ~adv.touched).all(1)

    def judging(self) -> EpisodeRegion:
        return self


@dataclass(frozen=True)
class ObsSpace:
    """Observations that may be touched inside a ball.

    Args:
        norm: `linf`, `l2` or `l1` of one step's change in units.
        eps: the radius in units.
        unit: what counts as 1 in each dimension: `raw`; `std`, the standard deviation in clean episodes; `policy`, that of the
            policy's own normaliser; `range`, the width of the environment's box; or a number for each dimension.
        low: of observations; the environment's own where episodes are played.
        high: likewise.
        turns: when the attacker may act.

    Raises:
        ParameterError: an unknown norm or unit, a negative or NaN ε.

    Example:
        >>> region = ObsSpace("linf", 0.1, unit=(1.0, 10.0)).around(torch.zeros(1, 2))
        >>> region.project(torch.full((1, 2), 5.0))
        tensor([[0.1000, 1.0000]])
    """

    norm: str = "linf"
    eps: float = float("inf")
    unit: str | tuple[float, ...] = "raw"
    low: Any = float("-inf")
    high: Any = float("inf")
    turns: Turns = field(default_factory=Turns)

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ParameterError(f"unknown norm {self.norm!r}", where="norm", fix=nearest(str(self.norm), NORMS))
        if isinstance(self.eps, bool) or not isinstance(self.eps, Real) or not self.eps >= 0:
            several = isinstance(self.eps, (Sequence, Tensor)) or hasattr(self.eps, "shape")
            fix = "give a number of at least 0, in units" + (
                "; a radius for each dimension is unit=, with eps=1" if several else ""
            )
            raise ParameterError(f"eps is {str(self.eps)[:60]}", where="eps", fix=fix)
        object.__setattr__(self, "eps", float(self.eps))
        if isinstance(self.unit, str) and self.unit not in UNITS:
            raise ParameterError(f"unknown unit {self.unit!r}", where="unit", fix=nearest(self.unit, UNITS))
        if not isinstance(self.unit, str) and not _measures(self.unit):
            raise ParameterError(
                f"unit is {str(self.unit)[:60]}",
                where="unit",
                fix="give a finite number of at least 0 for each dimension, not all of them 0 (what has 0 is not touched)",
            )

    def posed(self, target: PolicyTarget, x: Episodes) -> ObsSpace:
        """This space with the numbers that it takes from a victim and its game.

        Raises:
            ParameterError: a unit that they don't give, or one of another length than observations have.
        """
        for name, given, own in ("low", self.low, -float("inf")), ("high", self.high, float("inf")):
            if given != own:
                raise ParameterError(
                    f"{name} is given for episodes",
                    where=name,
                    fix="leave it out: a game knows the box of its observations",
                )
        low, high = x.game.box
        unit = target.units(self.unit, x.game) if isinstance(self.unit, str) else torch.tensor(self.unit)
        if unit.numel() not in (1, x.game.size):
            raise ParameterError(
                f"unit has {unit.numel()} numbers, and observations have {x.game.size}",
                where="unit",
                fix=f"give {x.game.size} numbers, one for each dimension",
            )
        numbers = tuple(unit.reshape(-1).expand(x.game.size).tolist())
        return dataclasses.replace(self, unit=numbers, low=tuple(low.tolist()), high=tuple(high.tolist()))

    def remembering(self, count: int) -> ObsSpace:
        """This space with `count` numbers beside each observation that can't be touched: what the policy remembers."""
        if not count:
            return self
        assert isinstance(self.unit, tuple)
        low, high = ((*end, *[sign * float("inf")] * count) for end, sign in ((self.low, -1), (self.high, 1)))
        return dataclasses.replace(self, unit=(*self.unit, *[0.0] * count), low=low, high=high)

    def around(self, x: Tensor | Episodes, eps: Tensor | None = None) -> Any:
        """The region around observations (A, …) or episodes.

        Raises:
            InputError: observations outside of their box, or not finite.
            ParameterError: a unit that only episodes tell.
        """
        if isinstance(x, Episodes):
            return EpisodeRegion(x, self)
        if isinstance(self.unit, str) and self.unit != "raw":
            raise ParameterError(
                f"unit is {self.unit!r}, which single observations do not tell",
                where="unit",
                fix="give a number for each dimension, or attack episodes",
            )
        unit = torch.ones(()) if self.unit == "raw" else torch.tensor(self.unit).clamp_min(LEAST)
        if unit.numel() > 1:
            if unit.numel() != x[0].numel():
                raise ParameterError(
                    f"unit has {unit.numel()} numbers, and observations have {x[0].numel()}",
                    where="unit",
                    fix="give one for each dimension",
                )
            unit = unit.reshape(x.shape[1:])
        unit = unit.to(x)
        low, high = (torch.as_tensor(end).to(x) for end in (self.low, self.high))
        low, high = (end.reshape(x.shape[1:]) if end.numel() > 1 else end for end in (low, high))
        bad = ~((x >= low) & (x <= high) & torch.isfinite(x)).flatten(1).all(1)
        if bool(bad.any()):
            row = int(bad.nonzero()[0, 0])
            raise InputError(
                f"{int(bad.sum())} of {len(x)} observations leave their box or hold NaN or inf",
                where=f"row {row}: minimum {x[row].min():g}, maximum {x[row].max():g}",
                fix="give observations as the environment makes them; normalisation belongs into the target",
            )
        radii = torch.full((len(x),), self.eps, dtype=x.dtype, device=x.device) if eps is None else eps.to(x)
        lower, upper = low.expand_as(x), high.expand_as(x)  # rows, whether they differ or not
        if self.norm == "linf":
            reach = torch.where(unit > LEAST, like(radii, x) * unit, 0.0)
            lower, upper = torch.maximum(x - reach, low), torch.minimum(x + reach, high)
        return ObsRegion(x, radii, lower, upper, self.norm, (low, high), unit)

    def relaxed(self) -> Self:
        return dataclasses.replace(self, eps=float("inf"))

    def measures(self, x: Any, adv: Any) -> dict[str, Tensor]:
        if not isinstance(adv, Episodes):
            delta = (adv - x).flatten(1)
            return {norm: norms.distance(delta, norm) for norm in NORMS}
        steps = adv.length.clamp_min(1)
        raw = (adv.seen - adv.true).abs().flatten(1)
        return {
            "steps": adv.length.double(),
            "steps attacked": adv.touched.sum(1) / steps,
            "actions changed": adv.changed / steps,
            "steps of training": adv.taught.double(),
            "largest raw change": raw.amax(1) if raw.shape[1] else torch.zeros(len(adv)),
        }


def _measures(unit: Any) -> bool:
    """Whether numbers can say what counts as 1; of none, somebody else says that they are too few."""
    if not isinstance(unit, tuple) or any(isinstance(one, bool) or not isinstance(one, (int, float)) for one in unit):
        return False
    return all(0 <= one < float("inf") for one in unit) and (not unit or any(one > 0 for one in unit))


def checked(x: Any) -> Tensor | Episodes:
    """Observations or episodes as they are.

    Raises:
        InputError: neither.
    """
    if isinstance(x, Episodes):
        return x
    if isinstance(x, Sequence):
        raise InputError("observations are a list", where="x", fix="stack them to one tensor (N, …), or give episodes")
    x = torch.as_tensor(x)
    if not x.is_floating_point() or x.dim() < 2:
        raise InputError(
            f"observations have dtype {x.dtype} and shape {tuple(x.shape)}",
            where="x",
            fix="give floating (N, …), in the environment's own unit: x.float() for frames of whole numbers",
        )
    return x
