"""Two runs compared example by example, and gates that releases must pass."""

import json
import shutil
import sys
import types
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmadv import MemorySource
from mmadv.audit import Audit
from mmadv.cli import main
from mmadv.compare import Comparison, Paired, compare, holm, mcnemar
from mmadv.errors import ParameterError, RunError
from mmadv.gates import Gate, Judged, check, judged, junit
from mmadv.host import Host
from mmadv.spec import parse
from mmadv.testing import linear_victim

HERE = Path(__file__).parent
SPEC = """
title: {title}
campaigns:
  - name: rows
    modality: image
    target: {{factory: "row_victims:{victim}"}}
    data: {{factory: "row_victims:inputs"}}
    threat: {{norm: linf, eps: [0.005, {eps}]}}
    attacks: [image.fgsm, {{name: image.pgd, steps: {steps}}}]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs by name: of one victim, of it again, of another, and of the first at another budget."""
    sys.path.insert(0, str(HERE))
    host, out = Host(), tmp_path_factory.mktemp("compared")

    def run(name, victim="victim", eps=0.02, steps=8, title="rows"):
        audit = Audit(parse(SPEC.format(title=title, victim=victim, eps=eps, steps=steps)), out / name, host)
        audit.run()
        return audit

    yield {
        "one": run("one", title="<rows>"),
        "again": run("again"),
        "other": run("other", victim="contrary_victim"),
        "longer": run("longer", steps=9),
        "wider": run("wider", eps=0.03),
    }
    sys.path.remove(str(HERE))


def cli(capsys, *args):
    """Exit code and output of a command."""
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["mmadv", *map(str, args)])
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    return code, capsys.readouterr()


# --- comparing -------------------------------------------------------------------------------------------


def test_a_model_does_not_differ_from_itself(made):
    (found,) = compare(made["one"], made["again"])
    assert not found.differ
    assert not found.worse
    assert not found.unequal
    assert [point.eps for point in found.points] == [None, 0.005, 0.02]
    assert all(point.only_a == point.only_b == 0 and point.p == 1 and point.total == 24 for point in found.points)


def test_a_worse_model_is_found_out_and_so_is_who_is_worse(made):
    (found,) = compare(made["one"], made["other"])
    (back,) = compare(made["other"], made["one"])
    assert found.differ
    assert back.differ
    assert (found.worse, back.worse) == (True, False)
    for point, mirrored in zip(found.points, back.points, strict=True):
        assert (point.only_a, point.only_b, point.p) == (mirrored.only_b, mirrored.only_a, mirrored.p)
        assert point.a == mirrored.b


def test_counts_are_those_of_the_summaries(made):
    (found,) = compare(made["one"], made["other"])
    for name, share in (("one", "a"), ("other", "b")):
        (campaign,) = json.loads((made[name].folder.path / "summary.json").read_text())["campaigns"]
        shares = [campaign["clean"]["value"], *(point["robust"]["value"] for point in campaign["worst"])]
        assert [getattr(point, share) for point in found.points] == pytest.approx(shares)


def test_attackers_that_differ_are_told_and_only_shared_eps_compared(made):
    (longer,) = compare(made["one"], made["longer"])
    assert [word for word, *_ in longer.unequal] == ["attacks"]
    assert "steps=9" in longer.unequal[0][2]
    (wider,) = compare(made["one"], made["wider"])
    assert [point.eps for point in wider.points] == [None, 0.005]


def test_what_cannot_be_compared_is_refused_with_the_fix(made, tmp_path):
    with pytest.raises(ParameterError, match="no campaign 'row'") as found:
        compare(made["one"], made["other"], ("row", "rows"))
    assert "rows" in found.value.fix
    elsewhere = SPEC.format(title="t", victim="victim", eps=0.04, steps=8).replace("0.005, ", "")
    audit = Audit(parse(elsewhere), tmp_path / "elsewhere", Host())
    audit.run()
    with pytest.raises(RunError, match="no eps in common"):
        compare(made["one"], audit)
    texts = audit.stages[0].campaign.model_copy(update={"modality": "text"})
    other = SimpleNamespace(folder=audit.folder, stages=[SimpleNamespace(campaign=texts, levels=(0.02,))])
    with pytest.raises(RunError, match="one campaign is of modality image, the other of text"):
        compare(made["one"], other)


