"""Attacks against worst adversaries that are known exactly, and learned values against true ones."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

import mmadv
from mmadv.testing.victims import Counting
from mmadv_rl.attacks.base import Lessons
from mmadv_rl.attacks.director import Director, Worth
from mmadv_rl.attacks.robust_sarsa import RobustSarsa, explored, transitions
from mmadv_rl.tabular import Line, Tabular
from mmadv_rl.target import CALM_EPISODES, PolicyTarget

STATES = np.arange(9)
WALK = np.stack([np.maximum(STATES - 1, 0), STATES, np.minimum(STATES + 1, 8)], 1)
UPHILL = Line(torch.tensor([-4.0, 0.0, 4.0]), torch.tensor([2.0, 2.0, 0.0]))
DOWNHILL = Line(torch.tensor([4.0, 0.0, -4.0]), torch.tensor([-30.0, -2.0, 30.0]))


def table(reward, horizon=40):
    return Tabular(WALK, np.asarray(reward, dtype=float)[WALK], horizon)


PROCESSES = {
    "hill": (table(STATES / 8), UPHILL),
    "valley": (table((STATES - 4) ** 2 / 16), UPHILL),
    "well": (table(np.where(STATES < 2, -1.0, 1.0)), DOWNHILL),
}


@pytest.mark.parametrize("eps", [0.6, 2.4])
@pytest.mark.parametrize("name", PROCESSES)
def test_the_best_attack_comes_near_the_worst_case_and_never_below(name, eps):
    process, policy = PROCESSES[name]
    game = process.game(-1e9)
    x, y = game.episodes(len(STATES))
    worst = process.worst(policy, eps)
    best = torch.full_like(worst, float("inf"))
    for attack in ("rl.random", "rl.pgd", "rl.mad", "rl.waves", "rl.robust_sarsa", "rl.director"):
        found = -1e9 - mmadv.attack(policy, x, y, attack, eps=eps).score
        assert bool((found >= worst - 1e-4).all()), attack
        best = torch.minimum(best, found)
    assert float(best.mean() - worst.mean()) <= 0.05 * abs(float(worst.mean()))


@pytest.mark.parametrize("eps", [0.6, 2.4])
def test_the_learned_adversary_comes_near_the_worst_case_and_never_below(eps):
    process, policy = PROCESSES["hill"]
    x, y = process.game(-1e9).episodes(len(STATES))
    worst, clean = process.worst(policy, eps), process.worst(policy, 0.0)
    noise, found = (
        -1e9 - mmadv.attack(policy, x, y, attack, eps=eps, **words).score
        for attack, words in (("rl.random", {}), ("rl.learned", {"training": 16_384}))
    )
    assert bool((found >= worst - 1e-4).all())
    scale = float(clean.mean() - worst.mean())
    assert float(found.mean() - worst.mean()) <= 0.05 * scale
    assert float(noise.mean() - worst.mean()) > 0.3 * scale


@pytest.mark.parametrize("most", [None, 0, 1, 2, 9])
def test_dynamic_programming_is_the_best_of_all_plans(most):
    process = table(STATES / 8, horizon=5)
    policy, eps = UPHILL, 1.2
    for first in (0, 4, 8):
        least = float("inf")
        for plan in product(range(3), repeat=5):
            state, total, allowed, touched = first, 0.0, True, 0
            for action in plan:
                allowed &= action in policy.reach(float(state), eps)
                touched += action != int(policy(torch.tensor([[float(state)]])).argmax())
                total += float(process.reward[state, action])
                state = int(process.following[state, action])
            least = min(least, total) if allowed and touched <= (5 if most is None else most) else least
        assert abs(float(process.worst(policy, eps, most)[first]) - least) < 1e-9


def test_attacks_with_few_turns_stay_above_the_worst_that_turns_can_do():
    process, policy = PROCESSES["hill"]
    x, y = process.game(-1e9).episodes(len(STATES))
    before = process.worst(policy, 8.0, 0)
    for most in (1, 2, 4, 8):
        exact = process.worst(policy, 8.0, most)
        assert bool((exact <= before).all())
        assert float(exact.mean()) < float(before.mean())
        for attack in ("rl.pgd", "rl.timed"):
            found = -1e9 - mmadv.attack(policy, x, y, attack, eps=8.0, most=most, steps=3).score
            assert bool((found >= exact - 1e-4).all())
        before = exact
    assert torch.equal(process.worst(policy, 8.0, 40), process.worst(policy, 8.0))


def test_robust_sarsa_learns_the_value_of_the_policy_from_true_successors():
    # A wheel whose reward is a wave: what follows is worth much where the reward itself is small, so that only successors tell.
    # Strangers for successors leave the reward alone, whose correlation with the value is the cosine of an angle of 78°: 0.21.
    count, gamma = 24, 0.98
    states = np.arange(count)
    walk = np.stack([(states - 1) % count, (states + 1) % count], 1)
    process = Tabular(walk, np.repeat(np.cos(2 * np.pi * states / count)[:, None], 2, 1), 36)
    forwards = Line(torch.tensor([-4.0, 4.0]), torch.tensor([0.0, 2.0]))
    game, target = process.game(), PolicyTarget(forwards)
    value = np.zeros(count)
    own = np.array([int(forwards(torch.tensor([[float(s)]])).argmax()) for s in states])
    for _ in range(1000):
        value = process.reward[states, own] + gamma * value[process.following[states, own]]
    true = process.reward + gamma * value[process.following]

    attack = RobustSarsa(gamma=gamma, rounds=400)
    played = explored(target, game, 2 * count, 0, noise=0.25)
    s, a, r, after, act_after, ended, _ = transitions([played], game)

    def correlation(order):
        q = attack.fit(s, a, r, after[order], act_after[order], ended, game=game, seed=0)
        learned = q(s).gather(1, a.long())[:, 0]
        wanted = torch.from_numpy(true)[s[:, 0].long(), a[:, 0].long()]
        return float(np.corrcoef(learned.numpy(), wanted.numpy())[0, 1])

    shuffled = [torch.randperm(len(s), generator=torch.Generator().manual_seed(seed)) for seed in range(8)]
    assert correlation(torch.arange(len(s))) > 0.95
    assert max(correlation(order) for order in shuffled) < 0.5


def test_near_transitions_say_what_actions_are_worth_and_one_never_taken_is_never_chosen():
    s, a = torch.tensor([[0.0], [1.0], [4.0]]), torch.tensor([0, 0, 1])
    worth = Worth(s, a, torch.tensor([1.0, 3.0, 7.0]), 3)
    found = worth(torch.tensor([[0.0], [0.5], [4.0]]))
    assert torch.allclose(found[:2, 0], torch.tensor([1.0, 2.0]), atol=1e-3)
    assert found[:, 1].tolist() == [7.0] * 3  # all that is known of it
    assert bool((found[:, 2] >= found[:, :2].amax(1)).all())


@pytest.mark.parametrize(("attack", "plays"), [(RobustSarsa(episodes=4), 1), (Director(episodes=4, fits=2), 3)])
def test_what_values_are_learned_from_is_charged_to_each_episode(attack, plays, asks):
    process, policy = PROCESSES["hill"]
    game, victim = process.game(-1e9), Counting(policy)
    x, y = game.episodes(3)
    first = mmadv.attack(victim, x, y, attack, modality="rl", eps=0.6)
    spent, played, victim.forwards = victim.forwards, sum(asks), 0
    asks.clear()
    again = mmadv.attack(victim, x, y, attack, modality="rl", eps=0.6)  # learned once
    learning, played = spent - victim.forwards, played - sum(asks)
    q = next(value for value in game.known.values() if hasattr(value, "lessons"))
    cost = q.lessons
    assert cost.steps == 40 * 4 * plays  # episodes of a table are never cut short
    # Of what games ask, the policy's own actions are learned from; the unit `std` comes of clean play that teaches nothing.
    assert learning - played == cost.queries - cost.steps
    assert played >= cost.steps + 40 * CALM_EPISODES
    q.lessons = Lessons()
    free = mmadv.attack(victim, x, y, replace(attack, q=q), modality="rl", eps=0.6)
    for charged in (first, again):
        assert torch.equal(charged.score, free.score)
        assert torch.equal(charged.queries, free.queries + cost.queries)
        assert torch.equal(charged.gradients, free.gradients + cost.gradients)
        assert charged.adv.taught.tolist() == [cost.steps] * 3
        assert charged.forwards == free.forwards + cost.queries
        assert charged.backwards == free.backwards + cost.gradients
    assert free.adv.taught.tolist() == [0] * 3
