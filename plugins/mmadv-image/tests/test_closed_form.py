"""Attacks against optima that are known, against each other, and against their own papers' schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import mmadv
from mmadv.search.pgd import PGD, fingerprint
from mmadv.testing import linear_victim
from mmadv.testing.victims import Counting, crowd, duel
from mmadv_image.attacks.apgd import checkpoints

SHAPE = (3, 8, 8)


def attack(victim, x, y, name, **words):
    return mmadv.attack(victim, x, y, f"image.{name}", **words)


# --- minimum norm ---------------------------------------------------------------------------------

MINIMUM = [("cw", {"rounds": 9, "steps": 100}), ("ddn", {"steps": 300})]


@pytest.mark.parametrize(("name", "words"), MINIMUM)
@pytest.mark.parametrize(("classes", "loss"), [(2, {}), (5, {"loss": "margin"})])
def test_minimum_norm_attacks_find_the_nearest_within_a_hundredth(name, words, classes, loss):
    victim, x, y = linear_victim(24, SHAPE, classes=classes)
    result = attack(victim, x, y, name, norm="l2", **words, **(loss if name == "ddn" else {}))
    ratio = result.distance / victim.nearest(x, y, "l2")
    assert result.success.all()
    assert ratio.min() > 1 - 1e-4
    assert 1 <= ratio.median() < 1.01
    assert ratio.max() < 1.25


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_cw_does_not_depend_on_the_scale_of_the_logits(scale):
    victim, x, y = linear_victim(12, SHAPE)
    with torch.no_grad():
        victim.weight *= scale
        victim.bias *= scale
    result = attack(victim, x, y, "cw", norm="l2")
    assert (result.distance / victim.nearest(x, y, "l2")).median() < 1.01


def test_cw_leaves_pixels_of_exactly_0_and_1():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (12, *SHAPE), generator=generator).float()
    victim, _, _ = linear_victim(1, SHAPE, seed=1)
    y = victim(x).argmax(1)
    result = attack(victim, x, y, "cw", norm="l2")
    assert result.success.all()
    reference = attack(victim, x, y, "ddn", norm="l2", steps=300)
    assert (result.distance / reference.distance).median() < 1.05


def test_confidence_asks_for_a_margin():
    victim, x, y = linear_victim(8, SHAPE)
    plain, sure = (attack(victim, x, y, "cw", norm="l2", confidence=kappa) for kappa in (0.0, 0.5))
    assert (sure.distance >= plain.distance * 0.99).all()
    assert (sure.score > plain.score).all()


# --- fixed radius ---------------------------------------------------------------------------------

FIXED = [
    ("fgsm", {}),
    ("pgd", {}),
    ("pgd", {"loss": "margin", "restarts": 3}),
    ("pgd", {"loss": "dlr"}),
    ("mifgsm", {}),
    ("apgd", {}),
    ("apgd", {"loss": "dlr"}),
    ("apgd", {"loss": "dlr_targeted"}),
]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("name", "words"), FIXED)
def test_the_least_radius_is_enough_and_less_is_not(name, words, norm):
    victim, x, y, radius = duel(norm, rows=16, shape=SHAPE)
    assert attack(victim, x, y, name, norm=norm, eps=1.01 * radius, **words).success.all()
    assert not attack(victim, x, y, name, norm=norm, eps=0.99 * radius, **words).success.any()


@pytest.mark.parametrize("name", ["pgd", "apgd"])
def test_exactly_the_rows_within_the_radius_are_fooled(name):
    victim, x, y = linear_victim(48, SHAPE)
    nearest = victim.nearest(x, y, "linf")
    for quantile in (0.1, 0.5, 0.9):
        eps = float(nearest.quantile(quantile))
        success = attack(victim, x, y, name, norm="linf", eps=eps).success
        assert success[nearest < 0.99 * eps].all()
        assert not success[nearest > 1.01 * eps].any()


@dataclass(frozen=True)
class Each(mmadv.BallSpace):
    """A radius for each row, `eps` times its distance from the boundary."""

    nearest: torch.Tensor | None = None

    def around(self, x, eps=None):
        return super().around(x, self.eps * self.nearest)


def test_every_row_may_have_a_radius_of_its_own():
    victim, x, y = linear_victim(16, SHAPE)
    nearest = victim.nearest(x, y, "linf").float()
    for share, expected in ((1.01, 16), (0.99, 0)):
        threat = mmadv.ThreatModel(Each("linf", share, nearest=nearest))
        problem = mmadv.Problem(mmadv.ModuleTarget(victim), threat, x, y, torch.arange(16))
        assert int(mmadv.solve(problem, PGD()).fooled.sum()) == expected


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_finds_what_is_within_a_few_times_the_optimum(norm):
    victim, x, y, radius = duel(norm, rows=12, shape=SHAPE)
    found = [attack(victim, x, y, "square", norm=norm, eps=k * radius, steps=1000) for k in (0.99, 1.5, 4.0)]
    counts = [int(result.success.sum()) for result in found]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert counts[2] == 12
    assert found[0].queries.tolist() == [1002] * 12
    assert found[0].gradients.sum() == 0


# --- one another ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    """A small network that has learnt scikit-learn's digits, in a second or two."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x, y = torch.from_numpy(found.images).float().div(16).unsqueeze(1), torch.from_numpy(found.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
        victim = nn.Sequential(nn.Flatten(), *layers)
        optimiser = torch.optim.Adam(victim.parameters(), 4e-3)
        for _ in range(20):
            for batch in torch.randperm(1500).split(100):
                optimiser.zero_grad()
                nn.functional.cross_entropy(victim(x[batch]), y[batch]).backward()
                optimiser.step()
    victim.eval()
    with torch.no_grad():
        assert (victim(x[1500:]).argmax(1) == y[1500:]).float().mean() > 0.9
    return victim, x[1500:1596], y[1500:1596]


