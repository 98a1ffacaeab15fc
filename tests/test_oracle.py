"""The only path to the victim: what it grants, counts, verifies and keeps."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from mmadv import (
    Access,
    Attack,
    BallSpace,
    Budget,
    CallableTarget,
    ModuleTarget,
    Problem,
    Status,
    Targeted,
    ThreatModel,
    Untargeted,
    losses,
)
from mmadv.errors import AccessError, AttackError, InputError, ParameterError, TargetError
from mmadv.oracle import Exhausted, Oracle
from mmadv.testing.victims import Altered, Counting, Failing, Linear, linear_victim, silent

VICTIM, X, Y = linear_victim(rows=8, features=16, classes=3)
NEAREST = VICTIM.nearest(X, Y, "linf")
DIRECTION = torch.autograd.grad(losses.margin(VICTIM(x := X.clone().requires_grad_()), Y).sum(), x)[0].sign()
"""Along which the margin climbs fastest in Linf."""


@dataclass(frozen=True, kw_only=True)
class Needs(Attack):
    """An attack as the oracle sees it: what it needs and keeps."""

    access: Access = Access.DECISION
    keeps: str = "hit"


def problem(
    victim=VICTIM,
    x=X,
    y=Y,
    *,
    eps=1.0,
    norm="linf",
    access=Access.GRADIENT,
    goal=None,
    budget=None,
    target=None,
    **words,
):
    threat = ThreatModel(BallSpace(norm, eps), access, goal or Untargeted(), budget or Budget())
    return Problem(target or ModuleTarget(victim), threat, x, y, torch.arange(len(y)), **words)


def oracle(*arguments, keeps="hit", steps=10, **words):
    return Oracle(problem(*arguments, **words), Needs(keeps=keeps), steps)


@pytest.fixture(autouse=True)
def no_grad():
    """The engine calls attacks under no_grad."""
    with torch.no_grad():
        yield


def towards(share, x=X):
    """Candidates at `share` (A,) or number of the distance to the boundary."""
    return x + (torch.as_tensor(share) * NEAREST[: len(x)]).float().unsqueeze(1) * DIRECTION[: len(x)]


# --- access ---------------------------------------------------------------------------------------


def test_what_the_target_does_not_give_is_refused():
    with pytest.raises(AccessError, match="grants gradient access and the target gives score"):
        oracle(target=CallableTarget(VICTIM))


def test_an_attack_that_needs_more_than_is_granted_is_refused():
    with pytest.raises(AccessError, match="Needs needs gradient access and the threat model grants score") as caught:
        Oracle(problem(access=Access.SCORE), Needs(access=Access.GRADIENT), 1)
    assert "grant access='gradient'" in caught.value.fix


def test_an_attack_that_asks_for_more_than_it_said_is_refused():
    with pytest.raises(AccessError, match="asked for gradients and is granted score"):
        oracle(access=Access.SCORE).evaluate(X, loss=losses.margin, grad=True)
    with pytest.raises(AccessError, match="asked for a loss of scores and is granted decision"):
        oracle(access=Access.DECISION).evaluate(X, loss=losses.margin)
    with pytest.raises(AttackError, match="a gradient was asked for without a loss"):
        oracle().evaluate(X, grad=True)


def test_decision_access_withholds_the_logits():
    seen = oracle(access=Access.DECISION).evaluate(towards(1.1))
    assert seen.output.dtype == torch.int64
    assert seen.output.tolist() == VICTIM(towards(1.1)).argmax(1).tolist()
    assert set(seen.score.tolist()) <= {0.0, 1.0}
    assert seen.hit.all()


def test_a_victim_that_detaches_cannot_have_gradient_access():
    with pytest.raises(TargetError, match="does not depend on its input differentiably"):
        oracle(Altered(VICTIM, after=lambda z: z.detach())).evaluate(X, loss=losses.margin, grad=True)


# --- counting -------------------------------------------------------------------------------------


def test_the_clean_query_comes_first_and_is_counted():
    asking = oracle()
    asking.evaluate(towards(0.5))
    assert asking.ledger.queries.tolist() == [2] * 8
    again = oracle()
    again.evaluate(again.region.x, loss=losses.margin, grad=True)
    assert again.ledger.queries.tolist() == again.ledger.gradients.tolist() == [1] * 8


def test_rows_that_are_done_are_frozen():
    asking = oracle()
    shares = torch.where(torch.arange(8) < 4, 1.1, 0.5)
    asking.evaluate(towards(shares))
    kept = asking.ledger.adv.clone()
    asking.evaluate(towards(1.5))
    ledger = asking.close()
    assert ledger.queries.tolist() == [2] * 4 + [3] * 4
    assert ledger.fooled.all()
    assert torch.equal(ledger.adv[:4], kept[:4])
    assert ledger.forwards == 24


def test_candidates_are_counted_as_far_as_they_are_valid():
    counting = Counting(VICTIM)
    asking = oracle(counting)
    valid = torch.arange(3) <= torch.arange(8).unsqueeze(1) % 3
    candidates = torch.stack([towards(0.1), towards(0.3), towards(1.2)], 1)
    seen = asking.evaluate(candidates, valid=valid, loss=losses.margin, grad=True)
    assert asking.ledger.queries.tolist() == [1 + n for n in valid.sum(1).tolist()]
    assert asking.ledger.gradients.tolist() == valid.sum(1).tolist()
    assert (counting.forwards, counting.backwards) == (8 + int(valid.sum()), int(valid.sum()))
    assert torch.equal(seen.hit, valid & torch.tensor([False, False, True]))
    assert torch.equal(seen.score == float("-inf"), ~valid)
    assert torch.equal(seen.loss == float("-inf"), ~valid)
    assert torch.equal(seen.grad.abs().sum(2) > 0, valid)
    assert seen.grad.shape == candidates.shape
    assert torch.equal(asking.ledger.fooled, valid[:, 2])
    for row in range(8):  # the best of what was sent is kept
        assert torch.equal(asking.ledger.adv[row], candidates[row, int(valid[row].sum()) - 1])


def test_budgets_send_the_first_candidates_that_fit_and_then_end_the_row():
    counting = Counting(VICTIM)
    asking = oracle(counting, budget=Budget(queries=4))
    candidates = towards(0.3).unsqueeze(1).expand(-1, 2, -1)
    asking.evaluate(candidates)
    seen = asking.evaluate(candidates)  # one of two can be afforded
    assert torch.isinf(seen.score).tolist() == [[False, True]] * 8
    assert asking.ledger.queries.tolist() == [4] * 8
    with pytest.raises(Exhausted):
        asking.evaluate(candidates)
    assert asking.ledger.done.all()
    assert counting.forwards == 32
    assert asking.close().status == [Status.ROBUST] * 8


def test_gradients_have_a_budget_of_their_own():
    asking = oracle(budget=Budget(gradients=1))
    asking.evaluate(towards(0.1), loss=losses.margin, grad=True)
    asking.evaluate(towards(0.1))
    with pytest.raises(Exhausted):
        asking.evaluate(towards(0.1), loss=losses.margin, grad=True)
    assert asking.ledger.gradients.tolist() == [1] * 8
    assert asking.ledger.queries.tolist() == [3] * 8


def test_rows_that_were_taken_settle_where_they_came_from():
    asking = oracle()
    asking.evaluate(towards(torch.where(torch.arange(8) % 2 == 0, 1.1, 0.2)))
    alive = (~asking.ledger.done).nonzero()[:, 0]
    part = asking.take(alive)
    part.evaluate(towards(1.3)[alive])
    ledger = part.close()
    assert ledger.fooled.all()
    assert ledger.queries.tolist() == [2, 3] * 4
    assert torch.allclose(ledger.adv, towards(torch.where(torch.arange(8) % 2 == 0, 1.1, 1.3)))
    assert ledger.forwards == 8 + 8 + 4


# --- judging --------------------------------------------------------------------------------------


def test_hits_outside_of_the_constraints_are_not_kept():
    asking = oracle(eps=0.9 * float(NEAREST.min()))
    asking.evaluate(towards(1.2))
    ledger = asking.close()
    assert ledger.strayed.all()
    assert ledger.status == [Status.INFEASIBLE] * 8
    assert torch.equal(ledger.adv, X)
    assert ledger.distance.tolist() == [0.0] * 8
    assert torch.equal(ledger.score, ledger.clean_score)


def test_outside_of_the_box_is_outside():
    beyond = (X - 2.0) * 10
    asking = oracle(eps=1000.0)
    asking.evaluate(beyond)
    ledger = asking.close()
    assert not ledger.fooled.any()
    assert torch.equal(ledger.adv, X)


def test_a_feasible_hit_beside_infeasible_ones_counts():
    asking = oracle(eps=float(NEAREST.max()) * 1.5)
    asking.evaluate(torch.stack([towards(1.1), X + 5 * DIRECTION], 1))
    assert asking.close().status == [Status.FOOLED] * 8


def test_the_best_score_is_kept_of_rows_that_are_never_fooled():
    asking = oracle()
    for share in (0.2, 0.8, 0.5):
        asking.evaluate(towards(share))
    ledger = asking.close()
    assert ledger.status == [Status.ROBUST] * 8
    assert torch.equal(ledger.adv, towards(0.8))
    assert torch.allclose(ledger.score, losses.margin(VICTIM(towards(0.8)), Y))
    assert torch.allclose(ledger.distance.double(), 0.8 * NEAREST, rtol=1e-3)


def test_a_minimum_norm_search_keeps_the_nearest_and_is_judged_by_the_radius():
    shares = [1.5, 1.1, 1.3]
    asking = oracle(eps=1.2 * float(NEAREST.median()), keeps="nearest")
    for share in shares:
        asking.evaluate(towards(share))
    asking.evaluate(torch.stack([towards(1.4), towards(1.05), towards(2.0)], 1))
    ledger = asking.close()
    assert torch.allclose(ledger.distance.double(), 1.05 * NEAREST, rtol=1e-3)
    assert torch.equal(ledger.adv, towards(1.05))
    assert torch.equal(ledger.fooled, 1.2 * float(NEAREST.median()) >= 1.05 * NEAREST)
    assert ledger.queries.tolist() == [7] * 8
    never = oracle(keeps="nearest")
    never.evaluate(towards(0.5))
    ledger = never.close()
    assert ledger.distance.tolist() == [float("inf")] * 8
    assert ledger.status == [Status.ROBUST] * 8


def test_rows_that_are_wrong_already_cost_one_query():
    y = torch.where(torch.arange(8) < 3, (Y + 1) % 3, Y)
    asking = oracle(VICTIM, X, y)
    asking.evaluate(towards(1.2))
    ledger = asking.close()
    assert ledger.status == [Status.ALREADY_WRONG] * 3 + [Status.FOOLED] * 5
    assert ledger.queries.tolist() == [1] * 3 + [2] * 5
    assert torch.equal(ledger.adv[:3], X[:3])


def test_targeted_hits_are_exactly_the_target():
    wanted = (Y + 1) % 3
    asking = oracle(goal=Targeted(), towards=wanted)
    asking.evaluate(towards(1.2))
    assert torch.equal(asking.ledger.fooled, VICTIM(towards(1.2)).argmax(1) == wanted)
    for bad, what in ((Y, "is the right class"), (torch.full_like(Y, 3), "is out of range")):
        with pytest.raises(ParameterError, match=f"a target class {what}"):
            oracle(goal=Targeted(), towards=bad).open()


def test_answers_that_are_not_finite_are_errors_of_their_rows_alone():
    sick = Altered(
        VICTIM, after=lambda z: torch.where(z.isnan() | (torch.arange(len(z)) % 4 == 1).unsqueeze(1), float("nan"), z)
    )
    asking = oracle(sick)
    asking.evaluate(towards(1.2))
    assert asking.close().status == ([Status.FOOLED, Status.ERROR] + [Status.FOOLED] * 2) * 2
    later = Counting(VICTIM)
    asking = oracle(Altered(later, after=lambda z: z if later.forwards <= 8 else z * float("inf")))
    asking.evaluate(towards(1.2))
    assert asking.close().status == [Status.ERROR] * 8
    asking = oracle(silent(VICTIM))
    asking.evaluate(towards(1.2), loss=losses.margin, grad=True)
    assert asking.close().status == [Status.ERROR] * 8


def test_gradients_that_are_not_finite_are_zeroed_and_counted():
    class Spiky(nn.Module):
        def forward(self, x):
            return VICTIM(x) + (x[:, :1] - x[:, :1].detach()).abs().sqrt() * torch.tensor([1.0, 0.0, 0.0])

    asking = oracle(Spiky().eval())
    seen = asking.evaluate(towards(0.1), loss=losses.margin, grad=True)
    assert torch.isfinite(seen.grad).all()
    assert int(asking.signals.broken_gradients) > 0
    assert int(asking.signals.gradient_rows) == 8


def test_what_a_victim_does_to_its_inputs_reaches_no_other_call():
    """Such as a defence that takes gradients of its own, or one that reshapes in place."""

    def defended(x):
        with torch.enable_grad():
            x.requires_grad_()
            VICTIM(x).square().sum().backward()
            answer = VICTIM(x - 0.1 * x.grad).detach()
        x.requires_grad_(False).unsqueeze_(1)
        return answer

    whole, parts = (oracle(target=CallableTarget(defended, batch_size=size), access=Access.SCORE) for size in (None, 3))
    first = whole.evaluate(whole.region.x).output
    assert torch.equal(whole.evaluate(whole.region.x).output, first)
    assert torch.allclose(parts.evaluate(parts.region.x).output, first)
    assert whole.region.x.shape == X.shape
    assert not whole.region.x.requires_grad


def test_a_loss_has_a_value_for_each_row():
    asked = oracle()
    with pytest.raises(AttackError, match=r"a loss of 8 rows has shape \(\)"):
        asked.evaluate(asked.region.x, loss=nn.functional.cross_entropy, grad=True)


def test_labels_out_of_range_are_named():
    with pytest.raises(InputError, match="label 3 is out of range") as caught:
        oracle(VICTIM, X, torch.where(torch.arange(8) == 5, 3, Y)).open()
    assert caught.value.where == "y, row 5"


# --- randomised victims and memory ----------------------------------------------------------------


def test_expectation_over_transformation_counts_and_averages():
    sway = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]])
    counting = Counting(Altered(VICTIM, after=lambda z: z + sway.repeat(len(z) // 2, 1)))
    asking = oracle(counting, eot=2)
    seen = asking.evaluate(asking.region.x, loss=losses.margin, grad=True)
    assert asking.ledger.queries.tolist() == asking.ledger.gradients.tolist() == [2] * 8
    assert (counting.forwards, counting.backwards) == (asking.forwards, asking.backwards) == (16, 16)
    mean = sum((VICTIM(X) + one).softmax(1) for one in sway) / 2
    assert torch.allclose(seen.output.exp(), mean, atol=1e-6)
    with torch.enable_grad():
        x = X.clone().requires_grad_()
        mean = sum((VICTIM(x) + one).softmax(1) for one in sway) / 2
        expected = torch.autograd.grad(losses.margin(mean.log(), Y).sum(), x)[0]
    assert torch.allclose(seen.grad, expected, atol=1e-6)
    assert not asking.deterministic


def test_labels_are_averaged_by_majority():
    votes = iter([0, 1, 1, 2, 2, 0] * 2)
    target = CallableTarget(lambda x: torch.tensor([next(votes) for _ in x]), output="label")
    asking = oracle(x=X[:2], y=torch.tensor([1, 2]), target=target, access=Access.DECISION, eot=3)
    assert asking.evaluate(X[:2] + 0.01).output.tolist() == [1, 2]
    assert asking.close().status == [Status.ROBUST] * 2


def test_wrong_labels_that_all_differ_outvote_a_right_one():
    votes = iter([1, 1, 0, 2, 3, 1, 1, 1, 0, 2] * 2)
    target = CallableTarget(lambda x: torch.tensor([next(votes) for _ in x]), output="label")
    asking = oracle(x=X[:2], y=torch.tensor([1, 1]), target=target, access=Access.DECISION, eot=5)
    seen = asking.evaluate(X[:2])
    assert seen.output.tolist() == [1, 1]  # what comes most often is shown, and not judged by
    assert seen.hit.tolist() == [True, False]
    assert torch.allclose(seen.score, torch.tensor([0.6, 0.4]))
    assert asking.close().status == [Status.ALREADY_WRONG, Status.ROBUST]


def test_a_batch_that_does_not_fit_is_halved_and_stays_halved():
    plain = oracle()
    expected = plain.evaluate(towards(0.7), loss=losses.margin, grad=True)
    counting = Counting(VICTIM)
    target = ModuleTarget(Failing(counting, error=torch.OutOfMemoryError("on purpose"), above=3))
    asking = oracle(target=target)
    seen = asking.evaluate(towards(0.7), loss=losses.margin, grad=True)
    assert target.batch_size == 2
    assert torch.equal(seen.output, expected.output)
    assert torch.equal(seen.grad, expected.grad)
    assert (counting.forwards, counting.backwards) == (asking.forwards, asking.backwards) == (16, 8)
    asking.evaluate(towards(0.7))
    assert target.module.asked == 1 + 1 + 4 + 4 + 4
    with pytest.raises(torch.OutOfMemoryError):
        oracle(Failing(VICTIM, error=torch.OutOfMemoryError("on purpose"), above=0)).open()


def test_a_batch_size_with_several_passes_and_candidates():
    target = ModuleTarget(Failing(VICTIM, above=6))
    target.batch_size = 6
    asking = oracle(target=target, eot=3)
    asking.evaluate(torch.stack([towards(0.2), towards(1.2)], 1))
    assert asking.ledger.queries.tolist() == [3 + 6] * 8
    assert asking.ledger.fooled.all()


# --- what answers mean ----------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["probabilities", "log_probabilities"])
def test_declared_outputs_become_logits(output):
    after = (lambda z: z.softmax(1)) if output == "probabilities" else (lambda z: z.log_softmax(1))
    target = ModuleTarget(Altered(VICTIM, after=after), output=output)
    seen = oracle(target=target).evaluate(X, loss=losses.log_odds, grad=True)
    plain = oracle().evaluate(X, loss=losses.log_odds, grad=True)
    assert torch.allclose(seen.loss, plain.loss, atol=1e-5)
    assert torch.allclose(seen.grad, plain.grad, atol=1e-5)


def test_probabilities_of_exactly_zero_are_no_error():
    for output in ("probabilities", "log_probabilities"):

        def after(z, output=output):
            most = torch.where(z == z.amin(1, keepdim=True), float("-inf"), z)
            return most.softmax(1) if output == "probabilities" else most.log_softmax(1)

        victim = Altered(VICTIM, after=after)
        asking = oracle(target=ModuleTarget(victim, output=output))
        assert torch.isfinite(asking.evaluate(X).output).all()
        assert not asking.ledger.broken.any()


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (lambda z: z[:, None], r"answered shape \(8, 1, 3\) to 8 inputs, where \(B, L\) logits were declared"),
        (lambda z: z[:4], r"answered shape \(4, 3\) to 8 inputs"),
        (lambda z: z.argmax(1), r"answered shape \(8,\) to 8 inputs"),
        (lambda z: (z,), "answered a tuple to 8 inputs"),
        (lambda z: z[:, :1], "the victim has 1 class"),
    ],
)
def test_answers_of_another_shape_are_refused(answer, what):
    with pytest.raises(TargetError, match=what) as caught:
        oracle(Altered(VICTIM, after=answer)).open()
    assert caught.value.fix


@pytest.mark.parametrize(
    ("output", "after", "what"),
    [
        ("probabilities", lambda z: 2 * z.softmax(1), "the victim's probabilities sum to 2 in row 0"),
        ("probabilities", lambda z: z.softmax(1) - torch.tensor([0.0, 0.0, 5.0]), "probabilities sum to"),
        ("probabilities", lambda z: z.sigmoid(), "probabilities sum to"),
        ("log_probabilities", lambda z: z.softmax(1), "the victim's log probabilities sum to"),
    ],
)
def test_probabilities_that_are_none_are_refused(output, after, what):
    with pytest.raises(TargetError, match=what) as caught:
        oracle(target=ModuleTarget(Altered(VICTIM, after=after), output=output)).open()
    assert "declare output='logits'" in caught.value.fix


def test_later_answers_are_held_to_the_first():
    def answering(after, output):
        victim = Altered(VICTIM, after=lambda z: after(z, len(z) == 8))
        asking = oracle(target=ModuleTarget(victim, output=output))
        asking.open()
        asking.evaluate(X.unsqueeze(1), valid=torch.arange(8).unsqueeze(1) > 5)
        return asking

    with pytest.raises(TargetError, match="answers 2 classes, and first it answered 3"):
        answering(lambda z, first: z if first else z[:, :2], "logits")
    for output, odd in (("probabilities", lambda z: 1.8 * z), ("log_probabilities", lambda z: z + 0.588)):
        own = torch.softmax if output == "probabilities" else torch.log_softmax
        asking = answering(lambda z, first, own=own, odd=odd: own(z, 1) if first else odd(own(z, 1)), output)
        with pytest.raises(TargetError, match=r"are up to 0\.8\d* off a sum of 1"):
            asking.close()
        answering(lambda z, first, own=own: own(z, 1), output).close()


def test_probabilities_that_are_declared_as_logits_are_noticed():
    asking = oracle(Altered(VICTIM, after=lambda z: z.softmax(1)))
    asking.open()
    assert int(asking.signals.looks_like_probabilities) == int(asking.signals.opened) == 8
    plain = oracle(Linear(VICTIM.weight.detach(), VICTIM.bias.detach()).eval())
    plain.open()
    assert int(plain.signals.looks_like_probabilities) == 0
