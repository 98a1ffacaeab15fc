"""Stable-Baselines3 policies as plain modules of raw observations, differentiable from end to end.

A policy is a `torch.nn.Module` that answers observations (B, *shape) with scores of actions (B, actions), or, for continuous
actions, with [mean, log σ] (B, 2 · actions) in the environment's unit. It may have

    critic(observations) -> (B,)               the value that it gives to them; or of observations and its answers to them
    memory: int; remembering(observations, memory (B, memory)) -> (answer, memory)    for policies that remember
"""

from __future__ import annotations

import copy
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmadv.errors import TargetError
from mmadv.target import UNREADABLE

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
        from gymnasium import spaces
        from stable_baselines3.common.preprocessing import is_image_space

        super().__init__()
        self.family = next(
            (one.__name__ for one in type(algorithm).__mro__ if one.__name__ in FAMILIES), type(algorithm).__name__
        )
        if self.family not in FAMILIES:
            raise TargetError(
                f"the policy is of {self.family}", where="policy", fix=f"give one of {', '.join(FAMILIES)}, or a module"
            )
        # The last distribution of a trained policy hangs on the graph of its loss, which can't be copied and isn't needed.
        drawn = {id(part.action_dist): None for part in algorithm.policy.modules() if hasattr(part, "action_dist")}
        self.policy: Any = copy.deepcopy(algorithm.policy, drawn).double().eval()
        space, seen = self.policy.action_space, self.policy.observation_space
        for what, one, known in (
            ("actions", space, (spaces.Discrete, spaces.Box)), ("observations", seen, (spaces.Box,))
        ):  # fmt: skip
            if not isinstance(one, known):
                raise TargetError(
                    f"the {what} of the policy are {type(one).__name__}",
                    where="policy",
                    fix=f"train it with {what} that are {' or '.join(kind.__name__ for kind in known)}",
                )
        self.discrete = isinstance(space, spaces.Discrete)
        self.spaces = seen, space
        normaliser = algorithm.get_vec_normalize_env()
        self.normalised = normaliser is not None and bool(normaliser.norm_obs)
        self.shape = tuple(seen.shape)
        # As its own preprocessing does: other pictures are shown to the policy as they are.
        self.image = bool(getattr(self.policy, "normalize_images", False)) and is_image_space(seen)
        # Squashed to [−1, 1], in the environment's unit outside.
        self.squashed = self.family in ("SAC", "TD3") or bool(self.policy.squash_output)
        if self.squashed:
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
            spread = policy.actor.log_std
            spread = spread(latent).clamp(-20, 2) if isinstance(spread, nn.Module) else swaying(spread, latent)
            return self._in_reach(policy.actor.mu(latent), spread)
        return self._headed(policy.mlp_extractor.forward_actor(policy.pi_features_extractor(x)))

    def remembering(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The answer of a recurrent policy, and what it remembers then."""
        shape = len(x), 2, self.layers, self.hidden
        h, c = memory.to(torch.float64).reshape(shape).permute(1, 2, 0, 3).contiguous()
        latent, (h, c) = self.policy.lstm_actor(self.policy.pi_features_extractor(self._seen(x)).unsqueeze(0), (h, c))
        answer = self._headed(self.policy.mlp_extractor.forward_actor(latent[0]))
        return answer, torch.stack([h, c]).permute(2, 0, 1, 3).reshape(len(x), -1)

    def critic(self, x: Tensor, answer: Tensor | None = None) -> Tensor:
        """(B,) the value of observations, the answers to which may be known: V, max Q, or the least Q of the policy's own action.

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
        if self.family in ("DQN", "SAC", "TD3") and answer is None:
            answer = self(x)
        if self.family == "DQN":
            return answer.amax(1)  # type: ignore[union-attr]
        if self.family in ("SAC", "TD3"):
            action = (answer[:, : len(self.middle)] - self.middle) / self.radius  # type: ignore[index]
            both = torch.cat([policy.critic.features_extractor(seen), action], 1)
            return torch.cat([network(both) for network in policy.critic.q_networks], 1).amin(1)
        return policy.value_net(policy.mlp_extractor.forward_critic(policy.vf_features_extractor(seen)))[:, 0]

    def _headed(self, latent: Tensor) -> Tensor:
        answer = self.policy.action_net(latent)
        if self.discrete:
            return answer
        spread = self.policy.log_std
        spread = swaying(spread, latent) if spread.dim() == 2 else spread
        return self._in_reach(answer, spread) if self.squashed else torch.cat([answer, spread.expand_as(answer)], 1)

    def _in_reach(self, mean: Tensor, spread: Tensor) -> Tensor:
        """[mean, log σ] of squashed actions, in the environment's unit."""
        spread = spread.expand_as(mean) + self.radius.log()
        return torch.cat([mean.tanh() * self.radius + self.middle, spread], 1)

    def _seen(self, x: Tensor) -> Tensor:
        x = x.to(torch.float64)
        if x.shape[1:] != self.shape and x.dim() == 4 and x.permute(0, 3, 1, 2).shape[1:] == self.shape:
            x = x.permute(0, 3, 1, 2)
        return x / 255 if self.image else x

    def extra_repr(self) -> str:
        return f"{self.family}, image={self.image}, squashed={self.squashed}"


def swaying(weights: Tensor, latent: Tensor) -> Tensor:
    """log σ of noise that depends on the state (gSDE): its `weights` are of what the last layer says."""
    return (latent.square() @ weights.exp().square() + 1e-6).log() / 2


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
            TargetError: it is still learning, so that the policy would move under the attack; it leaves observations as they
                are; or it is something else.
        """
        found: Any = getattr(normaliser, "obs_rms", None)
        if not getattr(normaliser, "norm_obs", True):
            raise TargetError(
                "the normaliser leaves observations as they are", where="normaliser", fix="leave normaliser= out"
            )
        if not (hasattr(found, "mean") and hasattr(normaliser, "training")):
            raise TargetError(
                f"the normaliser is a {type(normaliser).__name__} without statistics of observations that are a Box",
                where="normaliser",
                fix="give the VecNormalize that the policy was trained with",
            )
        if normaliser.training:
            raise TargetError(
                "the normaliser is still learning", where="normaliser", fix="set normaliser.training = False first"
            )
        return cls(policy, found.mean, found.var, normaliser.clip_obs, normaliser.epsilon)

    def forward(self, x: Tensor) -> Tensor:
        return self.policy(self._seen(x))

    def remembering(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy.remembering(self._seen(x), memory)

    def extra_repr(self) -> str:
        return f"clip={self.clip}"

    def _seen(self, x: Tensor) -> Tensor:
        x = x.to(torch.float64)
        return ((x - self.mean.reshape(x.shape[1:])) / self.scale.reshape(x.shape[1:])).clamp(-self.clip, self.clip)


class Stacked(nn.Module):
    """A policy of the last k observations: earlier ones are remembered as they were shown.

    They are stacked as the policy sees them: on the first axis, or on the last, as Stable-Baselines3 stacks frames whose channels
    are last, whether it transposes them afterwards or not. What does not say its `shape` sees them on the first axis.

    Args:
        policy: of (B, k · c, …) or (B, …, k · c).
        shape: of one observation.
        k: how many.

    Raises:
        TargetError: a policy of another shape.
    """

    def __init__(self, policy: nn.Module, shape: tuple[int, ...], k: int) -> None:
        super().__init__()
        self.policy: Any = policy
        self.shape, self.k = shape, k
        first, last = (k * shape[0], *shape[1:]), (*shape[:-1], k * shape[-1])
        wanted = shape_of(policy)
        if wanted not in (None, first, last, last[-1:] + last[:-1]):
            raise TargetError(
                f"the policy sees {wanted}, and {k} observations of {shape} make {first} or {last}",
                where="stack",
                fix="give the stack= and the shape= of one observation that it was trained with",
            )
        self.first = wanted in (None, first)
        self.size = int(np.prod(shape))
        self.memory = (k - 1) * self.size
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.remembering(x, x.new_zeros(len(x), self.memory))[0]

    def remembering(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        frames = torch.cat([memory.to(x), x.flatten(1)], 1)
        return self.policy(self._stacked(frames)), frames[:, self.size :]

    def newest(self, values: Tensor) -> Tensor:
        """(size,) of figures for each number that the policy sees, those of the newest observation."""
        places = self._stacked(torch.arange(self.k * self.size).unsqueeze(0))
        if len(shape := shape_of(self.policy) or ()) == 3 and places.shape[1:] != shape:
            places = places.permute(0, 3, 1, 2)
        found = torch.empty_like(values.reshape(-1))
        found[places.flatten()] = values.reshape(-1)
        return found[-self.size :]

    def _stacked(self, frames: Tensor) -> Tensor:
        if self.first:
            return frames.reshape(len(frames), self.k * self.shape[0], *self.shape[1:])
        return frames.reshape(len(frames), self.k, *self.shape).movedim(1, -2).flatten(-2)

    def extra_repr(self) -> str:
        return f"{self.k} of {self.shape}"


def shape_of(policy: Any) -> tuple[int, ...] | None:
    """Of what a policy sees, as far as it, or what is behind its normaliser, says so."""
    while isinstance(policy, Normalised):
        policy = policy.policy
    return getattr(policy, "shape", None)


def loaded(path: str | Path, game: Any, *, stack: int = 1, trusted: bool = False) -> Sb3Policy:
    """The policy in a file that a Stable-Baselines3 algorithm saved, without unpickling.

    Only weights and plain settings are read, and the spaces are the game's.

    Args:
        path: of the .zip.
        game: that it plays.
        stack: how many observations it sees at once, by `VecFrameStack`.
        trusted: unpickle what else the file holds, which can run any code; for policies of unusual make.

    Raises:
        TargetError: no such file, or one that can't be read so.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            about = dict(json.loads(archive.read("data")))
            with archive.open("policy.pth") as weights:
                state = dict(torch.load(weights, map_location="cpu", weights_only=True))
    except (*UNREADABLE, zipfile.BadZipFile, pickle.UnpicklingError, EOFError) as error:
        raise TargetError(
            f"the policy can't be read: {one_line(error)}", where=str(path), fix="give a file that model.save(…) wrote"
        ) from error
    family = _family(state)
    make = _maker(family)
    # Memory for a training that never comes: of frames it would be tens of gigabytes.
    small = {"buffer_size": 1} if family in ("DQN", "SAC", "TD3") else {}
    trust = "pass trusted=True if you trust the file, which unpickles it, or load it yourself and pass the algorithm"
    try:
        if trusted:
            return Sb3Policy(make.load(path, device="cpu", **small))
        settings = about.get("policy_kwargs") or {}
        pickled = set(settings) - OF_TRAINING if ":serialized:" in settings else set()
        if pickled:
            raise TargetError(
                f"the policy's {', '.join(sorted(pickled))} can only be read by unpickling", where=str(path), fix=trust
            )
        own = {} if ":serialized:" in settings else settings
        noise = {"use_sde": True} if about.get("use_sde") is True else {}
        with game.instances(1) as (env,):
            from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

            envs: Any = DummyVecEnv([lambda: env])
            envs = VecFrameStack(envs, stack) if stack > 1 else envs
            algorithm = make(_policy_name(family, state), envs, policy_kwargs=dict(own), device="cpu", **noise, **small)
        _same_spaces(about, algorithm.policy, path)
        algorithm.policy.load_state_dict(state)
    except (*UNREADABLE, AssertionError, pickle.UnpicklingError, EOFError) as error:
        raise TargetError(
            f"what the file says does not make a policy of {family} in {game.name}: {one_line(error)}",
            where=str(path),
            fix="choose the game that it was trained in" if trusted else trust,
        ) from error
    return Sb3Policy(algorithm)


def _same_spaces(about: dict[str, Any], policy: Any, path: Path) -> None:
    """See that a game's spaces have the bounds that the file says, in NumPy's words, its policy was trained in.

    Raises:
        TargetError: other bounds.
    """
    for name in ("observation_space", "action_space"):
        said = about.get(name)
        for end in ("low", "high"):
            found = str(getattr(getattr(policy, name), end, None))
            if isinstance(said, dict) and isinstance(said.get(end), str) and said[end].split() != found.split():
                raise TargetError(
                    f"the policy was trained with an {name.replace('_', ' ')} whose {end} is {said[end]}, and the game's is {found}",
                    where=str(path),
                    fix="choose the game that it was trained in, with the wrappers that it had then",
                )


OF_TRAINING = {":type:", ":serialized:", "optimizer_class", "optimizer_kwargs"}
"""What pickled settings may hold that says nothing of what a policy answers, such as A2C's optimiser."""


def one_line(error: BaseException) -> str:
    """An error in one line.

    Example:
        >>> one_line(ValueError()), one_line(KeyError("a"))
        ('ValueError', "KeyError: 'a'")
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__


def _family(state: dict[str, Any]) -> str:
    """Which algorithm wrote a file, from the names of its weights."""
    for family, start in (
        ("RecurrentPPO", "lstm_actor."), ("DQN", "q_net."), ("SAC", "actor.log_std"), ("TD3", "actor.mu")
    ):  # fmt: skip
        if any(name.startswith(start) for name in state):
            return family
    return "PPO"  # A2C's policy is the same


def _maker(family: str) -> Any:
    """The class of algorithms of a family."""
    if family == "RecurrentPPO":
        import sb3_contrib

        return sb3_contrib.RecurrentPPO
    import stable_baselines3

    return getattr(stable_baselines3, family)


def _policy_name(family: str, state: dict[str, Any]) -> str:
    kind = "Cnn" if any(".cnn." in name for name in state) else "Mlp"
    return f"{kind}LstmPolicy" if family == "RecurrentPPO" else f"{kind}Policy"
