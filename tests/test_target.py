"""Adapters refuse what would decide the outcome silently, and give the victim back as they found it."""

from __future__ import annotations

import random
from copy import copy, deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mmadv
from mmadv import Access, CallableTarget, ModuleTarget, Output, Target
from mmadv.errors import ParameterError, TargetError, VictimMovedError
from mmadv.target import refuse_pickles, rng_preserved
from mmadv.testing.victims import Altered, Failing, Normed, linear_victim

VICTIM, X, Y = linear_victim(rows=6, shape=(1, 4, 4), classes=3)


def attack(victim, **words):
    return mmadv.attack(victim, X, Y, "image.pgd", eps=0.05, steps=3, **words)


class Writing(nn.Module):
    """Writes to its weights as it answers."""

    def __init__(self, write):
        super().__init__()
        self.layer, self.write = nn.Linear(16, 3), write
        self.eval()

    def forward(self, x):
        with torch.no_grad():
            self.write(self.layer)
        return self.layer(x.flatten(1))


# --- what is refused ------------------------------------------------------------------------------


def test_train_mode_is_refused_by_the_name_of_what_is_in_it():
    victim = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(16, 3)).eval()
    victim[1].train()
    with pytest.raises(TargetError, match="1 submodules are in train mode") as caught:
        attack(victim)
    assert caught.value.where == "Sequential: 1"
    assert "model.eval()" in caught.value.fix
    assert victim[1].training
    result = attack(victim, allow_training=True)
    codes = [alarm.code for alarm in result.alarms]
    assert [code for code in codes if code != "clean_at_chance"] == ["randomised"]  # it is untrained
    assert victim[1].training


def test_a_victim_put_into_train_mode_later_is_refused_too():
    victim = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    target = ModuleTarget(victim)
    victim.train()
    with pytest.raises(TargetError, match="3 submodules are in train mode"), target.held():
        pass


@pytest.mark.parametrize(
    ("make", "error", "what"),
    [
        (lambda: ModuleTarget(lambda x: x), TargetError, "is a function, not a torch.nn.Module"),
        (lambda: ModuleTarget(VICTIM, output="logit"), ParameterError, "unknown output kind 'logit'"),
        (lambda: ModuleTarget(VICTIM, access="gradients"), ParameterError, "unknown access 'gradients'"),
        (
            lambda: ModuleTarget(VICTIM, output="label", access="score"),
            TargetError,
            "returns label grants decision access",
        ),
        (lambda: ModuleTarget(VICTIM, batch_size=0), ParameterError, "batch_size is 0"),
        (lambda: ModuleTarget(VICTIM, batch_size=2.5), ParameterError, "batch_size is 2.5"),
        (lambda: ModuleTarget(VICTIM, autocast="float15"), ParameterError, "unknown dtype 'float15'"),
        (lambda: ModuleTarget(VICTIM, device="meta"), TargetError, "the victim is on cpu and meta was asked for"),
        (lambda: CallableTarget(3), TargetError, "is a int, which cannot be called"),
        (lambda: CallableTarget(VICTIM, access="gradient"), TargetError, "grants score access at most"),
        (lambda: CallableTarget(len, output="label", access="score"), TargetError, "grants decision access at most"),
        (lambda: CallableTarget(VICTIM, batch_size=-1), ParameterError, "batch_size is -1"),
    ],
)
def test_bad_targets_are_refused(make, error, what):
    with pytest.raises(error, match=what) as caught:
        make()
    assert caught.value.fix


# --- what is given back ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write",
    [lambda layer: layer.weight.mul_(0.999), lambda layer: setattr(layer, "weight", nn.Parameter(layer.weight * 2))],
)
def test_weights_that_were_written_to_are_an_error(write):
    with pytest.raises(VictimMovedError, match="1 weights were written to") as caught:
        attack(Writing(write))
    assert caught.value.where == "Writing: layer.weight"


def test_statistics_of_batch_normalisation_are_put_back():
    victim = Normed(VICTIM, 16, training=True)
    before = {name: tensor.clone() for name, tensor in victim.state_dict().items()}
    attack(victim)
    moved = [name for name, tensor in victim.state_dict().items() if not torch.equal(tensor, before[name])]
    assert not moved
    assert not victim.norm.training
    victim(X)
    assert not torch.equal(victim.norm.running_mean, before["norm.running_mean"])  # it does move when nobody looks
    assert victim.asked == 1


