"""What counts as a hit, and what is climbed."""

from __future__ import annotations

import torch

from mmadv import Goal, Targeted, Untargeted, losses
from mmadv.goals import decision

LOGITS = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
Y = torch.tensor([0, 0, 0])


def test_untargeted_hits_any_other_class():
    score, hit = Untargeted()(LOGITS, Y)
    assert hit.tolist() == [False, True, False]  # a tie is decided by argmax, as anyone would recompute it
    assert score.tolist() == [-1.0, 1.0, 0.0]


def test_targeted_hits_exactly_one_class():
    score, hit = Targeted()(LOGITS, Y, torch.tensor([1, 1, 2]))
    assert hit.tolist() == [False, True, False]
    assert score.tolist() == [-1.0, 1.0, 0.0]


def test_labels_are_judged_too():
    labels = torch.tensor([0, 2, 1])
    assert Untargeted()(labels, Y).hit.tolist() == [False, True, True]
    assert Targeted()(labels, Y, torch.tensor([1, 1, 1])).hit.tolist() == [False, False, True]
    assert torch.equal(decision(labels), labels)


def test_right_is_being_right_about_y_whatever_the_goal():
    for goal in (Untargeted(), Targeted()):
        assert isinstance(goal, Goal)
        assert goal.right(LOGITS, Y).tolist() == [True, False, True]


def test_a_targeted_loss_climbs_towards_the_target():
    towards = torch.tensor([2, 2, 2])
    assert torch.equal(Targeted().loss(losses.margin, LOGITS, Y, towards), -losses.margin(LOGITS, towards))
    assert torch.equal(Untargeted().loss(losses.margin, LOGITS, Y), losses.margin(LOGITS, Y))