def test_many_campaigns_are_one_family_of_tests(monkeypatch):
    def by_chance(*_):
        return Comparison("a", "b", (Paired(None, 9, 5, 0, 9, 0.04), Paired(0.1, 9, 5, 0, 9, 0.03)), 0, ())

    monkeypatch.setattr("mmadv.compare._compared", by_chance)
    runs = [SimpleNamespace(stages=[SimpleNamespace(campaign=SimpleNamespace(name=name)) for name in "ab"])] * 2
    found = compare(*runs)
    assert [point.p for one in found for point in one.points] == holm([0.04, 0.03, 0.04, 0.03])
    assert not any(one.worse for one in found)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_corrects_upwards_keeps_the_order_and_is_not_weaker_than_bonferroni(p):
    found = holm(p)
    assert all(a >= b for a, b in zip(found, p, strict=True))
    assert all(a <= min(1, b * len(p)) + 1e-12 for a, b in zip(found, p, strict=True))
    order = sorted(range(len(p)), key=p.__getitem__)
    assert [found[at] for at in order] == sorted(found)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (3, 9), (10, 10)])
def test_mcnemar_is_the_share_of_tosses_at_least_as_odd(a, b):
    n, odd = a + b, max(a, b)
    ways = [1]
    for at in range(n):
        ways.append(ways[-1] * (n - at) // (at + 1))
    tail = sum(ways[odd:])
    assert mcnemar(a, b) == pytest.approx(min(1.0, 2 * tail / 2**n))


def test_compare_on_the_command_line(made, capsys, tmp_path):
    one, other = made["one"].folder.path, made["other"].folder.path
    code, said = cli(capsys, "compare", one, other, "--json", tmp_path / "c.json")
    assert code == 0
    assert "yes" in said.out
    assert json.loads((tmp_path / "c.json").read_text())["comparisons"][0]["worse"] is True
    assert cli(capsys, "compare", one, other, "--fail-if-worse")[0] == 1
    assert cli(capsys, "compare", other, one, "--fail-if-worse")[0] == 0
    code, said = cli(capsys, "compare", one, tmp_path)
    assert code == 2
    assert "fix:" in said.err


# --- gates -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "x", "1.2", "-0.1", "=0.5", "rows@=0.5", "rows@a=0.5", "nan", "rows@0/0=0.5"])
def test_what_is_no_gate_is_refused(text):
    with pytest.raises(ParameterError, match="CAMPAIGN"):
        Gate.of(text)


def test_a_gate_passes_up_to_the_measured_share_and_fails_above(made):
    summary = json.loads((made["one"].folder.path / "summary.json").read_text())
    (campaign,) = summary["campaigns"]
    for at, point in enumerate(campaign["worst"]):
        share = point["robust"]["value"]
        assert share < 1
        for least, passes in ((share, True), (share + 1e-6, False)):
            (one,) = judged(summary, [Gate(least, "rows", point["eps"])])
            assert one.passed is passes
        if at == len(campaign["worst"]) - 1:
            assert judged(summary, [Gate(share + 1e-6)])[0].failure == one.failure, "the largest eps is the default"
    with pytest.raises(ParameterError, match="no eps"):
        judged(summary, [Gate(0.5, "rows", 0.5)])
    with pytest.raises(ParameterError, match="no campaign"):
        judged(summary, [Gate(0.5, "row")])
    with pytest.raises(ParameterError, match="'near' has no eps to be judged at"):
        check([Gate(0.5)], {"rows": [0.1], "near": []})
    check([Gate(0.5), Gate(0.5, "gone", 0.3)], {"rows": [0.1], "gone": None})


def test_a_doubtful_or_missing_figure_passes_no_gate(made):
    summary = json.loads((made["one"].folder.path / "summary.json").read_text())
    (campaign,) = summary["campaigns"]
    campaign["alarms"] = [{"code": "x", "trust": "suspect", "message": "gradients are masked"}]
    campaign["trust"] = "suspect"
    (one,) = judged(summary, [Gate(0.0)])
    assert "gradients are masked" in one.failure
    assert judged(summary, [Gate(0.0)], allow_suspect=True)[0].passed
    campaign["trust"] = campaign["alarms"][0]["trust"] = "invalid"
    assert not judged(summary, [Gate(0.0)], allow_suspect=True)[0].passed
    summary["missing"] = [{"name": "speech", "what": "no network", "where": "", "fix": ""}]
    assert [one.failure for one in judged(summary, [Gate(0.0, "speech")])] == ["left out: no network"]


def test_junit_holds_hostile_titles_and_counts_failures():
    found = ET.fromstring(junit({"title": "<a> & \x1b"}, [Judged("c", "≥ 1", "<b>\x00"), Judged("c", "≥ 0", "")]))
    assert (found.get("name"), found.get("tests"), found.get("failures")) == ("<a> &  ", "2", "1")
    assert [failure.get("message") for failure in found.iter("failure")] == ["<b> "]


def test_gates_on_the_command_line(made, capsys, tmp_path):
    run = made["one"].folder.path
    code, said = cli(
        capsys, "gate", run, "--fail-under", "0", "--junit", tmp_path / "j.xml", "--json", tmp_path / "g.json"
    )
    assert (code, said.out.startswith("pass")) == (0, True)
    assert ET.parse(tmp_path / "j.xml").getroot().get("failures") == "0"
    assert json.loads((tmp_path / "g.json").read_text())["passed"] is True
    code, said = cli(capsys, "gate", run, "--fail-under", "rows=1")
    assert code == 1
    assert "FAIL" in said.out
    assert cli(capsys, "gate", run, "--fail-under", "no=1")[0] == 2


def test_a_gate_rests_on_the_shards_and_not_on_what_was_written_into_the_summary(made, capsys, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(made["one"].folder.path, run)
    summary = json.loads((run / "summary.json").read_text())
    summary["campaigns"][0]["worst"][-1]["robust"].update(value=1.0, hits=24)
    (run / "summary.json").write_text(json.dumps(summary))
    code, said = cli(capsys, "gate", run, "--fail-under", "0.9")
    assert code == 2
    assert "the shards come to" in said.err
    shutil.copy(made["one"].folder.path / "summary.json", run)
    assert cli(capsys, "gate", run, "--fail-under", "0")[0] == 0
    shutil.rmtree(run / "shards/rows/image.pgd")
    assert cli(capsys, "gate", run, "--fail-under", "0")[0] == 2
    (run / "summary.json").write_text('{"x": 1}')
    for command in (["gate", run, "--fail-under", "0"], ["compare", run, run], ["report", run]):
        code, said = cli(capsys, *command)
        assert code == 2
        assert "holds no summary" in said.err


def test_a_finished_run_is_reported_and_compared_where_victim_and_data_are_gone(made, capsys, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(made["one"].folder.path, run)
    spec = (run / "spec.yaml").read_text()
    (run / "spec.yaml").write_text(spec.replace("row_victims:", "long_gone:"))
    for command in (["gate", run, "--fail-under", "0"], ["compare", run, made["other"].folder.path], ["report", run]):
        assert cli(capsys, *command)[0] == 0
    assert "Examples can’t be shown" in (run / "report.html").read_text()


def test_an_audit_fails_under_its_gate_after_it_wrote_its_report_and_checks_names_first(made, capsys, tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.format(title="t", victim="victim", eps=0.02, steps=2))
    code, _ = cli(capsys, "audit", spec, "--out", tmp_path / "run", "--fail-under", "nosuch=1")
    assert code == 2
    assert not (tmp_path / "run").exists()
    assert cli(capsys, "audit", spec, "--out", tmp_path / "run", "--fail-under", "rows@9/255=1")[0] == 2
    assert not (tmp_path / "run").exists()
    code, said = cli(capsys, "audit", spec, "--out", tmp_path / "run", "--fail-under", "1")
    assert code == 1
    assert said.out.splitlines()[-1] == str(tmp_path / "run" / "report.html")
    assert Path(said.out.splitlines()[-1]).is_file()


# --- what a summary counts -------------------------------------------------------------------------------


class Poisoned(torch.nn.Module):
    """A victim that answers NaN at the end of FGSM's step, on rows whose step goes up."""

    def __init__(self):
        super().__init__()
        self.inner = linear_victim(24, (1, 4, 4), classes=4)[0]

    def forward(self, x):
        return self.inner(x).masked_fill(x[:, 0, 0, :1] > 0.5199, float("nan"))


def test_clean_accuracy_does_not_depend_on_which_attack_comes_first(monkeypatch, tmp_path):
    _, x, _ = linear_victim(24, (1, 4, 4), classes=4)
    x = x.clone()
    x[:, 0, 0, 0] = 0.5
    module = types.ModuleType("poisoned_victims")
    module.victim = lambda: Poisoned().eval()
    module.inputs = lambda: MemorySource("rows", x, Poisoned()(x).argmax(1))
    monkeypatch.setitem(sys.modules, "poisoned_victims", module)
    attacks = ["image.fgsm", "{name: image.pgd, steps: 2, lr: 0.005}"]
    found = []
    for order in (attacks, attacks[::-1]):
        spec = SPEC.format(title="t", victim="victim", eps=0.02, steps=2).replace("row_victims", "poisoned_victims")
        spec = spec.replace("[0.005, 0.02]", "0.02").replace(
            "[image.fgsm, {name: image.pgd, steps: 2}]", f"[{', '.join(order)}]"
        )
        summary = Audit(parse(spec), tmp_path / str(len(found)), Host()).run()
        (campaign,) = summary["campaigns"]
        found.append((campaign["clean"], campaign["worst"], summary["weakest"]))
        by_attack = {one["name"]: one["clean"]["total"] for one in campaign["attacks"]}
        assert 0 < by_attack["image.fgsm"] < by_attack["image.pgd"] == campaign["clean"]["total"] == 24
    assert found[0] == found[1]


# --- words that conflict ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--eps", "0.02", "-t", "eps=0.1"], "'eps' is given twice"),
        (["--queries", "5", "-t", "queries=500"], "'queries' is given twice"),
        (["--queries", "5", "-p", "queries=500"], "'queries' is given twice"),
        (["--steps", "3", "-p", "steps=40"], "'steps' is given twice"),
        (["-p", "name=image.noise"], "'name' is given twice"),
        (["-p", "loss=ce", "-p", "loss=dlr"], "'loss' is given twice"),
        (["--limit", "3", "-d", "limit=9"], "'limit' is given twice"),
        (["-d", "path=elsewhere"], "'path' is given twice"),
        (["--device", "cpu", "--target", "device=cuda"], "'device' is given twice"),
        (["--target", "model=another"], "'model' is given twice"),
        (["-t", "norm=[linf"], "'[linf' is no value"),
        (["--batch-size", "-3", "--eps", "0.1", "-t", "norm=linf"], "batch_size is -3"),
    ],
)
def test_words_that_conflict_are_refused_and_none_is_ignored(capsys, tmp_path, monkeypatch, words, what):
    monkeypatch.syspath_prepend(str(HERE))
    given = ["--model", "row_victims:victim", "--data", "row_victims:inputs", "--out", tmp_path / "run"]
    code, said = cli(capsys, "attack", "image.pgd", *given, *words)
    assert code == 2
    assert what in said.err
    assert "-3.0" not in said.err
    assert not (tmp_path / "run").exists()
