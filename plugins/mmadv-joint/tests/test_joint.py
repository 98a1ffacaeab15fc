"""Inputs of several parts: the product of spaces, closed forms, one part as itself, bad input, and a run from a file."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import mmadv
from mmadv import BallSpace
from mmadv.audit import Audit
from mmadv.errors import AssetError, InputError, ParameterError
from mmadv.host import Host
from mmadv.spec import parse
from mmadv.testing import linear_victim
from mmadv.verify import verify
from mmadv_joint import Joint, JointSpace
from mmadv_joint.modality import Parts
from mmadv_joint.source import source

RADII = {"camera": {"norm": "linf", "eps": 0.1}, "speed": {"norm": "l2", "eps": 0.5, "low": -10, "high": 10}}


class Fusion(torch.nn.Module):
    """Two classes by a line through both parts."""

    def __init__(self, camera, speed, offset=0.0):
        super().__init__()
        self.camera, self.speed = torch.nn.Parameter(camera), torch.nn.Parameter(speed)
        self.offset = offset
        self.eval()

    def forward(self, parts):
        lead = (parts["camera"].flatten(1) * self.camera).sum(1) + (parts["speed"] * self.speed).sum(1) - self.offset
        return torch.stack([lead, -lead], 1)


def fusion(lead):
    """A victim whose lead over 0 is the same in every row, and its inputs."""
    generator = torch.Generator().manual_seed(0)
    x = {
        "camera": 0.4 + 0.2 * torch.rand(5, 1, 3, 3, generator=generator),
        "speed": torch.randn(5, 4, generator=generator),
    }
    camera, speed = torch.randn(9, generator=generator), torch.randn(4, generator=generator)
    model = Fusion(camera, speed)
    with torch.no_grad():
        at = model(x)[:, 0]
        x["speed"] += ((lead - at) / speed.square().sum()).unsqueeze(1) * speed
    return model, x, torch.zeros(5, dtype=torch.int64)


@pytest.mark.parametrize("norms", [("linf", "l2"), ("l2", "l2"), ("l2", "linf")])
def test_pgd_is_right_about_where_a_linear_victim_falls_to_both_parts_together(norms):
    """The lead falls by Σ ε_i · ‖w_i‖*: the share of the radii at which it is gone is known."""
    model, x, y = fusion(1.0)
    words = {name: {**RADII[name], "norm": norm} for name, norm in zip(("camera", "speed"), norms, strict=True)}
    dual = {"linf": 1, "l2": 2}
    reach = sum(
        words[name]["eps"] * float(getattr(model, name).detach().norm(dual[words[name]["norm"]])) for name in words
    )
    share = 1.0 / reach
    for factor, falls in ((1.02, True), (0.98, False)):
        found = mmadv.attack(model, x, y, "joint.pgd", parts=words, eps=factor * share, steps=60)
        assert found.success.all() == falls
        assert found.success.any() == falls
    either = [
        mmadv.attack(
            model, x, y, "joint.pgd", parts={**words, other: {**words[other], "eps": 0}}, eps=1.02 * share, steps=60
        )
        for other in words
    ]
    assert not any(one.success.any() for one in either), "it takes both parts"
    for kept, one in zip(("camera", "speed"), ("speed", "camera"), strict=True):
        adv = mmadv.attack(model, x, y, "joint.fgsm", parts={**words, one: {**words[one], "eps": 0}}, eps=9).adv.parts
        assert torch.equal(adv[one], x[one])
        assert not torch.equal(adv[kept], x[kept])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_one_part_is_attacked_as_if_it_were_the_input(norm):
    victim, x, y = linear_victim(12, (3, 2, 2), classes=3)

    class Alone(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.victim = victim
            self.eval()

        def forward(self, parts):
            return self.victim(parts["only"])

    plain = mmadv.attack(victim, x, y, "image.pgd", norm=norm, eps=0.1, steps=7, cycle_stop=False)
    joint = mmadv.attack(
        Alone(), {"only": x}, y, "joint.pgd", parts={"only": {"norm": norm, "eps": 0.1}}, steps=7, cycle_stop=False
    )
    assert torch.equal(joint.adv.parts["only"], plain.adv)
    assert torch.equal(joint.queries, plain.queries)
    assert torch.allclose(joint.distance * 0.1, plain.distance, rtol=1e-5)


def test_a_part_may_have_the_space_of_another_modality():
    """Whose units and bands hold there, beside a ball in the other part."""
    x = {"motion": torch.zeros(3, 2, 8), "camera": torch.full((3, 1, 2, 2), 0.5)}

    class Sums(torch.nn.Module):
        def forward(self, parts):
            total = parts["motion"].sum((1, 2)) + parts["camera"].sum((1, 2, 3))
            return torch.stack([100 - total, total], 1)  # never fooled, so that it is climbed to the corner

    series = {"modality": "series", "norm": "linf", "eps": 0.1, "unit": [2.0, 0.5]}
    parts = {"motion": series, "camera": {"norm": "linf", "eps": 0.25}}
    result = mmadv.attack(Sums().eval(), x, torch.zeros(3).long(), "joint.pgd", parts=parts, early_stop=False)
    motion = result.adv.parts["motion"]
    assert torch.allclose(motion[:, 0], torch.tensor(0.2))
    assert torch.allclose(motion[:, 1], torch.tensor(0.05))
    assert torch.allclose(result.adv.parts["camera"], torch.tensor(0.75))
    slow = {**parts, "motion": {**series, "norm": "l2", "eps": 1.0, "band": 0.25}}
    noise = mmadv.attack(Sums().eval(), x, torch.zeros(3).long(), "joint.noise", parts=slow, steps=3)
    moved = noise.adv.parts["motion"]
    assert float((moved[..., 1:] - moved[..., :-1]).abs().max()) < float(moved.abs().max())


@given(st.floats(0, 3), st.integers(0, 5))
def test_what_is_projected_is_feasible_and_stays_where_it_is(share, seed):
    generator = torch.Generator().manual_seed(seed)
    space = JointSpace({"a": BallSpace("linf", 0.1), "b": BallSpace("l2", 0.3, -2, 2)}, share)
    x = Joint.of(
        {"a": torch.rand(3, 2, 2, generator=generator), "b": torch.randn(3, 5, generator=generator).clamp(-2, 2)}
    )
    region = space.around(x)
    adv = region.project(Joint(x.flat + torch.randn(x.flat.shape, generator=generator), x.layout))
    assert region.feasible(adv).all()
    assert (region.distance(adv) <= share * (1 + 1e-5) + 1e-6).all()
    assert torch.allclose(region.project(adv).flat, adv.flat, atol=1e-6)
    many = region.project(Joint(adv.flat.unsqueeze(1).repeat(1, 4, 1), adv.layout))
    assert many.flat.shape == (3, 4, 9)
    assert region.distance(many).shape == (3, 4)
    assert torch.allclose(many.flat[:, 2], adv.flat, atol=1e-6)


def test_a_part_without_a_radius_may_not_be_touched_at_any_share():
    space = JointSpace({"a": BallSpace("linf", 0.1), "b": BallSpace("linf", 0.0)}, math.inf)
    x = Joint.of({"a": torch.full((1, 2), 0.5), "b": torch.full((1, 2), 0.5)})
    moved = Joint(x.flat + 0.1, x.layout)
    region = space.around(x)
    assert not region.feasible(moved)
    assert region.distance(moved).isinf()
    assert torch.equal(region.project(moved).parts["b"], x.parts["b"])


@pytest.mark.parametrize(
    ("x", "what"),
    [
        (torch.zeros(2, 3), "Tensor"),
        ({}, "no parts"),
        ({"a": [1.0]}, "'a' is list"),
        ({"a": torch.zeros(2)}, r"\(2,\)"),
        ({"a": torch.zeros(2, 3, dtype=torch.int64)}, "int64"),
        ({"a": torch.zeros(2, 3), "b": torch.zeros(3, 3)}, "differ"),
        ({"a": torch.zeros(2, 3), "b": torch.zeros(2, 3).double()}, "differ"),
        ({3: torch.zeros(2, 3)}, "3"),
    ],
)
def test_inputs_that_are_none_are_refused(x, what):
    with pytest.raises(InputError, match=what) as found:
        Parts().inputs(x)
    assert found.value.fix


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({}, "no parts"),
        ({"parts": {"camera": {"norm": "linf"}}}, "eps is missing"),
        ({"parts": {"camera": {"epsilon": 1}}}, "'epsilon'"),
        ({"parts": {"camera": {"norm": "l7", "eps": 1}}}, "l7"),
        ({"parts": {"camera": {"eps": 0}}}, "every part"),
        ({"parts": RADII, "eps": -1}, "eps is -1"),
        ({"parts": RADII, "norm": "l2"}, "for all parts"),
        ({"parts": {"camera": {"modality": "smell", "eps": 1}}}, "smell"),
        ({"parts": {"camera": {"modality": "image", "eps": 1, "unit": 2}}}, "'unit'"),
        ({"parts": {"camera": {"modality": "audio", "norm": "linf", "eps": 1}}}, "no tensors"),
    ],
)
def test_words_that_say_nothing_are_refused(words, what):
    with pytest.raises(ParameterError, match=what) as found:
        Parts().space(**words)
    assert found.value.fix


def test_parts_that_the_space_does_not_know_or_that_leave_their_box_are_named():
    model, x, y = fusion(1.0)
    with pytest.raises(InputError, match="camera, speed"):
        mmadv.attack(model, x, y, "joint.fgsm", parts={"camera": {"eps": 0.1}})
    with pytest.raises(InputError) as found:
        mmadv.attack(model, x, y, "joint.fgsm", parts={**RADII, "speed": {"eps": 0.1}})
    assert "part 'speed'" in found.value.where


def test_rows_are_packed_without_loss_and_come_back_with_their_parts():
    _, x, _ = fusion(1.0)
    kind = Parts()
    joint = kind.inputs(x)
    rows = [Joint(joint.flat[row : row + 1], joint.layout) for row in range(len(joint))]
    back = kind.unpack([kind.pack(row) for row in rows])
    assert torch.equal(back.flat, joint.flat)
    assert back.layout == joint.layout


SPEC = """
title: fusion
campaigns:
  - name: fusion
    modality: joint
    target: {{factory: "test_joint:model"}}
    data: {{path: "{file}", labels: y}}
    threat: {{eps: [0.5, 1.0, 2.0], parts: {{camera: {{norm: linf, eps: 0.1}}, speed: {{norm: l2, eps: 0.5, low: -10, high: 10}}}}}}
    attacks: [joint.noise, joint.fgsm, {{name: joint.pgd, steps: 10}}]
