"""Training an adversary against a fixed policy: the policy and its game, seen from the side of who changes the observations."""

from __future__ import annotations

import dataclasses
import math
from itertools import takewhile
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor, nn

from mmadv.errors import InputError
from mmadv.target import rng_preserved
from mmadv_rl.attacks.base import none_played
from mmadv_rl.episodes import Game
from mmadv_rl.play import allowed, observed, paid
from mmadv_rl.policies import Normalised, Sb3Policy, one_line
from mmadv_rl.space import ObsSpace
from mmadv_rl.target import PolicyTarget, shaped

TRAIN_SEED = 2**22
ENVS, LENGTH = 16, 32
"""Environments side by side, and steps of each between two updates: many small ones learn far more of as many steps."""
REACH = 4.0
"""Bounds of actions before the hyperbolic tangent, which is all but ±1 there."""
WIDER, NARROWING = 3.0, 0.5
"""How many times ε the pushes reach at first, and the share of the training in which that shrinks to one: a victim that never falls
under what is explored teaches nothing, and one that has been seen to fall further out can be followed inwards."""
TRIES = 10
WHOLE, CELLS = 128, 64
"""Numbers of an observation that have an action each, and cells that larger ones are cut into at most: see `cells`."""


def cells(shape: tuple[int, ...]) -> Tensor:
    """(levels, size) the actions that move each number of an observation: one of its own, or, of more than `WHOLE` numbers, those
    of the cells of finer and finer grids that it lies in, fewer than `WHOLE` altogether.

    PPO weighs what was done by exp(log π_new − log π_old), which for Gaussian noise ξ grows up to exp(‖ξ‖² / 2): with thousands of
    actions that leaves float32, and the update is NaN. Nor does one reward tell so many apart: noise in each of them averages out
    over whatever the victim looks at, and it never falls. Coarse cells are explored by pushes that agree, and fine ones say where.

    Each axis is cut into 1, 2, 4, … parts, or is whole where it is shorter: of a picture the sides, wherever its channels are; of
    a flat observation runs of neighbours.

    Example:
        >>> cells((4,)).tolist(), cells((1, 84, 84)).amax(1).tolist(), cells((84, 84, 3)).shape
        ([[0, 1, 2, 3]], [0, 4, 20, 84], torch.Size([3, 21168]))
    """
    size = math.prod(shape)
    if size <= WHOLE:
        return torch.arange(size).unsqueeze(0)
    found: list[Tensor] = []
    parts = ([min(length, 2**level) for length in shape] for level in range(size))
    for counts in takewhile(lambda counts: math.prod(counts) <= CELLS, parts):
        cell = torch.zeros((), dtype=torch.int64)
        for length, count in zip(shape, counts, strict=True):
            cell = cell.unsqueeze(-1) * count + torch.arange(length) * count // length
        found.append(cell.flatten() + (int(found[-1].max()) + 1 if found else 0))
    return torch.stack(found)


def pushes(actions: Tensor, where: Tensor) -> Tensor:
    """(B, size) in [−1, 1], of what an agent does (B, actions), `where` being its `cells`."""
    return actions.clamp(-REACH, REACH)[:, where].sum(1).tanh()


class Adversary(nn.Module):
    """Pushes in [−1, 1] by the mean of a trained agent.

    Args:
        agent: of observations (B, size), with [mean, log σ] of actions.
        where: (levels, size) which actions move each number.
        taught: steps that it was trained for.
    """

    def __init__(self, agent: nn.Module, where: Tensor, taught: int) -> None:
        super().__init__()
        self.agent, self.taught = agent, taught
        self.where: Tensor
        self.register_buffer("where", where)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return pushes(self.agent(x), self.where)


