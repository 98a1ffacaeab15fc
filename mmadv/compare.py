"""Two campaigns on the same examples, compared example by example.

Two accuracies can differ by chance, and two that are equal can hide that the models fail on different examples. What counts is
where they disagree: McNemar's exact test asks whether the examples that only one of them holds are shared out like tosses of
a coin. Over several ε and campaigns the smallest of many p-values is small by chance too, which Holm's correction makes up for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from mmadv.errors import ParameterError, RunError, nearest
from mmadv.ledger import Status
from mmadv.summary import Outcome, outcomes

if TYPE_CHECKING:
    from mmadv.audit import Audit

LEVEL = 0.05
"""Of significance."""


@dataclass(frozen=True)
class Paired:
    """What two campaigns did to the same examples at one ε.

    Args:
        eps: the largest perturbation; None for the clean inputs.
        both: examples that both victims hold.
        only_a: examples that the first alone holds.
        only_b: examples that the second alone holds.
        neither: examples that neither holds.
        p: McNemar's exact p-value, corrected for the number of all points that are compared.
    """

    eps: float | None
    both: int
    only_a: int
    only_b: int
    neither: int
    p: float

    @property
    def total(self) -> int:
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def a(self) -> float:
        """Robust accuracy of the first."""
        return (self.both + self.only_a) / self.total

    @property
    def b(self) -> float:
        """Robust accuracy of the second."""
        return (self.both + self.only_b) / self.total

    @property
    def differs(self) -> bool:
        """Whether the difference is significant at 5 %."""
        return self.p < LEVEL


@dataclass(frozen=True)
class Comparison:
    """Two campaigns side by side.

    Args:
        a: run and campaign.
        b: likewise.
        points: the clean inputs first, then each ε that both have.
        left_out: examples that only one of them has, or that were not judged in both.
        unequal: words of the threat model and the attacks that differ, as (word, first, second): where there are any, what
            differs may be the attacker and not the victim.
    """

    a: str
    b: str
    points: tuple[Paired, ...]
    left_out: int
    unequal: tuple[tuple[str, str, str], ...]

    @property
    def differ(self) -> bool:
        """Whether they differ significantly, clean or at any ε."""
        return any(point.differs for point in self.points)

    @property
    def worse(self) -> bool:
        """Whether the second holds significantly fewer examples, clean or at any ε."""
        return any(point.differs and point.b < point.a for point in self.points)

    @property
    def plain(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {**asdict(self), "differ": self.differ, "worse": self.worse}


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided p-value of so many disagreements either way, if either way were as likely.

    Example:
        >>> mcnemar(0, 0), mcnemar(0, 5), mcnemar(1, 9)
        (1.0, 0.0625, 0.021484375)
    """
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the order given.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    found, least = [0.0] * len(p), 0.0
    for rank, at in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[at]))
        found[at] = least
    return found


def compare(first: Audit, second: Audit, names: tuple[str | None, str | None] = (None, None)) -> list[Comparison]:
    """Pair the campaigns of two finished runs, and the examples within each pair.

    Args:
        first: a run.
        second: another, or the same.
        names: one campaign of each, to compare with each other; all that both runs have, by name, if not given.

    Raises:
        ParameterError: a campaign that a run does not have.
        RunError: nothing to compare: no campaign, no ε or no example in common.

    Returns:
        A comparison for each pair.
    """
    ours, theirs = ([stage.campaign.name for stage in audit.stages] for audit in (first, second))
    if names == (None, None):
        pairs = [(name, name) for name in ours if name in theirs]
        if not pairs and len(ours) == len(theirs) == 1:
            pairs = [(ours[0], theirs[0])]
        if not pairs:
            raise RunError(
                f"the runs have no campaign in common: {', '.join(ours)} and {', '.join(theirs)}",
                where=f"{first.folder.path}, {second.folder.path}",
                fix="name one of each, with --a NAME --b NAME",
            )
    else:
        pairs = [(_named(names[0], ours, "--a"), _named(names[1], theirs, "--b"))]
    found = [_compared(first, second, ours.index(a), theirs.index(b)) for a, b in pairs]
    # One family of tests: with many campaigns, the smallest p of them all is small by chance too.
    corrected = iter(holm([point.p for one in found for point in one.points]))
    return [replace(one, points=tuple(replace(point, p=next(corrected)) for point in one.points)) for one in found]


def _named(name: str | None, known: list[str], option: str) -> str:
    if name is None and len(known) == 1:
        return known[0]
    if name not in known:
        what = "no campaign is named" if name is None else f"there is no campaign {name!r}"
        raise ParameterError(what, where=option, fix=nearest(name or "", known))
    return name


def _compared(first: Audit, second: Audit, at: int, there: int) -> Comparison:
    sides = [(first, at, first.stages[at].campaign), (second, there, second.stages[there].campaign)]
    kinds = [campaign.modality for _, _, campaign in sides]
    titles = [f"{audit.folder.path}: {campaign.name}" for audit, _, campaign in sides]
    (a, b), where = (audit.stages[number].levels for audit, number, _ in sides), ", ".join(titles)
    if kinds[0] != kinds[1]:
        raise RunError(
            f"one campaign is of modality {kinds[0]}, the other of {kinds[1]}",
            where=where,
            fix="compare campaigns on the same examples, such as those of two victims",
        )
    levels = [eps for eps in a if eps in b]
    if not levels:
        raise RunError("the campaigns have no eps in common", where=where, fix="run both at the same eps")
    points: list[Paired] = []
    left_out = 0
    for eps in levels:
        mine, other = ({_who(one): one for one in outcomes(audit, number, eps)} for audit, number, _ in sides)
        shared = [who for who in mine if who in other and mine[who].counted and other[who].counted]
        left_out = max(left_out, len({*mine, *other}) - len(shared))
        if not shared:
            raise RunError(
                "the campaigns have no example in common",
                where=where,
                fix="run both on the same data, with the same keys",
            )
        if not points:
            points.append(_paired(None, [(_right(mine[who]), _right(other[who])) for who in shared]))
        points.append(_paired(eps, [(mine[who].robust, other[who].robust) for who in shared]))
    return Comparison(
        titles[0],
        titles[1],
        tuple(points),
        left_out,
        tuple(_unequal(*(campaign.model_dump(mode="json") for *_, campaign in sides))),
    )


def _who(one: Outcome) -> tuple[str, str, int]:
    """An example is the same where its key, its input and what is right are."""
    return one.key, one.x, one.y


def _right(one: Outcome) -> bool:
    return one.status != Status.ALREADY_WRONG


def _paired(eps: float | None, held: list[tuple[bool, bool]]) -> Paired:
    both, only_a, only_b, neither = (
        held.count(way) for way in ((True, True), (True, False), (False, True), (False, False))
    )
    return Paired(eps, both, only_a, only_b, neither, mcnemar(only_a, only_b))


def _unequal(a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Where the attackers differ."""
    found = [
        (f"threat.{word}", str(a["threat"].get(word)), str(b["threat"].get(word)))
        for word in sorted({*a["threat"], *b["threat"]} - {"eps"})
        if a["threat"].get(word) != b["threat"].get(word)
    ]
    mine, other = ([_told(entry) for entry in side["attacks"]] for side in (a, b))
    if mine != other:
        found.append(("attacks", "; ".join(mine), "; ".join(other)))
    return found


def _told(entry: dict[str, Any]) -> str:
    words = [f"{word}={value}" for word, value in entry.items() if word != "name" and value is not None]
    return f"{entry['name']}({', '.join(words)})" if words else str(entry["name"])
