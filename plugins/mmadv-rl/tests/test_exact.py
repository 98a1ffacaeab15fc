"""Attacks against worst adversaries that are known exactly, and learned values against true ones."""

import numpy as np
import pytest
import torch

import mmadv
from mmadv_rl.attacks.robust_sarsa import RobustSarsa, explored, transitions
from mmadv_rl.tabular import Line, Tabular
from mmadv_rl.target import PolicyTarget

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


@pytest.mark.parametrize(("name", "eps"), [("hill", 0.6), ("hill", 2.4), ("valley", 1.2), ("well", 0.6), ("well", 2.4)])
def test_the_best_attack_comes_near_the_worst_case_and_never_below(name, eps):
    process, policy = PROCESSES[name]
    game = process.game(-1e9)
    x, y = game.episodes(len(STATES))
    worst = process.worst(policy, eps)
    best = torch.full_like(worst, float("inf"))
    for attack in ("rl.random", "rl.pgd", "rl.mad", "rl.robust_sarsa", "rl.director"):
        found = -1e9 - mmadv.attack(policy, x, y, attack, eps=eps).score
        assert bool((found >= worst - 1e-4).all()), attack
        best = torch.minimum(best, found)
    scale = float((process.worst(policy, 0.0).mean() - worst.mean()).clamp_min(1.0))
    assert float(best.mean() - worst.mean()) <= 0.05 * max(abs(float(worst.mean())), scale)


def test_dynamic_programming_is_the_best_of_all_plans():
    from itertools import product

    process = table(STATES / 8, horizon=5)
    policy, eps = UPHILL, 1.2
    for first in (0, 4, 8):
        least = float("inf")
        for plan in product(range(3), repeat=5):
            state, total, allowed = first, 0.0, True
            for action in plan:
                allowed &= action in policy.reach(float(state), eps)
                total += float(process.reward[state, action])
                state = int(process.following[state, action])
            least = min(least, total) if allowed else least
        assert abs(float(process.worst(policy, eps)[first]) - least) < 1e-9


def test_robust_sarsa_learns_the_value_of_the_policy_from_true_successors():
    process, policy = table(STATES / 8, horizon=200), UPHILL
    game, target = process.game(), PolicyTarget(UPHILL)
    gamma = 0.9
    value = np.zeros(9)
    own = np.array([int(policy(torch.tensor([[float(s)]])).argmax()) for s in STATES])
    for _ in range(500):
        value = process.reward[STATES, own] + gamma * value[process.following[STATES, own]]
    true = process.reward + gamma * value[process.following]

    attack = RobustSarsa(gamma=gamma, episodes=9)
    played = explored(target, game, 18, 0, noise=1.0)
    s, a, r, after, act_after, ended, _ = transitions([played], game)

    def correlation(after, act_after):
        q = attack.fit(s, a, r, after, act_after, ended, game=game, seed=0)
        learned = q(s).gather(1, a.long())[:, 0]
        wanted = torch.from_numpy(true)[s[:, 0].long(), a[:, 0].long()]
        return float(np.corrcoef(learned.numpy(), wanted.numpy())[0, 1])

    order = torch.randperm(len(s), generator=torch.Generator().manual_seed(0))
    assert correlation(after, act_after) > 0.95
    assert correlation(after[order], act_after[order]) < correlation(after, act_after)