class Opposed(VecEnv):
    """The game of who shows a policy something else: sees what the environment says, acts by pushes, is paid −r.

    An episode that breaks is cut there, not ended: an end without further reward would teach to break environments whose rewards
    are positive, and that wins nothing.

    Args:
        policy: that plays; whoever steps holds it.
        game: that is played, an environment of its own for each row.
        space: of observations, with the numbers of the game.
        envs: the environments.
        seed: of the first episode; each further one has the next.
        steps: of all environments, in which pushes come to reach ε and no further.
    """

    def __init__(
        self, policy: PolicyTarget, game: Game, space: ObsSpace, envs: list[Any], seed: int, steps: int = 0
    ) -> None:
        self.policy, self.game, self.space, self.envs = policy, game, space, envs
        self.next, self.steps, self.done = seed, steps, 0
        count = len(envs)
        self.now = torch.zeros(count, game.size)
        self.memory = torch.zeros(count, policy.memory)
        self.played = torch.zeros(count, dtype=torch.int64)
        self.spent = torch.zeros(count, dtype=torch.int64)
        self.whole, self.broken, self.reason = 0, np.zeros(count, np.int64), ""
        self.where = cells(game.shape)
        actions = int(self.where.max()) + 1
        self.asked = np.zeros((count, actions), np.float32)
        super().__init__(
            count,
            gym.spaces.Box(-np.inf, np.inf, (game.size,), np.float32),
            gym.spaces.Box(-REACH, REACH, (actions,), np.float32),
        )

    def reset(self) -> np.ndarray:
        for row in range(self.num_envs):
            self._begin(row)
        return self.now.numpy().copy()

    def step_async(self, actions: np.ndarray) -> None:
        self.asked = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        count, turns = self.num_envs, self.space.turns
        with torch.no_grad():
            answer = torch.empty(0)
            if turns.gap is not None:
                answer = self.policy(shaped(torch.cat([self.now, self.memory], 1), self.game, self.policy))
            may = allowed(turns, self.spent, self.played, answer, self.game)
            push = pushes(torch.from_numpy(np.asarray(self.asked, dtype=np.float32)), self.where)
            reach = self.space.eps * (1 + (WIDER - 1) * max(0.0, 1 - self.done / max(self.steps, 1)))
            self.done += count
            region = dataclasses.replace(self.space, eps=reach).around(self.now)
            shown = torch.where(may.unsqueeze(1), region.pushed(push), self.now)
            told = shaped(torch.cat([shown, self.memory], 1), self.game, self.policy)
            answer, after = self.policy.remembering(told)
        self.memory = after.to(self.memory)
        self.spent += may
        self.played += 1
        acts = self.policy.acts(answer, self.game)
        rewards, over = np.zeros(count, np.float32), np.zeros(count, bool)
        infos: list[dict[str, Any]] = [{} for _ in range(count)]
        for row in range(count):
            try:
                said, reward, ended, cut, _ = self.envs[row].step(acts[row])
                self.now[row], reward = torch.from_numpy(observed(said, self.game)), paid(reward)
            except Exception as error:
                ended, cut, reward = False, True, 0.0
                self.broken[row] += 1
                self.reason = self.reason or one_line(error)
                self.envs[row] = self.game.built()
            else:
                cut = bool(cut) or int(self.played[row]) >= (self.game.horizon or 0)
                self.whole += bool(ended or cut)
            rewards[row], over[row] = -float(reward), ended or cut
            if over[row]:
                infos[row] = {
                    "terminal_observation": self.now[row].numpy().copy(),
                    "TimeLimit.truncated": cut and not ended,
                }
                self._begin(row)
        return self.now.numpy().copy(), rewards, over, infos

    def _begin(self, row: int) -> None:
        self.memory[row], self.played[row], self.spent[row] = 0.0, 0, 0
        for _ in range(TRIES):
            seed, self.next = self.next, self.next + 1
            try:
                self.now[row] = torch.from_numpy(observed(self.envs[row].reset(seed=seed)[0], self.game))
            except Exception as error:
                reason = error
                self.envs[row] = self.game.built()
            else:
                return
        raise InputError(
            f"{TRIES} episodes in a row can't be begun: {one_line(reason)}",
            where=self.game.name,
            fix="mend the environment",
        )

    def check_played(self) -> None:
        """See that what was played is something to learn from.

        Raises:
            InputError: no environment got through an episode, and each broke one off.
        """
        if not self.whole and bool(self.broken.all()):
            raise none_played(self.game, int(self.broken.sum()), self.reason)

    def close(self) -> None:
        """The environments belong to the game."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        if attr_name == "render_mode":
            return [None] * self.num_envs
        raise AttributeError(attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(attr_name)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **options: Any) -> list[Any]:
        raise AttributeError(method_name)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def trained(
    policy: PolicyTarget, game: Game, space: ObsSpace, *, steps: int, gamma: float, lr: float, seed: int
) -> Adversary:
    """An adversary of a policy in a game, by PPO from a fixed seed on observations and rewards that it normalises as it goes.

    Args:
        policy: the victim, which stays as it is.
        game: that it plays.
        space: what the adversary may show it, with the numbers of the game.
        steps: of the environment, at least; rounded up to whole updates.
        gamma: discount.
        lr: of the optimiser.
        seed: of the training.

    Raises:
        InputError: no episode could be begun, or none could be played.
    """
    length = max(2, min(LENGTH, steps // ENVS))
    with (
        torch.inference_mode(False), rng_preserved(torch.device("cpu"), seed=seed), policy.held(),
        game.instances(ENVS) as envs, torch.enable_grad(),
    ):  # fmt: skip
        own = Opposed(policy, game, space, envs, TRAIN_SEED + seed, int(NARROWING * steps))
        opposed = VecNormalize(own, gamma=gamma)
        agent = PPO(
            "MlpPolicy", opposed, n_steps=length, batch_size=2 * length, n_epochs=10, learning_rate=lr, gamma=gamma,
            gae_lambda=0.95, seed=seed % 2**32, device="cpu",
        )  # fmt: skip
        agent.set_logger(Logger(None, []))  # its own makes a folder for each training
        agent.learn(steps)
        own.check_played()
        opposed.training = False
        return Adversary(Normalised.of(Sb3Policy(agent), opposed), own.where, agent.num_timesteps)
