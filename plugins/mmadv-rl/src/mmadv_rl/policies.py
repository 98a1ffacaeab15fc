"""Stable-Baselines3 policies as plain modules of raw observations, differentiable from end to end.

A policy is a `torch.nn.Module` that answers observations (B, *shape) with scores of actions (B, actions), or, for continuous
actions, with [mean, log σ] (B, 2 · actions) in the environment's unit. It may have

    critic(observations) -> (B,)               the value that it gives to them
    memory: int; remembering(observations, memory (B, memory)) -> (answer, memory)    for policies that remember
"""

from __future__ import annotations

import copy
import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmadv.errors import TargetError

FAMILIES = ("PPO", "A2C", "DQN", "SAC", "TD3", "RecurrentPPO")


class Sb3Policy(nn.Module):
    """A copy, in float64, of the policy of a Stable-Baselines3 algorithm.

    In float64 a row's rounding hardly depends on its batch, so that an episode is the same alone and among others.

    Args:
        algorithm: `PPO`, `A2C`, `DQN`, `SAC`, `TD3` or sb3-contrib's `RecurrentPPO`.

    Raises:
        TargetError: another algorithm, or spaces that it can't be attacked in.
    """

    def __init__(self, algorithm: Any) -> None:
        super().__init__()
        self.family = type(algorithm).__name__
        if self.family not in FAMILIES:
            raise TargetError(
                f"the policy is of {self.family}", where="policy", fix=f"give one of {', '.join(FAMILIES)}, or a module"
            )
        # The last distribution of a trained policy hangs on the graph of its loss, which can't be copied and isn't needed.
        drawn = {id(part.action_dist): None for part in algorithm.policy.modules() if hasattr(part, "action_dist")}
        self.policy: Any = copy.deepcopy(algorithm.policy, drawn).double().eval()
        space = self.policy.action_space
        self.discrete = hasattr(space, "n")
        self.shape = tuple(self.policy.observation_space.shape)
        self.image = len(self.shape) == 3 and bool(getattr(self.policy, "normalize_images", False))
        if self.family in ("SAC", "TD3"):  # squashed to [−1, 1], in the environment's unit outside
            low, high = (torch.as_tensor(end, dtype=torch.float64) for end in (space.low, space.high))
            self.middle: Tensor
            self.radius: Tensor
            self.register_buffer("middle", (low + high) / 2)
            self.register_buffer("radius", (high - low) / 2)
        if self.family == "RecurrentPPO":
            lstm = self.policy.lstm_actor
            self.layers, self.hidden = lstm.num_layers, lstm.hidden_size
            self.memory = 2 * self.layers * self.hidden
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        policy, x = self.policy, self._seen(x)
        if self.family == "DQN":
            return policy.q_net.q_net(policy.q_net.features_extractor(x))
        if self.family == "TD3":
            mean = policy.actor.mu(policy.actor.features_extractor(x)) * self.radius + self.middle
            return torch.cat([mean, torch.zeros_like(mean)], 1)
        if self.family == "SAC":
            latent = policy.actor.latent_pi(policy.actor.features_extractor(x))
            mean = policy.actor.mu(latent).tanh() * self.radius + self.middle
            return torch.cat([mean, policy.actor.log_std(latent).clamp(-20, 2) + self.radius.log()], 1)
        return self._headed(policy.mlp_extractor.forward_actor(policy.pi_features_extractor(x)))

    def remembering(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The answer of a recurrent policy, and what it remembers then."""
        shape = len(x), 2, self.layers, self.hidden
        h, c = memory.to(torch.float64).reshape(shape).permute(1, 2, 0, 3).contiguous()
        latent, (h, c) = self.policy.lstm_actor(self.policy.pi_features_extractor(self._seen(x)).unsqueeze(0), (h, c))
        answer = self._headed(self.policy.mlp_extractor.forward_actor(latent[0]))
        return answer, torch.stack([h, c]).permute(2, 0, 1, 3).reshape(len(x), -1)

    def critic(self, x: Tensor) -> Tensor:
        """(B,) the value of observations: V, max Q, or the least Q of the policy's own action.

        Raises:
            TargetError: a recurrent critic, which needs more than observations.
        """
        policy, seen = self.policy, self._seen(x)
        if self.family == "RecurrentPPO":
            raise TargetError(
                "the critic of a recurrent policy remembers",
                where="critic",
                fix="give critic=, a module of observations",
            )
        if self.family == "DQN":
            return self(x).amax(1)
        if self.family in ("SAC", "TD3"):
            action = (self(x)[:, : len(self.middle)] - self.middle) / self.radius
            both = torch.cat([policy.critic.features_extractor(seen), action], 1)
            return torch.cat([network(both) for network in policy.critic.q_networks], 1).amin(1)
        return policy.value_net(policy.mlp_extractor.forward_critic(policy.vf_features_extractor(seen)))[:, 0]

    def _headed(self, latent: Tensor) -> Tensor:
        answer = self.policy.action_net(latent)
        if self.discrete:
            return answer
        spread = self.policy.log_std
        if spread.dim() == 2:  # noise that depends on the state (gSDE): weights of what the last layer says
            spread = (latent.square() @ spread.exp().square() + 1e-6).log() / 2
        return torch.cat([answer, spread.expand_as(answer)], 1)

    def _seen(self, x: Tensor) -> Tensor:
        x = x.to(torch.float64)
        if x.shape[1:] != self.shape and x.dim() == 4 and x.permute(0, 3, 1, 2).shape[1:] == self.shape:
            x = x.permute(0, 3, 1, 2)
        return x / 255 if self.image else x


class Normalised(nn.Module):
    """A policy behind a frozen normaliser, such as `VecNormalize`: clip((x − mean) / √(var + ε)).

    Args:
        policy: of normalised observations.
        mean: (size,).
        var: (size,).
        clip: of normalised observations.
        epsilon: as in the formula.
    """

    def __init__(self, policy: nn.Module, mean: Any, var: Any, clip: float = 10.0, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.policy: Any = policy
        self.clip = float(clip)
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float64))
        self.register_buffer("scale", (torch.as_tensor(var, dtype=torch.float64) + epsilon).sqrt())
        if hasattr(policy, "memory"):
            self.memory = policy.memory
        self.eval()

    @classmethod
    def of(cls, policy: nn.Module, normaliser: Any) -> Normalised:
        """With the statistics of a `VecNormalize`.

        Raises:
            TargetError: it is still learning, so that the policy would move under the attack.
        """
        if normaliser.training:
            raise TargetError(
                "the normaliser is still learning", where="normaliser", fix="set normaliser.training = False first"
            )
        found = normaliser.obs_rms
        return cls(policy, found.mean, found.var, normaliser.clip_obs, normaliser.epsilon)

    def forward(self, x: Tensor) -> Tensor:
        return self.policy(self._seen(x))

    def remembering(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy.remembering(self._seen(x), memory)

    def critic(self, x: Tensor) -> Tensor:
        return self.policy.critic(self._seen(x))

    def _seen(self, x: Tensor) -> Tensor:
        x = x.to(torch.float64)
        return ((x - self.mean.reshape(x.shape[1:])) / self.scale.reshape(x.shape[1:])).clamp(-self.clip, self.clip)


class Stacked(nn.Module):
    """A policy of the last k observations, stacked on their first axis: earlier ones are remembered as they were shown.

    Args:
        policy: of (B, k · c, …).
        shape: (c, …) of one observation.
        k: how many.
    """

    def __init__(self, policy: nn.Module, shape: tuple[int, ...], k: int) -> None:
        super().__init__()
        self.policy: Any = policy
        self.shape, self.k = shape, k
        self.size = int(torch.tensor(shape).prod())
        self.memory = (k - 1) * self.size
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.remembering(x, x.new_zeros(len(x), self.memory))[0]

    def remembering(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        frames = torch.cat([memory.to(x), x.flatten(1)], 1)
        stacked = frames.reshape(len(x), self.k * self.shape[0], *self.shape[1:])
        return self.policy(stacked), frames[:, self.size :]


def loaded(path: str | Path, game: Any, *, trusted: bool = False) -> Sb3Policy:
    """The policy in a file that a Stable-Baselines3 algorithm saved, without unpickling.

    Only weights and plain settings are read, and the spaces are the game's.

    Args:
        path: of the .zip.
        game: that it plays.
        trusted: unpickle what else the file holds, which can run any code; for policies of unusual make.

    Raises:
        TargetError: no such file, or one that can't be read so.
    """
    import stable_baselines3

    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read("data"))
            with archive.open("policy.pth") as weights:
                state = torch.load(weights, map_location="cpu", weights_only=True)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise TargetError(
            f"the policy can't be read: {error}", where=str(path), fix="give a file that model.save(…) wrote"
        ) from error
    family = _family(about, state)
    if trusted:
        return Sb3Policy(getattr(stable_baselines3, family).load(path, device="cpu"))
    with game.instances(1) as (env,):
        algorithm = getattr(stable_baselines3, family)(_policy_name(game, state), env, device="cpu")
        settings = about.get("policy_kwargs", {})
        if isinstance(settings, dict) and ":serialized:" not in settings and settings:
            algorithm = getattr(stable_baselines3, family)(
                _policy_name(game, state), env, policy_kwargs=settings, device="cpu"
            )
    try:
        algorithm.policy.load_state_dict(state)
    except RuntimeError as error:
        raise TargetError(
            f"the weights don't fit the ordinary policy of {family}: {str(error).splitlines()[-1].strip()}",
            where=str(path),
            fix="pass trusted=True if you trust the file, which unpickles it, or load it yourself and pass the algorithm",
        ) from error
    return Sb3Policy(algorithm)


def _family(about: dict[str, Any], state: dict[str, Any]) -> str:
    """Which algorithm wrote a file, from the names of its weights."""
    if any(name.startswith("q_net.") for name in state):
        return "DQN"
    if any(name.startswith("actor.log_std") for name in state):
        return "SAC"
    if any(name.startswith("actor.mu") for name in state):
        return "TD3"
    return "PPO"  # A2C's policy is the same


def _policy_name(game: Any, state: dict[str, Any]) -> str:
    return "CnnPolicy" if any(".cnn." in name for name in state) else "MlpPolicy"