def test_everything_is_given_back_after_an_exception():
    victim = Normed(VICTIM, 16, training=True)
    before = {name: tensor.clone() for name, tensor in victim.state_dict().items()}
    parameters = list(victim.parameters())
    parameters[0].requires_grad_(False)
    with pytest.raises(KeyError, match="on purpose"):
        attack(Failing(victim, calls=4, error=KeyError("on purpose")))
    assert all(torch.equal(tensor, before[name]) for name, tensor in victim.state_dict().items())
    assert [parameter.requires_grad for parameter in parameters] == [False] + [True] * (len(parameters) - 1)
    parameters[0].requires_grad_(True)


def test_no_gradient_reaches_parameters_while_the_victim_is_held():
    target = ModuleTarget(VICTIM)
    with target.held():
        assert not any(parameter.requires_grad for parameter in VICTIM.parameters())
    assert all(parameter.requires_grad for parameter in VICTIM.parameters())


def test_a_hold_within_a_longer_one_puts_buffers_and_modes_back_itself():
    victim = Normed(VICTIM, 16, training=True)
    target = ModuleTarget(victim, allow_training=True)
    before = {name: buffer.clone() for name, buffer in victim.named_buffers()}

    def moved():
        return [name for name, buffer in victim.named_buffers() if not torch.equal(buffer, before[name])]

    with copy(target).held():
        with target.held():
            target(X)
            victim.norm.running_mean = torch.ones_like(victim.norm.running_mean)
            victim.train()
            assert moved()
        assert not moved()
        assert not victim.norm.training
        assert not any(parameter.requires_grad for parameter in victim.parameters())
    assert all(parameter.requires_grad for parameter in victim.parameters())


@pytest.mark.parametrize(
    "write",
    [lambda layer: layer.weight.mul_(0.999), lambda layer: setattr(layer, "weight", nn.Parameter(layer.weight * 2))],
)
def test_a_hold_within_a_longer_one_sees_writes_to_weights_and_train_mode_itself(write):
    victim = Writing(write)
    target, ended = ModuleTarget(victim), []

    def held_twice():
        with target.held():
            with target.held():
                target(X)
            ended.append("inner")

    for _ in range(2):  # and the next hold is a whole one again
        with pytest.raises(VictimMovedError, match="1 weights were written to"):
            held_twice()
    victim.write = lambda layer: None
    with target.held():
        victim.train()
        with pytest.raises(TargetError, match="2 submodules are in train mode"), target.held():
            ended.append("inner")
        victim.eval()
    assert not ended


def test_a_copy_made_in_a_hold_is_not_held():
    target = ModuleTarget(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval())
    with target.held():
        other = deepcopy(target)
    other.module.train()
    with pytest.raises(TargetError, match="3 submodules are in train mode"), other.held():
        pass


def test_a_fingerprint_tells_numbers_that_are_no_weights():
    class Warm(nn.Module):
        def __init__(self, temperature, axes=(1, 2)):
            super().__init__()
            self.temperature, self.axes, self.layer = temperature, axes, VICTIM
            self.eval()

        def forward(self, x):
            return self.layer(x) / self.temperature

    told = [
        ModuleTarget(nn.Sequential(Warm(*words)).eval()).fingerprint()
        for words in ((1.0,), (1.0,), (2.0,), (1.0, (2, 1)))
    ]
    assert told[0] == told[1]
    assert len(set(told)) == 3


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_tied_weights_and_scripted_victims_are_held():
    tied = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 3)).eval()
    tied[1].weight = tied[0].weight
    scripted = torch.jit.script(nn.Sequential(nn.Linear(16, 3)).eval())
    for victim, name in ((tied, "0.weight"), (scripted, "0.weight")):
        target = ModuleTarget(victim)
        with target.held(), target.held():
            assert not any(parameter.requires_grad for parameter in victim.parameters())
        assert all(parameter.requires_grad for parameter in victim.parameters())

        def moved(target=target, victim=victim):
            with target.held(), torch.no_grad():
                next(victim.parameters()).mul_(0.5)

        with pytest.raises(VictimMovedError, match="1 weights were written to") as caught:
            moved()
        assert caught.value.where.endswith(f": {name}")


