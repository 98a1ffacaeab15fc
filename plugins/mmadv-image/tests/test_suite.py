"""The suite: what each member adds, at what price, and where a member has to give way."""

import pytest
import torch
from torch import nn

import mmadv
from mmadv import Status
from mmadv.errors import ParameterError
from mmadv_image.attacks.apgd import APGD
from mmadv_image.attacks.square import Square
from mmadv_image.attacks.suite import Suite
from mmadv_image.demo import digits, digits_cnn

SHORT = {"ascent": 10, "squares": 150}


@pytest.fixture(scope="module")
def victim():
    return digits_cnn().module


def standing(result):
    return torch.tensor([status == Status.ROBUST for status in result.status])


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.08), ("l2", 0.7)])
def test_each_member_is_only_asked_about_what_those_before_it_left(victim, norm, eps):
    test = digits().take(0, 60)
    words = {"modality": "image", "norm": norm, "eps": eps}
    whole = mmadv.attack(victim, test.x, test.y, Suite(**SHORT), **words)
    first = mmadv.attack(victim, test.x, test.y, APGD(), steps=SHORT["ascent"], **words)
    fell = first.success
    assert 5 < int(fell.sum()) < 55
    assert bool(whole.success[fell].all())
    assert torch.equal(whole.queries[fell], first.queries[fell])  # the later members cost them nothing
    assert torch.equal(whole.adv[fell], first.adv[fell])
    left = standing(whole)
    clean, last = 1, 1  # targeted DLR ranks the classes by the clean answer; each member has a last iterate
    spent = clean + (10 + last) + (clean + 9 * 10 + last) + (150 + last)
    assert whole.queries[left].unique().tolist() == [spent]
    assert int(whole.gradients[left].max()) == 10 + 9 * 10


class Stairs(nn.Module):
    """The victim behind steps that have no gradient."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.eval()

    def forward(self, x):
        return self.inner(x + ((16 * x).round() / 16 - x).detach() * 1.0 - (x - x.detach()))


def test_where_gradients_are_masked_the_last_member_finds_what_the_first_cannot(victim):
    test = digits().take(0, 40)
    words = {"norm": "linf", "eps": 0.15}
    blind = mmadv.attack(Stairs(victim), test.x, test.y, "image.apgd", steps=10, **words)
    result = mmadv.attack(Stairs(victim), test.x, test.y, "image.suite", **SHORT, **words)
    assert int(standing(blind).sum()) > int(standing(result).sum()) + 8
    assert "zero_gradients" in {alarm.code for alarm in result.alarms}


def test_few_classes_and_targets_take_the_margin(victim):
    test = digits().take(0, 20)
    two = nn.Sequential(victim, nn.Linear(10, 2)).eval()
    with torch.no_grad():
        two[1].weight.copy_(torch.cat([torch.eye(2, 10)[0:1], torch.ones(1, 10) / 9]))
        labels = two(test.x).argmax(1)
    few = mmadv.attack(two, test.x, labels, "image.suite", norm="linf", eps=0.3, **SHORT)
    assert bool(few.success.any())
    targets = (test.y + 1) % 10
    aimed = mmadv.attack(victim, test.x, test.y, "image.suite", norm="linf", eps=0.3, targets=targets, **SHORT)
    assert bool(aimed.success.any())
    with torch.no_grad():
        assert torch.equal(victim(aimed.adv).argmax(1)[aimed.success], targets[aimed.success])


def test_a_budget_of_queries_holds_over_all_members(victim):
    test = digits().take(0, 20)
    result = mmadv.attack(victim, test.x, test.y, "image.suite", norm="linf", eps=0.02, queries=40, **SHORT)
    assert int(result.queries.max()) == 40


@pytest.mark.parametrize("words", [{"ascent": 0}, {"squares": 1.5}, {"norm": "l1"}, {"steps": 3}])
def test_what_means_nothing_is_refused(victim, words):
    test = digits().take(0, 2)
    with pytest.raises(ParameterError, match=next(iter(words)) if "norm" not in words else "linf and l2"):
        mmadv.attack(victim, test.x, test.y, "image.suite", **{"norm": "linf", "eps": 0.1, **words})


def test_members_are_those_of_the_paper():
    assert (Suite().ascent, Suite().squares) == (APGD.steps, Square.steps) == (100, 5000)
