"""What attacks learn from: episodes of their own, as far as the environment lets them be played, and pictures by few pushes."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

import mmadv
from mmadv import ThreatModel
from mmadv.errors import AccessError, InputError, ParameterError
from mmadv_rl.attacks.director import Director
from mmadv_rl.attacks.learned import Learned
from mmadv_rl.attacks.pgd import PGD
from mmadv_rl.attacks.robust_sarsa import RobustSarsa, explored, transitions
from mmadv_rl.attacks.suite import Suite
from mmadv_rl.attacks.timed import Timed
from mmadv_rl.attacks.waves import Waves, every
from mmadv_rl.constraints import Turns
from mmadv_rl.episodes import Game
from mmadv_rl.learning import CELLS, TRAIN_SEED, WHOLE, Adversary, Opposed, cells, trained
from mmadv_rl.policies import Stacked
from mmadv_rl.space import ObsSpace
from mmadv_rl.target import CALM_SEED, PolicyTarget

HORIZON = 10
MARK = 0.9
"""The last number of observations in episodes that break."""


class Mortal(gym.Env):
    """Pays 1 a step, and in episodes that will break −100; those of seeds that `dies` names do so at a step, 0 being the reset."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (3,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, dies, at):
        self.dies, self.at, self.seeds = dies, at, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.ill, self.steps = self.dies(seed), 0
        return self._seen(), {}

    def step(self, action):
        self.steps += 1
        return self._seen(), -100.0 if self.ill else 1.0, False, self.steps == HORIZON, {}

    def _seen(self):
        if self.ill and self.steps == self.at:
            raise RuntimeError("out of cards")
        return np.array([*self.np_random.uniform(-0.5, 0.5, 2), MARK * self.ill], np.float32)


def mortal(dies, at, below=5.0):
    """The game, and the seeds that its episodes were begun with."""
    seeds = []

    def make():
        env = Mortal(dies, at)
        env.seeds = seeds
        return env

    return Game("mortal", below, HORIZON, make=make), seeds


def voting():
    policy = nn.Linear(3, 2).eval()
    with torch.no_grad():
        policy.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 3.0]]))
        policy.bias.zero_()
    return PolicyTarget(policy)


ATTACKS = {
    "timed": (Timed(), {"most": 3}),
    "waves": (Waves(waves=4, episodes=2), {}),
    "robust_sarsa": (RobustSarsa(episodes=4, rounds=5), {}),
    "director": (Director(episodes=4, fits=2, rounds=5), {}),
    "learned": (Learned(training=640), {}),
    "suite": (Suite(training=0), {}),
}


# --- episodes that can't be played -----------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, 5])
@pytest.mark.parametrize("name", ATTACKS)
def test_who_has_no_episode_to_learn_from_says_so_and_reports_nobody_robust(name, at):
    game, _ = mortal(lambda seed: seed >= 1000, at)
    attack, words = ATTACKS[name]
    with pytest.raises(InputError, match="RuntimeError: out of cards") as raised:
        mmadv.attack(voting(), *game.episodes(2), attack, modality="rl", eps=0.1, **words)
    assert raised.value.where == "mortal"
    if (name, at) == ("learned", 0):  # which begins others instead, until ten in a row fail
        return
    assert raised.value.what.startswith("none of the ")
    assert "2**20" in raised.value.fix


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (RobustSarsa(episodes=4, rounds=5), {}),
        (Director(episodes=4, fits=1, rounds=5), {}),
        ("rl.random", {"unit": "std"}),
    ],
)
def test_a_scale_that_no_clean_episode_tells_is_not_made_up(attack, words):
    game, _ = mortal(lambda seed: CALM_SEED <= seed < 2 * CALM_SEED, 1)
    with pytest.raises(InputError, match="none of the 10 training episodes"):
        mmadv.attack(voting(), *game.episodes(2), attack, modality="rl", eps=0.1, **words)


@pytest.mark.parametrize("attack", [RobustSarsa(episodes=4, rounds=5), Director(episodes=4, fits=1, rounds=5)])
def test_episodes_of_one_step_that_the_clock_cuts_teach_nothing(attack):
    game = Game("mortal", 0.5, 1, make=lambda: Mortal(lambda seed: False, 0))
    with pytest.raises(InputError, match="no step of the 4 training episodes"):
        mmadv.attack(voting(), *game.episodes(2), attack, modality="rl", eps=0.1)


