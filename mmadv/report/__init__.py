"""The report: one self-contained HTML file, summary first, that asks nothing of the network and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mmadv.access import Access
from mmadv.audit import Audit
from mmadv.goals import Targeted, Untargeted
from mmadv.host import describe
from mmadv.ledger import Status
from mmadv.report import parts, records, words
from mmadv.report.curves import NARROW, WIDE, Line, Point, chart
from mmadv.result import Rate, Term
from mmadv.runs import write_text
from mmadv.stage import Stage, Unit

MEANING = {
    "reliable": "No sign was found that the figures are false comfort. They stay upper bounds: a stronger attack can only lower them.",
    "suspect": "Something was seen that can make a weak model look robust. Read the alarms before the figures.",
    "invalid": "The figures of at least one campaign can't be used. Its alarms say why.",
}
SIGNS = {"reliable": "✓", "suspect": "!", "invalid": "✕"}
SKIPPED = 20
"""Of the data that were left out, so many are named in a campaign."""
KNOWN = {"eps", "access", "targets", "queries", "gradients", "eot", "norm"}
"""Words of a threat that the report says in its own way; the rest are the modality's."""


def write(audit: Audit, summary: Mapping[str, Any]) -> Path:
    """Write `report.html` into the run folder, whole or not at all.

    Args:
        audit: whose run is finished.
        summary: what it gave, as in `summary.json`.

    Returns:
        The file.

    Raises:
        RunError: the manifest can't be read, or the file can't be written.
    """
    path = audit.folder.path / "report.html"
    write_text(path, render(audit, summary))
    return path


