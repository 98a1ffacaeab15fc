"""Every attack that is registered against the laws of episodes: the kit tries attacks on single observations alone."""

from dataclasses import replace

import gymnasium as gym
import pytest
import torch
from torch import nn

import mmadv
from mmadv import ThreatModel
from mmadv.access import Access
from mmadv.alarms import PROBE_CALLS, PROBE_ROWS
from mmadv.catalog import Catalog
from mmadv.errors import ParameterError
from mmadv.host import default_host
from mmadv.testing.checks import snapshot
from mmadv.testing.victims import Counting, Stage
from mmadv_rl.attacks.base import Lessons
from mmadv_rl.attacks.director import Director
from mmadv_rl.attacks.learned import Learned
from mmadv_rl.attacks.pgd import PGD
from mmadv_rl.attacks.robust_sarsa import RobustSarsa
from mmadv_rl.attacks.suite import Suite
from mmadv_rl.attacks.waves import Waves
from mmadv_rl.constraints import Turns
from mmadv_rl.episodes import Game
from mmadv_rl.space import ObsSpace
from mmadv_rl.target import PolicyTarget

UNIT = (0.732, 1.063, 0.122, 0.439)
EPS, EPISODES, HORIZON = 1.2, 3, 20
CHEAP = {
    Waves: {"waves": 3, "episodes": 2},
    RobustSarsa: {"episodes": 2, "rounds": 20},
    Director: {"episodes": 2, "rounds": 5, "fits": 2},
    Learned: {"training": 64},
}


class Brief(Suite):
    """The suite, of members that learn little."""

    def members(self, policy, game, threat):
        return [brief(member) for member in super().members(policy, game, threat)]


CHEAP[Suite] = {"training": 64}


def brief(attack):
    return replace(attack, **CHEAP.get(type(attack), {}))


class Upright(nn.Module):
    """A linear controller that holds the pole up for ever, with some dropout if asked for."""

    def __init__(self, chance=0.0):
        super().__init__()
        self.lean, self.noise = nn.Linear(4, 2).double(), nn.Dropout(chance)
        with torch.no_grad():
            self.lean.weight.copy_(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.5, 1.0, 10.0, 3.0]]))
            self.lean.bias.zero_()
        self.eval()

    def forward(self, x):
        return self.lean(self.noise(x.double()))


class Steadiness(nn.Module):
    """A critic that likes an upright pole, and counts the rows that gradients are taken at."""

    backwards = 0

    def forward(self, x):
        value = -x.double()[:, 2].square()
        if value.requires_grad:
            value.register_hook(self._backward)
        return value

    @staticmethod
    def _backward(grad):
        Steadiness.backwards += len(grad)


class Clocked(gym.Wrapper):
    """Counts the steps that are made in all its kind."""

    made = 0

    def step(self, action):
        Clocked.made += 1
        return self.env.step(action)


def played(victim, game, name, index=None, **words):
    """An attack by its name, as cheap as it can be, on some of the episodes."""
    made = brief((Brief if name == "rl.suite" else Catalog(default_host()).attack(name).resolve())())
    if type(made) is Brief:
        made = replace(made, **CHEAP[Suite])
    policy = PolicyTarget(victim, critic=Steadiness())
    x, y = game.episodes(EPISODES)
    index = torch.arange(EPISODES) if index is None else index
    x, y = mmadv.rows.take((x, y), index)
    if not made.single_step and type(made) is not Learned:
        words["steps"] = 2
    return mmadv.attack(policy, x, y, made, modality="rl", ids=index * 7 + 3, eps=EPS, unit=UNIT, **words)


def small_game():
    return Game("clocked", 15.0, HORIZON, make=lambda: Clocked(gym.make("CartPole-v1")))


NAMES = list(Catalog(default_host()).attacks("rl"))


