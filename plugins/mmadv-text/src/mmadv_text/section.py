"""The report's section on texts: how success depends on the queries spent and on how much meaning is to be kept."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.parquet as pq
from markupsafe import Markup

from mmadv.runs import RunInfo

QUERIES = (10, 30, 100, 300, 1000)
SIMILARITIES = (0.7, 0.8, 0.9, 0.95)


def section(run: RunInfo) -> str:
    """HTML of two tables for all text campaigns of a run."""
    summary = json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))
    campaigns = [campaign for campaign in summary["campaigns"] if campaign["modality"] == "text"]
    if not campaigns:
        return ""
    found = [
        (campaign["name"], attack["label"], *_records(run, campaign, attack))
        for campaign in campaigns
        for attack in campaign["attacks"]
    ]
    queries = _table(
        found,
        [(f"≤ {most:,}", functools.partial(_within, most)) for most in QUERIES],
        "Share of attacked texts that were fooled, by the queries of the run that found it.",
    )
    similarity = _table(
        [row for row in found if any("similarity" in (record["measures"] or {}) for record in row[2])],
        [(f"≥ {least:g}", functools.partial(_near, least)) for least in SIMILARITIES],
        "Share of attacked texts with an adversarial that was found and is at least so similar to the original. A search that is "
        "held to a threshold from the start can find more: campaigns with other thresholds stand above.",
    )
    return str(Markup("").join([queries, similarity]))


def _within(most: int, record: dict[str, Any]) -> bool:
    return bool(record["queries"] <= most)


def _near(least: float, record: dict[str, Any]) -> bool:
    return bool(record["measures"].get("similarity", -1) >= least)


def _records(run: RunInfo, campaign: dict[str, Any], attack: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """Successes of an attack by what found them, each text once, and how many texts were attacked."""
    known: dict[tuple[str, int], dict[str, Any]] = {}
    attacked: set[tuple[str, int]] = set()
    for file in sorted((run.folder / "shards" / campaign["name"] / attack["label"]).glob("*/records.parquet")):
        for record in pq.read_table(file).to_pylist(maps_as_pydicts="strict"):
            who = (file.parent.name, record["row"])
            if record["status"] in ("fooled", "robust"):
                attacked.add(who)
            if record["success"] and record["origin"] == attack["label"] and record["origin_eps"] == record["eps"]:
                known.setdefault(who, record)
    return list(known.values()), len(attacked)


def _table(
    rows: list[tuple[str, str, list[dict[str, Any]], int]],
    columns: list[tuple[str, Callable[[dict[str, Any]], bool]]],
    caption: str,
) -> Markup:
    if not rows:
        return Markup("")

    def cells(records: list[dict[str, Any]], total: int) -> Iterator[Markup]:
        for _, holds in columns:
            hits = sum(map(holds, records))
            yield Markup('<td class="number">{}</td>').format(f"{100 * hits / total:.0f} %" if total else "–")

    head = Markup("").join(Markup('<th scope="col" class="number">{}</th>').format(name) for name, _ in columns)
    body = Markup("").join(
        Markup('<tr><th scope="row" class="name">{}<small>{}</small></th>{}</tr>').format(
            attack, campaign, Markup("").join(cells(records, total))
        )
        for campaign, attack, records, total in rows
    )
    return Markup(
        '<p class="note">{}</p><div class="scroll"><table><thead><tr><th scope="col">Attack</th>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(caption, head, body)
