"""The report's section on agents: returns against the radius, with bootstrap intervals, the worst so far carried upwards."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from mmadv.ledger import Status
from mmadv.report import tables
from mmadv.report.words import amount
from mmadv.runs import RunInfo
from mmadv_rl.episodes import return_of

DRAWS = 2_000


def section(run: RunInfo) -> str:
    """HTML of tables for all campaigns of agents of a run."""
    found, spent = "", []
    for campaign in tables.campaigns(run, "rl"):
        levels = campaign["threat"]["eps"]
        rows, worst = [], [dict[str, float]() for _ in levels]
        for attack in campaign["attacks"]:
            records = tables.records(run, campaign, attack)
            clean = {
                one["key"]: return_of(one["y"]) - one["clean_score"]
                for one in records
                if one["clean_score"] is not None
            }
            cells = [interval(list(clean.values()))]
            carried: dict[str, float] = {}
            for level, eps in enumerate(levels):
                for one in records:
                    if one["eps"] == eps and one["status"] not in (Status.ERROR, Status.INFEASIBLE):
                        value = (
                            clean[one["key"]]
                            if one["status"] == Status.ALREADY_WRONG
                            else return_of(one["y"]) - one["score"]
                        )
                        for best in (carried, worst[level]):
                            best[one["key"]] = min(value, best.get(one["key"], value))
                cells.append(interval(list(carried.values())))
            rows.append((attack["label"], campaign["name"], cells))
            if own := tables.own_successes(records, attack["label"]):
                spent.append((attack["label"], campaign["name"], _figures(own)))
        carried = {}
        cells = [rows[0][2][0]] if rows else []
        for one in worst:
            carried = {key: min(value, carried.get(key, value)) for key, value in one.items()}
            cells.append(interval(list(carried.values())))
        rows.append(("worst of all", campaign["name"], cells))
        unit = campaign["threat"].get("unit", "raw")
        found += tables.table(
            f"{campaign['name']}: mean return [95 % bootstrap interval], worst episode. An episode that is lost is not played again at larger radii, and keeps the return that it was lost with. ε in units of: {unit}.",
            ["clean", *(amount(eps) for eps in levels)],
            rows,
        )
    return found + tables.table(
        "Episodes that were lost: medians of the share of steps touched, of actions changed, and of the largest raw change.",
        ["steps attacked", "actions changed", "largest raw change"],
        spent,
    )


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