class AfterWhat(Suite):
    """One member that any access allows and that would learn, and one that needs more."""

    def members(self, policy, game, threat):
        return [Learned(training=64), PGD()]


def test_nothing_is_played_before_every_member_is_granted_what_it_needs():
    game, seeds = mortal(lambda seed: False, 0)
    with pytest.raises(AccessError, match="PGD needs gradient"):
        mmadv.attack(voting(), *game.episodes(1), AfterWhat(), modality="rl", eps=0.1, access="decision")
    assert not seeds  # nor anything played at all


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(("below", "at"), [(99.0, None), (5.0, 1)])
def test_where_no_episode_is_left_to_attack_nothing_is_learned_and_words_are_checked_all_the_same(name, below, at):
    game, seeds = mortal(lambda seed: at is not None, at, below)
    attack, words = ATTACKS[name]
    result = mmadv.attack(voting(), *game.episodes(2), attack, modality="rl", eps=0.1, **words)
    assert {one.value for one in result.status} == {"already_wrong" if at is None else "error"}
    assert result.queries.tolist() == [0, 0]
    assert max(seeds) < CALM_SEED
    for bad, where in ((Timed(beta=7.0), "beta"), (Learned(sigma=0.1), "sigma"), (Director(fits=0), "fits")):
        with pytest.raises(ParameterError) as raised:
            mmadv.attack(voting(), *game.episodes(2), bad, modality="rl", eps=0.1)
        assert raised.value.where == where
    with pytest.raises(AccessError):
        mmadv.attack(voting(), *game.episodes(2), PGD(), modality="rl", eps=0.1, access="decision")


# --- some that can ---------------------------------------------------------------------------------


def some(seed):
    """Two thirds of the seeds that training uses."""
    return seed >= 1000 and seed % 3 > 0


@pytest.mark.parametrize("name", ATTACKS)
def test_some_episodes_are_enough_to_go_on(name):
    game, _ = mortal(some, 5)
    attack, words = ATTACKS[name]
    result = mmadv.attack(voting(), *game.episodes(2), attack, modality="rl", eps=0.1, steps=None, **words)
    assert [one.value for one in result.status] == ["robust"] * 2


def test_waves_are_compared_by_the_episodes_that_did_not_break():
    game, _ = mortal(some, 5)
    threat = ThreatModel(ObsSpace("linf", 0.1, (1.0,) * 3))
    wave = every(game, torch.Generator())
    returns, cost, reason = Waves(episodes=4)._rehearsed(wave, voting(), game, threat, 0)
    assert returns.tolist() == [HORIZON] * len(wave.half)
    assert "out of cards" in reason
    sound = sum(not some(seed) for seed in range(2**21, 2**21 + 4))
    assert cost.steps == len(wave.half) * (sound * HORIZON + (4 - sound) * 4)  # what broke was spent too


