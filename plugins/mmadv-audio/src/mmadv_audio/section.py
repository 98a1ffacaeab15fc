"""The report's section on audio: word errors against loudness, what can be heard, and which ways the perturbations survive."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any

from mmadv.ledger import Status
from mmadv.report import tables
from mmadv.report.words import amount
from mmadv.runs import RunInfo
from mmadv_audio.transcripts import character_error_rate

ERRORS = (
    "mean word error rate when the search ends, which for a recording that is fooled is its first success: it tells what was needed, "
    "not the worst that is possible."
)
MEASURES = {
    "SNR dB": "{:.1f}", "masked frames": "{:.0%}", "dB over masking": "{:.1f}", "STOI": "{:.2f}", "PESQ": "{:.2f}",
}  # fmt: skip
"""Of successes, and how they are written."""


def section(run: RunInfo) -> str:
    """HTML of tables for all audio campaigns of a run."""
    errors, heard = "", []
    ways: list[str] = []
    for campaign in tables.campaigns(run, "audio"):
        levels = campaign["threat"]["eps"]
        rows = []
        for attack in campaign["attacks"]:
            records = tables.records(run, campaign, attack)
            if campaign["threat"].get("wer") is not None and attack["curve"]:
                rates = _mean_errors(records, levels)
                clean = _mean([one["clean_score"] for one in records if one["eps"] == levels[0]])
                rows.append((attack["label"], campaign["name"], [clean, *rates]))
            if found := tables.own_successes(records, attack["label"]):
                heard.append((attack["label"], campaign["name"], found))
                ways += [name for record in found for name in record["measures"] if name.startswith("survives ")]
        loudness = [_level(eps, campaign["threat"].get("norm", "")) for eps in levels]
        errors += tables.table(f"{campaign['name']}: {ERRORS}", ["clean", *loudness], rows)
    ways = list(dict.fromkeys(ways))
    return errors + tables.table(
        "Successes: medians of how loud they are beside the clean recording and of the characters that are wrong, and the share "
        "that still succeeds from a 16-bit WAV file and after other ways that a recording may take.",
        [*MEASURES, "CER", "WAV", *(way.removeprefix("survives ") for way in ways)],
        [(label, name, _cells(found, ways)) for label, name, found in heard],
    )


def _cells(found: Sequence[dict[str, Any]], ways: Sequence[str]) -> list[str]:
    def survives(way: str) -> Callable[[dict[str, Any]], bool]:
        return lambda record: record["measures"].get(way, 0) > 0

    cells = []
    for name, form in MEASURES.items():
        values = [record["measures"][name] for record in found if name in record["measures"]]
        cells.append(form.format(median(values)) if values else "–")
    rates = [character_error_rate(said[0], said[2]) for one in found if (said := one["said"]) and None not in said]
    cells.append(f"{median(rates):.0%}" if rates else "–")
    cells.append(tables.share(found, len(found), lambda record: record["stored_success"]))
    return cells + [tables.share(found, len(found), survives(way)) for way in ways]


def _mean_errors(records: Sequence[dict[str, Any]], levels: Sequence[float]) -> list[str]:
    """At each level, of all recordings but failed ones; what was wrong already has the rate of the clean recording.

    What was found within a smaller ε lies within every larger one, so that no recording's rate falls.
    """
    worst: dict[Any, float] = {}
    cells = {}
    for eps in sorted(levels):
        here = [one for one in records if one["eps"] == eps]
        for one in here:
            rate = one["clean_score"] if one["status"] == Status.ALREADY_WRONG else one["score"]
            if rate is not None:
                worst[one["key"]] = max(rate, worst.get(one["key"], rate))
        cells[eps] = _mean([worst.get(one["key"]) for one in here if one["score"] is not None])
    return [cells[eps] for eps in levels]


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{100 * fmean(known):.0f} %" if known else "–"


def _level(eps: float, norm: str) -> str:
    return f"{-20 * math.log10(eps):.0f} dB SNR" if norm == "snr" and eps > 0 else amount(eps)
