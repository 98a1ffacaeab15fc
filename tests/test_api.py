"""`mmadv.attack` refuses, by a typed error with a fix, whatever would have to be guessed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mmadv
from mmadv import CallableTarget, ModuleTarget, Status
from mmadv.errors import AccessError, InputError, MmadvError, ParameterError, TargetError
from mmadv.host import Host
from mmadv.testing import linear_victim
from mmadv.testing.victims import crowd, duel, masked, noisy, probable, silent

VICTIM, X, Y = linear_victim(rows=4, shape=(3, 4, 5), classes=4)


def nan():
    x = X.clone()
    x[2, 0, 0, 0] = float("nan")
    return x


BAD = {
    # what is changed in a sound call: (error, what it says, where, part of the fix)
    "three axes": ({"x": X[0]}, InputError, r"x has shape \(3, 4, 5\)", "x", "x[None]"),
    "texts": ({"x": ["a", "b", "c", "d"]}, InputError, "x is no tensor", "x", "batch of images"),
    "channels last": ({"x": torch.rand(4, 8, 8, 3)}, InputError, "channels stand last", "x", "permute"),
    "uint8": ({"x": (X * 255).to(torch.uint8)}, InputError, "x has dtype torch.uint8", "x", "/ 255"),
    "0 to 255": ({"x": X * 255}, InputError, r"4 of 4 inputs leave \[0, 1\]", "row 0", "scale the inputs"),
    "NaN": ({"x": nan()}, InputError, r"1 of 4 inputs leave \[0, 1\] or hold NaN", "row 2", "scale the inputs"),
    "no labels": ({"y": None}, InputError, "y is missing", "y", "pass the right labels"),
    "float labels": ({"y": Y.float()}, InputError, "y has dtype torch.float32", "y", "4 whole numbers"),
    "bool labels": ({"y": Y > 0}, InputError, "y has dtype torch.bool", "y", "4 whole numbers"),
    "one-hot labels": ({"y": torch.eye(4)[Y].long()}, InputError, r"shape \(4, 4\)", "y", "4 whole numbers"),
    "too few labels": ({"y": Y[:2]}, InputError, r"shape \(2,\)", "y", "4 whole numbers"),
    "label out of range": ({"y": [0, 1, 4, 0]}, InputError, "label 4 is out of range", "y, row 2", "classes 0 to 3"),
    "label out of range at once": ({"y": [0, 1, 4, 0], "attack": "image.fgsm"}, InputError, "label 4 is out of range", "y, row 2", "classes 0 to 3"),
    "negative label": ({"y": [0, -1, 1, 0]}, InputError, "label -1 is out of range", "y, row 1", "classes 0 to 3"),
    "duplicate ids": ({"ids": [1, 2, 1, 3]}, InputError, "two examples have the same id", "ids", "id of its own"),
    "labels in words": ({"y": ["a", "b", "c", "d"]}, InputError, "y can't be read as numbers", "y", "4 whole numbers"),
    "seed": ({"seed": "a"}, ParameterError, "seed is 'a'", "seed", "a whole number"),
    "no such device": ({"device": "gpu"}, ParameterError, "the device 'gpu' can't be used", "device", "mmadv doctor"),
    "mean is a number": ({"mean": 0.5, "std": 0.5}, ParameterError, "mean is 0.5", "mean, std", "a list"),
    "dlr-targeted": ({"attack": "image.apgd", "loss": "dlr-targeted"}, ParameterError, "unknown loss", "loss", "dlr_targeted"),
    "a word of the engine": ({"stesp": 1}, ParameterError, "'stesp' is used by neither", "image.pgd", "did you mean 'steps'?"),
    "too few ids": ({"ids": [1, 2]}, InputError, r"ids has dtype torch.int64 and shape \(2,\)", "ids", "4 whole numbers"),
    "unknown attack": ({"attack": "image.pdg"}, ParameterError, "there is no attack 'image.pdg'", "", "image.pgd"),
    "bare attack": ({"attack": "pgd"}, ParameterError, "there is no attack 'pgd'", "", "image.pgd"),
    "unknown parameter": ({"epsilon": 1}, ParameterError, "'epsilon' is used by neither", "image.pgd", "eps"),
    "misspelt parameter": ({"stepz": 1}, ParameterError, "'stepz' is used by neither", "image.pgd", "known: "),
    "another attack's": ({"gamma": 0.1}, ParameterError, "'gamma' is used by neither", "image.pgd", "known: "),
    "steps of one": ({"attack": "image.fgsm", "steps": 3}, ParameterError, "makes exactly one", "FGSM", "leave steps out"),
    "no eps": ({"eps": float("inf")}, ParameterError, "eps is missing", "image.pgd", "give eps="),
    "negative eps": ({"eps": -0.1}, ParameterError, "eps is -0.1", "eps", "at least 0"),
    "NaN eps": ({"eps": float("nan")}, ParameterError, "eps is nan", "eps", "at least 0"),
    "eps in grey levels": ({"eps": 8}, ParameterError, "no two inputs are further apart than 1 in linf", "eps", "did you mean 8/255?"),
    "eps beyond all": ({"eps": 10.5, "norm": "l2"}, ParameterError, r"further apart than 7.746 in l2", "eps", "which lie in [0, 1]"),
    "eps is text": ({"eps": "8/255"}, ParameterError, "eps is '8/255'", "eps", "a number"),
    "unknown norm": ({"norm": "l3"}, ParameterError, "unknown norm 'l3'", "norm", "l1"),
    "norm of another": ({"attack": "image.cw", "norm": "linf"}, ParameterError, "C&W is an L2 attack", "norm", "norm='l2'"),
    "unknown loss": ({"loss": "cce"}, ParameterError, "unknown loss 'cce'", "loss", "did you mean 'ce'?"),
    "no steps": ({"steps": 0}, ParameterError, "steps is 0", "budget", "at least 1"),
    "half a step": ({"steps": 1.5}, ParameterError, "steps is 1.5", "budget", "whole number"),
    "no queries": ({"queries": 0}, ParameterError, "queries is 0", "budget", "at least 1"),
    "gradients": ({"gradients": -1}, ParameterError, "gradients is -1", "budget", "at least 0"),
    "eot": ({"eot": 0}, ParameterError, "eot is 0", "eot", "at least 1"),
    "restarts": ({"restarts": 0}, ParameterError, "restarts is 0", "PGD", "at least 1"),
    "target is right": ({"targets": 0, "y": [0, 1, 2, 3]}, ParameterError, "is the right class", "targets", "a wrong class"),
    "target out of range": ({"targets": 4}, ParameterError, "a target class is out of range", "targets", "a wrong class of 0 to 3"),
    "train mode": ({"model": nn.Sequential(nn.Flatten(), nn.Linear(60, 4))}, TargetError, "in train mode", "Sequential", "model.eval()"),
    "no model": ({"model": 3}, TargetError, "no plugin claims a victim of type builtins.int", "image (mmadv-image", "mmadv.Target"),
    "mean alone": ({"mean": [0.5]}, ParameterError, "one of mean and std is missing", "mean, std", "give both"),
    "std of 0": ({"mean": [0.5], "std": [0]}, ParameterError, "std is", "mean, std", "positive std"),
    "channels of mean": ({"mean": [0.5] * 2, "std": [1] * 2}, ParameterError, "mean has 2 channels and the images 3", "mean, std", "one value per"),
    "unknown access": ({"access": "grads"}, ParameterError, "unknown access 'grads'", "access", "gradient"),
    "decision": ({"access": "decision"}, AccessError, "PGD needs gradient access", "", "access='gradient'"),
    "decision target": ({"model": CallableTarget(lambda x: VICTIM(x).argmax(1), output="label")}, AccessError, "PGD needs gradient", "", "needs less"),
    "too much access": ({"model": CallableTarget(VICTIM), "access": "gradient"}, AccessError, "the target gives score", "", "a target that gives more"),
    "classes for dlr": ({"model": linear_victim(shape=(3, 4, 5))[0], "y": [0, 1, 0, 1], "loss": "dlr"}, ParameterError, "at least 3 classes", "loss", "use"),
    "classes of none": ({"attack": "image.apgd", "target_classes": 3}, ParameterError, "heads for no class", "target_classes", "dlr_targeted"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_typed_error_with_a_fix(name):
    changes, error, what, where, fix = BAD[name]
    call = {"model": VICTIM, "x": X, "y": Y, "attack": "image.pgd", "norm": "linf", "eps": 0.1} | changes
    with pytest.raises(error, match=what) as caught:
        mmadv.attack(call.pop("model"), call.pop("x"), call.pop("y"), call.pop("attack"), **call)
    assert where in caught.value.where
    assert fix in caught.value.fix
    assert caught.value.fix in str(caught.value)
    assert isinstance(caught.value, MmadvError)


def test_an_attack_itself_needs_its_modality():
    from mmadv.search.pgd import PGD

    with pytest.raises(ParameterError, match="modality is missing"):
        mmadv.attack(VICTIM, X, Y, PGD(), eps=0.1)
    named = mmadv.attack(VICTIM, X, Y, "image.pgd", eps=0.01, restarts=2)
    itself = mmadv.attack(VICTIM, X, Y, PGD(restarts=2), eps=0.01, modality="image")
    assert torch.equal(named.adv, itself.adv)
    with pytest.raises(ParameterError, match="'restarts' is used by neither"):
        mmadv.attack(VICTIM, X, Y, PGD(), eps=0.1, modality="image", restarts=2)


def test_a_target_itself_takes_a_batch_size_and_nothing_else():
    target = ModuleTarget(VICTIM)
    assert mmadv.attack(target, X, Y, "image.pgd", eps=0.3, batch_size=2).success.all()
    assert target.batch_size is None
    with pytest.raises(ParameterError, match="'output' is used by neither"):
        mmadv.attack(target, X, Y, "image.pgd", eps=0.3, output="probabilities")


def test_a_host_without_the_plugin_says_what_to_install():
    with pytest.raises(ParameterError, match=r"the plugin image \(mmadv-image 0.1.0\) is blocked"):
        mmadv.attack(VICTIM, X, Y, "image.pgd", eps=0.1, host=Host(allowed=()))


def test_a_result_adds_up():
    stage = crowd("linf", shape=(3, 4, 5))
    y = torch.where(torch.arange(8) < 2, (stage.y + 1) % 5, stage.y)
    result = mmadv.attack(stage.victim, stage.x, y, "image.pgd", eps=stage.radius, steps=10)
    summary = result.summary()
    fooled = result.status.count(Status.FOOLED)
    assert 0 < fooled < 6
    assert result.success.sum() == fooled
    assert (summary.clean.hits, summary.clean.total) == (6, 8)
    assert (summary.robust.hits, summary.robust.total) == (6 - fooled, 8)
    assert summary.robust.interval[0] < summary.robust.value < summary.robust.interval[1]
    assert summary.stored.hits >= summary.robust.hits
    assert summary.queries == pytest.approx(float(result.queries[2:].double().mean()))
    assert summary.trust == "reliable"
    assert sum(summary.statuses.values()) == 8
    assert "robust accuracy" in str(summary)


def test_errors_are_in_no_denominator():
    summary = mmadv.attack(silent(VICTIM), X, Y, "image.pgd", eps=0.1).summary()
    assert (summary.clean.total, summary.robust.total) == (0, 0)
    assert summary.statuses == {"error": 4}
    assert summary.trust == "invalid"


def test_one_minimum_norm_run_answers_every_radius():
    stage = duel("l2", shape=(3, 4, 5))
    result = mmadv.attack(stage.victim, stage.x, stage.y, "image.ddn", norm="l2")
    assert result.success.all()
    curve = result.robust_accuracy([0.0, 0.98 * stage.radius, 1.02 * stage.radius])
    assert [rate.hits for rate in curve] == [6, 6, 0]
    assert (
        mmadv.attack(stage.victim, stage.x, stage.y, "image.ddn", norm="l2", eps=0.98 * stage.radius).success.sum() == 0
    )


@pytest.mark.parametrize(
    ("victim", "code"),
    [
        (masked, "zero_gradients"),
        (noisy, "randomised"),
        (probable, "probabilities_as_logits"),
        (silent, "non_finite_outputs"),
    ],
)
def test_alarms_come_with_the_result(victim, code):
    result = mmadv.attack(victim(VICTIM), X, Y, "image.pgd", eps=0.01, steps=5)
    assert code in [alarm.code for alarm in result.alarms]
    assert result.summary().trust != "reliable"
    assert code in str(result.summary())


def test_eot_answers_a_randomised_victim():
    result = mmadv.attack(noisy(VICTIM), X, Y, "image.pgd", eps=0.05, steps=3, eot=20)
    assert "randomised" not in [alarm.code for alarm in result.alarms]
    assert (result.queries % 20 == 0).all()
    assert (result.gradients % 20 == 0).all()
    again = mmadv.attack(noisy(VICTIM), X, Y, "image.pgd", eps=0.05, steps=3, eot=20)
    assert torch.equal(result.adv, again.adv)


def test_targets_may_be_one_class_or_one_each():
    stage = duel("linf", shape=(3, 4, 5))
    picked = stage.y == 0
    x, y = stage.x[picked], stage.y[picked]
    one = mmadv.attack(stage.victim, x, y, "image.pgd", eps=1.2 * stage.radius, targets=1)
    each = mmadv.attack(stage.victim, x, y, "image.pgd", eps=1.2 * stage.radius, targets=[1] * len(y))
    assert one.success.all()
    assert torch.equal(one.adv, each.adv)
    assert (stage.victim(one.adv).argmax(1) == 1).all()


def test_what_is_stored_is_judged_too():
    stage = duel("linf", shape=(3, 4, 5))
    result = mmadv.attack(stage.victim, stage.x, stage.y, "image.fgsm", eps=1.001 * stage.radius)
    assert result.success.all()
    rounded = (result.adv * 255).round() / 255
    assert torch.equal(result.stored_success, stage.victim(rounded).argmax(1) != stage.y)
    assert not result.stored_success.all()


def test_a_search_at_one_radius_says_nothing_of_others():
    result = mmadv.attack(VICTIM, X, Y, "image.pgd", norm="linf", eps=0.1)
    assert "image.pgd" in repr(result)
    assert len(repr(result)) < 200
    with pytest.raises(ParameterError, match="searched at one eps"):
        result.robust_accuracy([0.1])
    with pytest.raises(ParameterError, match=r"eps is 0\.1"):
        result.robust_accuracy(0.1)
