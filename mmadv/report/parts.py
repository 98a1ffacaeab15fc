"""What others draw for the report, a modality's figures and a plugin's section: let in one by one, and never trusted to fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from markupsafe import Markup

from mmadv import rows
from mmadv.audit import Audit, Record
from mmadv.catalog import Catalog
from mmadv.errors import RunError
from mmadv.host import describe
from mmadv.report.records import answer
from mmadv.report.words import amount
from mmadv.runs import RunInfo
from mmadv.stage import Stage, Unit

EXAMPLES = 6
"""Shown of a campaign, at most."""
BYTES = 8_000_000
"""Of figures in a report, shared by its campaigns."""

VOID = frozenset(
    ("area", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr")
)
"""Elements without an end tag."""
REFUSED = frozenset(
    ("base", "body", "embed", "head", "html", "iframe", "link", "main", "meta", "object", "plaintext", "script")
)
"""Elements that would change the whole page, or that its content policy leaves dead."""


@dataclass(frozen=True)
class Section:
    """A plugin's section: `html`, or what went wrong."""

    name: str
    summary: str
    owner: str
    html: Markup | None = None
    error: str = ""


@dataclass(frozen=True)
class Example:
    """A success to look at."""

    html: Markup
    caption: str
    key: str
    stored: bool


def sections(audit: Audit) -> Iterator[Section]:
    """What plugins add; one that fails is a line that says so."""
    units = sum(1 for _ in audit.folder.path.glob("shards/*/*/*/unit.json"))
    info = RunInfo(audit.folder.path, audit.spec.title, units)
    catalog = Catalog(audit.host)
    for name, record in catalog.sections().items():
        section = Section(name, record.summary, str(catalog.owner(name)))
        try:
            html = fragment(record.resolve()(info))
            if html:  # a section that has nothing to say of this run is left out
                yield dataclasses.replace(section, html=html)
        except (Exception, SystemExit) as error:
            yield dataclasses.replace(section, error=describe(error))


def fragment(html: object) -> Markup:
    """HTML that a plugin has drawn and escaped, if the rest of the page can stand after it.

    Raises:
        ValueError: it isn't text, leaves an element open, closes one that it didn't open, or holds what the report refuses.

    Example:
        >>> fragment("<p>1 &lt; 2</p>")
        Markup('<p>1 &lt; 2</p>')
        >>> fragment("<p>never closed")
        Traceback (most recent call last):
        ValueError: its HTML leaves <p> open
    """
    if not isinstance(html, str):
        raise TypeError(f"it gave {type(html).__name__}, expected HTML as str")
    checker = _Balance()
    checker.feed(html)
    if checker.rawdata.startswith("<") or html.count("<!--") != html.count("-->"):
        raise ValueError("its HTML ends inside a tag or comment")
    if checker.open:
        raise ValueError(f"its HTML leaves <{checker.open[-1]}> open")
    return Markup(html)


class _Balance(HTMLParser):
    """Follows the open elements."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in REFUSED:
            raise ValueError(f"its HTML holds <{tag}>, which a report may not")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open[-1:] == [tag] and {"svg", "math"} & set(self.open):
            self.open.pop()  # only there does `/>` close an element

    def handle_endtag(self, tag: str) -> None:
        if self.open[-1:] != [tag]:
            within = f"<{self.open[-1]}>" if self.open else "nothing"
            raise ValueError(f"its HTML closes <{tag}> where {within} is open")
        self.open.pop()


def examples(audit: Audit, number: int, campaign: dict[str, Any]) -> tuple[list[Example], str]:
    """Some successes of a campaign: of its strongest attack, those at the smallest ε, each example once.

    Args:
        audit: the run.
        number: of the campaign.
        campaign: its summary.

    Returns:
        The examples, and why there are no more of them, if something is in the way.
    """
    found: list[Example] = []
    left = min(BYTES // len(audit.stages), BYTES // 3)
    try:
        stage = audit.stages[number]
        for unit, record in _chosen(audit, number, campaign):
            example = _example(audit, stage, unit, record, campaign)
            left -= len(example.html)
            if left < 0:
                return found, "The rest would make this file too large; they lie in the run’s folder."
            found.append(example)
    except (Exception, SystemExit) as error:
        return found, f"Examples can’t be shown: {describe(error)}"
    return found, ""


def _chosen(audit: Audit, number: int, campaign: dict[str, Any]) -> list[tuple[Unit, Record]]:
    largest = max(campaign["threat"]["eps"], default=float("inf"))
    found: dict[str, tuple[Unit, Record]] = {}
    for attack in sorted(range(len(campaign["attacks"])), key=lambda index: _strength(campaign["attacks"][index])):
        successes = [
            (unit, record)
            for unit in (Unit(number, attack, shard) for shard in range(audit.stages[number].shards))
            for record in audit.records(audit.place(unit))
            if record["success"]
            and record["origin"] == campaign["attacks"][attack]["label"]
            and record["origin_eps"] == record["eps"]
            and record["distance"] <= largest * (1 + 1e-5)
        ]
        for unit, record in _varied(sorted(successes, key=lambda pair: _rank(pair[1]))):
            found.setdefault(record["key"], (unit, record))
            if len(found) == EXAMPLES:
                return list(found.values())
    return list(found.values())


def _strength(attack: dict[str, Any]) -> tuple[float, float]:
    distance = attack["median_distance"]
    return sum(point["robust"]["hits"] for point in attack["curve"]), float("inf") if distance is None else distance


def _rank(record: Record) -> tuple[bool, float, float]:
    return not record["stored_success"], record["eps"] or 0.0, record["distance"]


def _varied(successes: list[tuple[Unit, Record]]) -> list[tuple[Unit, Record]]:
    """One of each class first, then one more of each, and so on; at one ε the order stays else."""
    seen: dict[tuple[object, ...], int] = {}

    def turn(record: Record) -> tuple[bool, float, int]:
        group = (record["stored_success"], record["eps"], record["y"])
        seen[group] = seen.get(group, -1) + 1
        return not record["stored_success"], record["eps"] or 0.0, seen[group]

    turns = [turn(record) for _, record in successes]
    return [successes[index] for index in sorted(range(len(successes)), key=turns.__getitem__)]


def _example(audit: Audit, stage: Stage, unit: Unit, record: Record, campaign: dict[str, Any]) -> Example:
    row = record["row"]
    x = rows.take(stage.examples(unit.shard).x, slice(row, row + 1))
    if stage.digests(x) != [record["x_sha256"]]:
        raise RunError("the clean input is not the one attacked", where=record["key"])
    level = None if record["eps"] is None else stage.levels.index(record["eps"])
    adv = stage.kind.unpack([audit.adversarials(audit.place(unit), level)[row]])
    names = answer(stage, record, 0), answer(stage, record, 2)
    scale = dict(zip(campaign["threat"]["eps"], campaign["scale"], strict=True)).get(record["eps"])
    where = "nearest found" if record["eps"] is None else f"ε = {amount(record['eps'])}{f' ({scale})' if scale else ''}"
    return Example(
        html=fragment(stage.kind.figures(x, adv, names)),
        caption=f"{record['origin']}, {where}, distance {amount(record['distance'])} ({campaign['unit']})",
        key=record["key"],
        stored=record["stored_success"],
    )
