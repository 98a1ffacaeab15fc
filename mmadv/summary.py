"""Summing up a run: accuracies with intervals, curves, cost, alarms and a verdict for each campaign."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmadv import alarms
from mmadv.errors import RunError
from mmadv.ledger import Status
from mmadv.result import UNTOUCHABLE, Rate, Term, rates, untouched
from mmadv.runs import differences, digest_of
from mmadv.stage import Stage, Unit

if TYPE_CHECKING:
    from mmadv.audit import Audit

WINS = 0.002
"""Of all examples, that what sees less may fool beyond what gradient attacks did."""


def summarise(audit: Audit) -> dict[str, Any]:
    """Accuracies, intervals, cost and alarms of every campaign."""
    campaigns = [{**_about(stage), **_figures(audit, number)} for number, stage in enumerate(audit.stages)]
    return {
        "title": audit.spec.title,
        "spec": audit.spec.digest,
        "campaigns": campaigns,
        **_whole(audit, campaigns),
        "missing": [
            {"name": name, "what": error.what, "where": error.where, "fix": error.fix}
            for name, error in audit.missing.items()
        ],
    }


def _whole(audit: Audit, campaigns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all campaigns come to together."""
    return {
        "digest": digest_of([_kept(audit, unit, "unit.json")["files"] for unit in audit.units()]),
        "trust": alarms.verdict(alarms.Alarm("", alarms.Trust(campaign["trust"]), "") for campaign in campaigns).value,
        "weakest": weakest(campaigns),
    }


def altered(audit: Audit, summary: Mapping[str, Any]) -> Iterator[str]:
    """Where a summary says something else than the shards come to, time aside; neither victims nor data are asked for.

    Args:
        audit: with the campaigns to look at.
        summary: of its run.

    Yields:
        One line for each figure, naming it.

    Raises:
        RunError: a shard can't be read.
    """
    told = {campaign["name"]: campaign for campaign in summary["campaigns"]}
    again = {}
    for number, stage in enumerate(audit.stages):
        name = stage.campaign.name
        again[name] = {**told.get(name, {}), **_figures(audit, number)}
    # What a campaign that can't be looked at here adds to the whole is not known.
    whole = _whole(audit, list(again.values())) if again.keys() == told.keys() else {}
    found = json.loads(json.dumps({**again, **{f"the {name}": value for name, value in whole.items()}}))
    there = {name: told.get(name) for name in again} | {f"the {name}": summary.get(name) for name in whole}
    for place, ours, theirs in differences(found, there):
        if not place.endswith(".seconds"):
            yield f"summary.json: {place} is {theirs!r} there, and the shards come to {ours!r}"


