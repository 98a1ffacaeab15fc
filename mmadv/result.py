"""What an attack found, per example and in sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmadv.alarms import Alarm, Trust, verdict, wilson
from mmadv.data import Skipped
from mmadv.errors import ParameterError
from mmadv.ledger import Status


@dataclass(frozen=True)
class Rate:
    """A share of examples with its 95 % Wilson interval.

    Example:
        >>> print(Rate(8, 10))
        80.0 % [49.0, 94.3] (8 of 10)
    """

    hits: int
    total: int

    @property
    def value(self) -> float:
        """The share; NaN of nothing."""
        return self.hits / self.total if self.total else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson score interval."""
        return wilson(self.hits, self.total)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}] ({self.hits} of {self.total})"


@dataclass(frozen=True)
class Term:
    """One of the terms that examples were attacked under, in sum.

    Args:
        name: of it.
        hits: attacked examples that it applies to.
        total: attacked examples.
        least: of them.
        mean: of them.
        most: of them.

    Example:
        >>> print(Term.of("candidates", [3.0, 9.0, float("nan")]), "|", Term.of("threshold", [0.7, 0.7]))
        candidates 6 on average in 2 of 3 | threshold 0.7
    """

    name: str
    hits: int
    total: int
    least: float
    mean: float
    most: float

    @classmethod
    def of(cls, name: str, values: Sequence[float | None]) -> Term:
        """The term of so many examples; None or NaN where it doesn't apply."""
        there = [value for value in values if value is not None and value == value]
        mean = sum(there) / max(len(there), 1)
        return cls(name, len(there), len(values), min(there, default=0.0), mean, max(there, default=0.0))

    def __str__(self) -> str:
        value = f"{self.least:.4g}" if self.least == self.most else f"{self.mean:.4g} on average"
        return f"{self.name} {value}" + ("" if self.hits == self.total else f" in {self.hits} of {self.total}")


UNTOUCHABLE = "untouchable"
"""The term that is 1 where nothing may be changed; such examples are counted apart."""


@dataclass(frozen=True)
class Summary:
    """A result in sum. Examples with status `error` or `infeasible` are in no denominator, and are listed.

    Args:
        clean: share of examples that the victim gets right.
        robust: share of examples that it gets right and keeps right under the attack: an upper bound on its robustness.
        stored: the same, with success judged after the adversarial was stored and read back; None if it wasn't.
        statuses: examples of each status.
        queries: mean forward passes per attacked example.
        gradients: mean backward passes per attacked example.
        alarms: signs that the figures can't be relied on.
        untouchable: robust examples of which nothing may be changed within the threat model, of those that were attacked.
        terms: what the examples were attacked under.
        threat: the threat model, in words; no number means anything without it.
    """

    clean: Rate
    robust: Rate
    stored: Rate | None
    statuses: dict[str, int]
    queries: float
    gradients: float
    alarms: tuple[Alarm, ...]
    untouchable: Rate = Rate(0, 0)
    terms: tuple[Term, ...] = ()
    threat: str = ""

    @property
    def trust(self) -> Trust:
        """`reliable`, `suspect` or `invalid`."""
        return verdict(self.alarms)

    def __str__(self) -> str:
        fixed = self.untouchable
        lines = [
            *([f"threat model     {self.threat}"] if self.threat else []),
            f"clean accuracy   {self.clean}",
            f"robust accuracy  {self.robust}, an upper bound",
            *(
                [f"  untouchable    {fixed.hits} of {fixed.total}, of which nothing may be changed"]
                if fixed.hits
                else []
            ),
            *([f"  once stored    {self.stored}"] if self.stored else []),
            "statuses         " + ", ".join(f"{name} {count}" for name, count in self.statuses.items()),
            f"cost             {self.queries:.1f} queries, {self.gradients:.1f} gradients per attacked example",
            *([f"terms            {', '.join(map(str, self.terms))}"] if self.terms else []),
            f"verdict          {self.trust.value}",
            *(f"  {alarm.code}: {alarm.message}" for alarm in self.alarms),
        ]
        return "\n".join(lines)


def rates(status: Sequence[str], fooled: Sequence[bool]) -> tuple[Rate, Rate]:
    """Clean and robust accuracy of examples by status, success being told by `fooled`.

    Example:
        >>> clean, robust = rates(["already_wrong", "fooled", "robust", "error"], [False, True, False, False])
        >>> print(clean, "|", robust)
        66.7 % [20.8, 93.9] (2 of 3) | 33.3 % [6.1, 79.2] (1 of 3)
    """
    counted = [
        (one, bool(hit))
        for one, hit in zip(status, fooled, strict=True)
        if one not in (Status.ERROR, Status.INFEASIBLE)
    ]
    right = [hit for one, hit in counted if one != Status.ALREADY_WRONG]
    return Rate(len(right), len(counted)), Rate(right.count(False), len(counted))


