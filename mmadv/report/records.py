"""The report's table of records: what each attack made of each example, over all ε."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mmadv.audit import Audit, Record
from mmadv.ledger import Status
from mmadv.report.words import clipped
from mmadv.stage import Stage, Unit

MOST = 5000
"""Rows in a report, shared by its campaigns."""


@dataclass(frozen=True)
class Row:
    """What an attack made of an example.

    Args:
        campaign: its name.
        attack: its label.
        key: of the example.
        outcome: status at the largest ε.
        eps: the smallest at which it was fooled; None if it wasn't, or none is set.
        distance: of the adversarial found there.
        right: the right answer.
        said: the answer to the stored adversarial.
        stored: whether it still fools then.
        queries: forward passes up to there, or in all.
        gradients: backward passes likewise.
        by: label of the attack that it was last run on by; an earlier one's for what it left of a cascade.
    """

    campaign: str
    attack: str
    key: str
    outcome: str
    eps: float | None
    distance: float | None
    right: str
    said: str
    stored: bool
    queries: int
    gradients: int
    by: str


def table(audit: Audit, number: int, campaign: Mapping[str, Any]) -> list[Row]:
    """The rows of a campaign, one for each attack and example.

    Args:
        audit: whose run is finished.
        number: of the campaign.
        campaign: its summary.
    """
    stage = audit.stages[number]
    return [
        _row(stage, campaign["name"], one["label"], records)
        for index, one in enumerate(campaign["attacks"])
        for records in _by_example(audit, number, index)
    ]


def shared(tables: Sequence[Sequence[Row]], most: int = MOST) -> list[Row]:
    """The rows of all campaigns that a report has room for: short tables whole, the longest cut to one length.

    Example:
        >>> [len(list(own)) for _, own in groupby(shared([list("aaa"), list("b"), list("cccc")], 6))]
        [2, 1, 3]
    """
    room: dict[int, int] = {}
    for left, number in enumerate(sorted(range(len(tables)), key=lambda one: len(tables[one]))):
        room[number] = min(len(tables[number]), (most - sum(room.values())) // (len(tables) - left))
    return [row for number, rows in enumerate(tables) for row in rows[: room[number]]]


def _by_example(audit: Audit, number: int, attack: int) -> Iterator[list[Record]]:
    """All records of one example under an attack, by ascending ε."""
    for shard in range(audit.stages[number].shards):
        records = audit.records(audit.place(Unit(number, attack, shard)))
        for _, own in groupby(sorted(records, key=lambda one: (one["row"], one["eps"] or 0.0)), lambda one: one["row"]):
            yield list(own)


def _row(stage: Stage, campaign: str, attack: str, records: Sequence[Record]) -> Row:
    hits = [number for number, one in enumerate(records) if one["success"]]
    spent = records[: hits[0] + 1] if hits else records
    told = spent[-1]
    return Row(
        campaign=campaign,
        attack=attack,
        key=told["key"],
        outcome=records[-1]["status"],
        eps=told["eps"] if hits else None,
        distance=told["distance"] if hits else None,
        right=clipped(answer(stage, told, 0)),
        said=clipped(answer(stage, told, 2)) if hits else "",
        stored=bool(hits) and told["stored_success"],
        queries=sum(one["queries"] for one in spent),
        gradients=sum(one["gradients"] for one in spent),
        by=told["origin"],
    )


def answer(stage: Stage, record: Record, which: int) -> str:
    """An answer in words.

    Args:
        stage: the campaign.
        record: of an example.
        which: 0 for the right one, 2 for the one to the stored adversarial.
    """
    said = (record["said"] or [None] * 3)[which]
    return str(said or _class(stage, record["decision"] if which else record["y"]))


def _class(stage: Stage, label: int | None) -> str:
    if label is None:
        return "no decision"
    try:
        labels = stage.source.labels
    except (Exception, SystemExit):  # data that are gone cost a report their names, and the examples, which say so
        labels = None
    return str(labels[label]) if labels is not None and 0 <= label < len(labels) else f"class {label}"


@dataclass(frozen=True)
class Budgets:
    """How many examples were fooled within budgets of queries.

    Args:
        limits: the budgets.
        shares: for each attack its label, and the share of attacked examples that it fooled within each.
    """

    limits: list[int]
    shares: list[tuple[str, list[float]]]


def budgets(campaign: Mapping[str, Any], found: Sequence[Row]) -> Budgets | None:
    """Success against the query budget, at any ε of the campaign; None where nothing was attacked.

    Attacks that look for the nearest adversarial are left out: they search on after the first, and when they had it is not recorded.

    Args:
        campaign: its summary.
        found: its rows.
    """
    fixed = {one["label"] for one in campaign["attacks"] if one["keeps"] == "hit"}
    limits = _limits(max((row.queries for row in found if row.attack in fixed), default=0))
    shares = []
    for one in (one for one in campaign["attacks"] if one["label"] in fixed):
        own = [row for row in found if row.attack == one["label"] and row.outcome in (Status.FOOLED, Status.ROBUST)]
        # In a cascade, what an earlier attack fooled cost this one nothing, and is no success of its own.
        attacked = [row for row in own if row.by == row.attack or row.queries]
        spent = [row.queries for row in attacked if row.outcome == Status.FOOLED and row.by == row.attack]
        if attacked:
            shares.append((one["label"], [sum(cost <= limit for cost in spent) / len(attacked) for limit in limits]))
    return Budgets(limits, shares) if shares else None


def _limits(most: int) -> list[int]:
    """Budgets up to one that holds all; the first query of any attack is the clean input.

    Example:
        >>> _limits(1), _limits(30)
        ([2], [2, 5, 10, 20, 50])
    """
    steps = [digit * 10**power for power in range(len(str(most)) + 1) for digit in (1, 2, 5)][1:]
    return [step for number, step in enumerate(steps) if not number or steps[number - 1] < most]
