"""The report: one self-contained HTML file, summary first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mmadv import rows
from mmadv.audit import Audit
from mmadv.catalog import Catalog
from mmadv.host import describe
from mmadv.ledger import Status
from mmadv.report.curves import Line, chart, grey_levels
from mmadv.runs import RunInfo, write_text
from mmadv.stage import Stage, Unit

EXAMPLES = 4
"""Shown of each campaign."""

MEANING = {
    "reliable": "no sign was found that the figures are false comfort",
    "suspect": "something was seen that can make a weak model look robust; read the alarms before the figures",
    "invalid": "the figures can't be used; the alarms say why",
}


def write(audit: Audit, summary: dict[str, Any]) -> Path:
    """Write `report.html` into the run folder, whole or not at all.

    Args:
        audit: whose run is finished.
        summary: what it gave.

    Returns:
        The file.

    Raises:
        RunError: the folder can't be written, or a shard can't be read.
    """
    path = audit.folder.path / "report.html"
    write_text(path, render(audit, summary))
    return path


def render(audit: Audit, summary: dict[str, Any]) -> str:
    """The report as one HTML document that loads nothing from elsewhere."""
    environment = Environment(
        loader=PackageLoader("mmadv.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "interval": interval, "eps": grey_levels}
    campaigns = [
        {**campaign, "chart": _chart(campaign), "figures": list(_figures(audit, number, stage, campaign))}
        for number, (stage, campaign) in enumerate(zip(audit.stages, summary["campaigns"], strict=True))
    ]
    return environment.get_template("template.html.j2").render(
        summary=summary,
        campaigns=campaigns,
        manifest=audit.folder.manifest(),
        meaning=MEANING,
        statuses=[status.value for status in Status],
        sections=list(_sections(audit)),
    )


def percent(rate: dict[str, Any] | None) -> str:
    """A rate as a percentage.

    Example:
        >>> percent({"value": 0.125}), percent(None)
        ('12.5 %', '–')
    """
    return "–" if rate is None or rate["value"] is None else f"{100 * rate['value']:.1f} %"


def interval(rate: dict[str, Any] | None) -> str:
    """A rate's 95 % interval and what it counts.

    Example:
        >>> interval({"value": 0.5, "low": 0.25, "high": 0.75, "hits": 5, "total": 10})
        '[25.0, 75.0], 5 of 10'
    """
    if rate is None or rate["value"] is None:
        return "nothing to count"
    return f"[{100 * rate['low']:.1f}, {100 * rate['high']:.1f}], {rate['hits']} of {rate['total']}"


def _chart(campaign: dict[str, Any]) -> Markup:
    if not campaign["worst"]:
        return Markup("")
    clean = (0.0, campaign["clean"]["value"])

    def points(curve: Sequence[dict[str, Any]]) -> list[tuple[float, float | None]]:
        return [clean, *((point["eps"], point["robust"]["value"]) for point in curve if point["eps"] > 0)]

    lines = [Line(attack["label"], points(attack["curve"])) for attack in campaign["attacks"]]
    worst = Line("worst of all attacks", points(campaign["worst"]), bold=True)
    return chart(
        [*lines, worst], title=f"{campaign['name']}: accuracy against ε, as in the table", unit=campaign["unit"]
    )


def _figures(audit: Audit, number: int, stage: Stage, campaign: dict[str, Any]) -> Any:
    """Some successes, the smallest first, each example once."""
    labels = stage.source.labels

    def named(label: int | None) -> str:
        if label is None:
            return "?"
        return str(labels[label]) if labels is not None and 0 <= label < len(labels) else f"class {label}"

    found: dict[str, tuple[float, dict[str, Any], Unit]] = {}
    for attack in range(len(stage.attacks)):
        for shard in range(stage.shards):
            unit = Unit(number, attack, shard)
            for record in audit.records(audit.place(unit)):
                own = record["origin"] == stage.campaign.label(attack) and record["origin_eps"] == record["eps"]
                if record["success"] and own:
                    rank = (record["origin_eps"] or 0.0, record["distance"])
                    if record["key"] not in found or rank < found[record["key"]][0]:
                        found[record["key"]] = (rank, record, unit)  # type: ignore[assignment]
    for _, record, unit in islice(sorted(found.values(), key=lambda entry: entry[0]), EXAMPLES):
        x = rows.take(stage.examples(unit.shard).x, slice(record["row"], record["row"] + 1))[0]
        adv = audit.adversarials(audit.place(unit))[record["row"]]
        caption = (named(record["y"]), named(record["decision"]))
        yield {
            "html": Markup(stage.kind.figures(x, adv, caption)),  # the modality escapes what it shows
            "key": record["key"],
            "attack": record["origin"],
            "eps": record["eps"],
            "distance": record["distance"],
            "stored": record["stored_success"],
        }


def _sections(audit: Audit) -> Any:
    """What plugins add; one that fails is a line that says so."""
    info = RunInfo(audit.folder.path, audit.spec.title, len(audit.units()))
    for name, record in Catalog(audit.host).sections().items():
        try:
            yield {"name": name, "html": Markup(record.resolve()(info)), "error": ""}
        except Exception as error:
            yield {"name": name, "html": Markup(""), "error": describe(error)}
