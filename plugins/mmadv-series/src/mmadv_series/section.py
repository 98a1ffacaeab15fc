"""The report's section on series: how large, how slow and how rough perturbations are, and what a file leaves of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from mmadv.report import tables
from mmadv.runs import RunInfo

MEASURES = {"linf": "{:.3g}", "l2": "{:.3g}", "slow share": "{:.0%}", "roughness": "{:.2f}"}
"""Of successes, and how they are written."""


def section(run: RunInfo) -> str:
    """HTML of a table for all campaigns on series of a run."""
    rows = []
    for campaign in tables.campaigns(run, "series"):
        unit = campaign["threat"].get("unit")
        told = f"{campaign['name']}; ε in units of {'1' if unit is None else unit}"
        for attack in campaign["attacks"]:
            records = tables.records(run, campaign, attack)
            if found := tables.own_successes(records, attack["label"]):
                rows.append((attack["label"], told, _cells(found)))
    return tables.table(
        "Successes: medians of the perturbation’s norms in units of each channel, of the share of its energy in the slowest "
        "quarter of cosines, and of the adversarial’s total variation as a multiple of the clean one’s; and the share that still "
        "succeeds from a CSV file of six digits.",
        ["Linf", "L2", "slow", "roughness", "CSV"],
        rows,
    )


def _cells(found: Sequence[dict[str, Any]]) -> list[str]:
    cells = [form.format(median(one["measures"][name] for one in found)) for name, form in MEASURES.items()]
    return [*cells, tables.share(found, len(found), lambda record: record["stored_success"])]
