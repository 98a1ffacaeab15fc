"""Adversarials that are planted in a victim: sound attacks find them, attacks on masked gradients don't, and it is said."""

import json
import sys
import types

import pytest
import torch
from torch import nn

import mmadv
from mmadv import BallSpace, MemorySource, ModuleTarget, Problem, ThreatModel, planted, report
from mmadv.audit import Audit
from mmadv.errors import ParameterError, SpecError
from mmadv.host import default_host
from mmadv.search.pgd import PGD
from mmadv.spec import parse
from mmadv.testing.victims import masked
from mmadv_series.modality import Series

SHAPE = (1, 16, 16)


class Small(nn.Module):
    """A convolution, two linear layers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 256), nn.ReLU(), nn.Linear(256, 5)
        )

    def forward(self, x):
        return self.body(x)


class Rounded(nn.Module):
    """A victim that rounds what it sees, so that its gradients are zero: a defence that is none."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner((16 * x).round() / 16)


@pytest.fixture
def stage():
    victim = Small().eval()
    x = 0.2 + 0.6 * torch.rand(12, *SHAPE, generator=torch.Generator().manual_seed(3))
    return victim, x, victim(x).argmax(1)


def posed(victim, x, y, norm="linf", eps=0.1):
    return Problem(ModuleTarget(victim), ThreatModel(BallSpace(norm, eps)), x, y, torch.arange(len(y)))


