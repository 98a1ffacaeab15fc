"""Losses are stable, indifferent to shifts, and climb alike at any scale."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from mmadv import losses
from mmadv.errors import ParameterError

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(6, 5, generator=GENERATOR)
LABEL = torch.tensor([0, 1, 2, 3, 4, 0])


def gradient(loss, logits, label=LABEL):
    logits = logits.clone().requires_grad_()
    values = loss(logits, label)
    return values.detach(), torch.autograd.grad(values.sum(), logits)[0]


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("shift", [-1000.0, 1000.0])
def test_a_shift_changes_nothing(name, shift):
    loss = losses.by_name(name)
    values, grad = gradient(loss, LOGITS.double())
    moved, moved_grad = gradient(loss, LOGITS.double() + shift)
    assert torch.allclose(values, moved)
    assert torch.allclose(grad, moved_grad)


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("scale", [1e-4, 100.0, 1e4])
def test_no_scale_takes_the_gradient_away(name, scale):
    sure = functional.one_hot(LABEL, 5) * 8 + LOGITS
    _, grad = gradient(losses.by_name(name), sure * scale)
    assert torch.isfinite(grad).all()
    assert (grad.abs().amax(1) > 0).all()


def test_cross_entropy_underflows_where_log_odds_does_not():
    sure = functional.one_hot(LABEL, 5) * 500.0
    _, grad = gradient(lambda z, y: functional.cross_entropy(z, y, reduction="none"), sure)
    assert grad.abs().max() == 0
    assert gradient(losses.log_odds, sure)[1].abs().amax(1).min() > 0.1


def test_log_odds_is_cross_entropy_before_its_last_step():
    values, grad = gradient(losses.log_odds, LOGITS)
    expected, direction = gradient(lambda z, y: functional.cross_entropy(z, y, reduction="none"), LOGITS)
    assert torch.allclose(functional.softplus(values), expected)
    assert torch.allclose(functional.normalize(grad), functional.normalize(direction), atol=1e-6)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_take_an_axis_of_candidates(name):
    loss = losses.by_name(name)
    stacked = torch.stack([LOGITS, LOGITS + 1, -LOGITS], 1)
    values = loss(stacked, LABEL.unsqueeze(1).expand(-1, 3))
    assert values.shape == (6, 3)
    assert torch.equal(values[:, 2], loss(-LOGITS, LABEL))


def test_the_margin_says_who_leads():
    assert losses.margin(torch.tensor([[-5.0, -7.0, -6.0]]), torch.tensor([0])).item() == -1.0
    assert losses.margin(torch.tensor([[-5.0, -7.0, -6.0]]), torch.tensor([1])).item() == 2.0
    assert losses.margin(torch.tensor([[1.0, 1.0]]), torch.tensor([0])).item() == 0.0


def test_dlr_does_not_change_with_the_scale():
    assert torch.allclose(losses.dlr(LOGITS, LABEL), losses.dlr(LOGITS * 1000, LABEL), rtol=1e-4)
    equal = torch.zeros(1, 4)
    assert torch.isfinite(losses.dlr(equal, LABEL[:1])).all()
    assert torch.isfinite(losses.dlr_targeted(equal, LABEL[:1], LABEL[1:2])).all()


def test_dlr_against_its_formula():
    z = LOGITS.double()
    top = z.sort(1, descending=True).values
    other = z.masked_fill(functional.one_hot(LABEL, 5).bool(), -torch.inf).amax(1)
    assert torch.allclose(losses.dlr(z, LABEL), (other - z[range(6), LABEL]) / (top[:, 0] - top[:, 2]))
    towards = (LABEL + 1) % 5
    expected = (z[range(6), towards] - z[range(6), LABEL]) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2)
    assert torch.allclose(losses.dlr_targeted(z, LABEL, towards), expected)


def test_too_few_classes_for_dlr_are_refused():
    with pytest.raises(ParameterError, match="'dlr' needs at least 3 classes and the victim has 2"):
        losses.dlr(torch.zeros(1, 2), LABEL[:1])
    with pytest.raises(ParameterError, match="'dlr_targeted' needs at least 4 classes and the victim has 3"):
        losses.dlr_targeted(torch.zeros(1, 3), LABEL[:1], LABEL[:1])


def test_an_unknown_loss_names_the_known():
    with pytest.raises(ParameterError, match="unknown loss 'dlrr'") as caught:
        losses.by_name("dlrr")
    assert "did you mean 'dlr'?" in caught.value.fix