def untouched(status: Sequence[str], fixed: Sequence[float | None]) -> Rate:
    """The robust ones of which nothing may be changed, of all examples that were attacked and counted.

    Example:
        >>> untouched(["robust", "fooled", "robust", "already_wrong"], [1.0, None, None, 1.0])
        Rate(hits=1, total=3)
    """
    attacked = [one in (Status.ROBUST, Status.FOOLED) for one in status]
    return Rate(
        sum(one == Status.ROBUST and value == 1 for one, value in zip(status, fixed, strict=True)), sum(attacked)
    )


@dataclass(frozen=True, repr=False)
class Result:
    """What one attack found, in the order of the examples.

    Args:
        adv: (N, …) the best adversarials seen; the clean input where none was.
        status: N of `already_wrong, robust, fooled, infeasible, error`.
        success: (N,) bool, fooled within the threat model.
        distance: (N,) from the clean input; inf where a minimum-norm attack found nothing.
        queries: (N,) forward passes that each example took.
        gradients: (N,) backward passes that each example took.
        score: (N,) the goal's score of `adv`.
        stored_success: (N,) bool, still fooled after being stored and read back.
        y: (N,) what is right.
        ids: (N,) int64.
        forwards: rows the victim was sent by the attack, in all.
        backwards: likewise, backward.
        checks: rows it was sent to look for chance and to judge what was stored; in no budget.
        alarms: signs that the figures can't be relied on.
        attack: its qualified name.
        threat: the threat model, in words.
        nearest: whether it is a minimum-norm attack, whose distances answer every ε.
        keys: N names of the examples in the data that they come from; none where x and y were given.
        skipped: what of the data was left out, and why.
        notes: (N,) what the attack itself says of each example, by name, and NaN where it says nothing; no figure rests on it.
        terms: (N,) what each example was attacked under, by name, such as a threshold, and NaN where there is nothing to say.
    """

    adv: Any
    status: list[Status]
    success: Tensor
    distance: Tensor
    queries: Tensor
    gradients: Tensor
    score: Tensor
    stored_success: Tensor
    y: Tensor
    ids: Tensor
    forwards: int
    backwards: int
    checks: int
    alarms: tuple[Alarm, ...]
    attack: str
    threat: str = ""
    nearest: bool = False
    keys: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notes: dict[str, Tensor] = field(default_factory=dict)
    terms: dict[str, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in self._counts().items())
        return f"Result({self.attack}: {counts or 'no examples'}; see summary())"

    def _counts(self) -> dict[str, int]:
        """Examples of each status that there is, in the order of `Status`, whichever comes first."""
        found = Counter(self.status)
        return {one.value: found[one] for one in Status if found[one]}

    def summary(self) -> Summary:
        """Clean and robust accuracy with intervals, cost and alarms."""
        clean, robust = rates(self.status, self.success.tolist())
        _, stored = rates(self.status, self.stored_success.tolist())
        attacked = torch.tensor([one != Status.ALREADY_WRONG for one in self.status], dtype=torch.bool)

        def mean(counts: Tensor) -> float:
            return float(counts.cpu()[attacked].double().mean()) if bool(attacked.any()) else 0.0

        return Summary(
            clean,
            robust,
            stored,
            self._counts(),
            mean(self.queries),
            mean(self.gradients),
            self.alarms,
            self.untouched,
            tuple(
                Term.of(name, values.cpu()[attacked].tolist())
                for name, values in self.terms.items()
                if name != UNTOUCHABLE
            ),
            self.threat,
        )

    @property
    def clean(self) -> Rate:
        """Share of examples that the victim gets right."""
        return rates(self.status, self.success.tolist())[0]

    @property
    def untouched(self) -> Rate:
        """Robust examples of which nothing may be changed, of those that were attacked."""
        fixed = self.terms.get(UNTOUCHABLE)
        return untouched(self.status, [None] * len(self.status) if fixed is None else fixed.tolist())

    def robust_accuracy(self, eps: Sequence[float]) -> list[Rate]:
        """Robust accuracy at each ε from the distances of one minimum-norm run.

        Args:
            eps: radii in the threat model's unit.

        Raises:
            ParameterError: the attack searched at one ε alone, and says nothing of others; one number in place of a list.
        """
        if isinstance(eps, (int, float)):
            raise ParameterError(f"eps is {eps}", where="robust_accuracy", fix=f"give a list: [{eps}]")
        if not self.nearest:
            raise ParameterError(
                f"{self.attack} searched at one eps, and its distances say nothing of others",
                where="robust_accuracy",
                fix="use a minimum-norm attack such as image.ddn, or run the attack at each eps",
            )
        found = torch.isfinite(self.distance)
        return [rates(self.status, (found & (self.distance <= radius)).tolist())[1] for radius in eps]