def test_readouts_tell_the_last_point_from_all_others():
    known = torch.randn(7, 20, 33, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    known[5, -1] = known[5, 3]  # can't be told apart
    further = 0.3 * torch.randn(7, 50, 33, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    fine = torch.tensor([0, 1, 2, 3, 4, 6])
    for more in (further, further[:, :0]):
        weights, bias = planted.readouts(known, more)
        scores = torch.einsum("npd,nd->np", torch.cat([more, known], 1), weights) - bias.unsqueeze(1)
        assert torch.allclose(scores[fine, -1], torch.ones(6, dtype=torch.float64))
        assert torch.allclose(scores[fine, :-1].amax(1), torch.full((6,), -9.0, dtype=torch.float64))
        assert not bool(scores[5, -1] > scores[5, -17])


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.02), ("linf", 0.1), ("l2", 0.5)])
def test_what_is_planted_is_there_within_the_radius_and_hard_to_meet_by_chance(stage, norm, eps):
    problem = posed(*stage, norm, eps)
    with torch.no_grad():
        victim, x, ids = planted._planted(problem, torch.arange(12))
        assert len(ids) >= 10
        assert bool((victim(x).argmax(1) == 0).all())
        region = problem.threat.space.around(x)
        draws = torch.stack(
            [victim(planted._border(region, x, mmadv.Noise(99, ids, draws=n))).argmax(1) for n in range(50)]
        )
    assert draws.double().mean() < 0.02
    for attack, least in (("image.pgd", len(ids)), ("image.square", len(ids)), ("image.fgsm", len(ids) // 2)):
        found = mmadv.attack(victim, x, torch.zeros(len(ids), dtype=torch.int64), attack, norm=norm, eps=eps, ids=ids)
        assert int(found.success.sum()) >= least
        assert bool((found.distance[found.success] <= eps * (1 + 1e-5)).all())


def test_an_example_is_planted_the_same_whatever_it_stands_beside(stage):
    victim, x, y = stage
    problem = posed(victim, x, y)
    with torch.no_grad():
        whole, _, ids = planted._planted(problem, torch.arange(12))
        for row in ids.tolist()[:3]:
            alone = Problem(problem.target, problem.threat, x[row : row + 1], y[row : row + 1], torch.tensor([row]))
            one, _, _ = planted._planted(alone, torch.arange(1))
            start = x[row : row + 1]
            near = start + 0.1 * torch.randn(200, *SHAPE, generator=torch.Generator().manual_seed(row)).sign()
            assert torch.allclose(one(near), whole(near), atol=0.05)
            assert float(whole(near)[:, 1].std()) > 0.5


def test_a_sound_victim_raises_no_alarm_and_a_masked_one_does(stage):
    victim, x, y = stage
    words = {"norm": "linf", "eps": 0.1, "plant": 12}
    before = {name: value.clone() for name, value in victim.state_dict().items()}
    sound = mmadv.attack(victim, x, y, "image.pgd", **words)
    assert "planted_missed" not in [alarm.code for alarm in sound.alarms]
    for broken in (Rounded(victim).eval(), masked(victim)):
        (alarm,) = [
            one for one in mmadv.attack(broken, x, y, "image.pgd", **words).alarms if one.code == "planted_missed"
        ]
        assert alarm.trust.value == "invalid"
        seen = mmadv.attack(broken, x, y, "image.square", **words)
        assert "planted_missed" not in [alarm.code for alarm in seen.alarms]
    assert all(torch.equal(value, before[name]) for name, value in victim.state_dict().items())
    assert not any(part._forward_pre_hooks for part in victim.modules())
    plain = mmadv.attack(victim, x, y, "image.pgd", norm="linf", eps=0.1)
    assert torch.equal(plain.adv, sound.adv)
    assert plain.forwards == sound.forwards


def test_a_victim_without_a_linear_layer_is_planted_on_its_answers():
    torch.manual_seed(0)
    victim = nn.Sequential(nn.Conv2d(1, 200, 16), nn.Flatten()).eval()
    x = torch.rand(6, *SHAPE)
    there, missed = planted.search(posed(victim, x, victim(x).argmax(1)), PGD(), 6)
    assert there >= 4
    assert missed == 0


class Offset(nn.Module):
    """A victim of inputs far from 0, where a radius is a few units in the last place."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(200, 300), nn.ReLU(), nn.Linear(300, 3))

    def forward(self, x):
        return self.body(x - 1000)


def test_what_is_found_counts_though_rounding_takes_it_past_the_radius():
    victim, x = Offset().eval(), 1000 + torch.randn(8, 2, 100, generator=torch.Generator().manual_seed(1))
    space = Series().space(norm="linf", eps=0.01)
    problem = Problem(ModuleTarget(victim), ThreatModel(space), x, victim(x).argmax(1), torch.arange(8))
    there, missed = planted.search(problem, PGD(), 8)
    assert there >= 6
    assert missed == 0


def test_rows_far_from_zero_are_told_apart_in_batches_of_any_size():
    x = 1e4 + torch.randn(40, 200, generator=torch.Generator().manual_seed(1))
    target = ModuleTarget(nn.Linear(200, 3).eval())
    victim = planted.Planted(
        planted.Features(target, x[:1]), x, torch.zeros(40, 200).double(), torch.arange(40).double()
    )
    with torch.no_grad():
        assert victim(x + 0.01)[:, 0].tolist() == list(range(40))
        assert victim(x[7:9] + 0.01)[:, 0].tolist() == [7, 8]


def test_answers_are_averaged_over_as_many_passes_as_in_the_problem(stage, monkeypatch):
    victim, x, y = stage
    seen, solve = [], planted.solve
    monkeypatch.setattr(planted, "solve", lambda problem, attack: seen.append(problem) or solve(problem, attack))
    mmadv.attack(victim, x, y, "image.fgsm", norm="linf", eps=0.1, plant=2, eot=3)
    assert [problem.eot for problem in seen] == [3]


def test_planting_takes_no_larger_batches_than_the_victim(stage):
    victim, x, y = stage
    sizes = []
    hook = victim.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    problem = Problem(ModuleTarget(victim, batch_size=5), ThreatModel(BallSpace("linf", 0.1)), x, y, torch.arange(12))
    there, missed = planted.search(problem, PGD(), 12)
    hook.remove()
    assert max(sizes) == 5
    assert (there, missed) == planted.search(posed(victim, x, y), PGD(), 12)


class Named(nn.Module):
    """Its readout is called by keyword."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.out = nn.Linear(256, 200), nn.Linear(200, 3)

    def forward(self, x):
        return self.out(input=self.inner(x.flatten(1)).relu())


def test_a_readout_that_is_called_by_keyword_is_seen_too(stage):
    victim, x = Named().eval(), stage[1]
    there, missed = planted.search(posed(victim, x, victim(x).argmax(1)), PGD(), 12)
    assert there >= 10
    assert missed == 0


def test_where_nothing_can_be_planted_no_attack_is_run_first(stage, monkeypatch):
    victim, x, y = stage
    monkeypatch.setattr(mmadv.api, "run", lambda *_, **__: pytest.fail("an attack was run"))
    with pytest.raises(ParameterError, match="plant is -1"):
        mmadv.attack(victim, x, y, "image.pgd", norm="linf", eps=0.1, plant=-1)


SPEC = """
title: planted
shard_size: 8
campaigns:
  - name: sound
    modality: image
    target: {factory: "planted_victims:sound"}
    data: {factory: "planted_victims:inputs"}
    threat: {norm: linf, eps: [0.02, 0.1]}
    plant: 6
    attacks: [image.noise, image.pgd]
  - name: masked
    modality: image
    target: {factory: "planted_victims:rounded"}
    data: {factory: "planted_victims:inputs"}
    threat: {norm: linf, eps: [0.02, 0.1]}
    plant: 6
    attacks: [image.fgsm, image.pgd]
"""


def test_an_audit_says_what_was_planted_and_found_by_the_best_attack(stage, tmp_path, monkeypatch):
    victim, x, y = stage
    module = types.ModuleType("planted_victims")
    module.sound, module.rounded = lambda: victim, lambda: Rounded(victim).eval()
    module.inputs = lambda: MemorySource("inputs", x, y)
    monkeypatch.setitem(sys.modules, "planted_victims", module)
    audit = Audit(parse(SPEC), tmp_path / "run", default_host())
    sound, broken = audit.run()["campaigns"]
    noise, pgd = sound["attacks"]
    assert pgd["planted"]["found"] == pgd["planted"]["total"] > 3
    assert noise["planted"]["found"] < noise["planted"]["total"] == pgd["planted"]["total"]
    assert "planted_missed" not in [alarm["code"] for alarm in sound["alarms"]]
    assert "planted_missed" in [alarm["code"] for alarm in broken["alarms"]]
    assert broken["trust"] == "invalid"
    html = report.render(audit, audit.folder.json("summary.json"))
    assert f"image.pgd {pgd['planted']['total']} of {pgd['planted']['total']}" in html
    units = sorted((tmp_path / "run" / "shards" / "sound" / "image.pgd").glob("*/unit.json"))
    assert [json.loads(unit.read_text())["counts"]["planted"] > 0 for unit in units] == [True, False]


def test_an_audit_goes_on_where_nothing_can_be_planted_and_says_so(stage, tmp_path, monkeypatch):
    _, x, _ = stage
    blind = nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.Linear(8, 3)).eval()
    nn.init.zeros_(blind[1].weight)
    module = types.ModuleType("planted_victims")
    module.sound = module.rounded = lambda: blind
    module.inputs = lambda: MemorySource("inputs", x, blind(x).argmax(1))
    monkeypatch.setitem(sys.modules, "planted_victims", module)
    for campaign in Audit(parse(SPEC), tmp_path / "run", default_host()).run()["campaigns"]:
        assert "nothing_planted" in [alarm["code"] for alarm in campaign["alarms"]]
        assert campaign["trust"] != "reliable"
    with pytest.raises(SpecError, match="there is no eps above 0"):
        Audit(parse(SPEC.replace("eps: [0.02, 0.1]", "eps: [0.0]")), tmp_path / "other", default_host())


def test_an_audit_plants_no_more_than_its_first_shard_holds(stage, tmp_path, monkeypatch):
    victim, x, y = stage
    module = types.ModuleType("planted_victims")
    module.sound = module.rounded = lambda: victim
    module.inputs = lambda: MemorySource("inputs", x, y)
    monkeypatch.setitem(sys.modules, "planted_victims", module)
    with pytest.raises(SpecError, match="the first shard, which has 4 examples") as caught:
        Audit(parse(SPEC.replace("shard_size: 8", "shard_size: 4")), tmp_path / "run", default_host()).run()
    assert "plant" in caught.value.where
    assert not (tmp_path / "run").exists()
    assert "plant at most 4" in caught.value.fix


def test_what_cannot_be_planted_is_refused_with_the_fix(stage):
    victim, x, y = stage
    for words, match in (
        ({"eps": 0.1, "plant": -1}, "plant is -1"),
        ({"eps": 0.1, "plant": True}, "plant is True"),
        ({"eps": 0.0, "plant": 4}, "no border to plant at"),
    ):
        with pytest.raises(ParameterError, match=match) as caught:
            mmadv.attack(victim, x, y, "image.pgd", norm="linf", **words)
        assert caught.value.where == "plant"
        assert caught.value.fix
    with pytest.raises(ParameterError, match="no border to plant at"):
        mmadv.attack(victim, x, y, "image.ddn", norm="l2", plant=4)
    blind = nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.Linear(8, 3)).eval()
    nn.init.zeros_(blind[1].weight)
    with pytest.raises(ParameterError, match=r"no adversarial can be planted.* from all others"):
        mmadv.attack(blind, x, torch.zeros(12, dtype=torch.int64), "image.pgd", norm="linf", eps=0.1, plant=4)
    with pytest.raises(ParameterError, match="adversarials are planted there"):
        mmadv.attack(
            lambda texts: torch.ones(len(texts), 2),
            ["a good film"],
            [0],
            "text.greedy",
            plant=1,
            eps=0.5,
            similarity=-1,
        )
    words = SPEC.replace("eps: [0.02, 0.1]", "similarity: -1").replace("image", "text").replace("norm: linf, ", "")
    with pytest.raises(SpecError, match="text has no ball with a border"):
        Audit(
            parse(words.replace("text.noise", "text.greedy").replace("text.pgd", "text.greedy")), "run", default_host()
        )
