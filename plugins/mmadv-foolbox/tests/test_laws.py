"""foolbox's attacks against the laws that the engine can hold for an attack that isn't ours; strength is foolbox's affair."""

import threading

import pytest
import torch

import mmadv
from mmadv.catalog import Catalog
from mmadv.errors import AccessError, AttackError, ParameterError
from mmadv.host import default_host
from mmadv.testing import Kit, conformance
from mmadv.testing.victims import Counting, crowd, duel
from mmadv_foolbox import attacks, bridge
from mmadv_foolbox.library import foolbox
from mmadv_foolbox.plugin import ATTACKS

ENFORCED = ["feasible", "counted", "unmoved", "independent", "honest", "stored", "replayable"]
QUICK = {
    "foolbox.uniform_noise": [{"repeats": 8}],
    "foolbox.gaussian_noise": [{"repeats": 8}],
    "foolbox.cw": [{"binary_search_steps": 2, "initial_const": 1.0, "stepsize": 0.05}],
    "foolbox.ead": [{"binary_search_steps": 2, "initial_const": 1.0}],
    "foolbox.blended_noise": [{"directions": 20}],
}
# Long searches from labels alone: fewer laws, none of which asks for many runs.
LONG = {"foolbox.hopskipjump": [{"initial_gradient_eval_steps": 4}], "foolbox.boundary": [{"spherical_step": 0.05}]}
NAMES = [f"foolbox.{name}" for name, *_ in ATTACKS]

FEW = Kit(rows=4)  # each row of a foolbox attack is a thread of its own

test_laws = conformance(
    "image", attacks=[name for name in NAMES if name not in LONG], settings=QUICK, laws=ENFORCED, kit=FEW
)
test_long = conformance("image", attacks=list(LONG), settings=LONG, laws=["counted", "stored"], kit=FEW)
test_words = conformance("image", attacks=["foolbox.pgd", "foolbox.mifgsm", "foolbox.fgsm"], laws=["nothing_ignored"])

WORDS = {name: words[0] for name, words in (QUICK | LONG).items()}


def norm_of(name):
    return next(iter(Catalog(default_host()).attack(name).resolve().kinds))


def run(name, stage, **words):
    kind = Catalog(default_host()).attack(name).resolve()
    steps = {} if kind.single_step else {"steps": 6}
    return mmadv.attack(stage.victim, stage.x, stage.y, name, **{**WORDS.get(name, {}), **steps, **words})


@pytest.mark.parametrize("name", NAMES)
def test_a_hook_outside_counts_the_same(name):
    stage = crowd(norm_of(name), 6, (3, 5, 4))
    sent = []
    handle = stage.victim.register_forward_hook(lambda _, args, __: sent.append(len(args[0])))
    result = run(name, stage, norm=norm_of(name), eps=stage.radius)
    handle.remove()
    assert sum(sent) == result.forwards + result.checks
    # Only what foolbox still stood to gain from was asked: no row was sent along.
    assert int(result.queries.sum()) == result.forwards
    assert int(result.gradients.sum()) == result.backwards


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_ends_foolbox_in_the_middle(name):
    stage = crowd(norm_of(name), 6, (3, 5, 4))
    free = run(name, stage, norm=norm_of(name), eps=0.5 * stage.radius)
    most = int(free.queries.max())
    assert most > 2
    counting = Counting(stage.victim)
    held = run(name, stage._replace(victim=counting), norm=norm_of(name), eps=0.5 * stage.radius, queries=most - 1)
    assert int(held.queries.max()) == most - 1
    assert counting.forwards - held.checks == held.forwards <= (most - 1) * len(stage.y)
    ended = held.notes["foolbox finished"] == 0
    assert bool(ended.any())
    assert bool(held.notes["foolbox success"][ended].isnan().all())


def test_the_best_that_was_seen_survives_the_end_of_the_budget():
    stage = duel("l2", 6, (3, 5, 4))
    held = mmadv.attack(stage.victim, stage.x, stage.y, "foolbox.ddn", norm="l2", steps=100, queries=60)
    assert held.success.all()
    assert not held.notes["foolbox finished"].any()
    whole = mmadv.attack(stage.victim, stage.x, stage.y, "foolbox.ddn", norm="l2", steps=100)
    assert (whole.distance <= held.distance).all()


