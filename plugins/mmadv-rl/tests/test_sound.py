"""What would make a number of an agent wrong without anybody seeing it."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

import mmadv
from mmadv.alarms import PROBE_CALLS, PROBE_ROWS, Trust
from mmadv.errors import AccessError, InputError, ParameterError, TargetError
from mmadv.testing.victims import Counting
from mmadv_rl.attacks.director import Director
from mmadv_rl.attacks.robust_sarsa import Value, explored, transitions
from mmadv_rl.episodes import Episodes, Game
from mmadv_rl.modality import RL
from mmadv_rl.play import replay
from mmadv_rl.policies import Normalised, Sb3Policy, Stacked, loaded
from mmadv_rl.space import ObsSpace
from mmadv_rl.target import PolicyTarget, claim


class Rest(gym.Env):
    """Nothing ever happens; the reward is what is done."""

    def __init__(self, reward, actions=1):
        self.reward = reward
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (actions,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), self.reward(action), False, False, {}


class Answers(nn.Module):
    """A function of observations as a policy."""

    def __init__(self, function):
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.ones(1, dtype=torch.float64)), function
        self.eval()

    def forward(self, x):
        return self.function(x.double() * self.weight)


def resting(reward, actions=1, below=3.0):
    return Game("rest", below, 4, make=lambda: Rest(reward, actions))


def left(policy, game, attack, **words):
    """The returns under an attack."""
    x, y = game.episodes(2)
    return game.below - mmadv.attack(policy, x, y, attack, **words).score


@pytest.mark.parametrize("attack", ["rl.fgsm", "rl.pgd", "rl.mad", "rl.waves"])
def test_means_alone_are_attacked_whole(attack):
    game = resting(lambda action: 1.0 - abs(float(action[1])), 2)
    words = {"eps": 0.5, "output": "values"} | ({} if attack == "rl.fgsm" else {"steps": 3})
    scale = torch.tensor([0.01, 1.0], dtype=torch.float64)
    found = left(Answers(lambda x: x * scale), game, attack, **words)
    assert torch.equal(found, left(Answers(lambda x: torch.cat([x * scale, 0 * x], 1)), game, attack, **words))
    assert found.tolist() == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize("attack", ["rl.mad", "rl.waves"])
def test_what_a_bound_takes_back_is_worth_nothing(attack):
    """The mean rises further upwards than downwards, and the environment sees it clipped: only downwards does harm."""

    def saturated(x):
        mean = 1.2 + torch.where(x[:, :1] > 0, 1.8, 1.2) * x[:, :1]
        return torch.cat([mean, torch.zeros_like(mean)], 1)

    game = resting(lambda action: float(action[0]))
    assert left(Answers(saturated), game, attack, eps=1.0, output="values", steps=3).tolist() == pytest.approx(
        [0, 0], abs=1e-5
    )


def test_learned_values_are_of_what_bounds_leave_of_an_action():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        net = Value(3, 1).requires_grad_(False)
    net.bound((np.array([-1.0], np.float32), np.array([1.0], np.float32)))
    beyond = torch.tensor([[5.0, 5.0, 9.0]], requires_grad=True)
    assert torch.equal(net(beyond).detach(), net(torch.tensor([[5.0, 5.0, 1.0]])))
    assert float(torch.autograd.grad(net(beyond).sum(), beyond)[0][0, 2]) != 0  # it still leads back


@pytest.mark.parametrize(
    ("words", "where"),
    [({"unit": unit}, "unit") for unit in ((-1.0, 1.0), (float("nan"), 1.0), (0.0, 0.0), (float("inf"), 1.0), 2.0, ("a", "b"))]
    + [({"beta": beta}, "beta") for beta in (2.0, float("nan"), -1.0, "x")],
)  # fmt: skip
def test_numbers_that_mean_nothing_are_refused(words, where):
    game = Game("CartPole-v1", 5.0, 10)
    x, y = game.episodes(1)
    if where == "unit" and isinstance(words["unit"], tuple):
        words = {"unit": words["unit"] * 2}
    with pytest.raises(ParameterError) as raised:
        mmadv.attack(nn.Linear(4, 2).eval(), x, y, "rl.timed", eps=0.1, **words)
    assert raised.value.where == where


def test_a_return_that_is_no_number_is_refused():
    with pytest.raises(ParameterError, match="below is nan"):
        Game("CartPole-v1", below=float("nan"))
    with pytest.raises(InputError, match="NaN"):
        mmadv.attack(nn.Linear(4, 2).eval(), Game("CartPole-v1").episodes(1)[0], [float("nan")], "rl.random", eps=0.1)


@pytest.mark.parametrize(
    ("attack", "words", "where"),
    [
        ("rl.pgd", {"action": 7}, "action"),
        ("rl.fgsm", {"action": 7}, "action"),
        ("rl.pgd", {"lr": "a"}, "PGD"),
        ("rl.robust_sarsa", {"gamma": "a"}, "gamma"),
        ("rl.director", {"fits": 0}, "fits"),
        ("rl.learned", {"lr": float("nan")}, "lr"),
    ],
)
def test_words_that_mean_nothing_are_refused_before_anything_is_learned(attack, words, where):
    victim = Counting(nn.Linear(4, 2).eval())
    x, y = Game("CartPole-v1", 1.0, 10).episodes(1)
    with pytest.raises(ParameterError) as raised:
        mmadv.attack(victim, x, y, attack, eps=0.1, **words)
    assert raised.value.where == where
    assert victim.forwards < 100


# --- access and counts ---------------------------------------------------------------------------


class Watched(nn.Module):
    """A policy that counts the rows that gradients are taken of."""

    def __init__(self):
        super().__init__()
        self.inner, self.taken = nn.Linear(4, 2), 0
        self.eval()

    def forward(self, x):
        self.taken += len(x) * x.requires_grad
        return self.inner(x)


@pytest.mark.parametrize("attack", ["rl.waves", "rl.director", "rl.critic"])
def test_no_gradient_is_taken_that_is_not_granted(attack):
    victim = Watched()
    x, y = Game("CartPole-v1", 1.0, 10).episodes(1)
    with pytest.raises(AccessError, match="needs gradient"):
        mmadv.attack(PolicyTarget(victim, critic=nn.Linear(4, 1).eval()), x, y, attack, eps=0.1, access="decision")
    assert victim.taken == 0


def test_rehearsals_keep_to_the_budget():
    game, victim = Game("CartPole-v1", 1.0, 10), Watched()
    words = {"modality": "rl", "eps": 0.1, "unit": (1.0,) * 4, "gradients": 0}
    mmadv.attack(victim, *game.episodes(1), "rl.waves", waves=4, episodes=1, **words)
    mmadv.attack(victim, *game.episodes(1), Director(episodes=2, fits=1, rounds=2), **words)
    assert victim.taken == 0


@pytest.mark.parametrize("family", ["DQN", "SAC"])
def test_the_critic_is_counted_as_a_hook_on_the_policy_counts(family, asks):
    import stable_baselines3

    env = "CartPole-v1" if family == "DQN" else "Pendulum-v1"
    policy = Sb3Policy(getattr(stable_baselines3, family)("MlpPolicy", env, device="cpu", buffer_size=10))
    part, seen = policy.policy.q_net if family == "DQN" else policy.policy.actor.mu, []
    (part.q_net if family == "DQN" else part).register_forward_hook(lambda _, given, answer: seen.append(len(answer)))
    game = Game(env, -1e4, 5)
    target, (x, y) = PolicyTarget(policy), game.episodes(2)
    result = mmadv.attack(target, x, y, "rl.critic", eps=0.1, unit="raw", steps=4)
    steps = int(result.adv.length.sum())
    probes = PROBE_CALLS * PROBE_ROWS  # whether it answers by chance
    assert sum(seen) == result.forwards + sum(asks) + probes + 1  # the check of shapes
    assert sum(asks) == 3 * steps  # clean play, and what the policy would do and what it does in this one
    assert result.backwards == 4 * steps
    assert result.forwards == 5 * steps


class Behind(nn.Module):
    """A policy that turns round what it is shown before a part of it, which has a critic, sees it."""

    def __init__(self):
        super().__init__()
        self.part = Part()
        self.eval()

    def forward(self, x):
        return self.part(-x)


class Part(nn.Module):
    def forward(self, x):
        return torch.cat([x[:, :1], 2 * x[:, :1]], 1)

    def critic(self, x):
        return x[:, 0]


def test_a_critic_inside_a_policy_is_shown_what_reaches_it():
    target = PolicyTarget(Behind())
    assert target.critic(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])).tolist() == [-1.0, 2.0]
    answer, value = target.valued(torch.ones(1, 2))
    assert answer.tolist() == [[-1.0, -2.0]]
    assert value.tolist() == [-1.0]
    normalised = PolicyTarget(Normalised(Behind(), np.ones(2), np.ones(2), epsilon=0))
    assert normalised.critic(torch.ones(1, 2)).tolist() == [0.0]
    assert not PolicyTarget(Normalised(nn.Linear(2, 2), np.ones(2), np.ones(2))).has_critic


# --- episodes ------------------------------------------------------------------------------------


def test_a_policy_that_answers_nan_within_reach_loses_the_episode():
    policy = Answers(lambda x: torch.where(x[:, :1].abs() > 0.01, float("nan"), torch.cat([x[:, :1], 0 * x[:, :1]], 1)))
    game = resting(lambda action: 1.0, below=1.0)
    x, y = game.episodes(2)
    for attack in ("rl.pgd", "rl.mad"):
        result = mmadv.attack(policy, x, y, attack, eps=1.0, output="values")
        assert [status.value for status in result.status] == ["error", "error"]
        assert "non_finite_outputs" in {alarm.code for alarm in result.alarms}


class Steps(gym.Env):
    """A dot in uint8 that the action moves by 7."""

    observation_space = gym.spaces.Box(0, 255, (1,), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 100
        return np.array([self.at], np.uint8), {}

    def step(self, action):
        self.at += 7 if action else -7
        return np.array([self.at], np.uint8), float(action == 0), False, False, {}


def test_what_is_stored_is_shown_again_only_where_it_is_still_within_reach():
    game = Game("steps", 0.0, 3, make=Steps)
    policy = PolicyTarget(Answers(lambda x: torch.cat([0 * x, x - 100.5], 1)))
    seen = torch.tensor(
        [[[101.0], [107.0], [114.0]]]
    )  # the first brings about 1; that it would, from 100 on, is a record's word
    x = Episodes.fresh(torch.tensor([0]), game)
    held = Episodes(x.seed, seen, seen - 1, torch.tensor([3]), x.acts, x.changed, x.calm, x.calm_length, x.taught, game)
    assert float(replay(policy, held)) == 0.0
    assert float(replay(policy, held, ObsSpace("linf", 0.5, (1.0,)))) == 3.0
    assert float(replay(policy, held, ObsSpace("linf", 1.0, (1.0,)))) == 0.0
    turns = RL().space(eps=1.0, unit=(1.0,), most=0).turns
    assert float(replay(policy, held, ObsSpace("linf", 1.0, (1.0,), turns=turns))) == 3.0
    strange = Episodes(
        x.seed, torch.tensor([[[101.0], [90.0], [90.0]]]), seen, torch.tensor([3]), x.acts, x.changed, x.calm, x.calm_length,
        x.taught, game,
    )  # fmt: skip
    # From the second step on the record is of another episode: 90 in place of 107 is out of reach.
    assert float(replay(policy, strange)) == 2.0
    assert float(replay(policy, strange, ObsSpace("linf", 1.0, (1.0,)))) == 0.0


def test_the_spread_of_clean_play_belongs_to_its_game():
    policy = PolicyTarget(nn.Linear(4, 2).eval())
    for horizon in (3, 8, 3, 8, 3, 8):  # a game's memory may be another game's soon
        game = Game("CartPole-v1", 1.0, horizon)
        assert torch.equal(
            policy.units("std", game), PolicyTarget(policy.module).units("std", Game("CartPole-v1", 1.0, horizon))
        )
        assert any(key[0] == "std" for key in game.known)
    clipped = [PolicyTarget(Normalised(policy.module, np.zeros(4), np.ones(4), clip)).fingerprint() for clip in (1, 2)]
    assert clipped[0] != clipped[1]


def test_an_episode_cut_by_the_environments_own_clock_has_no_end():
    game = Game("clock", 1.0, 100, make=lambda: gym.wrappers.TimeLimit(Rest(lambda action: 1.0), 5))
    target = PolicyTarget(Answers(lambda x: x[:, :1]), output="values")
    s, *_, ended, _ = transitions([explored(target, game, 2, 0)], game)
    assert len(s) == 8
    assert not bool(ended.any())


class Odd(gym.Wrapper):
    """Gives something odd in the third step of episodes that begin with seed 1."""

    def __init__(self, how):
        super().__init__(gym.make("CartPole-v1", disable_env_checker=True))
        self.how = how

    def reset(self, *, seed=None, options=None):
        self.bad, self.steps = seed == 1, 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action):
        self.steps += 1
        said, reward, *rest = self.env.step(action)
        return (*self.how(said, reward), *rest) if self.bad and self.steps == 3 else (said, reward, *rest)


ODD = {
    "reward None": lambda said, reward: (said, None),
    "reward a vector": lambda said, reward: (said, np.zeros(2)),
    "too short": lambda said, reward: (said[:2], reward),
    "a dict": lambda said, reward: ({"a": said}, reward),
    "outside its own box": lambda said, reward: (np.array([9.0, 0, 0, 0], np.float32), reward),
    "division": lambda said, reward: 1 // 0,
}


@pytest.mark.parametrize("how", ODD)
def test_whatever_odd_an_environment_gives_loses_its_episode_alone_and_says_why(how):
    game = Game("odd", 1.0, 8, make=lambda: Odd(ODD[how]))
    x, y = game.episodes(3)
    result = mmadv.attack(nn.Linear(4, 2).eval(), x, y, "rl.random", eps=0.01)
    assert [status.value for status in result.status] == ["robust", "error", "robust"]
    assert [alarm.code for alarm in result.alarms] == ["lost_examples"]
    assert "environment" in result.alarms[0].message
    assert result.score.isnan().tolist() == [False, True, False]
    ((name, values),) = [(name, values) for name, values in result.notes.items() if name.startswith("lost: ")]
    assert "rror" in name
    assert values.isnan().tolist() == [True, False, True]
    assert int(values[1]) == 2


def test_environments_that_can_not_be_made_or_never_stand_still_are_refused():
    for make in (lambda: None, lambda: 1 // 0):
        with pytest.raises(ParameterError, match=r"can't be made|make gives"):
            Game("x", 1.0, 5, make=make)
    with pytest.raises(ParameterError, match="can't be made"):
        Game("nosuch_pkg:Env-v0", 1.0, 5)

    def normalised(moving):
        env = gym.wrappers.NormalizeObservation(gym.make("CartPole-v1"))
        env.update_running_mean = moving
        return env

    with pytest.raises(ParameterError, match=r"NormalizeObservation.*still learning"):
        Game("x", 1.0, 5, make=lambda: normalised(True))
    game = Game("x", 1.0, 5, make=lambda: normalised(False))
    for count, seed in ((-1, 0), (1, -5)):
        with pytest.raises(ParameterError, match="is -"):
            game.episodes(count, seed=seed)

    class Late(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        action_space = gym.spaces.Discrete(2, start=1)

    with pytest.raises(ParameterError, match=r"begin at 0|Discrete"):
        Game("late", 1.0, 5, make=Late)


def test_a_policy_elsewhere_or_that_raises_is_refused_with_advice():
    x, y = Game("CartPole-v1", 1.0, 5).episodes(1)
    with pytest.raises(TargetError, match="on meta") as raised:
        mmadv.attack(nn.Linear(4, 2, device="meta").eval(), x, y, "rl.pgd", eps=0.1)
    assert "cpu" in raised.value.fix

    def lost(x):
        raise KeyError("boom")

    with pytest.raises(TargetError, match="boom"):
        mmadv.attack(Answers(lost), x, y, "rl.pgd", eps=0.1)


# --- Stable-Baselines3 ---------------------------------------------------------------------------


class Pictures(gym.Env):
    action_space = gym.spaces.Discrete(2)

    def __init__(self, high=1, shape=(1, 6, 6), dtype=np.float32):
        self.observation_space = gym.spaces.Box(0, high, shape, dtype)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.0, False, False, {}


def test_pictures_are_divided_by_255_only_where_training_did():
    import stable_baselines3

    algorithm = stable_baselines3.PPO("MlpPolicy", Pictures(), seed=0, device="cpu")
    x = torch.rand(32, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = algorithm.policy.get_distribution(x).distribution.logits
        assert torch.allclose(Sb3Policy(algorithm)(x).log_softmax(1).float(), wanted, atol=1e-5)


def test_what_only_unpickling_tells_is_never_left_out(tmp_path):
    import stable_baselines3

    game, x = Game("CartPole-v1"), torch.randn(4, 4)
    algorithm = stable_baselines3.PPO(
        "MlpPolicy", "CartPole-v1", device="cpu", policy_kwargs={"activation_fn": nn.ReLU}
    )
    algorithm.save(tmp_path / "relu.zip")
    with pytest.raises(TargetError, match=r"activation_fn.*\n.*\n.*trusted=True"):
        loaded(tmp_path / "relu.zip", game)
    algorithm = stable_baselines3.A2C(
        "MlpPolicy", "CartPole-v1", device="cpu"
    )  # its optimiser is pickled, and no matter
    algorithm.save(tmp_path / "a2c.zip")
    assert torch.equal(loaded(tmp_path / "a2c.zip", game)(x), Sb3Policy(algorithm)(x))


def test_files_that_hold_something_else_are_refused(tmp_path):
    import io
    import zipfile

    def saved(weights):
        buffer = io.BytesIO()
        torch.save(weights, buffer)
        return buffer.getvalue()

    for data, weights in (("[1]", saved({})), ("{}", saved([1])), ("{}", b"PK\x03\x04broken"), ("{}", saved({"a": print})),
                          ('{"policy_kwargs": {"nonsense": 1}}', saved({})), ("{}", saved({}))):  # fmt: skip
        with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
            archive.writestr("data", data)
            archive.writestr("policy.pth", weights)
        with pytest.raises(TargetError):
            loaded(tmp_path / "p.zip", Game("CartPole-v1"))


@pytest.mark.parametrize(("family", "options"), [
    ("PPO", {"policy_kwargs": {"squash_output": True}}), ("SAC", {"buffer_size": 10}),
])  # fmt: skip
def test_squashed_and_swaying_policies_do_what_predict_does(family, options):
    import stable_baselines3

    algorithm = getattr(stable_baselines3, family)(
        "MlpPolicy", "Pendulum-v1", device="cpu", seed=0, use_sde=True, **options
    )
    if family == "PPO":
        with torch.no_grad():
            algorithm.policy.action_net.weight.mul_(300)
    x, game = torch.randn(16, 3), Game("Pendulum-v1", below=-1e4, horizon=2)
    policy = claim(algorithm, "rl").factory()
    wanted = algorithm.predict(x.numpy(), deterministic=True)[0]
    assert np.allclose(policy.acts(policy(x).detach(), game), wanted, atol=1e-5)


def test_normalisers_that_normalise_nothing_or_are_none_are_refused():
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    normaliser = VecNormalize(make_vec_env("CartPole-v1", 1), norm_obs=False, training=False)
    later = VecNormalize(make_vec_env("CartPole-v1", 1), training=False)
    later.norm_obs = False
    for given, message in ((normaliser, "as they are"), (later, "as they are"), ((0, 1), "tuple")):
        with pytest.raises(TargetError, match=message):
            PolicyTarget(nn.Linear(4, 2).eval(), normaliser=given)


@pytest.mark.parametrize("outside", [True, False])
def test_normalisers_before_and_after_stacking(outside):
    import stable_baselines3
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

    base = make_vec_env("CartPole-v1", 1, seed=0)
    if outside:
        env = normaliser = VecNormalize(VecFrameStack(base, 3))
    else:
        normaliser = VecNormalize(base)
        env = VecFrameStack(normaliser, 3)
    env.reset()
    for _ in range(40):
        env.step(np.array([1]))
    algorithm = stable_baselines3.PPO("MlpPolicy", env, seed=0, device="cpu", n_steps=8, batch_size=8)
    normaliser.training = False
    policy = claim(algorithm, "rl").factory(normaliser=normaliser, stack=3, shape=(4,))
    seen, raw = [env.reset()], [normaliser.get_original_obs()[..., -4:] if outside else normaliser.get_original_obs()]
    for _ in range(4):
        seen.append(env.step(np.array([0]))[0])
        raw.append(normaliser.get_original_obs()[..., -4:])
    memory = torch.zeros(1, policy.memory)
    for shown, own in zip(seen, raw, strict=True):
        with torch.no_grad():
            answer, memory = policy.remembering(torch.cat([torch.from_numpy(own).float(), memory], 1))
            wanted = algorithm.policy.get_distribution(torch.from_numpy(shown).float()).distribution.logits
        assert torch.allclose(answer.log_softmax(1).float(), wanted, atol=1e-5)
    scale = np.sqrt(normaliser.obs_rms.var + normaliser.epsilon)[-4:]
    assert np.allclose(policy.units("policy", Game("CartPole-v1")).numpy(), scale)


def test_frames_with_their_channels_last_are_stacked_as_training_did():
    import stable_baselines3
    from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecTransposeImage

    make = lambda: Pictures(255, (36, 36, 2), np.uint8)  # noqa: E731
    env = VecTransposeImage(VecFrameStack(DummyVecEnv([make]), 3))
    algorithm = stable_baselines3.PPO("CnnPolicy", env, seed=0, device="cpu", n_steps=8, batch_size=8)
    policy = Stacked(Sb3Policy(algorithm), (36, 36, 2), 3)
    frames = torch.randint(256, (3, 1, 36, 36, 2), generator=torch.Generator().manual_seed(0)).float()
    memory = torch.zeros(1, policy.memory)
    for frame in frames:
        with torch.no_grad():
            answer, memory = policy.remembering(frame, memory)
    stacked = torch.cat(list(frames), 3).permute(0, 3, 1, 2)
    with torch.no_grad():
        wanted = algorithm.policy.get_distribution(stacked).distribution.logits
    assert torch.allclose(answer.log_softmax(1).float(), wanted, atol=1e-5)
    with pytest.raises(TargetError, match="5 observations"):
        Stacked(Sb3Policy(algorithm), (36, 36, 2), 5)
    game = Game("frames", -1.0, 2, make=make)
    x, y = game.episodes(1)
    assert float(mmadv.attack(policy, x, y, "rl.fgsm", eps=1.0).distance[0]) == 1.0


class Fickle(gym.Wrapper):
    """Pays by chance that follows from no seed, or more with each episode that it has seen."""

    def __init__(self, env, how):
        super().__init__(env)
        self.how, self.episodes, self.chance = how, 0, np.random.default_rng()

    def reset(self, *, seed=None, options=None):
        self.episodes += 1
        return self.env.reset(seed=seed, options=options)

    def step(self, action):
        said, reward, *rest = self.env.step(action)
        if self.how == "seeded":
            reward += self.unwrapped.np_random.normal()
        else:
            reward += self.chance.normal() if self.how == "chance" else self.episodes
        return said, reward, *rest


@pytest.mark.parametrize(("how", "told"), [("chance", True), ("memory", True), ("seeded", False)])
def test_an_environment_that_does_not_follow_from_its_seed_is_told(how, told):
    game = Game("fickle", -1e9, 20, make=lambda: Fickle(gym.make("CartPole-v1"), how))
    policy = nn.Linear(4, 2).double().eval()
    result = mmadv.attack(policy, *game.episodes(3), "rl.random", modality="rl", eps=0.0)
    (alarm,) = [one for one in result.alarms if one.code == "not_repeatable"] or [None]
    assert (alarm is not None) == told
    assert alarm is None or alarm.trust is Trust.INVALID
