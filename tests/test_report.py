"""The report: self-contained, escaped, equal to the summary, and never broken by what others draw into it."""

import base64
import hashlib
import json
import re
import sys
import types
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise

import pytest
import torch

from mmadv import MemorySource, report
from mmadv.audit import Audit
from mmadv.hookspecs import SectionSpec, hookimpl
from mmadv.host import Host, default_host
from mmadv.ledger import Status
from mmadv.report import records, words
from mmadv.report.curves import Line, Point, chart
from mmadv.report.parts import VOID, fragment
from mmadv.spec import parse
from mmadv.summary import weakest
from mmadv.testing import linear_victim

EVIL = "<script>alert('&\"')</script>"
MODULE = f"""
import torch
from mmadv import MemorySource
from mmadv.testing import linear_victim

EVIL = {EVIL!r}

def victim():
    return linear_victim(12, (1, 4, 4), classes=3)[0]

class Broken(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :3] * float("nan")

def broken():
    return Broken().eval()

def inputs():
    _, x, y = linear_victim(12, (1, 4, 4), classes=3)
    y = y.clone()
    y[::5] = (y[::5] + 1) % 3
    return MemorySource("data " + EVIL, x, y, [f"key {{n}} " + EVIL for n in range(12)], [f"label {{n}} " + EVIL for n in range(3)])

def others():
    source = inputs()
    keep = source.y != 1
    keys = [key for key, kept in zip(source.keys, keep.tolist()) if kept]
    return MemorySource("others", source.x[keep], source.y[keep], keys, source.labels)
"""
SPEC = """
title: {title}
seed: 1
shard_size: 5
campaigns:
  - name: linf
    modality: image
    target: {{factory: "report_victims:victim"}}
    data: {{factory: "report_victims:inputs"}}
    threat: {{norm: linf, eps: [0.25/255, 2/255, 0.05]}}
    attacks: [image.fgsm, {{name: image.pgd, steps: 5, restarts: 2}}, {{name: image.square, steps: 10}}]
  - name: l2
    modality: image
    target: {{factory: "report_victims:victim"}}
    data: {{factory: "report_victims:others"}}
    threat: {{norm: l2, eps: [0.1, 0.3], access: gradient, queries: 500, targets: 1}}
    attacks: [{{name: image.ddn, steps: 10}}]
  - name: nearest-only
    modality: image
    target: {{factory: "report_victims:victim"}}
    data: {{factory: "report_victims:inputs"}}
    threat: {{norm: l2}}
    attacks: [{{name: image.ddn, steps: 10}}]
  - name: broken
    modality: image
    target: {{factory: "report_victims:broken"}}
    data: {{factory: "report_victims:inputs", limit: 4}}
    threat: {{norm: linf, eps: 8/255}}
    attacks: [image.fgsm]
"""


class Acme:
    """A plugin that brings sections, all but one of them broken in its own way."""

    @hookimpl
    def mmadv_report_sections(self):
        def fails(run):
            raise RuntimeError(f"no such thing {EVIL}")

        def leaves(run):
            raise SystemExit(3)

        for name, factory in {
            "good": lambda run: f"<p>units: <b>{run.units}</b> of {run.folder.name}</p>",
            "fails": fails,
            "leaves": leaves,
            "absent": "no_such_module:section",
            "unbalanced": lambda run: "<table><tr><td>open",
            "closes": lambda run: "</section></main>",
            "comment": lambda run: "<p>x</p><!-- the rest is gone",
            "script": lambda run: "<script>1</script>",
            "number": lambda run: 3,
        }.items():
            yield SectionSpec(name=name, summary=f"section {name}", factory=factory)