"""


def model():
    return fusion(1.0)[0]


def test_a_run_from_a_file_is_verified_and_tells_how_far_each_part_was_moved(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    _, x, y = fusion(1.0)
    save_file({**{name: part.contiguous() for name, part in x.items()}, "y": y}, tmp_path / "data.safetensors")
    audit = Audit(parse(SPEC.format(file=tmp_path / "data.safetensors")), tmp_path / "run", Host())
    summary = audit.run()
    curve = [point["robust"]["value"] for point in summary["campaigns"][0]["worst"]]
    assert curve == sorted(curve, reverse=True)
    assert curve[-1] == 0
    assert list(verify(Audit.of_folder(tmp_path / "run", Host()))) == []
    records = [one for unit in audit.units() for one in audit.records(audit.place(unit)) if one["success"]]
    assert {"camera linf", "speed l2"} <= set(records[0]["measures"])
    from mmadv import report

    html = report.write(audit, json.loads((tmp_path / "run" / "summary.json").read_text())).read_text()
    assert "root mean square" in html


def test_files_without_labels_or_parts_that_fit_are_refused(tmp_path):
    file = tmp_path / "data.safetensors"
    with pytest.raises(AssetError, match="cannot be read"):
        source(file)
    save_file({"a": torch.zeros(2, 3)}, file)
    with pytest.raises(InputError, match="no labels"):
        source(file)
    save_file({"a": torch.zeros(2, 3), "y": torch.zeros(3, dtype=torch.int64)}, file)
    with pytest.raises(InputError, match="2 inputs and 3 labels"):
        source(file)
    save_file({"a": torch.zeros(2, 3), "y": torch.zeros(2)}, file)
    with pytest.raises(InputError, match="float32"):
        source(file)