@pytest.mark.parametrize("name", NAMES)
def test_episodes_are_feasible_independent_and_leave_the_victim_as_it_is(name):
    victim, game = Upright(), small_game()
    stage = Stage(victim, *game.episodes(EPISODES), 0.0)
    before = snapshot(stage)
    whole = played(victim, game, name, most=12)
    assert snapshot(stage) == before
    adv = whole.adv
    delta = (adv.seen.double() - adv.true.double()).abs() / torch.tensor(UNIT, dtype=torch.float64)
    assert float(delta.max()) <= EPS * (1 + 1e-5)
    assert int(whole.queries.min()) > 0  # something was tried
    assert int(adv.touched.sum(1).max()) <= 12
    assert [status.value for status in whole.status].count("infeasible") == 0
    for index in (torch.tensor([1]), torch.tensor([2, 0])):
        part = played(victim, game, name, index, most=12)
        for at, row in enumerate(index.tolist()):
            steps = int(part.adv.length[at])
            assert part.score[at] == whole.score[row]
            assert steps == int(whole.adv.length[row])
            assert torch.equal(part.adv.seen[at, :steps], whole.adv.seen[row, :steps])
            assert int(part.queries[at]) == int(whole.queries[row])
            assert int(part.gradients[at]) == int(whole.gradients[row])
            assert all(
                torch.equal(part.notes[n][at].nan_to_num(), whole.notes[n][row].nan_to_num()) for n in part.notes
            )


@pytest.mark.parametrize("name", NAMES)
def test_episodes_are_counted_and_no_budget_is_exceeded(name, asks):
    victim, game = Counting(Upright()), small_game()
    words = {} if Catalog(default_host()).attack(name).resolve().access < Access.GRADIENT else {"gradients": 2}
    played(victim, game, name, queries=4, **words)  # what is learned is learned once
    victim.forwards = victim.backwards = Clocked.made = Steadiness.backwards = 0
    asks.clear()
    result = played(victim, game, name, queries=4, **words)
    learned = Lessons()
    for known in game.known.values():
        learned += getattr(known, "lessons", Lessons(0, getattr(known, "taught", 0)))
    made = Clocked.made - PROBE_ROWS * HORIZON  # two untouched episodes are repeated, and nobody is asked
    # Whoever plays asks at each step what the policy would do, and what it does where it is shown something else.
    again = torch.tensor([status == "fooled" for status in result.status])  # it is played once more to be believed
    touched = int((result.adv.touched.sum(1) * (1 + again.long())).sum())
    assert sum(asks) == made + touched or name == "rl.suite"  # which keeps one of its members' episodes
    assert made + touched <= sum(asks) <= 2 * made
    asked = victim.forwards - sum(asks) - PROBE_CALLS * PROBE_ROWS - 1  # and once whether the two fit at all
    assert asked == result.forwards - learned.queries
    backwards = victim.backwards + Steadiness.backwards  # a critic's gradient is taken at its value
    assert backwards == result.backwards - learned.gradients
    attacked = made - EPISODES * HORIZON  # the controller never falls when nothing is touched
    assert 0 < asked <= 4 * attacked
    assert backwards <= 2 * attacked
    for column, total, lesson in (
        (result.queries, result.forwards, learned.queries),
        (result.gradients, result.backwards, learned.gradients),
    ):
        assert int(column.sum()) == total + (EPISODES - 1) * lesson


def test_the_suite_has_every_attack_and_is_no_weaker_than_the_timed_one():
    victim, game = Upright(), Game("CartPole-v1", horizon=HORIZON, below=15.0)
    policy = PolicyTarget(victim, critic=Steadiness())
    threat = ThreatModel(ObsSpace("linf", EPS, turns=Turns(most=3)))
    there = {type(member).__name__ for member in Suite().members(policy, game, threat)}
    everything = {Catalog(default_host()).attack(name).resolve().__name__ for name in NAMES}
    assert there == everything - {"Suite"}
    suite = played(victim, game, "rl.suite", most=3)
    timed = played(victim, game, "rl.timed", most=3)
    assert bool((suite.score >= timed.score).all())
    told = torch.stack([values for name, values in suite.notes.items() if name.startswith("return under ")])
    assert len(told) == len(there)
    assert torch.equal(game.below - suite.score, told.amin(0))
    assert torch.equal(suite.notes["return under Timed"], game.below - timed.score)


