"""The report's section on agents: returns against the radius, with bootstrap intervals, the worst so far carried upwards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np
from markupsafe import Markup

from mmadv.ledger import Status
from mmadv.report import tables
from mmadv.report.words import amount
from mmadv.runs import RunInfo
from mmadv_rl.episodes import return_of
from mmadv_rl.figures import Curve, chart

DRAWS = 2_000

Returns = dict[str, float]
"""By the key of each episode."""
Levels = list[Returns]
"""One for each level of an attacker's means, the clean returns first."""


def section(run: RunInfo) -> str:
    """HTML of charts and tables for all campaigns of agents of a run."""
    found, spent = "", []
    by_turns: dict[str, list[tuple[float, dict[str, Levels]]]] = {}
    for campaign in tables.campaigns(run, "rl"):
        threat = campaign["threat"]
        levels, most = threat["eps"], threat.get("most")
        everything: dict[str, Levels] = {}
        for attack in campaign["attacks"]:
            records = tables.records(run, campaign, attack)
            everything[attack["label"]] = [clean_returns(records), *(returns(records, eps) for eps in levels)]
            if own := tables.own_successes(records, attack["label"]):
                spent.append((attack["label"], campaign["name"], _figures(own)))
        if everything:
            everything["worst of all"] = [worst(level) for level in zip(*everything.values(), strict=True)]
        told = {label: carried(at) for label, at in everything.items()}
        unit = threat.get("unit", "raw")
        drawn = chart(
            [_curve(label, [0.0, *levels], at) for label, at in told.items()],
            title=f"{campaign['name']}: mean return against ε; the figures are in the table below",
            axis="ε",
        )
        found += drawn + tables.table(
            f"{campaign['name']}: mean return [95 % bootstrap interval], worst episode. What was found at a smaller radius counts at larger ones. ε in units of: {unit}.",
            ["clean", *(amount(eps) for eps in levels)],
            [(label, campaign["name"], [interval(list(one.values())) for one in at]) for label, at in told.items()],
        )
        if most is not None:
            same = {name: value for name, value in threat.items() if name != "most"}
            key = json.dumps([campaign["target"], campaign.get("data"), same], sort_keys=True, default=str)
            by_turns.setdefault(key, []).append((float(most), told))
    for group in by_turns.values():
        found += _against_turns(group)
    return found + tables.table(
        "Episodes that were lost: medians of the share of steps touched, of actions changed, and of the largest raw change.",
        ["steps attacked", "actions changed", "largest raw change"],
        spent,
    )


def _against_turns(group: Sequence[tuple[float, dict[str, Levels]]]) -> Markup:
    """Returns of campaigns that differ in the turns alone, at their largest ε: what few turns did counts for more of them."""
    group = sorted(group, key=lambda pair: pair[0])
    turns = [most for most, _ in group]
    if len(set(turns)) < 2:
        return Markup("")
    labels = [label for label in group[0][1] if all(label in told for _, told in group)]
    at = {label: carried([group[0][1][label][0], *(told[label][-1] for _, told in group)]) for label in labels}
    title = "mean return against N, the steps of an episode that may be touched"
    drawn = chart([_curve(label, [0.0, *turns], at[label]) for label in labels], title=title, axis="N")
    return drawn + tables.table(
        f"The {title}, at the largest ε: [95 % bootstrap interval], worst episode. What was found with fewer steps counts for more.",
        ["clean", *(f"N = {most:g}" for most in turns)],
        [(label, "", [interval(list(one.values())) for one in at[label]]) for label in labels],
    )


def _curve(label: str, means: Sequence[float], at: Levels) -> Curve:
    points = [(x, *spread(list(one.values()))) for x, one in zip(means, at, strict=True) if one]
    return Curve(label, points, label == "worst of all")


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


def interval(values: list[float]) -> str:
    """Mean, its 95 % bootstrap interval over episodes, and the worst.

    Example:
        >>> interval([1.0, 1.0])
        '1 [1, 1], worst 1'
    """
    if not values:
        return "–"
    mean, low, high = spread(values)
    return f"{mean:.4g} [{low:.4g}, {high:.4g}], worst {min(values):.4g}"


def spread(values: list[float]) -> tuple[float, float, float]:
    """Mean, and its 95 % bootstrap interval over episodes."""
    drawn = np.random.default_rng(0).choice(np.array(values), (DRAWS, len(values))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)


def _figures(own: list[dict[str, Any]]) -> list[str]:
    def middle(name: str) -> float:
        return median(one["measures"][name] for one in own)

    return [
        f"{middle('steps attacked'):.0%}",
        f"{middle('actions changed'):.0%}",
        f"{middle('largest raw change'):.3g}",
    ]