def test_norms_and_goals_that_foolbox_lacks_are_refused_with_the_fix():
    stage = duel("l1", 4, (3, 5, 4))
    with pytest.raises(ParameterError, match="not in l1") as refused:
        mmadv.attack(stage.victim, stage.x, stage.y, "foolbox.deepfool", norm="l1", eps=1.0)
    assert "norm='linf' or use norm='l2'" in refused.value.fix
    with pytest.raises(ParameterError, match="no targeted DeepFool"):
        mmadv.attack(stage.victim, stage.x, stage.y, "foolbox.deepfool", norm="l2", eps=1.0, targets=1 - stage.y)
    with pytest.raises(ParameterError, match="foolbox refuses"):
        mmadv.attack(stage.victim, stage.x, stage.y, "foolbox.sparse_l1", norm="l1", eps=1.0, quantile=2.0)
    with pytest.raises(AttackError, match="foolbox raised ValueError: expected loss"):
        mmadv.attack(stage.victim, stage.x, stage.y, "foolbox.deepfool", norm="l2", eps=1.0, loss="made up")
    with pytest.raises(AccessError):
        mmadv.attack(stage.victim, stage.x, stage.y, "foolbox.pgd", norm="l1", eps=1.0, access="score")


def test_labels_are_enough_for_what_says_so():
    stage = duel("l2", 4, (3, 5, 4))
    words = {"norm": "l2", "eps": 7.0, "steps": 3, "initial_gradient_eval_steps": 8}
    by_label = mmadv.attack(stage.victim, stage.x, stage.y, "foolbox.hopskipjump", access="decision", **words)
    by_score = mmadv.attack(stage.victim, stage.x, stage.y, "foolbox.hopskipjump", **words)
    assert torch.equal(by_label.adv, by_score.adv)
    assert torch.equal(by_label.queries, by_score.queries)


def test_what_foolbox_raises_comes_out_typed_and_leaves_no_thread(monkeypatch):
    def fails(self, model, inputs, criterion, *, epsilon, **_):
        model(inputs)
        raise KeyError("lost")

    monkeypatch.setattr(foolbox.attacks.LinfProjectedGradientDescentAttack, "run", fails)
    stage = duel("linf", 4, (3, 5, 4))
    with pytest.raises(AttackError, match="foolbox raised KeyError"):
        mmadv.attack(stage.victim, stage.x, stage.y, "foolbox.pgd", norm="linf", eps=0.1)
    assert not [thread for thread in threading.enumerate() if thread.name == "foolbox"]


def test_a_gradient_is_the_one_that_foolbox_would_have_had():
    """Against foolbox alone on the same victim and the same random numbers, one example."""
    stage = crowd("linf", 8, (3, 5, 4))
    eps = 0.2 * stage.radius
    model = foolbox.PyTorchModel(stage.victim, bounds=(0, 1), device="cpu")
    theirs = foolbox.attacks.LinfBasicIterativeAttack(steps=5)
    alone, _, success = theirs(model, stage.x, stage.y, epsilons=eps)
    ours = mmadv.attack(stage.victim, stage.x, stage.y, "foolbox.bim", norm="linf", eps=eps, steps=5)
    held = torch.tensor([status == "robust" for status in ours.status])
    assert bool(held.any())
    assert torch.equal(ours.notes["foolbox success"][held] == 1, success[held])
    distance = (alone - stage.x).abs().flatten(1).amax(1)
    assert torch.allclose(ours.notes["foolbox distance"][held].float(), distance[held])


def test_every_attack_names_its_class_and_paper():
    for name, kind, _, paper in ATTACKS:
        made = getattr(attacks, kind)()
        assert paper, name
        for norm in made.kinds:
            assert type(made.made(norm, 3)).__name__ == made.kinds[norm]
    assert bridge.Ended.__mro__[1] is BaseException
