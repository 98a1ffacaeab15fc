"""What an audit distrusts: attacks that see less and find more than gradient attacks of many steps."""

import math
import sys
import types
from typing import ClassVar

import pytest
import torch
from torch import nn

import mmadv
from mmadv import MemorySource
from mmadv.alarms import Counts, answers_of, of_counts, wilson
from mmadv.audit import Audit
from mmadv.cli import main
from mmadv.goals import Steered, Untargeted
from mmadv.host import default_host
from mmadv.spec import parse
from mmadv.testing import linear_victim

SPEC = """
title: misled
campaigns:
  - name: one
    modality: image
    target: {factory: "misled_victims:victim"}
    data: {factory: "misled_victims:inputs"}
    threat: {norm: linf, eps: [0.02, 0.1]}
    attacks: [image.fgsm, {name: image.pgd, steps: 40, lr: 0.04}, {name: image.square, queries: 100}]
"""


class Plain(nn.Module):
    """Class 1 where the mean is more than .06 above .5."""

    def forward(self, x):
        lead = self.lead(x.flatten(1).mean(1) - 0.5)
        return torch.stack([-lead, lead], 1)

    def lead(self, above):
        return above - 0.06


class Rippled(Plain):
    """Ripples on the same slope, each with a peak that small steps can't leave."""

    def lead(self, above):
        return above - 0.06 + 0.02 * torch.sin(2 * math.pi * above / 0.02)


class Rounded(Plain):
    """The same slope in stairs, whose gradients are zero."""

    def lead(self, above):
        return (200 * (above - 0.06)).round() / 200


@pytest.mark.parametrize(
    ("victim", "codes"),
    [(Plain, set()), (Rippled, {"single_step_wins", "black_box_wins"}), (Rounded, {"black_box_wins"})],
)
def test_an_attack_that_sees_less_and_finds_more_is_reported(victim, codes, tmp_path, monkeypatch):
    campaign = audited(victim, SPEC, tmp_path, monkeypatch)
    fgsm, pgd, square = (one["curve"][1]["robust"]["hits"] for one in campaign["attacks"])
    found = {alarm["code"]: alarm for alarm in campaign["alarms"]}
    assert set(found) == codes
    assert campaign["trust"] == ("suspect" if victim is Rippled else "reliable" if victim is Plain else "invalid")
    for code, label, left in (("single_step_wins", "image.fgsm", fgsm), ("black_box_wins", "image.square", square)):
        if code in codes:
            assert f"{label}, which" in found[code]["message"]
            assert (
                f"leaves {left / 10:.1%} at eps 0.1 where gradient attacks of many steps leave {pgd / 10:.1%}"
                in found[code]["message"]
            )


def test_in_a_cascade_only_what_comes_after_the_gradient_attacks_can_beat_them(tmp_path, monkeypatch):
    """An attack on what others left standing was not tried on the rest."""
    campaign = audited(Rippled, SPEC + "    cascade: true\n", tmp_path, monkeypatch)
    assert campaign["worst"][1]["robust"]["hits"] == 0
    assert campaign["alarms"] == []


class Backwards(Plain):
    """Says of every gradient its opposite, and answers as if nothing were the matter."""

    def forward(self, x):
        return super().forward(2 * x.detach() - x)


class Shaken(Plain):
    """A fast ripple that is shallow, and yet most of what its gradients are of."""

    def lead(self, above):
        return above - 0.06 + 1e-4 * torch.sin(1e6 * above)


@pytest.mark.parametrize("attack", ["image.pgd", "image.apgd"])
@pytest.mark.parametrize(("victim", "trust"), [(Plain, None), (Backwards, "invalid"), (Shaken, "suspect")])
def test_gradients_that_lead_nowhere_are_reported_by_a_single_attack(victim, trust, attack):
    """No second attack is needed to see that the first steps lower the loss which they are to raise."""
    x = 0.5 + 0.01 * torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    x -= (x.mean((1, 2, 3), keepdim=True) - 0.5).clamp_min(0)
    y = torch.zeros(40, dtype=torch.int64)
    model = victim().eval()
    found = {one.code: one for one in mmadv.attack(model, x, y, attack, norm="linf", eps=0.05, steps=5).alarms}
    if trust is None:
        assert not found
        return
    assert found["misleading_gradients"].trust == trust


