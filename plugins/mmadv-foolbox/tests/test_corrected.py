"""Where foolbox's own answer is wrong, ours is not, and the report says so."""

import json
import re
import sys
import types

import pytest
from markupsafe import escape as html_of

import mmadv
from mmadv.audit import Audit
from mmadv.host import default_host
from mmadv.runs import RunInfo
from mmadv.source import MemorySource
from mmadv.spec import parse
from mmadv.testing.victims import duel
from mmadv_foolbox.library import foolbox
from mmadv_foolbox.section import KINDS, corrections, section

SHAPE = (3, 5, 4)


def test_an_answer_outside_of_the_ball_is_no_success():
    """A wrapped attack that says success wherever it gets, though it left the ball."""
    stage = duel("linf", 6, SHAPE)
    eps = 0.5 * stage.radius  # no adversarial is that near
    kind = foolbox.attacks.LinfFastGradientAttack
    before = kind.__call__

    def careless(self, model, inputs, criterion, *, epsilons, **words):
        far = self.run(model, inputs, criterion, epsilon=6 * epsilons)
        return far, far, criterion(far, model(far))

    kind.__call__ = careless
    try:
        result = mmadv.attack(stage.victim, stage.x, stage.y, "foolbox.fgsm", norm="linf", eps=eps)
    finally:
        kind.__call__ = before
    assert (result.notes["foolbox success"] == 1).all()
    assert (result.notes["foolbox distance"] > 1.5 * eps).all()
    assert not result.success.any()


# foolbox keeps the least sum of both norms, by its own rule, and had seen nearer ones in L1.
EAD = {"steps": 40, "binary_search_steps": 3, "initial_const": 1.0, "regularization": 0.001}


def test_a_nearer_adversarial_that_foolbox_saw_is_kept():
    stage = duel("l1", 8, SHAPE)
    result = mmadv.attack(stage.victim, stage.x, stage.y, "foolbox.ead", norm="l1", **EAD)
    assert (result.notes["foolbox success"] == 1).all()
    assert result.success.all()
    assert (result.distance < 0.9 * result.notes["foolbox distance"]).all()


def test_an_adversarial_outlives_a_division_by_zero():
    """foolbox's NewtonFool overflows to NaN, which is what foolbox alone returns, after it had fooled the victim."""
    stage = duel("l2", 8, SHAPE)
    alone = foolbox.attacks.NewtonFoolAttack(steps=60, stepsize=0.1)
    model = foolbox.PyTorchModel(stage.victim, bounds=(0, 1), device="cpu")
    assert alone.run(model, stage.x, foolbox.Misclassification(stage.y)).isnan().any()
    result = mmadv.attack(stage.victim, stage.x, stage.y, "foolbox.newtonfool", norm="l2", steps=60, stepsize=0.1)
    assert (result.notes["foolbox finished"] == 0).any()
    assert result.success.all()
    assert result.adv.isfinite().all()


def test_iterates_outside_of_the_ball_are_not_kept_and_make_no_row_infeasible():
    stage = duel("l1", 8, SHAPE)
    words = {"norm": "l1", "eps": 0.8 * stage.radius, "abs_stepsize": 0.3 * stage.radius}
    seen = []
    handle = stage.victim.register_forward_hook(lambda _, args, out: seen.append((out.argmax(1) != stage.y[0]).any()))
    result = mmadv.attack(stage.victim, stage.x[:1], stage.y[:1], "foolbox.sparse_l1", **words)
    handle.remove()
    assert any(seen)  # it did fool the victim, outside
    assert result.status == ["robust"]
    assert result.notes["foolbox success"].tolist() == [0]


@pytest.fixture
def run_of(tmp_path):
    def run(attacks, eps, norm="l2"):
        text = json.dumps(
            {
                "title": "foolbox",
                "campaigns": [
                    {
                        "name": "duel",
                        "modality": "image",
                        "target": {"factory": "mmadv_foolbox_stage:victim"},
                        "data": {"factory": "mmadv_foolbox_stage:examples"},
                        "threat": {"norm": norm, "eps": eps},
                        "attacks": attacks,
                    }
                ],
            }
        )
        audit = Audit(parse(text, "spec.yaml"), tmp_path / "run", default_host())
        audit.run()
        return audit

    return run


def test_records_hold_both_answers_and_the_report_a_table(run_of, monkeypatch):
    stage = duel("l2", 8, SHAPE)
    stages = types.ModuleType("mmadv_foolbox_stage")
    stages.victim = lambda: stage.victim
    stages.examples = lambda: MemorySource("duel", stage.x, stage.y)
    monkeypatch.setitem(sys.modules, "mmadv_foolbox_stage", stages)
    # DeepFool stops just beyond the boundary: an 8-bit file has no room for that.
    audit = run_of([{"name": "foolbox.deepfool", "overshoot": 1e-4}, {"name": "foolbox.fgsm"}], [0.5 * stage.radius])
    deepfool, fgsm = (audit.records(audit.place(unit)) for unit in audit.units())
    assert all(record["measures"]["foolbox finished"] == 1 for record in deepfool + fgsm)
    lost = [record for record in deepfool if KINDS[1] in corrections(record)]
    assert 0 < len(lost) < len(deepfool)
    assert all(record["measures"]["foolbox success"] == 1 and not record["stored_success"] for record in lost)
    # Within half the least distance nobody succeeds, and foolbox says so too: nothing to correct.
    assert not any(corrections(record) for record in fgsm)
    html = section(RunInfo(audit.folder.path, "foolbox", len(audit.units())))
    assert all(html_of(kind) in html for kind in KINDS)
    rows = re.findall(r"<small>duel</small></th>(.*?)</tr>", html)
    cells = [[int(cell) for cell in re.findall(r">(\d+)</td>", row)] for row in rows]
    assert cells == [[8, 8, 0, len(lost), 0, 0, len(lost)], [8, 8, 0, 0, 0, 0, 0]]