class Page(HTMLParser):
    """What a page holds; fails where it isn't well-formed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.ids, self.open, self.text = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert "svg" in self.open, f"<{tag}/> is not closed in HTML"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open[-1:] == [tag], (tag, self.open, self.getpos())
        self.open.pop()

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    where = tmp_path_factory.mktemp("report")
    (where / "report_victims.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(where))
        audit = Audit(parse(SPEC.format(title=json.dumps("My " + EVIL))), where / "run", Host(extra={"acme": Acme()}))
        summary = audit.run()
        summary["campaigns"][0]["alarms"].append({"code": "planted", "trust": "invalid", "message": f"seen {EVIL}"})
        html = report.render(audit, summary)
        yield audit, summary, html


@pytest.fixture(scope="module")
def page(made):
    return Page(made[2])


def part(html, campaign):
    """The section of one campaign."""
    start = html.index(f'<section aria-labelledby="c-{campaign}">')
    return html[start : html.index("\n</section>", start)]


def test_it_is_one_well_formed_file_that_asks_for_nothing(made, page):
    html = made[2]
    assert html.startswith("<!doctype html>")
    assert len(html.encode()) < 1_000_000
    for tag, attrs in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "form", "base")
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "poster", "action", "data", "background"):
                assert value.startswith(("#", "data:image/png;base64,")), value
    assert not re.search(r"url\(|@import|https?://", html)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.S)
    assert script == files("mmadv.report").joinpath("report.js").read_text(encoding="utf-8")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert re.findall(r"script-src ([^;]*);", policy) == [f"'sha256-{allowed}'"]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_ids_are_unique_and_every_link_leads_somewhere(page):
    assert len(page.ids) == len(set(page.ids))
    wanted = [attrs["href"][1:] for tag, attrs in page.tags if tag == "a"]
    wanted += [
        attrs[name] for _, attrs in page.tags for name in ("aria-labelledby", "aria-describedby") if name in attrs
    ]
    assert wanted
    assert set(wanted) <= set(page.ids)


def test_it_can_be_read_without_a_pointer_or_pictures(page):
    regions = [attrs for _, attrs in page.tags if attrs.get("class") == "scroll"]
    assert regions
    assert all(attrs["tabindex"] == "0" and attrs["role"] == "region" and attrs["aria-label"] for attrs in regions)
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img")
    assert all("aria-label" in attrs or attrs.get("aria-hidden") == "true" for tag, attrs in page.tags if tag == "svg")
    assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th")
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_hostile_titles_keys_labels_and_messages_are_escaped(made, page):
    html, text = made[2], "".join(page.text)
    assert html.count("<script") == 1
    assert f"My {EVIL}" in text
    assert f"seen {EVIL}" in text
    assert f"data {EVIL}" in text
    assert re.search(r"key \d+ " + re.escape(EVIL), text)
    assert re.search(r"clean: label \d " + re.escape(EVIL), text)


def test_all_of_the_summary_is_there_and_says_the_same(made, page):
    _, summary, html = made
    text = "".join(page.text)
    for value in (summary["digest"], summary["spec"], summary["trust"], "upper bound"):
        assert value in text
    for campaign in summary["campaigns"]:
        section = part(html, campaign["name"])
        for attack in campaign["attacks"]:
            row = re.search(
                rf'<tr><th scope="row" class="name">{re.escape(attack["label"])}<small>.*?</tr>', section, re.S
            )
            cells = [re.sub(r"<[^>]+>", " ", cell) for cell in re.findall(r"<td.*?</td>", row.group(), re.S)]
            assert len(cells) == 1 + len(attack["curve"])
            for cell, point in zip(cells[1:], attack["curve"], strict=True):
                rate = point["robust"]
                assert cell.split()[: 2 if rate["total"] else 1] == words.percent(rate).split()
                assert f"{rate['hits']} of {rate['total']}" in cell
                assert words.interval(rate) in cell
                assert f"stored {words.percent(point['stored'])}" in cell
            outcome = section[section.index("Outcomes and effort") :]
            outcome = outcome[outcome.index(f">{attack['label']}<") :]
            numbers = re.findall(r'<td class="number">(.*?)</td>', outcome[: outcome.index("</tr>")])
            assert list(map(int, numbers[:5])) == [attack["statuses"][status.value] for status in Status]
            assert numbers[5] == words.amount(attack["median_distance"])
            assert numbers[6:8] == [words.mean(attack["queries"]), words.mean(attack["gradients"])]
        overview = html[html.index('id="summary"') : html.index("</table>")]
        overview = overview[overview.index(f'"#c-{campaign["name"]}"') :]
        for point in campaign["worst"]:
            scale = f"<small>{255 * point['eps']:.3g} of 255 levels at most</small>"
            if campaign["threat"]["norm"] != "linf":
                scale = f"<small>{255 * point['eps'] / 4:.3g} of 255 levels RMS</small>"
            assert f"ε&nbsp;=&nbsp;{words.amount(point['eps'])}{scale}</th>" in section
            named = scale.replace("<small>", '<small class="scale">')
            line = f'<td class="number">{words.amount(point["eps"])}{named}</td>\n<td class="number main">{words.percent(point["robust"])}</td>'
            assert line in overview
            assert words.counted(point["robust"]) in overview


def test_alarms_stand_with_their_campaign(made):
    _, summary, html = made
    section = part(html, "linf")
    assert "planted" in section
    assert "verdict invalid" in section
    broken = summary["campaigns"][3]
    raised = broken["alarms"] + broken["attacks"][0]["alarms"]
    assert raised
    assert all(alarm["code"] in part(html, "broken") for alarm in raised)


def test_a_curve_has_one_line_per_attack_and_the_worst(made):
    _, summary, html = made
    for campaign in summary["campaigns"][:2]:
        section = part(html, campaign["name"])
        assert section.count("<polyline") == len(campaign["attacks"]) + 1
        assert section.count('class="line worst"><polyline') == 1
        for point in campaign["worst"]:
            rate = point["robust"]
            told = f"worst case of all attacks: {words.percent(rate)} {words.interval(rate)} ({words.counted(rate)})"
            assert re.search(
                rf"<title>ε = {words.amount(point['eps'])} \(.* of 255 levels .*\)\n{re.escape(told)}", section
            )
        assert "ε (L" in section
        assert "pixel value)" in section
    steps = part(html, "nearest-only")
    assert steps.count("<polyline") == 1
    assert "no ε set" in html


def test_examples_are_successes_of_the_strongest_attack_and_differ(made):
    html = part(made[2], "linf")
    keys = re.findall(r"<figcaption><b>(key \d+) ", html)
    assert 0 < len(keys) == len(set(keys)) <= 6
    assert html.count("<img") == 3 * len(keys)
    assert "distance 0.25/255" in html or "distance 2/255" in html or "distance 0.05" in html


def test_examples_whose_data_are_gone_or_changed_cost_only_the_examples(made, monkeypatch):
    audit, summary, whole = made
    source = audit.stages[0].source
    monkeypatch.setitem(
        audit.stages[0].__dict__, "source", type(source)(source.name, source.x + 0.001, source.y, source.keys)
    )
    html = report.render(audit, summary)
    Page(html)
    assert "Examples can’t be shown: the clean input is not the one attacked" in part(html, "linf")
    assert part(html, "l2") == part(whole, "l2")
    monkeypatch.setitem(audit.stages[0].__dict__, "source", None)
    assert "Examples can’t be shown" in part(report.render(audit, summary), "linf")


def test_a_campaign_of_errors_has_dashes_and_no_figures(made):
    _, summary, html = made
    assert summary["campaigns"][3]["clean"]["value"] is None
    section = part(html, "broken")
    assert '<span class="main">–</span>' in section
    assert "0 of 0" in section
    assert "<polyline" not in section
    assert 'class="chart"' not in section
    assert "None" not in section
    assert "nan" not in section.replace("NaN", "")
    assert "<img" not in section


def test_sections_are_shown_or_named_with_their_error(made, page):
    html, text = made[2], "".join(page.text)
    assert "<p>units: <b>" in html
    broken = ("fails", "leaves", "absent", "unbalanced", "closes", "comment", "script", "number")
    assert text.count("The plugin acme ((in process)) failed to draw this section") == len(broken)
    for name in broken:
        assert f'id="p-acme.{name}"' in html
    assert f"RuntimeError: no such thing {EVIL}" in text
    assert "leaves <td> open" in text
    assert text.index("acme.number") > 0
    assert text.rstrip().endswith(".")


def test_write_replaces_the_file_whole(made):
    audit, summary, html = made
    path = report.write(audit, summary)
    assert path == audit.folder.path / "report.html"
    assert path.read_text(encoding="utf-8") == html
    assert report.write(audit, summary) == path
    assert not list(audit.folder.path.glob(".report.html*"))


def test_a_finished_run_draws_the_same_report_again(made):
    audit, summary, html = made
    again = Audit.of_folder(audit.folder.path, audit.host)
    assert report.render(again, summary) == html


@pytest.mark.parametrize(
    "html",
    [
        "",
        "text &amp; more",
        "<p>a<br>b</p>",
        '<svg viewBox="0 0 1 1"><path d="M0 0"/></svg>',
        "<!-- a --><p>b</p>",
        '<img src="data:,">',
    ],
)
def test_fragments_that_close_what_they_open_pass(html):
    assert fragment(html) == html


@pytest.mark.parametrize(
    "html",
    [
        "<p>",
        "</p>",
        "<p><b></p></b>",
        "<div/>",
        "<p",
        "<!-- a",
        "<p>a</p",
        "<style>p {",
        "<iframe></iframe>",
        '<p title="x',
        None,
        1,
        b"<p></p>",
    ],
)
def test_fragments_that_would_break_the_page_are_refused(html):
    with pytest.raises((ValueError, TypeError), match="it"):
        fragment(html)


def test_curves_of_nothing_one_point_and_many_lines_are_drawn():
    assert "<polyline" not in chart([Line("nothing", [])], title="t", axis="ε")
    one = Point(0.0, 1.0, 0.5, 1.0, 3, 3)
    assert chart([Line("one", [one], bold=True)], title="t", axis="ε").count("<polyline") == 1
    many = chart([Line(f"a{n}<", [one, Point(8 / 255, 0.5, 0, 1, 1, 2)]) for n in range(14)], title='"', axis="<")
    assert many.count("<polyline") == 14
    assert "a13&lt;" in many
    Page(f"<div>{many}</div>")
    fine = chart(
        [Line("f", [Point(n / 40, 1 - n / 40, 0, 1, 40 - n, 40) for n in range(40)], steps=True)], title="t", axis="ε"
    )
    assert fine.count("<text") < 14
    assert "nan" not in fine


def test_a_large_image_does_not_make_a_large_report(made, monkeypatch):
    audit, summary, _ = made
    kind = audit.stages[0].kind
    monkeypatch.setattr(type(kind), "figures", lambda self, x, adv, caption: f"<p>{'x' * 2_000_000}</p>")
    html = report.render(audit, summary)
    assert len(html.encode()) < 10_000_000
    assert "too large" in html


def test_rows_of_figures_get_what_the_modality_asked_for(made, monkeypatch):
    audit, summary, _ = made
    seen = []
    monkeypatch.setattr(type(audit.stages[0].kind), "figures", lambda self, *given: seen.append(given) or "<p>seen</p>")
    report.render(audit, summary)
    x, adv, (label, decision) = seen[0]
    assert x.shape == adv.shape == (1, 1, 4, 4)
    assert 0 < float((adv - x).abs().max()) <= 0.05 + 1e-6
    assert label.startswith("label ")
    assert decision != label
    assert isinstance(adv, torch.Tensor)


def test_the_weakest_link_is_proven_by_enough_examples():
    """Half of 4 right answers lost says less than 40 % of 100 lost; what is lost is lost, whatever the verdict."""

    def campaign(name, right, kept, trust="reliable", eps=(0.1, 0.2)):
        curve = [{"eps": radius, "fooled": right - hits} for radius, hits in zip(eps, (kept, 0), strict=True)]
        return {"name": name, "trust": trust, "clean": {"hits": right}, "worst": curve, "scale": ["little", "much"]}

    few, many, strong = campaign("few", 4, 2), campaign("many", 100, 60), campaign("strong", 100, 95)
    found = weakest([few, strong, many])
    assert (found["name"], found["eps"], found["scale"]) == ("many", 0.1, "little")
    assert (found["kept"]["hits"], found["kept"]["total"]) == (60, 100)
    masked = weakest([strong, campaign("masked", 100, 20, "invalid"), campaign("wrong", 0, 0)])
    assert (masked["name"], masked["trust"]) == ("masked", "invalid")
    assert weakest([strong, campaign("broken", 100, 100, "invalid"), campaign("wrong", 0, 0)])["name"] == "strong"
    assert weakest([strong, campaign("suspect", 100, 10, "suspect")])["name"] == "suspect"
    backwards = campaign("backwards", 100, 50, eps=(0.2, 0.1))
    assert weakest([backwards])["kept"]["hits"] == 0
    assert weakest([{**strong, "worst": []}]) is None
    assert weakest([campaign("from nothing", 100, 100, eps=(0.0, 0.1)), strong])["name"] == "from nothing"
    nothing = {**strong, "worst": [{"eps": 0.0, "fooled": 5}], "scale": ["none"]}
    assert weakest([nothing]) is None


def test_a_weak_link_and_what_was_left_out_stand_in_the_page(made):
    audit, summary, _ = made
    left = [{"key": f"row {n} {EVIL}", "why": "no picture"} for n in range(25)]
    changed = {**summary, "campaigns": [{**summary["campaigns"][0], "skipped": left}, *summary["campaigns"][1:]]}
    text = "".join(Page(report.render(audit, changed)).text)
    assert f"Weakest link: {summary['weakest']['name']}." in text
    assert "25 of the data left out" in text
    assert f"row 19 {EVIL}: no picture" in text
    assert "row 20" not in text
    assert "and 5 more, in summary.json" in text


def test_the_table_of_records_says_what_the_summary_says(made):
    audit, summary, html = made
    for number, campaign in enumerate(summary["campaigns"]):
        rows = records.table(audit, number, campaign)
        spent = records.budgets(campaign, rows)
        assert len(rows) == campaign["examples"] * len(campaign["attacks"])
        for attack in campaign["attacks"]:
            own = [row for row in rows if row.attack == attack["label"]]
            assert {status: sum(row.outcome == status for row in own) for status in attack["statuses"]} == attack[
                "statuses"
            ]
            for point in attack["curve"] if attack["keeps"] == "hit" else []:
                fooled = sum(row.eps is not None and row.eps <= point["eps"] for row in own)
                assert fooled == attack["clean"]["hits"] - point["robust"]["hits"]
            fooled, robust = (attack["statuses"][status.value] for status in (Status.FOOLED, Status.ROBUST))
            if fooled + robust and attack["keeps"] == "hit":
                shares = dict(spent.shares)[attack["label"]]
                assert shares == sorted(shares)
                assert shares[-1] == fooled / (fooled + robust)
        # What a search for the nearest took says nothing of when it had its first success.
        assert (spent is None) == (campaign["name"] in ("broken", "l2", "nearest-only"))
        assert html.count("<small>lost once stored</small>") == sum(
            row.eps is not None and not row.stored
            for one in range(4)
            for row in records.table(audit, one, summary["campaigns"][one])
        )
    assert html.count('<tr><th scope="row">key') == sum(
        campaign["examples"] * len(campaign["attacks"]) for campaign in summary["campaigns"]
    )


def test_curves_of_many_radii_are_read_off_at_each_and_steps_up_to_the_last():
    told = re.compile(r'<g class="at"><title>(.*?)</title>', re.S)
    points = [Point(number / 100, 1 - number / 20, 0, 1, 20 - number, 20) for number in range(14)]
    drawn = told.findall(chart([Line("pgd", points)], title="t", axis="ε"))
    assert len(drawn) == 14
    assert all(f"({20 - number} of 20)" in one for number, one in enumerate(drawn))
    steps = [Point(0.012344 * number, 1 - number / 20, 0, 1, 20 - number, 20) for number in range(14)]
    drawn = told.findall(chart([Line("ddn", steps, steps=True)], title="t", axis="ε"))
    assert "(7 of 20)" in drawn[-1]


def test_what_an_earlier_attack_of_a_cascade_fooled_is_no_success_within_no_queries(tmp_path, monkeypatch):
    victim, x, y = linear_victim(30, (1, 4, 4), classes=3)
    module = types.ModuleType("cascade_victims")
    module.victim, module.inputs = lambda: victim, lambda: MemorySource("inputs", x, y)
    monkeypatch.setitem(sys.modules, "cascade_victims", module)
    spec = """