def test_a_few_steps_that_fell_prove_nothing():
    def trust(fallen, of, **also):
        codes = of_counts(Counts(fallen=fallen, first_steps=of, **also), eot=1)
        return [one.trust for one in codes if one.code == "misleading_gradients"]

    assert trust(3, 16) == trust(1, 1) == trust(0, 1000) == []
    assert trust(40, 100) == ["suspect"]
    assert trust(60, 64) == ["invalid"]
    assert trust(60, 64, random=1) == []  # chance alone moves losses


@pytest.mark.parametrize("total", [1, 7, 1000])
def test_intervals_of_shares_are_those_of_scipy(total):
    from scipy.stats import binomtest

    for hits in sorted({0, 1, total // 2, total - 1, total}):
        assert wilson(hits, total) == pytest.approx(binomtest(hits, total).proportion_ci(method="wilson"), abs=1e-12)
    assert wilson(0, total)[0] == 0.0
    assert wilson(total, total)[1] == 1.0


def test_labels_in_another_order_are_no_robust_model():
    """Answers that are right in 1 of 40 say that something is wrong with labels or inputs, not with the victim."""
    model, x, y = linear_victim(rows=40, shape=(1, 4, 4), classes=4)
    words = {"attack": "image.fgsm", "norm": "linf", "eps": 0.01}
    assert not mmadv.attack(model, x, y, **words).alarms
    moved = (y + (torch.arange(40) > 0)) % 4
    (alarm,) = mmadv.attack(model, x, moved, **words).alarms
    assert (alarm.code, alarm.trust) == ("clean_at_chance", "suspect")
    assert "right on 1 of 40 examples before any attack, no better than a guess among 4 answers" in alarm.message


def test_a_hard_task_is_no_chance():
    """Of a hundred classes, two of which stand in the data, 24 in 60 right answers are far more than a guess would get."""

    class Hundred(nn.Module):
        def forward(self, x):
            return 3 * torch.eye(100)[torch.where(x.flatten(1).mean(1) < 0.5, 0, 50)]

    x = torch.full((60, 1, 2, 2), 0.6)
    x[:24] = 0.4
    y = torch.zeros(60, dtype=torch.int64)
    assert not mmadv.attack(Hundred().eval(), x, y, "image.noise", eps=0.01).alarms
    assert answers_of(Untargeted(), 100, [0, 1]) == 100
    assert answers_of(Untargeted(), 0, [0, 4]) == 5
    assert answers_of(Steered(), 0, [0, 1]) is None  # whatever is judged by a goal of another kind has no classes


def test_an_audit_says_so_too(tmp_path, monkeypatch, capsys):
    class Wrong(Plain):
        def forward(self, x):
            return -super().forward(x)

    campaign = audited(Wrong, SPEC, tmp_path, monkeypatch)
    assert campaign["clean"]["hits"] == 0
    assert [alarm["code"] for alarm in campaign["alarms"]] == ["clean_at_chance"]
    assert campaign["trust"] == "suspect"
    (tmp_path / "audit.yaml").write_text(SPEC)
    monkeypatch.setattr(sys, "argv", ["mmadv", "audit", str(tmp_path / "audit.yaml"), "--out", str(tmp_path / "again")])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert "one: clean_at_chance: the victim is right on 0 of 10 examples" in capsys.readouterr().out
    after = audited(Wrong, SPEC, tmp_path / "after", monkeypatch, before={"attack": "audio.pgd"})
    assert not after["alarms"], "what was attacked already is wrong for that reason"


class Made(MemorySource):
    """Examples that an attack may have made."""

    before: ClassVar[dict[str, str]] = {}


def audited(victim, spec, tmp_path, monkeypatch, before=None):
    """The summary of the only campaign: ten pictures, all with a mean of .5, made by what was `before`."""
    spread = 0.01 * torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (0.5 + spread - spread.mean((1, 2, 3), keepdim=True)).float()
    module = types.ModuleType("misled_victims")
    module.victim = lambda: victim().eval()
    module.inputs = lambda: Made("inputs", x, torch.zeros(10, dtype=torch.int64))
    monkeypatch.setattr(Made, "before", before or {})
    monkeypatch.setitem(sys.modules, "misled_victims", module)
    (campaign,) = Audit(parse(spec), tmp_path / "run", default_host()).run()["campaigns"]
    return campaign
