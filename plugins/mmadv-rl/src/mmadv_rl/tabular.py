"""Small Markov decision processes whose worst adversary is known exactly (SA-MDP, arXiv 2003.08938, solved by dynamic programming)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from mmadv_rl.episodes import Game, enter
from mmadv_rl.source import EpisodeSource
from mmadv_rl.space import ObsSpace
from mmadv_rl.target import PolicyTarget


@dataclass(frozen=True)
class Tabular:
    """States on a line, that move for certain; an episode begins in the state `seed mod states`.

    Args:
        following: (S, actions) the next state.
        reward: (S, actions).
        horizon: steps of an episode.

    Example:
        >>> table = Tabular(np.array([[0, 1], [0, 1]]), np.array([[0.0, 1.0], [0.0, 1.0]]), 3)
        >>> policy = Line(torch.tensor([-1.0, 1.0]), torch.tensor([0.5, 0.0]))
        >>> table.worst(policy, eps=0.0).tolist(), table.worst(policy, eps=1.0).tolist()
        ([0.0, 3.0], [0.0, 0.0])
    """

    following: np.ndarray
    reward: np.ndarray
    horizon: int

    def game(self, below: float = 0.0) -> Game:
        """This process to be played, observed as its state's number."""
        return Game("tabular", below, self.horizon, make=lambda: _Walk(self))

    def worst(self, policy: Line, eps: float, most: int | None = None) -> Tensor:
        """(S,) float64 the least return from each first state, whatever is shown within ε of each state.

        Args:
            policy: that plays.
            eps: the radius.
            most: at how many steps something else may be shown, at the best moments for it; at all of them if not given.
        """
        states = np.arange(len(self.following))
        own = np.array([policy.reach(float(state), 0.0)[0] for state in states])
        can = np.zeros(self.following.shape, dtype=bool)
        for state in states:
            can[state, policy.reach(float(state), eps)] = True
        turns = self.horizon if most is None else min(most, self.horizon)
        worth = np.zeros((turns + 1, len(states)))  # by turns left
        for _ in range(self.horizon):
            ahead = self.reward + worth[:, self.following]
            touched = np.where(can, ahead, np.inf).min(2)
            worth = ahead[:, states, own]
            worth[1:] = np.minimum(worth[1:], touched[:-1])
        return torch.from_numpy(worth[-1].copy())


class Line(nn.Module):
    """A policy of one number with a straight line as each action's score, so that what it can be made to do is known exactly.

    Args:
        slope: (actions,).
        offset: (actions,).
    """

    def __init__(self, slope: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.register_buffer("slope", slope.double())
        self.register_buffer("offset", offset.double())
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return x.double() * self.get_buffer("slope") + self.get_buffer("offset")

    def reach(self, x: float, eps: float) -> list[int]:
        """The actions that are best somewhere in [x − ε, x + ε]."""
        slope, offset = (self.get_buffer(name).numpy() for name in ("slope", "offset"))
        found = []
        for action in range(len(slope)):
            low, high = x - eps, x + eps
            for other in range(len(slope)):
                # Where slope · s + offset leads the other action's line.
                rise, lead = slope[action] - slope[other], offset[action] - offset[other]
                if rise > 0:
                    low = max(low, -lead / rise)
                elif rise < 0:
                    high = min(high, -lead / rise)
                elif lead < 0 or (lead == 0 and other < action):
                    low, high = 1.0, 0.0
            if low <= high:
                found.append(action)
        return found


class _Walk(gym.Env):
    """A `Tabular` as an environment."""

    def __init__(self, table: Tabular) -> None:
        self.table = table
        states, actions = table.following.shape
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(actions)
        self.state, self.states = 0, states

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = (seed or 0) % self.states
        return np.array([self.state], np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = float(self.table.reward[self.state, action])
        self.state = int(self.table.following[self.state, action])
        return np.array([self.state], np.float32), reward, False, False, {}

    def least_return(self, policy: nn.Module, space: ObsSpace, seed: Tensor) -> Tensor | None:
        """(A,) the exact worst case of episodes of these seeds; None where it can't be solved."""
        turns = space.turns
        if not isinstance(policy, Line) or turns.share is not None or turns.gap is not None:
            return None
        return self.table.worst(policy, space.eps * float(space.unit[0]), turns.most)[seed % self.states]


def hill(below: float = 32.0, horizon: int = 40) -> EpisodeSource:
    """An episode from each of nine states on a line that is worth more further up.

    Args:
        below: the return under which an episode is lost.
        horizon: steps of an episode.
    """
    states = np.arange(9)
    walk = np.stack([np.maximum(states - 1, 0), states, np.minimum(states + 1, 8)], 1)
    return EpisodeSource(enter(Tabular(walk, (states / 8)[walk], horizon).game(below)), 9)


def uphill() -> PolicyTarget:
    """A policy that climbs the hill."""
    return PolicyTarget(Line(torch.tensor([-4.0, 0.0, 4.0]), torch.tensor([2.0, 2.0, 0.0])), name="uphill")