def test_when_to_act_is_told_by_the_episodes_that_did_not_break():
    game, _ = mortal(some, 5)
    policy = voting()
    threat = ThreatModel(ObsSpace("linf", 0.1, (1.0,) * 3, turns=Turns(most=3)))
    ready = Timed().prepared(policy, game, threat, 0)
    gaps = []
    for seed in range(CALM_SEED, CALM_SEED + 10):
        if some(seed):
            continue
        env = Mortal(some, 5)
        seen = env.reset(seed=seed)[0]
        for _ in range(HORIZON):
            with torch.no_grad():
                chance = policy(torch.from_numpy(seen)[None]).softmax(1)[0]
            gaps.append(float(chance.max() - chance.min()))
            seen = env.step(0)[0]
    assert ready.beta == pytest.approx(np.quantile(gaps, 0.7), rel=1e-6)
    assert ready.lessons.steps == len(gaps) + (10 - len(gaps) // HORIZON) * 4


def test_values_are_learned_from_the_episodes_that_did_not_break():
    game, _ = mortal(some, 5)
    policy, threat = voting(), ThreatModel(ObsSpace("linf", 0.1, (1.0,) * 3))
    ready = Director(episodes=6, fits=2, rounds=5).prepared(policy, game, threat, 0)
    assert float((ready.q.s * ready.q.scale)[:, 2].abs().max()) == 0
    assert float(ready.q.value.min()) > 0
    s, _, r, *_ = transitions([explored(policy, game, 6, 0)], game)
    assert len(s) == 2 * (HORIZON - 1)
    assert float(s[:, 2].abs().max()) == 0
    assert r.tolist() == [1.0] * len(r)


def test_a_director_goes_on_with_what_it_has_where_all_episodes_break_under_its_attack():
    later = 2**21 + 3  # those of the second fit
    game, _ = mortal(lambda seed: seed >= later, 1)
    policy, threat = voting(), ThreatModel(ObsSpace("linf", 0.1, (1.0,) * 3))
    once, twice = (Director(episodes=3, fits=fits, rounds=5).prepared(policy, game, threat, 0) for fits in (1, 2))
    assert torch.equal(once.q.s, twice.q.s)
    assert torch.equal(once.q.value, twice.q.value)


def test_actions_that_were_never_taken_and_single_transitions_are_worth_a_number():
    game, _ = mortal(lambda seed: False, 0)
    s, ones = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.ones(5)
    both = torch.ones(5, 2, dtype=torch.bool)
    worth = Director(rounds=3)._fit(s, 0 * s[:, :1], ones, s, ones > 1, both, game, 0)
    assert bool(torch.isfinite(worth.value).all())
    assert bool(torch.isfinite(worth(s)).all())
    q = RobustSarsa(rounds=3).fit(s[:1], 0 * s[:1, :1], ones[:1], s[:1], 0 * s[:1, :1], ones[:1] > 1, game=game, seed=0)
    assert bool(torch.isfinite(q(s)).all())


def test_an_episode_that_breaks_in_training_is_cut_and_not_ended():
    game, _ = mortal(some, 5)
    space = ObsSpace("linf", 0.1, (1.0,) * 3)
    with game.instances(3) as envs:
        opposed = Opposed(voting(), game, space, envs, TRAIN_SEED)
        ill = [some(seed) for seed in range(TRAIN_SEED, TRAIN_SEED + 3)]
        opposed.reset()
        for step in range(5):
            before = opposed.now.clone()
            opposed.step_async(np.zeros((3, 3), np.float32))
            _, rewards, over, infos = opposed.step_wait()
            assert over.tolist() == [one and step == 4 for one in ill]
        for row in np.flatnonzero(ill):
            assert rewards[row] == 0
            assert infos[row]["TimeLimit.truncated"]
            assert infos[row]["terminal_observation"].tolist() == before[row].tolist()
    assert trained(voting(), game, space, steps=640, gamma=0.99, lr=1e-3, seed=0).taught >= 640


# --- pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (4,), (64,), (2, 8, 8)])
def test_observations_of_usual_size_have_a_push_for_each_number(shape):
    assert cells(shape).tolist() == [list(range(int(np.prod(shape))))]


@pytest.mark.parametrize(
    "shape", [(129,), (1000,), (1, 36, 36), (4, 36, 36), (84, 84, 1), (84, 84, 3), (12, 84, 84), (200, 3)]
)
def test_larger_ones_have_few_pushes_by_blocks_from_the_whole_to_fine_ones(shape):
    where = cells(shape)
    assert where.shape[1] == np.prod(shape)
    assert where[0].tolist() == [0] * where.shape[1]
    assert where.unique().tolist() == list(range(int(where.max()) + 1))
    assert len(where.unique()) < WHOLE
    assert CELLS // 8 < len(where[-1].unique()) <= CELLS
    for level in where:
        assert bool((level.bincount()[level] > 0).all())
        for cell in level.unique():  # is a block of the picture
            places = (level.reshape(shape) == cell).nonzero()
            assert len(places) == int((places.amax(0) - places.amin(0) + 1).prod())


class Frame(gym.Env):
    """A patch that is a little brighter or darker than usual says what to do; all around it is noise."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, shape, patch):
        self.observation_space, self.patch = gym.spaces.Box(0, 255, shape, np.uint8), patch

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._seen(), {}

    def step(self, action):
        right = float(int(action) == self.bright)
        return self._seen(), right, False, False, {}

    def _seen(self):
        self.bright = int(self.np_random.integers(2))
        frame = self.np_random.integers(0, 200, self.observation_space.shape).astype(np.uint8)
        frame[self.patch] = 102 if self.bright else 98
        return frame


class Reads(nn.Module):
    """Acts by the mean of the patch, which noise in single numbers hardly moves."""

    def __init__(self, patch):
        super().__init__()
        self.patch, self.slope = (slice(None), *patch), nn.Parameter(torch.ones(()))
        self.eval()

    def forward(self, x):
        bright = self.slope * (x[self.patch].flatten(1).mean(1) - 100)
        return torch.stack([-bright, bright], 1)


MIDDLE = slice(4, 12)
ALL = slice(None)


@pytest.mark.parametrize(
    ("shape", "patch"),
    [((16, 16, 3), (MIDDLE, MIDDLE, ALL)), ((256,), (slice(64, 128),))],
)
def test_a_learned_adversary_does_on_pictures_what_noise_does_not(shape, patch):
    game = Game("frames", 15.0, 20, make=lambda: Frame(shape, patch))
    x, y = game.episodes(10)
    noise, found = (
        game.below - mmadv.attack(Reads(patch), x, y, attack, eps=8.0, **words).score.mean()
        for attack, words in (("rl.random", {}), ("rl.learned", {"training": 6_000}))
    )
    assert float(noise) > 19  # of 20
    assert float(found) < 10


@pytest.mark.parametrize("shape", [(4, 36, 36), (1, 84, 84)])
def test_an_adversary_of_thousands_of_numbers_is_trained_and_the_suite_has_it(shape):
    patch = (ALL, MIDDLE, MIDDLE)
    game = Game("frames", 15.0, 20, make=lambda: Frame(shape, patch))
    space = ObsSpace("linf", 8.0, (1.0,) * game.size)
    found = trained(PolicyTarget(Reads(patch)), game, space, steps=1_500, gamma=0.99, lr=1e-3, seed=1)
    x = torch.from_numpy(game.built().reset(seed=0)[0]).float().flatten()[None]
    assert bool(torch.isfinite(found(x)).all())
    members = Suite().members(PolicyTarget(Reads(patch)), game, ThreatModel(space))
    assert any(isinstance(one, Learned) for one in members)


class Always(nn.Module):
    """An agent that does the same whatever it sees."""

    def __init__(self, actions):
        super().__init__()
        self.actions = actions

    def forward(self, x):
        return torch.cat([self.actions, 0 * self.actions]).double().expand(len(x), -1)


class Seen(nn.Module):
    """A policy of stacked frames that notes what it is shown."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.noted, self.slope = shape, [], nn.Parameter(torch.ones(()))
        self.eval()

    def forward(self, x):
        self.noted.append(x.detach().clone())
        score = self.slope * x.flatten(1).mean(1)
        return torch.stack([score, -score], 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", [(1, 16, 16), (16, 16, 1), (4,)])
def test_pushes_do_in_an_attack_what_they_did_in_training_also_to_a_policy_that_remembers(shape, norm):
    """Frames are stacked by three: what the policy remembers is what it was shown, and is not pushed again."""
    patch = tuple(slice(0, 2) for _ in shape)
    game = Game("frames", -1.0, 4, make=lambda: Frame(shape, patch))
    inner = Seen((3 * shape[0], *shape[1:]) if len(shape) == 1 or shape[0] == 1 else (*shape[:-1], 3 * shape[-1]))
    policy = PolicyTarget(Stacked(inner, shape, 3))
    where = cells(shape)
    actions = 3 * torch.randn(int(where.max()) + 1, generator=torch.Generator().manual_seed(0))
    space = ObsSpace(norm, 8.0, tuple(float(1 + one % 2) for one in range(game.size)))
    low, high = (tuple(end.tolist()) for end in game.box)
    with game.instances(1) as envs:
        opposed = Opposed(policy, game, ObsSpace(norm, 8.0, space.unit, low, high), envs, 0)
        opposed.done = 1  # past the wider pushes that training begins with
        opposed.reset()
        inner.noted.clear()
        for _ in range(4):
            opposed.step_async(actions.numpy()[None])
            opposed.step_wait()
    trained_on = [one[-1] for one in inner.noted]
    attack = Learned(adversary=Adversary(Always(actions), where, 0))
    adv = mmadv.attack(policy, *game.episodes(1), attack, modality="rl", eps=8.0, norm=norm, unit=space.unit).adv
    assert float((adv.seen - adv.true).abs().amax()) > 0.2
    stacked = Stacked(inner, shape, 3)._stacked
    frames = torch.zeros(1, 3, game.size)
    for step in range(4):
        frames = torch.cat([frames[:, 1:], adv.seen[:, step, None]], 1)
        assert torch.allclose(stacked(frames.flatten(1))[0], trained_on[step], atol=1e-4)