def weakest(campaigns: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The campaign whose target lost most at the smallest budget above 0 that it was tested at; None where none can be judged.

    Budgets of different modalities have no common unit, so that a larger one never counts. Campaigns are ranked by the upper end
    of the 95 % interval of the share of right answers that the target kept: few examples prove little. Only answers that an
    adversarial was found for count as lost, which no alarm takes back: what an `invalid` campaign kept may be too much, never too little.

    Args:
        campaigns: their summaries.

    Returns:
        The campaign's name and verdict, that ε, its place on a scale that people know, and the answers kept of the right ones.

    Example:
        >>> curve = [{"eps": 0.1, "fooled": 7}, {"eps": 0.2, "fooled": 9}]
        >>> one = {"name": "a", "trust": "reliable", "clean": {"hits": 9}, "worst": curve, "scale": ["10 %", "20 %"]}
        >>> weakest([one])["eps"], weakest([one])["kept"]["hits"]
        (0.1, 2)
    """
    found = []
    for campaign in campaigns:
        right = campaign["clean"]["hits"]
        radii = {level: float(point["eps"]) for level, point in enumerate(campaign["worst"]) if point["eps"] > 0}
        if radii and right:
            level = min(radii, key=radii.__getitem__)
            kept = Rate(right - min(campaign["worst"][level]["fooled"], right), right)
            found.append((kept.interval[1], kept, campaign, level))
    if not found:
        return None
    _, kept, campaign, level = min(found, key=lambda one: one[0])
    return {
        "name": campaign["name"],
        "trust": campaign["trust"],
        "eps": campaign["worst"][level]["eps"],
        "scale": campaign["scale"][level],
        "kept": _rate(kept),
    }


def _about(stage: Stage) -> dict[str, Any]:
    """What a campaign is about, in words of its victim and its data."""
    return {
        "name": stage.campaign.name,
        "modality": stage.campaign.modality,
        "unit": stage.kind.unit,
        "target": stage.target.name,
        "data": stage.source.name,
        "examples": stage.length,
        "before": dict(getattr(stage.source, "before", {})),
        "skipped": [vars(one) for one in getattr(stage.source, "skipped", ())],
        "threat": {**stage.campaign.threat.model_dump(mode="json"), "eps": list(stage.levels)},
        "scale": [stage.scale(eps) for eps in stage.levels],
        "cascade": stage.campaign.cascade,
    }


def _figures(audit: Audit, number: int) -> dict[str, Any]:
    """What the shards of a campaign come to."""
    stage = audit.stages[number]
    campaign, levels = stage.campaign, stage.levels
    attacks: list[dict[str, Any]] = []
    everything: list[alarms.Counts] = []
    told = _records(audit, number, stage)
    for index, attack in enumerate(stage.attacks):
        units = [Unit(number, index, shard) for shard in range(stage.shards)]
        records = told[index]
        counts = sum((alarms.Counts(**_kept(audit, unit, "unit.json")["counts"]) for unit in units), alarms.Counts())
        seconds = sum(_kept(audit, unit, "cost.json")["seconds"] for unit in units)
        curve = []
        for eps in levels:
            at, inside = _at(records, attack.keeps, eps)
            _, robust = rates([r["status"] for r in at], inside)
            _, stored = rates(
                [r["status"] for r in at], [hit and r["stored_success"] for hit, r in zip(inside, at, strict=True)]
            )
            curve.append({"eps": eps, "robust": _rate(robust), "stored": _rate(stored)})
        attacked = [r for r in records if r["status"] != Status.ALREADY_WRONG]
        distances = sorted(float("inf") if r["distance"] is None else r["distance"] for r in attacked)
        cost = _cost(attacked, campaign.label(index))
        statuses = [r["status"] for r in records if r["eps"] == (levels[-1] if attack.keeps == "hit" else None)]
        attacks.append(
            {
                "label": campaign.label(index),
                "name": campaign.attacks[index].name,
                "parameters": campaign.attacks[index].model_dump(mode="json", exclude={"name"}, exclude_none=True),
                "access": attack.access.name.lower(),
                "single_step": attack.single_step,
                "keeps": attack.keeps,
                "clean": _rate(rates(statuses, [False] * len(statuses))[0]),
                "curve": curve,
                "statuses": {status.value: statuses.count(status.value) for status in Status},
                "median_distance": finite(distances[len(distances) // 2])
                if distances and attack.keeps == "nearest"
                else None,
                **cost,
                "seconds": seconds,
                "planted": {"found": counts.planted - counts.planted_missed, "total": counts.planted},
                "alarms": [vars(alarm) for alarm in alarms.of_counts(counts, eot=campaign.threat.eot)],
            }
        )
        everything.append(counts)
    worst_curve = []
    for eps in levels:
        found, kept = (list(_worst(told, stage, eps, stored).values()) for stored in (False, True))
        robust, stored = (
            rates([one.status for one in those], [one.hit for one in those])[1] for those in (found, kept)
        )
        fooled = sum(one.hit and one.status != Status.ALREADY_WRONG for one in found)
        fixed = _untouched(told, stage, eps)
        point = {"eps": eps, "robust": _rate(robust), "stored": _rate(stored), "fooled": fooled}
        worst_curve.append({**point, "untouchable": fixed.hits})
    further = [*(_beaten(attacks) if stage.kind.continuous else ()), *alarms.of_planted(everything)]
    if levels:
        fixed = _untouched(told, stage, levels[-1])
        further += alarms.of_untouchable(fixed.hits, fixed.total)
    clean, classes = _clean(told), max((one.classes for one in everything), default=0)
    answers = alarms.answers_of(stage.goal, classes, (record["y"] for records in told for record in records))
    if not any(one.attacked_before for one in everything):  # else they are wrong for that reason
        further += alarms.of_clean(clean.hits, clean.total, answers)
    raised = [alarms.Trust(alarm["trust"]) for one in attacks for alarm in one["alarms"]] + [
        alarm.trust for alarm in further
    ]
    return {
        "clean": _rate(clean),
        "terms": [vars(term) for term in _terms(audit, number, stage, told[0])],
        "worst": worst_curve,
        "attacks": attacks,
        "alarms": [vars(alarm) for alarm in further],
        "trust": max(raised, key=list(alarms.Trust).index, default=alarms.Trust.RELIABLE).value,
    }


def _kept(audit: Audit, unit: Unit, name: str) -> dict[str, Any]:
    """A JSON file of a unit."""
    place = audit.place(unit)
    try:
        found: dict[str, Any] = json.loads((place / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"the shard's {name} cannot be read",
            where=str(place),
            fix="delete this folder and run again; the rest is kept",
        ) from error
    return found


def _clean(told: Sequence[Sequence[Mapping[str, Any]]]) -> Rate:
    """Clean accuracy over the examples that any attack could judge, whichever of the attacks comes first."""
    right: dict[tuple[int, int], bool] = {}
    for record in (record for records in told for record in records):
        if record["status"] not in (Status.ERROR, Status.INFEASIBLE):
            who = record["shard"], record["row"]
            right[who] = right.get(who, True) and record["status"] != Status.ALREADY_WRONG
    return Rate(sum(right.values()), len(right))


def _cost(attacked: Sequence[Mapping[str, Any]], label: str) -> dict[str, float]:
    """Mean passes, all ε together, of the examples that an attack was itself run on, by its records of those not wrong already."""
    # In a cascade, what an earlier attack fooled at every ε cost this one nothing.
    own = {(r["shard"], r["row"]) for r in attacked if r["origin"] == label or r["queries"]}
    return {word: sum(r[word] for r in attacked) / max(len(own), 1) for word in ("queries", "gradients")}


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


@dataclass(frozen=True)
class Outcome:
    """The worst that any attack of a campaign did to an example.

    Args:
        key: of the example.
        x: SHA-256 of the clean input.
        y: what is right.
        status: as in the records.
        hit: fooled within the budget.
    """

    key: str
    x: str
    y: int
    status: str
    hit: bool

    @property
    def counted(self) -> bool:
        """Whether it was judged at all."""
        return self.status not in (Status.ERROR, Status.INFEASIBLE)

    @property
    def weight(self) -> tuple[bool, bool, bool]:
        """What outweighs what: a success whatever is not one, a wrong answer a right one, and what was judged an error."""
        return self.hit, self.status == Status.ALREADY_WRONG, self.counted

    @property
    def robust(self) -> bool:
        """Right, and still right under every attack."""
        return self.counted and not self.hit and self.status != Status.ALREADY_WRONG


def outcomes(audit: Audit, number: int, eps: float) -> list[Outcome]:
    """The worst case of each example of a campaign at one ε, in the order of the data.

    Raises:
        RunError: records that can't be read.
    """
    stage = audit.stages[number]
    return list(_worst(_records(audit, number, stage), stage, eps).values())


def _records(audit: Audit, number: int, stage: Stage) -> list[list[dict[str, Any]]]:
    """The records of a campaign, by attack."""
    units = [[Unit(number, index, shard) for shard in range(stage.shards)] for index in range(len(stage.attacks))]
    return [
        [{**record, "shard": unit.shard} for unit in those for record in audit.records(audit.place(unit))]
        for those in units
    ]


def _at(records: list[dict[str, Any]], keeps: str, eps: float) -> tuple[list[dict[str, Any]], list[bool]]:
    """An attack's records that tell of one ε, and whether each is a success within it."""
    if keeps == "hit":
        records = [record for record in records if record["eps"] == eps]
        return records, [record["success"] for record in records]
    return records, [record["success"] and record["distance"] <= eps for record in records]


def _worst(
    told: list[list[dict[str, Any]]], stage: Stage, eps: float, stored: bool = False
) -> dict[tuple[int, int], Outcome]:
    """The worst that any attack did to each example, by shard and row; a judged one counts before an error."""
    worst: dict[tuple[int, int], Outcome] = {}
    for attack, records in zip(stage.attacks, told, strict=True):
        for record, inside in zip(*_at(records, attack.keeps, eps), strict=True):
            hit = inside and (record["stored_success"] or not stored)
            wrong = record["status"] == Status.ALREADY_WRONG
            status = Status.FOOLED.value if hit and not wrong else record["status"]
            found = Outcome(record["key"], record["x_sha256"], record["y"], status, hit)
            before = worst.setdefault((record["shard"], record["row"]), found)
            if found.weight > before.weight:
                worst[record["shard"], record["row"]] = found
    return worst


def _untouched(told: list[list[dict[str, Any]]], stage: Stage, eps: float) -> Rate:
    """The examples of which nothing may be changed at one ε, as the first attack met them: no later one may more."""
    records, _ = _at(told[0], stage.attacks[0].keeps, eps)
    return untouched([one["status"] for one in records], [(one["measures"] or {}).get(UNTOUCHABLE) for one in records])


def _terms(audit: Audit, number: int, stage: Stage, records: list[dict[str, Any]]) -> list[Term]:
    """What the examples of a campaign were attacked under, but for ε itself: as the first attack met them at the smallest."""
    sealed = [_kept(audit, Unit(number, 0, shard), "unit.json") for shard in range(stage.shards)]
    names = dict.fromkeys(name for one in sealed for name in one.get("terms", ()) if name != UNTOUCHABLE)
    first, _ = _at(records, stage.attacks[0].keeps, min(stage.levels, default=0.0))
    measured = [one["measures"] or {} for one in first if one["status"] in (Status.ROBUST, Status.FOOLED)]
    return [Term.of(name, [one.get(name) for one in measured]) for name in names]


def _beaten(attacks: Sequence[Mapping[str, Any]]) -> list[alarms.Alarm]:
    """Signs that the gradients mislead: what sees none of them, or follows them for one step, found more than attacks of many (law 9).

    The margin is AutoAttack's own for Square (arXiv 2003.01690). Each such attack raises one alarm, at the first ε where it wins.
    """
    fixed = [one for one in attacks if one["keeps"] == "hit"]
    strong = [one for one in fixed if one["access"] == "gradient" and not one["single_step"]]
    found = []
    for other in fixed:
        if other in strong:
            continue
        blind = other["access"] != "gradient"
        for level, point in enumerate(other["curve"]):
            shares = [one["curve"][level]["robust"]["value"] for one in strong]
            left = point["robust"]["value"]
            rival = min((share for share in shares if share is not None), default=None)
            if left is not None and rival is not None and left < rival - WINS:
                message = (
                    f"{other['label']}, which {'sees no gradients' if blind else 'makes a single step'}, leaves {left:.1%} at eps "
                    f"{point['eps']:g} where gradient attacks of many steps leave {rival:.1%}: gradients mislead them; give them "
                    "more steps and restarts, and run score-based attacks beside them"
                )
                found.append(
                    alarms.Alarm("black_box_wins" if blind else "single_step_wins", alarms.Trust.SUSPECT, message)
                )
                break
    return found
