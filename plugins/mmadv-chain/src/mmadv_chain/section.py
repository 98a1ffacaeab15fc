"""The report's section on systems: what each stage loses of the accuracy that the system would have if it were never wrong.

Sentences are followed by their keys from the text as written to the text under both attacks. Each step is measured on what
the steps before it left, so that the losses add up to the whole. As two attacks can win the same sentences, what is attributed
to each is its mean over both orders (the Shapley value), which adds up too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from mmadv.ledger import Status
from mmadv.report import tables
from mmadv.runs import RunInfo

SOURCE, SYSTEM = "mmadv_chain.source:", "mmadv_chain.target:chain"


@dataclass(frozen=True)
class Attribution:
    """Accuracy of a system on the same sentences, step by step.

    Args:
        count: sentences that were judged in every step.
        written: of the last stages on the text as it was written.
        heard: of the whole system.
        noise: under random noise of the waveform attack's budget; None if it wasn't tried.
        waveform: under the attack on the waveform.
        text: under the attack on the text in between, alone.
        both: under the attack on the text that the attacked waveform is heard as.
        consistent: whether each campaign started from what the one before it left.
    """

    count: int
    written: float
    heard: float
    noise: float | None
    waveform: float
    text: float
    both: float
    consistent: bool

    @property
    def losses(self) -> dict[str, float]:
        """What is attributed to each: the recogniser's own errors, the attack on the waveform and that on the text.

        Example:
            >>> found = Attribution(10, 0.9, 0.8, 0.8, 0.2, 0.4, 0.1, True)
            >>> {name: round(loss, 3) for name, loss in found.losses.items()}
            {'recogniser': 0.1, 'waveform': 0.45, 'text': 0.25}
        """
        return {
            "recogniser": self.written - self.heard,
            "waveform": ((self.heard - self.waveform) + (self.text - self.both)) / 2,
            "text": ((self.heard - self.text) + (self.waveform - self.both)) / 2,
        }


def section(run: RunInfo) -> str:
    """HTML of a table for each system of a run that was attacked at every stage."""
    found = ""
    for name, one in attributions(run):
        losses = one.losses
        rows = [
            ("as written", "the last stage alone", [_percent(one.written), "", ""]),
            ("heard", "the whole system", _cells(one.heard, one.written, losses["recogniser"])),
            ("waveform attacked", "on the final label", _cells(one.waveform, one.heard, losses["waveform"])),
            ("and words replaced", "in what is heard then", _cells(one.both, one.waveform, losses["text"])),
            ("all together", "", ["", _percent(one.written - one.both), _percent(sum(losses.values()))]),
            ("words replaced alone", "in what is heard", _cells(one.text, one.heard)),
        ]
        if one.noise is not None:
            rows.append(("random noise alone", "as loud as the attack", _cells(one.noise, one.heard)))
        doubt = (
            "" if one.consistent else " The campaigns did not start from the same outcomes: the losses do not add up."
        )
        found += tables.table(
            f"{name}: accuracy on the same {one.count} sentences, step by step. Attributed: the mean of what a step takes first and "
            f"what it takes last.{doubt}",
            ["accuracy left", "lost to this step", "attributed"],
            rows,
            "Step",
        )
    return found


def attributions(run: RunInfo) -> Iterator[tuple[str, Attribution]]:
    """The systems of a run whose campaigns cover every step, by the name of the campaign on the waveform."""
    spec = yaml.safe_load((run.folder / "spec.yaml").read_text(encoding="utf-8"))
    summary = json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))
    told = {campaign["name"]: campaign for campaign in summary["campaigns"]}
    entries = [entry for entry in spec["campaigns"] if entry["name"] in told]
    for system in entries:
        if system["target"]["factory"] != SYSTEM:
            continue
        steps = {_step(entry): told[entry["name"]] for entry in entries if _concerns(entry, system)}
        if {"written", "heard", "after"} <= steps.keys():
            yield system["name"], _attributed(run, told[system["name"]], steps)


def _concerns(entry: Mapping[str, Any], system: Mapping[str, Any]) -> bool:
    """Whether a campaign's texts come from this system on the same data."""
    data = entry["data"]
    whole = {"factory": system["data"]["factory"], "args": system["data"]["args"]}
    return (
        (data["factory"] or "").startswith(SOURCE)
        and data["args"].get("stages") == system["target"]["args"]["stages"]
        and {"args": {}, **data["args"].get("data", {})} == whole
    )


def _step(entry: Mapping[str, Any]) -> str:
    name = str(entry["data"]["factory"]).removeprefix(SOURCE)
    return "after" if entry["data"]["args"].get("after") else name


def _attributed(run: RunInfo, system: dict[str, Any], steps: dict[str, dict[str, Any]]) -> Attribution:
    waveform = _held(run, system, stored=True, leave="noise")
    text, both = (_held(run, steps[name]) for name in ("heard", "after"))
    written, heard, after, whole = (
        _right(run, one) for one in (steps["written"], steps["heard"], steps["after"], system)
    )
    noise = _held(run, system, stored=True, only="noise")
    keys = set.intersection(*(set(one) for one in (waveform, text, both, written, heard, after, whole)))

    def share(held: dict[str, bool]) -> float:
        return sum(held[key] for key in keys) / max(len(keys), 1)

    return Attribution(
        len(keys), share(written), share(whole), share(noise) if keys <= noise.keys() else None,
        share(waveform), share(text), share(both),
        all(heard[key] == whole[key] and after[key] == waveform[key] for key in keys),
    )  # fmt: skip


def _right(run: RunInfo, campaign: dict[str, Any]) -> dict[str, bool]:
    """Whether each example is right before it is attacked."""
    records = tables.records(run, campaign, campaign["attacks"][0])
    return {one["key"]: one["status"] != Status.ALREADY_WRONG for one in records if _judged(one)}


def _held(
    run: RunInfo, campaign: dict[str, Any], *, stored: bool = False, only: str = "", leave: str = ""
) -> dict[str, bool]:
    """Whether each example is right under all attacks, or some by name, at the largest ε; with `stored`, once it was stored."""
    largest = campaign["threat"]["eps"][-1]
    held: dict[str, bool] = {}
    for attack in campaign["attacks"]:
        kind = attack["name"].rpartition(".")[2]
        if kind == leave or (only and kind != only):
            continue
        for one in tables.records(run, campaign, attack):
            inside = one["eps"] == largest or (one["eps"] is None and (one["distance"] or 0) <= largest)
            if inside and _judged(one):
                hit = one["success"] and (one["stored_success"] or not stored)
                right = one["status"] != Status.ALREADY_WRONG and not hit
                held[one["key"]] = held.get(one["key"], True) and right
    return held


def _judged(record: tables.Record) -> bool:
    return record["status"] not in (Status.ERROR, Status.INFEASIBLE)


def _cells(left: float, before: float, attributed: float | None = None) -> list[str]:
    return [_percent(left), _percent(before - left), "" if attributed is None else _percent(attributed)]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