def robust(digits, name, **words):
    return attack(*digits, name, **words).summary().robust.hits


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.6), ("l1", 2.0)])
def test_more_work_is_never_worse(digits, norm, eps):
    once = robust(digits, "fgsm", norm=norm, eps=eps)
    few, many = (robust(digits, "pgd", norm=norm, eps=eps, steps=steps) for steps in (5, 40))
    restarted = robust(digits, "pgd", norm=norm, eps=eps, steps=40, restarts=5)
    assert once >= few >= many >= restarted
    assert 0 < restarted < once
    if norm != "l1":
        assert robust(digits, "apgd", norm=norm, eps=eps, restarts=2) <= many
        assert robust(digits, "apgd", norm=norm, eps=eps, loss="dlr_targeted", steps=30) <= many
        assert robust(digits, "square", norm=norm, eps=eps, steps=300) >= many


def test_a_larger_radius_is_never_worse(digits):
    for name, words in (("pgd", {}), ("apgd", {}), ("mifgsm", {}), ("square", {"steps": 200})):
        counts = [robust(digits, name, eps=eps, **words) for eps in (0.02, 0.05, 0.1, 0.15, 0.25)]
        assert counts == sorted(counts, reverse=True)


def test_minimum_norm_attacks_agree_with_fixed_radius_ones(digits):
    found = {name: attack(*digits, name, norm="l2") for name in ("cw", "ddn")}
    for eps in (0.3, 0.6, 0.9):
        strongest = robust(digits, "apgd", norm="l2", eps=eps, restarts=2)
        assert abs(found["ddn"].robust_accuracy([eps])[0].hits - strongest) <= 2
        # C&W follows one class at a time, and stays a little behind.
        assert abs(found["cw"].robust_accuracy([eps])[0].hits - strongest) <= 8
    for result in found.values():
        assert all(status in ("fooled", "already_wrong") for status in result.status)


# --- schedules and stops --------------------------------------------------------------------------


def test_checkpoints_are_the_papers():
    def paper(steps):
        # p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j − p_{j−1} − 0.03, 0.06), in shares of the steps
        shares = [0.0, 0.22]
        while shares[-1] < 1:
            shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
        return [round(share * steps) for share in shares[1:] if share < 1]

    assert sorted(checkpoints(100)) == paper(100)
    assert sorted(checkpoints(1000)) == paper(1000)
    assert checkpoints(1) <= {1}
    for steps in range(1, 60):
        assert all(0 < mark <= steps for mark in checkpoints(steps))


def test_apgd_halves_its_step_where_it_does_not_pay():
    """On a linear victim the first step lands on the optimum, so that nothing improves after it."""
    victim, x, y, radius = duel("linf", rows=4, shape=SHAPE)
    result = attack(victim, x, y, "apgd", eps=0.9 * radius, steps=50)
    assert torch.allclose(result.distance, torch.tensor(0.9 * radius), rtol=1e-5)
    best = attack(victim, x, y, "fgsm", eps=0.9 * radius)
    assert torch.allclose(result.score, best.score, rtol=1e-4)


@pytest.mark.parametrize("words", [{}, {"restarts": 3}, {"loss": "margin", "random_start": False}])
def test_cycle_stop_changes_no_outcome_and_saves_passes(digits, words):
    victim, x, y = digits
    quick, slow = Counting(victim), Counting(victim)
    stopped = attack(quick, x, y, "pgd", eps=0.08, steps=150, **words)
    whole = attack(slow, x, y, "pgd", eps=0.08, steps=150, cycle_stop=False, **words)
    assert stopped.status == whole.status
    assert torch.allclose(stopped.adv, whole.adv, atol=1e-5)
    assert torch.allclose(stopped.score, whole.score, atol=1e-4)
    assert quick.forwards < 0.5 * slow.forwards


def test_cycles_are_not_looked_for_where_they_prove_nothing(digits):
    victim, x, y = digits
    noisy = nn.Sequential(victim, Swaying()).eval()
    queries = [
        attack(noisy, x[:8], y[:8], "pgd", eps=0.001, steps=30, cycle_stop=stop).queries for stop in (True, False)
    ]
    assert torch.equal(*queries)


class Swaying(nn.Module):
    """Adds noise to logits."""

    def forward(self, z):
        return z + 0.01 * torch.randn_like(z)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fingerprints_tell_any_bit_apart(dtype):
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(5, 2, 37, generator=generator, dtype=dtype)
    marks = fingerprint(values)
    assert marks.shape == (5, 2)
    assert len(marks.unique()) == 10
    assert torch.equal(fingerprint(values[3:4]), marks[3:4])
    changed = values.clone()
    changed[0, 0, 36] = (
        math.nextafter(float(changed[0, 0, 36]), 2) if dtype == torch.float64 else changed[0, 0, 36] + 6e-8
    )
    assert (fingerprint(changed) != marks).sum() == (0 if torch.equal(changed, values) else 1)
    swapped = values.clone()
    swapped[1, 1, [0, 1]] = values[1, 1, [1, 0]]
    assert fingerprint(swapped)[1, 1] != marks[1, 1]


def test_decay_of_0_is_pgd_without_a_random_start():
    stage = crowd("linf", shape=SHAPE)
    words = {"eps": stage.radius, "steps": 8, "lr": 0.25}
    momentum = attack(*stage[:3], "mifgsm", decay=0.0, **words)
    plain = attack(*stage[:3], "pgd", random_start=False, cycle_stop=False, **words)
    assert torch.equal(momentum.adv, plain.adv)