def render(audit: Audit, summary: Mapping[str, Any]) -> str:
    """The report as one HTML document. All figures are the summary's; examples and plugins' sections that fail say so.

    Args:
        audit: whose run is finished.
        summary: what it gave, as in `summary.json`.

    Raises:
        RunError: the manifest can't be read.
    """
    environment = Environment(
        loader=PackageLoader("mmadv.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for filter_ in (
        words.percent,
        words.interval,
        words.counted,
        words.amount,
        words.mean,
        words.duration,
        words.listed,
    ):
        environment.filters[filter_.__name__] = filter_
    script = files("mmadv.report").joinpath("report.js").read_text(encoding="utf-8")
    campaigns = [_campaign(audit, number, campaign) for number, campaign in enumerate(summary["campaigns"])]
    sections = list(parts.sections(audit))
    for stage, campaign in zip(audit.stages, campaigns, strict=True):
        campaign["more"] = [section.name for section in sections if section.name.partition(".")[0] in _plugins(stage)]
    every = records.shared([campaign["rows"] for campaign in campaigns])
    return environment.get_template("template.html.j2").render(
        summary=summary,
        campaigns=campaigns,
        distrusted=[(campaign["name"], alarm) for campaign in campaigns for alarm in campaign["raised"]],
        records=every,
        left_out=sum(len(campaign["rows"]) for campaign in campaigns) - len(every),
        choices=_choices(every),
        most_skipped=SKIPPED,
        # The policy names this one script by its digest: no other runs, whatever the page holds.
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        totals=_totals(summary["campaigns"]),
        manifest=audit.folder.manifest(),
        meaning=MEANING,
        signs=SIGNS,
        wide=WIDE,
        narrow=NARROW,
        statuses=[status.value for status in Status],
        sections=sections,
    )


def _choices(rows: Sequence[records.Row]) -> list[tuple[str, int, list[str]]]:
    """Columns that records are filtered by: title, number and what they say, in the order that it is met."""
    return [
        ("Campaign", 1, list(dict.fromkeys(row.campaign for row in rows))),
        ("Attack", 2, list(dict.fromkeys(row.attack for row in rows))),
        ("Status", 3, list(dict.fromkeys(row.outcome.replace("_", " ") for row in rows))),
    ]


def _totals(campaigns: Sequence[Mapping[str, Any]]) -> str:
    attacks = [attack for campaign in campaigns for attack in campaign["attacks"]]
    counts = [
        (len(campaigns), "campaign"),
        (len(attacks), "attack"),
        (sum(campaign["examples"] for campaign in campaigns), "example"),
    ]
    told = [f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts]
    return ", ".join([*told, f"{words.duration(sum(attack['seconds'] for attack in attacks))} of attacking"])


def _campaign(audit: Audit, number: int, campaign: Mapping[str, Any]) -> dict[str, Any]:
    """A campaign's summary and what is drawn from it."""
    stage, plain = audit.stages[number], dict(campaign)
    shown, note = parts.examples(audit, number, plain)
    alarms = [{**alarm, "attack": ""} for alarm in campaign["alarms"]] + [
        {**alarm, "attack": attack["label"]} for attack in campaign["attacks"] for alarm in attack["alarms"]
    ]
    norm = words.norm(_norm(stage))
    rows = records.table(audit, number, campaign)
    return {
        **plain,
        "rows": rows,
        "nearest": any(attack["keeps"] == "nearest" for attack in campaign["attacks"]),
        "budgets": records.budgets(campaign, rows),
        "norm": norm,
        "measure": ", ".join(filter(None, (norm, campaign["unit"]))),
        "access": _access(campaign),
        "facts": _facts(campaign, norm, stage),
        "raised": alarms,
        "chart": _chart(audit, number, campaign, norm),
        "shown": shown,
        "note": note,
    }


def _plugins(stage: Stage) -> set[str]:
    """Those that a campaign is made of: its modality's, its attacks' and, by their modules, its victim's and its data's."""
    campaign = stage.campaign
    named = [campaign.modality, *(entry.name for entry in campaign.attacks)]
    modules = [(entry.factory or "").removeprefix("mmadv_") for entry in (campaign.target, campaign.data)]
    return {re.split(r"[.:]", name)[0] for name in [*named, *modules]}


def _norm(stage: Stage) -> str:
    return str(stage.campaign.threat.words.get("norm") or getattr(stage.space(None), "norm", ""))


def _access(campaign: Mapping[str, Any]) -> str:
    """What the attackers were let see, or saw where all was granted."""
    granted = campaign["threat"]["access"]
    return granted or max((attack["access"] for attack in campaign["attacks"]), key=Access.of)


def _facts(campaign: Mapping[str, Any], norm: str, stage: Stage) -> list[tuple[str, str]]:
    """The threat model in words."""
    threat = campaign["threat"]
    scales = zip(threat["eps"], campaign["scale"], strict=True)
    levels = [words.amount(eps) + (f" ({scale})" if scale else "") for eps, scale in scales]
    goal = "any wrong answer" if threat["targets"] is None else f"the answer {threat['targets']}"
    if not isinstance(stage.goal, (Untargeted, Targeted)):  # the modality's own
        goal = ": ".join(filter(None, (stage.goal.name, words.listed(stage.goal_words))))
    limits = [f"{threat[what]:,} {what}" for what in ("queries", "gradients") if threat[what] is not None]
    further = {word: value for word, value in threat.items() if word not in {*KNOWN, *stage.goal_words}}
    access = _access(campaign) + ("" if threat["access"] else "; nothing that the target gives was withheld")
    facts = [
        ("Target", campaign["target"]),
        ("Data", f"{campaign['data']}, {campaign['examples']:,} examples"),
        ("Perturbation", ", ".join(filter(None, (norm, f"measured in: {campaign['unit']}", words.listed(further))))),
        ("ε", "; ".join(levels) or "none set: the nearest adversarial was looked for"),
        ("Goal", goal),
        ("Access", access),
        ("Budget", ", ".join(limits) + " per example at most" if limits else "no limit but each attack's own"),
    ]
    if threat["eot"] > 1:
        facts.append(("Chance", f"answers are means over {threat['eot']} passes"))
    if found := [one for one in campaign["attacks"] if one["planted"]["total"]]:
        told = [f"{one['label']} {one['planted']['found']} of {one['planted']['total']}" for one in found]
        there = f"of adversarials that are known to be there, within the largest ε, found: {', '.join(told)}"
        facts.append(("Planted", f"{there}; a miss tells against the attack, and a find proves nothing"))
    if told := [str(Term(**term)) for term in campaign.get("terms", ())]:
        facts.append(("Terms", ", ".join(told)))
    if fixed := [point for point in campaign["worst"] if point.get("untouchable")]:
        told = [f"{point['untouchable']} at ε = {words.amount(point['eps'])}" for point in fixed]
        facts.append(
            ("Untouchable", f"examples of which nothing may be changed, and that count as robust: {', '.join(told)}")
        )
    if before := campaign.get("before"):
        spent = f"{words.mean(before['queries'])} queries and {words.mean(before['gradients'])} gradients per attacked example"
        doubt = f" ({', '.join(before['alarms'])})" if before["alarms"] else ""
        told_of = (
            f"{before['attack']} made what these attacks start from, at {spent}, in {words.duration(before['seconds'])}"
        )
        facts.append(("Before", f"{told_of}, verdict {before['trust']}{doubt}; none of it is in the figures below"))
    if campaign["cascade"]:
        facts.append(("Cascade", "each attack ran only on what the ones before it left standing"))
    return facts


def _chart(audit: Audit, number: int, campaign: Mapping[str, Any], norm: str) -> Markup:
    title = f"{campaign['name']}: accuracy against ε; the figures are in the table below"
    axis = f"ε ({', '.join(filter(None, (norm, campaign['unit'])))})"
    if campaign["worst"]:
        lines = [Line(attack["label"], _points(campaign, attack["curve"])) for attack in campaign["attacks"]]
        lines.append(Line("worst case of all attacks", _points(campaign, campaign["worst"]), bold=True))
        return _drawn(lines, title, axis, dict(zip(campaign["threat"]["eps"], campaign["scale"], strict=True)))
    try:
        lines = [_nearest(audit, number, index, campaign) for index in range(len(campaign["attacks"]))]
    except Exception as error:
        return Markup("<p>The curves can't be drawn: {}</p>").format(describe(error))
    return _drawn(lines, title, axis)


def _drawn(lines: Sequence[Line], title: str, axis: str, scale: Mapping[float, str] | None = None) -> Markup:
    return chart(lines, title=title, axis=axis, scale=scale or {}) if any(line.points for line in lines) else Markup("")


def _points(campaign: Mapping[str, Any], curve: Sequence[Mapping[str, Any]]) -> list[Point]:
    rates = [(0.0, campaign["clean"]), *((point["eps"], point["robust"]) for point in curve if point["eps"] > 0)]
    return [_point(eps, rate) for eps, rate in rates if rate["value"] is not None]


def _point(eps: float, rate: Mapping[str, Any]) -> Point:
    return Point(eps, *(rate[name] for name in ("value", "low", "high", "hits", "total")))


def _nearest(audit: Audit, number: int, attack: int, campaign: Mapping[str, Any]) -> Line:
    """Where no ε is set: what one minimum-norm attack says of every ε, a step down at each distance."""
    label, clean = campaign["attacks"][attack]["label"], campaign["attacks"][attack]["clean"]
    places = [audit.place(Unit(number, attack, shard)) for shard in range(audit.stages[number].shards)]
    found = sorted(r["distance"] for place in places for r in audit.records(place) if r["success"])
    if clean["value"] is None:
        return Line(label, [])
    points, total = [_point(0.0, clean)], clean["total"]
    every = math.ceil(len(found) / 200)  # so many steps can be told apart in a drawing
    for fooled in range(len(found), 0, -every):
        rate = Rate(clean["hits"] - fooled, total)
        points.insert(1, Point(found[fooled - 1], rate.value, *rate.interval, rate.hits, total))
    return Line(label, points, steps=True)