@pytest.mark.parametrize("access", ["score", "decision"])
def test_with_less_access_the_suite_runs_what_is_granted_and_says_what(access):
    result = played(Upright(), small_game(), "rl.suite", access=access)
    classes = [Catalog(default_host()).attack(name).resolve() for name in NAMES]
    granted = {one.__name__ for one in classes if one.access <= Access.of(access)}
    assert {"Random", "Learned"} <= granted
    assert {name.removeprefix("return under ") for name in result.notes if "return under" in name} == granted
    assert int(result.gradients.sum()) == 0


class Touchy(gym.Env):
    """Ends when pushed to the left twice running, and breaks when pushed to the right twice running."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.acts = []
        return self._seen(), {}

    def step(self, action):
        self.acts.append(int(action))
        if self.acts[-2:] == [1, 1]:
            raise RuntimeError("it fell over")
        return self._seen(), 1.0, self.acts[-2:] == [0, 0], False, {}

    def _seen(self):
        return torch.tensor([0.1 * (-1) ** len(self.acts)]).numpy()


class Which(Suite):
    """PGD towards certain actions."""

    actions = ()

    def members(self, policy, game, threat):
        return [PGD(action=action) for action in self.actions]


@pytest.mark.parametrize(
    ("actions", "status"),
    [
        ((0,), "fooled"),
        ((1,), "error"),
        ((0, 1), "fooled"),
        ((1, 0), "fooled"),
        ((1, None), "error"),
        ((None,), "robust"),
    ],
)
def test_what_breaks_under_one_member_does_not_undo_what_another_one_did(actions, status):
    policy = nn.Linear(1, 2).double().eval()
    with torch.no_grad():
        policy.weight.copy_(torch.tensor([[-1.0], [1.0]]))
        policy.bias.zero_()
    game = Game("touchy", 5.0, 8, make=Touchy)
    attack = Which()
    object.__setattr__(attack, "actions", actions)
    eps = 0.5 if actions != (None,) else 0.01
    x, y = game.episodes(2)
    result = mmadv.attack(PolicyTarget(policy), x, y, attack, modality="rl", eps=eps, steps=2)
    assert [one.value for one in result.status] == [status] * 2
    codes = [alarm.code for alarm in result.alarms]
    assert ("lost_examples" in codes) == (status == "error")


def test_a_policy_that_answers_by_chance_raises_an_alarm():
    for chance, codes in ((0.0, []), (0.5, ["randomised"])):
        victim, game = Upright(chance).train(), small_game()
        x, y = game.episodes(2)
        result = mmadv.attack(victim, x, y, "rl.random", eps=0.01, unit=UNIT, allow_training=True)
        assert [alarm.code for alarm in result.alarms] == codes


@pytest.mark.parametrize(
    ("name", "values", "word"),
    [
        ("rl.waves", False, {"loss": "margin"}),
        ("rl.fgsm", True, {"loss": "margin"}),
        ("rl.pgd", True, {"loss": "margin"}),
        ("rl.robust_sarsa", False, {"reg": 0.5}),
        ("rl.director", False, {"reg": 0.5}),
        ("rl.director", False, {"action_eps": 0.5}),
        ("rl.learned", False, {"candidates": 4}),
        ("rl.learned", False, {"sigma": 0.1}),
    ],
)
def test_parameters_that_play_no_part_in_an_episode_are_refused_by_name(name, values, word):
    game = Game("Pendulum-v1", -1e9, 5) if values else small_game()
    policy = PolicyTarget(nn.Linear(3, 2).eval(), output="values") if values else PolicyTarget(Upright())
    x, y = game.episodes(1)
    Clocked.made = 0
    with pytest.raises(ParameterError) as raised:
        mmadv.attack(policy, x, y, name, eps=0.1, **word)
    assert raised.value.where == next(iter(word))
    assert Clocked.made <= HORIZON  # the clean episode, and nothing that is learned


def test_an_adversary_that_shows_each_observation_once_has_no_steps():
    x, y = small_game().episodes(1)
    with pytest.raises(ParameterError, match="steps is given"):
        mmadv.attack(PolicyTarget(Upright()), x, y, Learned(training=64), modality="rl", eps=0.1, steps=3)
