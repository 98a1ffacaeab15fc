"""What does not fit is said before a number comes of it: other spaces, a forgotten normaliser, words without a meaning."""

import dataclasses
import warnings

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize
from torch import nn

import mmadv
from mmadv.errors import ParameterError, TargetError
from mmadv_rl.episodes import Game
from mmadv_rl.play import run_episodes
from mmadv_rl.policies import Sb3Policy, loaded
from mmadv_rl.space import ObsSpace
from mmadv_rl.target import PolicyTarget


class Blank(gym.Env):
    """Shows nothing, in whatever spaces."""

    def __init__(self, seen, acts):
        self.observation_space, self.action_space = seen, acts

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._blank(), {}

    def step(self, action):
        return self._blank(), 1.0, False, False, {}

    def _blank(self):
        return np.zeros(self.observation_space.shape, self.observation_space.dtype)


def game(seen, acts, name="blank"):
    return Game(name, 1.0, 3, make=lambda: Blank(seen, acts))


def box(low, high, shape=(3,), dtype=np.float32):
    return spaces.Box(low, high, shape, dtype)


FRAMES = box(0, 255, (36, 36, 4), np.uint8)


class Scaled(nn.Module):
    """A policy whose gain is a plain number."""

    def __init__(self, gain):
        super().__init__()
        self.gain, self.layer = gain, nn.Linear(4, 2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.5, 1.0, 10.0, 3.0]]))
            self.layer.bias.zero_()
        self.eval()

    def forward(self, x):
        return self.gain * self.layer(x)


# --- games and policies that are told apart -------------------------------------------------------


def test_a_game_that_is_made_from_another_is_played_in_environments_of_its_own():
    heavy = Game("Pendulum-v1", below=-1e9, horizon=20, options={"g": 10.0})
    light = dataclasses.replace(heavy, options={"g": 0.0})
    policy = PolicyTarget(nn.Linear(3, 1).eval(), output="values")
    for one in (heavy, light):
        fresh = Game(one.name, one.below, one.horizon, dict(one.options))
        played = [run_episodes(policy, each.episodes(2)[0]).total for each in (one, fresh)]
        assert torch.equal(*played)
    other = dataclasses.replace(heavy, name="CartPole-v1", below=10.0, options={})
    assert (heavy.size, other.size) == (3, 4)


def test_what_was_learned_of_a_policy_is_not_used_for_one_with_another_setting():
    cart = Game("CartPole-v1", 50.0, 100)
    steady, falling = PolicyTarget(Scaled(1.0)), PolicyTarget(Scaled(-1.0))
    assert steady.fingerprint() == PolicyTarget(Scaled(1.0)).fingerprint() != falling.fingerprint()
    found = [one.units("std", cart) for one in (steady, falling)]
    assert torch.equal(found[1], falling.units("std", Game("CartPole-v1", 50.0, 100)))
    assert not torch.equal(*found)


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trained", "played", "what"),
    [
        ((box(-1, 1), box(-2, 2, (1,))), (box(-1, 1), box(-1, 1, (1,))), "trained with actions in Box"),
        ((box(-1, 1), box(-2, 2, (1,))), (box(-5, 5), box(-2, 2, (1,))), "trained with observations in Box"),
    ],
)
def test_a_policy_that_was_trained_in_other_bounds_is_refused(trained, played, what, tmp_path):
    algorithm = sb3.SAC("MlpPolicy", Blank(*trained), buffer_size=1, device="cpu")
    assert PolicyTarget(Sb3Policy(algorithm), output="values").check_game(game(*trained))
    with pytest.raises(TargetError, match=what):
        mmadv.attack(algorithm, *game(*played).episodes(1), "rl.random", modality="rl", eps=0.1)
    algorithm.save(tmp_path / "sac.zip")
    assert loaded(tmp_path / "sac.zip", game(*trained)).squashed
    with pytest.raises(TargetError, match="space whose low is"):
        loaded(tmp_path / "sac.zip", game(*played))


def test_frames_of_whole_numbers_are_no_floats():
    algorithm = sb3.PPO("CnnPolicy", Blank(FRAMES, spaces.Discrete(3)), n_steps=2, batch_size=2, device="cpu")
    floats = game(box(0, 1, (36, 36, 4)), spaces.Discrete(3))
    with pytest.raises(TargetError, match="trained with observations in Box"):
        mmadv.attack(algorithm, *floats.episodes(1), "rl.random", modality="rl", eps=0.1)
    frames = game(FRAMES, spaces.Discrete(3))
    assert mmadv.attack(algorithm, *frames.episodes(1), "rl.random", modality="rl", eps=1.0).adv.length.tolist() == [3]


def test_a_forgotten_normaliser_is_asked_for():
    envs = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    algorithm = sb3.PPO("MlpPolicy", envs, n_steps=8, batch_size=8, device="cpu")
    words = {"attack": "rl.random", "modality": "rl", "eps": 0.1}
    x, y = Game("CartPole-v1", 5.0, 10).episodes(1)
    with pytest.raises(TargetError, match="trained behind a VecNormalize"):
        mmadv.attack(algorithm, x, y, **words)
    assert len(mmadv.attack(algorithm, x, y, normaliser=False, **words).status) == 1
    envs.training = False
    assert len(mmadv.attack(algorithm, x, y, normaliser=envs, **words).status) == 1


