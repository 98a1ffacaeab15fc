"""The report's section on texts: how success depends on the queries spent and on how much meaning is to be kept."""

from __future__ import annotations

from functools import partial
from typing import Any

from mmadv.report import tables
from mmadv.runs import RunInfo

QUERIES = (10, 30, 100, 300, 1000)
SIMILARITIES = (0.7, 0.8, 0.9, 0.95)


def section(run: RunInfo) -> str:
    """HTML of two tables for all text campaigns of a run."""
    within, near = [], []
    for campaign in tables.campaigns(run, "text"):
        for attack in campaign["attacks"]:
            records = tables.records(run, campaign, attack)
            found, total = tables.own_successes(records, attack["label"]), tables.attacked(records)
            name = attack["label"], campaign["name"]
            within.append((*name, [tables.share(found, total, partial(_within, n)) for n in QUERIES]))
            if any("similarity" in (record["measures"] or {}) for record in found):
                near.append((*name, [tables.share(found, total, partial(_near, s)) for s in SIMILARITIES]))
    return tables.table(
        "Share of attacked texts that were fooled, by the queries of the run that found it.",
        [f"≤ {most:,}" for most in QUERIES],
        within,
    ) + tables.table(
        "Share of attacked texts with an adversarial that was found and is at least so similar to the original. A search that is "
        "held to a threshold from the start can find more: campaigns with other thresholds stand above.",
        [f"≥ {least:g}" for least in SIMILARITIES],
        near,
    )


def _within(most: int, record: dict[str, Any]) -> bool:
    return bool(record["queries"] <= most)


def _near(least: float, record: dict[str, Any]) -> bool:
    return bool(record["measures"].get("similarity", -1) >= least)
