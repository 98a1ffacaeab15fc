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
MEMBER = "return under "
"""How notes begin that say what a member of an attack brought about."""

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
        all_records: list[tables.Record] = []
        members: list[tuple[str, str, list[str]]] = []
        for attack in campaign["attacks"]:
            records = tables.records(run, campaign, attack)
            all_records += records
            everything[attack["label"]] = [clean_returns(records), *(returns(records, eps) for eps in levels)]
            if touched := attacked(records, levels[-1]):
                spent.append((attack["label"], campaign["name"], _figures(touched)))
            members += _members(attack["label"], records, levels)
        if everything:
            everything["worst of all"] = [worst(level) for level in zip(*everything.values(), strict=True)]
        told = {label: carried(at) for label, at in everything.items()}
        exact = [noted(all_records, eps, "least return") for eps in levels]
        unit = threat.get("unit", "raw")
        drawn = chart(
            [_curve(label, [0.0, *levels], at) for label, at in told.items()],
            title=f"{campaign['name']}: mean return against ε; the figures are in the table below",
            axis="ε",
        )
        found += drawn + tables.table(
            f"{campaign['name']}: mean return ± standard deviation over episodes [95 % bootstrap interval of the mean], worst episode. What was found at a smaller radius counts at larger ones. ε in units of: {unit}.",
            ["clean", *(amount(eps) for eps in levels)],
            [(label, campaign["name"], [interval(list(one.values())) for one in at]) for label, at in told.items()],
        )
        if any(exact):
            found += _gaps(campaign["name"], levels, told, exact)
        found += tables.table(
            f"{campaign['name']}: the same ε from the dimension where it is least to that where it is most; normalised: by the policy's own normaliser, or else by the standard deviation of the untouched episode (median over episodes).",
            [amount(eps) for eps in levels],
            [(name, "", [_reach(all_records, eps, name) for eps in levels]) for name in ("raw", "normalised")],
            "ε",
        )
        found += tables.table(
            f"{campaign['name']}: mean return under each attack that another one is made of.",
            [amount(eps) for eps in levels],
            members,
        )
        if most is not None:
            same = {name: value for name, value in threat.items() if name != "most"}
            key = json.dumps([campaign["target"], campaign.get("data"), same], sort_keys=True, default=str)
            by_turns.setdefault(key, []).append((float(most), told))
    for group in by_turns.values():
        found += _against_turns(group)
    return found + tables.table(
        "All episodes that were attacked, at the largest ε: medians of the share of steps touched, of actions changed, and of the largest raw change.",
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
        f"The {title}, at the largest ε: ± standard deviation [95 % bootstrap interval], worst episode. What was found with fewer steps counts for more.",
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


def attacked(records: Sequence[tables.Record], eps: float) -> list[tables.Record]:
    """All episodes that were attacked at one ε, lost or not."""
    there = (Status.FOOLED, Status.ROBUST)
    return [one for one in records if one["eps"] == eps and one["status"] in there and one["measures"]]


def noted(records: Sequence[tables.Record], eps: float, name: str) -> Returns:
    """What is noted of each episode at one ε, whatever the attack."""
    return {
        one["key"]: one["measures"][name]
        for one in records
        if one["eps"] == one["origin_eps"] == eps and name in (one["measures"] or {})
    }


def gap(found: Returns, exact: Returns) -> tuple[float, float]:
    """Mean return that is left of episodes whose exact worst case is known, and how far it is above that, as a share of it.

    Example:
        >>> gap({"seed 0": 10.5, "seed 1": 7.0}, {"seed 0": 10.0})
        (10.5, 0.05)
    """
    left, least = (float(np.mean([one[key] for key in exact])) for one in (found, exact))
    return left, (left - least) / abs(least) if left != least else 0.0


def _gaps(name: str, levels: Sequence[float], told: dict[str, Levels], exact: Levels) -> Markup:
    """How far each attack of a campaign is from the exact worst case."""
    bounds = [f"{np.mean(list(least.values())):.4g}" if least else "–" for least in exact]
    rows = [("exact worst case", name, bounds)]
    for label, at in told.items():
        gaps = [gap(found, least) if least else None for found, least in zip(at[1:], exact, strict=True)]
        rows.append((label, name, [f"{one[0]:.4g}, {one[1]:.1%} above" if one else "–" for one in gaps]))
    return tables.table(
        f"{name}: the least mean return that any attack could bring about, exactly, by dynamic programming, and how far each one is above it. Episodes that are lost untouched don't count.",
        [amount(eps) for eps in levels],
        rows,
    )


def _reach(records: Sequence[tables.Record], eps: float, name: str) -> str:
    ends = [list(noted(records, eps, f"ε {name}, {end}").values()) for end in ("least", "most")]
    return " – ".join(dict.fromkeys(f"{median(end):.3g}" for end in ends if end)) or "–"


def _members(label: str, records: Sequence[tables.Record], levels: Sequence[float]) -> list[tuple[str, str, list[str]]]:
    """Rows of what each member of an attack brought about."""
    names = dict.fromkeys(name for one in records for name in one["measures"] or {} if name.startswith(MEMBER))
    at = {name: [list(noted(records, eps, name).values()) for eps in levels] for name in names}
    return [
        (name.removeprefix(MEMBER), label, [f"{np.mean(one):.4g}" if one else "–" for one in at[name]])
        for name in names
    ]


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
    """Mean and standard deviation, the mean's 95 % bootstrap interval over episodes, and the worst.

    Example:
        >>> interval([1.0, 1.0])
        '1 ± 0 [1, 1], worst 1'
    """
    if not values:
        return "–"
    mean, low, high = spread(values)
    return f"{mean:.4g} ± {np.std(values, ddof=len(values) > 1):.3g} [{low:.4g}, {high:.4g}], worst {min(values):.4g}"


def spread(values: list[float]) -> tuple[float, float, float]:
    """Mean, and its 95 % bootstrap interval over episodes."""
    drawn = np.random.default_rng(0).choice(np.array(values), (DRAWS, len(values))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)


def _figures(touched: list[dict[str, Any]]) -> list[str]:
    def middle(name: str) -> float:
        return median(one["measures"][name] for one in touched)

    return [
        f"{middle('steps attacked'):.0%}",
        f"{middle('actions changed'):.0%}",
        f"{middle('largest raw change'):.3g}",
    ]
