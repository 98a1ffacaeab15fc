"""Summing up a run: accuracies with intervals, curves, cost, alarms and a verdict for each campaign."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmadv import alarms
from mmadv.ledger import Status
from mmadv.result import Rate, rates
from mmadv.stage import Stage, Unit

if TYPE_CHECKING:
    from mmadv.audit import Audit


def summarise(audit: Audit) -> dict[str, Any]:
    """Accuracies, intervals, cost and alarms of every campaign."""
    campaigns = [_campaign(audit, number, stage) for number, stage in enumerate(audit.stages)]
    everything = [json.loads((audit.place(unit) / "unit.json").read_text())["files"] for unit in audit.units()]
    return {
        "title": audit.spec.title,
        "spec": audit.spec.digest,
        "digest": digest_of(everything),
        "trust": alarms.verdict(alarms.Alarm("", alarms.Trust(campaign["trust"]), "") for campaign in campaigns).value,
        "campaigns": campaigns,
        "missing": [
            {"name": name, "what": error.what, "where": error.where, "fix": error.fix}
            for name, error in audit.missing.items()
        ],
    }


def _campaign(audit: Audit, number: int, stage: Stage) -> dict[str, Any]:
    campaign = stage.campaign
    levels: Sequence[float] = campaign.threat.eps
    attacks: list[dict[str, Any]] = []
    worst: dict[float, dict[tuple[int, int], tuple[str, bool]]] = {eps: {} for eps in levels}
    worst_stored: dict[float, dict[tuple[int, int], tuple[str, bool]]] = {eps: {} for eps in levels}
    for index, attack in enumerate(stage.attacks):
        units = [Unit(number, index, shard) for shard in range(stage.shards)]
        records = [{**record, "shard": unit.shard} for unit in units for record in audit.records(audit.place(unit))]
        counts = sum(
            (alarms.Counts(**json.loads((audit.place(unit) / "unit.json").read_text())["counts"]) for unit in units),
            alarms.Counts(),
        )
        seconds = sum(json.loads((audit.place(unit) / "cost.json").read_text())["seconds"] for unit in units)
        curve = []
        for eps in levels:
            at = [r for r in records if r["eps"] == eps] if attack.keeps == "hit" else records
            inside = [r["success"] and (attack.keeps == "hit" or r["distance"] <= eps) for r in at]
            _, robust = rates([r["status"] for r in at], inside)
            _, stored = rates(
                [r["status"] for r in at], [hit and r["stored_success"] for hit, r in zip(inside, at, strict=True)]
            )
            curve.append({"eps": eps, "robust": _rate(robust), "stored": _rate(stored)})
            for record, hit in zip(at, inside, strict=True):
                who = (record["shard"], record["row"])
                _worsen(worst[eps], who, record["status"], hit)
                _worsen(worst_stored[eps], who, record["status"], hit and record["stored_success"])
        attacked = [r for r in records if r["status"] != Status.ALREADY_WRONG]
        distances = sorted(float("inf") if r["distance"] is None else r["distance"] for r in attacked)
        examples = max(len({(r["shard"], r["row"]) for r in attacked}), 1)
        statuses = [r["status"] for r in records if r["eps"] == (levels[-1] if attack.keeps == "hit" else None)]
        attacks.append(
            {
                "label": campaign.label(index),
                "name": campaign.attacks[index].name,
                "parameters": campaign.attacks[index].model_dump(mode="json", exclude={"name"}, exclude_none=True),
                "access": attack.access.name.lower(),
                "keeps": attack.keeps,
                "clean": _rate(rates(statuses, [False] * len(statuses))[0]),
                "curve": curve,
                "statuses": {status.value: statuses.count(status.value) for status in Status},
                "median_distance": finite(distances[len(distances) // 2])
                if distances and attack.keeps == "nearest"
                else None,
                "queries": sum(r["queries"] for r in records) / examples,
                "gradients": sum(r["gradients"] for r in records) / examples,
                "seconds": seconds,
                "alarms": [vars(alarm) for alarm in alarms.of_counts(counts, eot=campaign.threat.eot)],
            }
        )
    worst_curve = []
    for eps in levels:
        robust, stored = (
            rates([status for status, _ in one[eps].values()], [hit for _, hit in one[eps].values()])[1]
            for one in (worst, worst_stored)
        )
        worst_curve.append({"eps": eps, "robust": _rate(robust), "stored": _rate(stored)})
    further = _masked(attacks) if stage.kind.continuous else ()
    raised = [alarms.Trust(alarm["trust"]) for one in attacks for alarm in one["alarms"]] + [
        alarm.trust for alarm in further
    ]
    return {
        "name": campaign.name,
        "modality": campaign.modality,
        "unit": stage.kind.unit,
        "target": stage.target.name,
        "data": stage.source.name,
        "examples": stage.length,
        "threat": stage.campaign.threat.model_dump(mode="json"),
        "cascade": campaign.cascade,
        "clean": attacks[0]["clean"],
        "worst": worst_curve,
        "attacks": attacks,
        "alarms": [vars(alarm) for alarm in further],
        "trust": max(raised, key=list(alarms.Trust).index, default=alarms.Trust.RELIABLE).value,
    }


def digest_of(value: object) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def finite(value: Any) -> float | None:
    """A number or zero-dimensional tensor as JSON can hold it: None for NaN and inf."""
    number = float(value)
    return number if abs(number) < float("inf") else None


def _rate(rate: Rate) -> dict[str, Any]:
    low, high = rate.interval
    return {
        "hits": rate.hits,
        "total": rate.total,
        "value": rate.value if rate.total else None,
        "low": low,
        "high": high,
    }


def _worsen(worst: dict[tuple[int, int], tuple[str, bool]], who: tuple[int, int], status: str, hit: bool) -> None:
    """Keep the worst that any attack did to an example; a judged one counts before an error."""
    before = worst.get(who)
    void = (Status.ERROR, Status.INFEASIBLE)
    if before is None or (hit and not before[1]) or (before[0] in void and status not in void):
        worst[who] = (status if not hit or status == Status.ALREADY_WRONG else Status.FOOLED, hit)


def _masked(attacks: list[dict[str, Any]]) -> tuple[alarms.Alarm, ...]:
    """Whether a weaker access or a single step found more than the gradient attacks did (law 9)."""
    found = []
    fixed = [one for one in attacks if one["keeps"] == "hit"]
    strong = [one for one in fixed if one["access"] == "gradient"]
    weak = [one for one in fixed if one["access"] != "gradient"]
    for other in weak:
        for level, point in enumerate(other["curve"]):
            shares = [one["curve"][level]["robust"]["value"] for one in strong]
            rival = min((share for share in shares if share is not None), default=None)
            if rival is not None and point["robust"]["value"] is not None and point["robust"]["value"] < rival - 0.002:
                message = f"{other['label']}, which sees no gradients, leaves {point['robust']['value']:.1%} at eps {point['eps']:g} where gradient attacks leave {rival:.1%}: gradients are masked"
                found.append(alarms.Alarm("black_box_wins", alarms.Trust.SUSPECT, message))
                break
    return tuple(found)