title: a cascade
campaigns:
  - name: one
    modality: image
    target: {factory: "cascade_victims:victim"}
    data: {factory: "cascade_victims:inputs"}
    threat: {norm: linf, eps: [0.02, 0.1]}
    cascade: true
    attacks: [image.fgsm, {name: image.square, queries: 20}]
"""
    audit = Audit(parse(spec), tmp_path / "run", default_host())
    summary = audit.run()
    rows = records.table(audit, 0, summary["campaigns"][0])
    first, second = ([row for row in rows if row.attack == name] for name in ("image.fgsm", "image.square"))
    assert any(row.outcome == "fooled" for row in first)
    passed_on = [row for row in second if row.by == "image.fgsm" and not row.queries]
    assert passed_on
    spent = dict(records.budgets(summary["campaigns"][0], rows).shares)
    own = [row for row in second if row.by == "image.square" or row.queries]
    fooled = [row for row in own if row.by == "image.square" and row.outcome == "fooled"]
    assert spent["image.square"][-1] == len(fooled) / len(own)
    assert "In a cascade, what an earlier attack fooled" in report.render(audit, summary)


def test_a_scale_that_fails_costs_a_run_its_words_alone(made, monkeypatch):
    stage = made[0].stages[0]
    monkeypatch.setattr(type(stage.kind), "scale", lambda *_: 1 / 0)
    assert stage.scale(0.1) == "its scale failed: ZeroDivisionError: division by zero"