def test_generators_are_given_back_and_seeded_in_between():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    draws = []

    def draw_and_fail():
        with rng_preserved(torch.device("cpu"), seed=7):
            draws.append(torch.rand(3).tolist())
            random.random(), np.random.rand()
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            draw_and_fail()
        assert random.getstate() == states[0]
        assert np.random.get_state()[1].tolist() == states[1]
        assert torch.equal(torch.get_rng_state(), states[2])
    assert draws[0] == draws[1]


# --- what they are --------------------------------------------------------------------------------


def test_module_targets_declare_the_most_they_give():
    assert isinstance(ModuleTarget(VICTIM), Target)
    assert isinstance(CallableTarget(VICTIM), Target)
    assert ModuleTarget(VICTIM).access is Access.GRADIENT
    assert ModuleTarget(VICTIM, output="label").access is Access.DECISION
    assert ModuleTarget(VICTIM, access="score").access is Access.SCORE
    assert CallableTarget(VICTIM).access is Access.SCORE
    assert (ModuleTarget(VICTIM).name, ModuleTarget(VICTIM, name="mine").name) == ("Linear", "mine")
    assert CallableTarget(VICTIM, output="probabilities").output is Output.PROBABILITIES


def test_inputs_take_the_victims_dtype_and_gradients_come_back_in_theirs():
    victim = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double().eval()
    assert ModuleTarget(victim)(X).dtype == torch.float64
    half = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).bfloat16().eval()
    assert mmadv.attack(half, X, half(X.bfloat16()).argmax(1), "image.fgsm", eps=0.1).adv.dtype == torch.float32


def test_autocast_and_compile_are_options_of_the_same_path():
    target = ModuleTarget(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval(), autocast="bfloat16")
    assert target(X).dtype == torch.bfloat16
    assert attack(VICTIM, autocast="bfloat16").success.shape == (6,)


def test_prepare_is_part_of_the_differentiable_victim():
    plain = mmadv.attack(Altered(VICTIM, before=lambda x: (x - 0.5) / 0.25), X, Y, "image.fgsm", eps=0.05)
    inside = mmadv.attack(VICTIM, X, Y, "image.fgsm", eps=0.05, mean=[0.5], std=[0.25])
    assert torch.equal(plain.adv, inside.adv)


def test_callables_may_answer_arrays_and_labels():
    weight = VICTIM.weight.detach().double().numpy()
    scores = CallableTarget(lambda x: x.flatten(1).double().numpy() @ weight.T)
    assert scores(X).dtype == torch.float64
    result = mmadv.attack(lambda x: VICTIM(x).detach().numpy(), X, Y, "image.square", eps=0.3, queries=50)
    assert result.success.any()


def test_fingerprints_follow_what_decides_the_answers():
    one, _, _ = linear_victim(shape=(1, 4, 4), classes=3)
    other, _, _ = linear_victim(shape=(1, 4, 4), classes=3, seed=1)
    prints = [
        ModuleTarget(one).fingerprint(),
        ModuleTarget(other).fingerprint(),
        ModuleTarget(one, output="probabilities").fingerprint(),
        ModuleTarget(one, autocast="bfloat16").fingerprint(),
        ModuleTarget(one, prepare=nn.Flatten()).fingerprint(),
    ]
    assert len(set(prints)) == len(prints)
    assert ModuleTarget(linear_victim(shape=(1, 4, 4), classes=3)[0], name="mine").fingerprint() == prints[0]
    assert CallableTarget(lambda x: x).fingerprint() != CallableTarget(lambda x: x + 1).fingerprint()


def test_a_slip_in_the_name_of_a_folder_is_told_and_no_hub_is_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "sst2").mkdir(parents=True)
    refuse_pickles("models/sts2")  # a folder without models may have an owner's name
    (tmp_path / "models" / "sst2" / "config.json").touch()
    with pytest.raises(TargetError, match="no such folder") as found:
        refuse_pickles(Path("models/sts2"))
    assert "did you mean 'sst2'?" in found.value.fix
    with pytest.raises(TargetError, match="no such folder"):
        refuse_pickles("./sst2")
    for name in ("acme/sst2", "sst2"):  # names that the hub may have
        refuse_pickles(name)