@pytest.mark.parametrize(
    "acts", [spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3)], ids=lambda acts: type(acts).__name__
)
@pytest.mark.filterwarnings("error::mmadv.host.PluginWarning")
def test_the_reason_for_refusing_an_algorithm_is_told(acts):
    algorithm = sb3.PPO("MlpPolicy", Blank(box(-1, 1), acts), n_steps=2, batch_size=2, device="cpu")
    with pytest.raises(TargetError, match=f"the actions of the policy are {type(acts).__name__}"):
        mmadv.attack(algorithm, torch.zeros(1, 3), [0], "rl.pgd", modality="rl", eps=0.1)


def test_an_algorithm_of_a_users_own_is_what_it_was_made_from():
    class Mine(sb3.PPO):
        pass

    algorithm = Mine("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu")
    assert Sb3Policy(algorithm).family == "PPO"
    with pytest.raises(TargetError, match=r"answers a tuple") as caught:
        mmadv.attack(algorithm.policy.eval(), torch.zeros(1, 4), [0], "rl.pgd", modality="rl", eps=0.1)
    assert "pass the Stable-Baselines3 algorithm itself" in caught.value.fix


# --- saved policies -------------------------------------------------------------------------------


def test_a_saved_policy_of_frames_is_read_without_its_replay_buffer(tmp_path):
    seen = box(0, 255, (84, 84, 4), np.uint8)
    algorithm = sb3.DQN("CnnPolicy", Blank(seen, spaces.Discrete(3)), buffer_size=1, device="cpu")
    algorithm.buffer_size = 1_000_000
    algorithm.save(tmp_path / "dqn.zip")
    assert loaded(tmp_path / "dqn.zip", game(seen, spaces.Discrete(3))).family == "DQN"
    assert loaded(tmp_path / "dqn.zip", game(seen, spaces.Discrete(3)), trusted=True).family == "DQN"


def test_a_saved_policy_of_stacked_observations_says_how_many(tmp_path):
    envs = VecFrameStack(DummyVecEnv([lambda: gym.make("CartPole-v1")]), 3)
    algorithm = sb3.PPO("MlpPolicy", envs, n_steps=8, batch_size=8, device="cpu")
    algorithm.save(tmp_path / "ppo.zip")
    cart = Game("CartPole-v1", 5.0, 10)
    with pytest.raises(TargetError):
        loaded(tmp_path / "ppo.zip", cart)
    policy = PolicyTarget(loaded(tmp_path / "ppo.zip", cart, stack=3), stack=3, shape=(4,))
    assert torch.equal(
        policy(torch.ones(1, 4)), PolicyTarget(Sb3Policy(algorithm), stack=3, shape=(4,))(torch.ones(1, 4))
    )


# --- words ----------------------------------------------------------------------------------------


def test_words_without_a_meaning_are_refused_by_name():
    x, y = Game("CartPole-v1", 5.0, 10).episodes(1)
    single = torch.zeros(2, 4), [0, 0]
    for inputs, words, where in (
        *((single, {word: value}, word) for word, value in (("most", 0), ("share", 0.5), ("gap", 0.1))),
        ((x, y), {"low": -1.0}, "low"), ((x, y), {"high": 1.0}, "high"), ((x, y), {"shape": (4,)}, "shape"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=f"{where} is given") as caught:
            mmadv.attack(Scaled(1.0), *inputs, "rl.pgd", modality="rl", eps=0.1, **words)
        assert caught.value.where == where
    with pytest.raises(ParameterError, match="horizon is 100") as caught:
        Game("CartPole-v1", horizon=100)
    assert caught.value.where == "below"


def test_a_radius_for_each_dimension_goes_by_unit():
    with pytest.raises(ParameterError, match="eps is") as caught:
        ObsSpace("linf", [0.1, 0.2])
    assert "unit=" in caught.value.fix
    assert ObsSpace("linf", np.float32(0.5)).eps == 0.5


def test_bounds_beyond_float32_are_none():
    seen = spaces.Box(-np.finfo(np.float64).max, np.finfo(np.float64).max, (3,), np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = game(seen, spaces.Discrete(2)).box
    assert (low.tolist(), high.tolist()) == ([-np.inf] * 3, [np.inf] * 3)


@pytest.mark.parametrize("kind", ["recurrent", "stacked"])
def test_single_observations_of_a_policy_with_memory_are_seen_as_an_episode_begins(kind):
    if kind == "recurrent":
        from sb3_contrib import RecurrentPPO

        module = Sb3Policy(RecurrentPPO("MlpLstmPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu"))
        target = PolicyTarget(module)
    else:
        target = PolicyTarget(nn.Linear(12, 2).eval(), stack=3, shape=(4,))
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    alone = target(x)
    assert torch.equal(alone, target(torch.cat([x, torch.zeros(6, target.memory)], 1)))
    result = mmadv.attack(target, x, alone.argmax(1), "rl.pgd", modality="rl", eps=5.0, steps=5)
    assert "fooled" in result.status
    assert result.adv.shape == x.shape
