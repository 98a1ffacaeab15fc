"""The report's section on agents: returns against the radius, with bootstrap intervals, the worst so far carried upwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np

from mmadv.ledger import Status
from mmadv.report import tables
from mmadv.report.words import amount
from mmadv.runs import RunInfo
from mmadv_rl.episodes import return_of

DRAWS = 2_000

Returns = dict[str, float]
"""By the key of each episode."""


def section(run: RunInfo) -> str:
    """HTML of tables for all campaigns of agents of a run."""
    found, spent = "", []
    for campaign in tables.campaigns(run, "rl"):
        levels = campaign["threat"]["eps"]
        rows, everything = [], list[list[Returns]]()
        for attack in campaign["attacks"]:
            records = tables.records(run, campaign, attack)
            at = [clean_returns(records), *(returns(records, eps) for eps in levels)]
            everything.append(at)
            rows.append((attack["label"], campaign["name"], _cells(at)))
            if own := tables.own_successes(records, attack["label"]):
                spent.append((attack["label"], campaign["name"], _figures(own)))
        if rows:
            rows.append(
                ("worst of all", campaign["name"], _cells([worst(level) for level in zip(*everything, strict=True)]))
            )
        unit = campaign["threat"].get("unit", "raw")
        found += tables.table(
            f"{campaign['name']}: mean return [95 % bootstrap interval], worst episode. What was found at a smaller radius counts at larger ones. An episode that is lost is not played again at larger radii, and keeps the return that it was lost with. ε in units of: {unit}.",
            ["clean", *(amount(eps) for eps in levels)],
            rows,
        )
    return found + tables.table(
        "Episodes that were lost: medians of the share of steps touched, of actions changed, and of the largest raw change.",
        ["steps attacked", "actions changed", "largest raw change"],
        spent,
    )


def clean_returns(records: Sequence[tables.Record]) -> Returns:
    """The return of each episode when nothing is touched."""
    return {one["key"]: return_of(one["y"]) - one["clean_score"] for one in records if one["clean_score"] is not None}


def returns(records: Sequence[tables.Record], eps: float) -> Returns:
    """The return of each episode that an attack brought about at one ε; that of an episode which was lost already is the clean one."""
    return {
        one["key"]: return_of(one["y"])
        - (one["clean_score"] if one["status"] == Status.ALREADY_WRONG else one["score"])
        for one in records
        if one["eps"] == eps and one["status"] not in (Status.ERROR, Status.INFEASIBLE)
    }


def worst(found: Iterable[Returns]) -> Returns:
    """The least return of each episode.

    Example:
        >>> worst([{"seed 0": 9.0, "seed 1": 3.0}, {"seed 0": 5.0}])
        {'seed 0': 5.0, 'seed 1': 3.0}
    """
    least: Returns = {}
    for one in found:
        for key, value in one.items():
            least[key] = min(value, least.get(key, value))
    return least


def carried(levels: Sequence[Returns]) -> list[Returns]:
    """The least return of each episode at each level of an attacker's means or at any before it: who may do more can do as much (law 8).

    Example:
        >>> carried([{"seed 0": 5.0}, {"seed 0": 9.0}])
        [{'seed 0': 5.0}, {'seed 0': 5.0}]
    """
    return [worst(levels[: at + 1]) for at in range(len(levels))]


def _cells(levels: Sequence[Returns]) -> list[str]:
    return [interval(list(one.values())) for one in carried(levels)]


def interval(values: list[float]) -> str:
    """Mean, its 95 % bootstrap interval over episodes, and the worst.

    Example:
        >>> interval([1.0, 1.0])
        '1 [1, 1], worst 1'
    """
    if not values:
        return "–"
    drawn = np.random.default_rng(0).choice(np.array(values), (DRAWS, len(values))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{np.mean(values):.4g} [{low:.4g}, {high:.4g}], worst {min(values):.4g}"


def _figures(own: list[dict[str, Any]]) -> list[str]:
    def middle(name: str) -> float:
        return median(one["measures"][name] for one in own)

    return [
        f"{middle('steps attacked'):.0%}",
        f"{middle('actions changed'):.0%}",
        f"{middle('largest raw change'):.3g}",
    ]
