"""Stable-Baselines3 policies: the answers of `predict`, and gradients through the whole chain."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

import mmadv
from mmadv.errors import TargetError
from mmadv_rl.episodes import Game
from mmadv_rl.film import films
from mmadv_rl.modality import RL
from mmadv_rl.play import run_episodes
from mmadv_rl.policies import Sb3Policy, Stacked, loaded
from mmadv_rl.target import PolicyTarget, claim
from mmadv_rl.threat_model import frames as frames_preset

FAMILIES = [("PPO", "CartPole-v1"), ("A2C", "CartPole-v1"), ("DQN", "CartPole-v1"), ("PPO", "Pendulum-v1"),
            ("SAC", "Pendulum-v1"), ("TD3", "Pendulum-v1")]  # fmt: skip


def made(family, env, **options):
    import stable_baselines3

    return getattr(stable_baselines3, family)("MlpPolicy", env, seed=0, device="cpu", **options)


def slopes_agree(policy, x):
    """Gradients of a target's answer and value are finite differences, in float64."""
    functions = [lambda x: policy(x)]
    if policy.has_critic:
        functions.append(lambda x: policy.critic(x).unsqueeze(1))
    for function in functions:
        seen = x.double().requires_grad_()
        weight = torch.linspace(0.5, 1.5, function(seen).shape[1], dtype=torch.float64)
        grad = torch.autograd.grad((function(seen) * weight).sum(), seen)[0].flatten()
        assert float(grad.abs().max()) > 0
        step = 1e-6
        for at in range(0, grad.numel(), max(1, grad.numel() // 16)):
            shift = torch.zeros(grad.numel(), dtype=torch.float64)
            shift[at] = step
            shift = shift.reshape(x.shape)
            with torch.no_grad():
                wanted = ((function(x.double() + shift) - function(x.double() - shift)) * weight).sum() / (2 * step)
            assert abs(float(grad[at] - wanted)) <= 1e-5 * (1 + abs(float(wanted)))


@pytest.mark.parametrize(("family", "env"), FAMILIES)
def test_policies_do_what_predict_does_and_have_true_gradients(family, env):
    algorithm = made(family, env)
    game = Game(env, below=0.0)
    policy = claim(algorithm, "rl").factory()
    policy.check_game(game)
    x = torch.from_numpy(np.stack([game.space.sample() for _ in range(16)]).clip(-5, 5)).float()
    with torch.no_grad():
        acts = policy.acts(policy(x), game)
    wanted = algorithm.predict(x.numpy(), deterministic=True)[0]
    assert np.allclose(acts, wanted, atol=1e-5)
    slopes_agree(policy, x[:2])


@pytest.mark.parametrize(
    ("family", "options"), [("PPO", {"n_steps": 8, "batch_size": 8}), ("SAC", {"learning_starts": 4})]
)
def test_a_policy_is_taken_as_its_training_left_it(family, options):
    algorithm = made(family, "Pendulum-v1", **options).learn(16)
    game, x = Game("Pendulum-v1", below=0.0), torch.randn(8, 3)
    policy = claim(algorithm, "rl").factory()
    wanted = algorithm.predict(x.numpy(), deterministic=True)[0]
    assert np.allclose(policy.acts(policy(x).detach(), game), wanted, atol=1e-5)


def test_a_policy_whose_noise_depends_on_the_state_is_read_with_that_noise():
    algorithm = made("PPO", "Pendulum-v1", use_sde=True, n_steps=8, batch_size=8).learn(16)
    policy, x = Sb3Policy(algorithm), torch.randn(8, 3)
    with torch.no_grad():
        wanted = algorithm.policy.get_distribution(x).distribution
        mean, spread = policy(x).chunk(2, 1)
    assert torch.allclose(mean.float(), wanted.mean, atol=1e-5)
    assert torch.allclose(spread.exp().float(), wanted.stddev, atol=1e-4)


@pytest.mark.parametrize("family", ["PPO", "DQN"])
def test_a_saved_policy_is_read_without_unpickling(family, tmp_path, monkeypatch):
    algorithm = made(family, "CartPole-v1")
    algorithm.save(tmp_path / "policy.zip")
    game = Game("CartPole-v1")
    monkeypatch.setattr("stable_baselines3.common.save_util.json_to_data", None)  # what unpickles
    x = torch.randn(4, 4)
    assert torch.equal(loaded(tmp_path / "policy.zip", game)(x), Sb3Policy(algorithm)(x))
    (tmp_path / "bad.zip").write_bytes(b"nothing")
    with pytest.raises(TargetError, match="can't be read"):
        loaded(tmp_path / "bad.zip", game)


def test_a_policy_of_another_make_is_read_only_when_trusted(tmp_path):
    algorithm = made("PPO", "CartPole-v1", policy_kwargs={"net_arch": [8], "activation_fn": nn.ReLU})
    algorithm.save(tmp_path / "policy.zip")
    game = Game("CartPole-v1")
    with pytest.raises(TargetError, match="trusted=True"):
        loaded(tmp_path / "policy.zip", game)
    x = torch.randn(4, 4)
    assert torch.equal(loaded(tmp_path / "policy.zip", game, trusted=True)(x), Sb3Policy(algorithm)(x))


def test_a_normaliser_is_part_of_the_chain_and_must_stand_still():
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    env = VecNormalize(make_vec_env("Pendulum-v1", 2, seed=0))
    algorithm = made("PPO", env)
    env.reset()
    for _ in range(50):
        env.step(np.zeros((2, 1)))
    with pytest.raises(TargetError, match="still learning"):
        claim(algorithm, "rl").factory(normaliser=env)
    env.training = False
    policy = claim(algorithm, "rl").factory(normaliser=env, output="values")
    game = Game("Pendulum-v1", below=-500.0)
    x = torch.randn(6, 3)
    wanted = algorithm.predict(env.normalize_obs(x.numpy()), deterministic=True)[0]
    assert np.allclose(policy.acts(policy(x).detach(), game), wanted, atol=1e-5)
    slopes_agree(policy, x[:2])
    found, y = game.episodes(2)
    result = mmadv.attack(policy, found, y, "rl.mad", eps=0.3, unit="policy", steps=2)
    scale = torch.from_numpy(np.sqrt(env.obs_rms.var + env.epsilon)).float()
    assert float(((result.adv.seen - result.adv.true).abs() / scale).max()) <= 0.3 * (1 + 1e-4)


def test_a_recurrent_policy_is_attacked_and_remembers_what_it_was_shown():
    from sb3_contrib import RecurrentPPO

    algorithm = RecurrentPPO(
        "MlpLstmPolicy", "CartPole-v1", seed=0, device="cpu", policy_kwargs={"lstm_hidden_size": 8}
    )
    policy = PolicyTarget(Sb3Policy(algorithm))
    game = Game("CartPole-v1", horizon=12, below=1.0)
    x, y = game.episodes(2)
    adv = mmadv.attack(policy, x, y, "rl.pgd", eps=0.5, steps=3).adv
    state, acts = None, []
    for step in range(int(adv.length[0])):
        start = np.array([step == 0])
        action, state = algorithm.predict(adv.seen[0, step].numpy()[None], state, start, deterministic=True)
        acts.append(int(action[0]))
    assert acts == adv.acts[0, : len(acts), 0].int().tolist()
    slopes_agree(policy, torch.cat([torch.randn(2, 4), torch.randn(2, policy.memory) * 0.3], 1))
    learned = mmadv.attack(policy, x, y, "rl.learned", eps=0.5, training=64).adv
    assert int(learned.touched.sum()) == int(learned.length.sum())
    assert float((learned.seen - learned.true).abs().max()) <= 0.5 * (1 + 1e-5)


class Frames(gym.Env):
    """A dot that drifts over a small picture: the action is right if it follows it."""

    observation_space = gym.spaces.Box(0, 255, (1, 36, 36), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.way = 18, int(self.np_random.integers(2)) * 2 - 1
        return self.seen(), {}

    def seen(self):
        frame = np.zeros((1, 36, 36), np.uint8)
        frame[0, 10:20, self.at - 2 : self.at + 2] = 200
        return frame

    def step(self, action):
        self.at = int(np.clip(self.at + self.way, 3, 33))
        return self.seen(), float(action == (self.way > 0)), False, False, {}


def test_a_policy_of_stacked_frames_is_attacked_through_the_whole_chain():
    import stable_baselines3
    from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

    stacked = VecFrameStack(DummyVecEnv([Frames]), 3, channels_order="first")
    algorithm = stable_baselines3.PPO("CnnPolicy", stacked, seed=0, device="cpu", n_steps=16, batch_size=16)
    policy = PolicyTarget(Stacked(Sb3Policy(algorithm), (1, 36, 36), 3))
    game = Game("frames", below=-1.0, horizon=6, make=Frames)
    x, y = game.episodes(2)
    adv = mmadv.attack(policy, x, y, "rl.pgd", eps=3.0, steps=2).adv
    frames = [torch.zeros(1, 36, 36)] * 2
    for step in range(6):
        frames = [*frames[-2:], adv.seen[0, step].reshape(1, 36, 36)]
        with torch.no_grad():
            own = Sb3Policy(algorithm)(torch.cat(frames)[None]).argmax()
        assert int(own) == int(adv.acts[0, step, 0])
    assert 2.9 < float((adv.seen - adv.true).abs().max()) <= 3.001
    assert float(adv.seen.min()) >= 0
    # What has hardly been trained hardly pushes; what it shows is in the ball all the same.
    for attack, words, least in (("rl.learned", {"training": 32}, 0.0), ("rl.fgsm", {}, 0.99)):
        found = mmadv.attack(policy, x, y, attack, eps=1.0, **words).adv
        back = RL().stored(found)  # as the environment itself gives frames
        assert torch.equal(back.seen, back.seen.round())
        assert float((back.seen - back.true).abs().max()) <= 1
        assert least < float((found.seen - found.true).abs().max()) <= 1 + 1e-5
    assert frames_preset().space.eps == 1.0
    drawn = films(mmadv.rows.take(found, slice(0, 1)))
    assert drawn.count("data:image/png") == 12
    memory = torch.rand(1, policy.memory) * 255
    slopes_agree(policy, torch.cat([torch.rand(1, 1296) * 255, memory], 1))


def test_clean_play_with_a_memory_is_that_of_predict():
    from sb3_contrib import RecurrentPPO

    algorithm = RecurrentPPO("MlpLstmPolicy", "CartPole-v1", seed=1, device="cpu")
    policy = PolicyTarget(Sb3Policy(algorithm))
    played = run_episodes(policy, Game("CartPole-v1").episodes(1)[0])
    env = gym.make("CartPole-v1")
    seen, state, over, steps = env.reset(seed=0)[0], None, False, 0
    while not over:
        action, state = algorithm.predict(seen[None], state, np.array([steps == 0]), deterministic=True)
        seen, _, ended, cut, _ = env.step(int(action[0]))
        over, steps = ended or cut, steps + 1
    assert int(played.episodes.length[0]) == steps


def test_an_unknown_algorithm_is_refused():
    class DDPG:
        policy = None

    with pytest.raises(TargetError, match="DDPG"):
        Sb3Policy(DDPG())
