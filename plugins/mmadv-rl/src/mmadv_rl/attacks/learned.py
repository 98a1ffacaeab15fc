"""The learned adversary of SA-RL (Zhang et al., arXiv 2101.08452): an agent whose actions are changes of what the victim sees.

    train a(s) by PPO against the fixed victim, with reward −r
    at each step: s' = project(s + ε · tanh(a(s)))

The paper trains at ε from the first step; here the pushes of the training begin three times as long and shrink to ε, since a victim
that never falls under what is explored teaches nothing.

It needs nothing of the victim but what it does. For a single observation the episode ends after one step and begins with the same
observation each time: what is left of PPO is the policy gradient of a Gaussian's mean, row by row,

    u = u + lr · mean over k of A_k ξ_k,   A_k the standardised score of project(s + ε · tanh(u + σ ξ_k))
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmadv import Access, Attack, Oracle, ThreatModel
from mmadv.errors import ParameterError
from mmadv.rows import like
from mmadv_rl.attacks.base import Lessons, check_numbers, refuse_unused
from mmadv_rl.episodes import Game


@dataclass
class State:
    """Rows: the Gaussian's mean u, and the observation that it leads to, both (A, …)."""

    mean: Tensor
    adv: Tensor


@dataclass(frozen=True, kw_only=True)
class Learned(Attack):
    """What a trained adversary shows the victim: one query a step.

    The training is charged to every episode: `queries` hold its steps, each of which asked the victim once, and the measure
    `steps of training` tells them apart. It happens once for a victim, its game and a threat model.

    Observations of more than 128 numbers, such as pictures, are pushed by the cells of coarse grids, of at most 64 cells each, over
    their axes: PPO can't learn thousands of actions at once, whose noise is nothing to the victim and whose probabilities leave
    float32. What turns a victim by finer texture than that is left to attacks with gradients.

    Args:
        adversary: a module (B, size) -> (B, size) of pushes in [−1, 1]; trained if not given.
        training: steps of the environment that it is trained for, at least.
        gamma: its discount.
        lr: of its optimiser.
        candidates: k, for single observations; an even number, every second one the mirror image of another.
        sigma: σ, likewise.

    Example:
        >>> Learned(training=10_000).access
        <Access.DECISION: 1>
    """

    adversary: nn.Module | None = None
    training: int = 30_000
    gamma: float = 0.99
    lr: float = 1e-3
    candidates: int = 10
    sigma: float = 0.5

    access: ClassVar[Access] = Access.DECISION
    steps: ClassVar[int] = 40
    ratio: ClassVar[float] = 3.0
    """As of attacks that see scores, which the law checks grant."""

    @property
    def lessons(self) -> Lessons:
        """What the adversary was trained for: at each step of the environment the victim is asked once."""
        taught = int(getattr(self.adversary, "taught", 0))
        return Lessons(taught, taught)

    def iterations(self, steps: int) -> int:
        return steps if self.adversary is None else 1

    def check(self, oracle: Oracle) -> None:
        self._check()
        if self.adversary is None:
            refuse_unused(self, ("training", "gamma", "lr"), "single observations train no adversary")
        elif oracle.problem.threat.budget.steps is not None:
            raise ParameterError(
                "steps is given, and an adversary shows each observation once",
                where=type(self).__name__,
                fix="leave steps out; training= says how long it learns",
            )

    def _check(self) -> None:
        tiny, inf = 1e-12, float("inf")
        check_numbers(
            self, training=(int, 1, inf), gamma=(float, 0, 1), lr=(float, tiny, inf), candidates=(int, 2, inf),
            sigma=(float, tiny, inf),
        )  # fmt: skip
        if self.candidates % 2:
            raise ParameterError(
                f"candidates is {self.candidates}", where="candidates", fix="give an even number; they come in pairs"
            )

    def check_play(self, policy: Any, game: Game) -> None:
        """See that what is given means something for a policy in a game.

        Raises:
            ParameterError: a number that means nothing, or Stable-Baselines3, which trains the adversary, is not installed.
        """
        self._check()
        refuse_unused(self, ("candidates", "sigma"), "episodes are played by a trained adversary")
        if self.adversary is None and not trainable():
            raise ParameterError(
                "stable-baselines3, which trains the adversary, is not installed",
                where="learned",
                fix='pip install "mmadv-rl[sb3]", or give adversary=',
            )

    def prepared(self, policy: Any, game: Game, threat: ThreatModel, seed: int) -> Learned:
        """The attack with an adversary trained against a policy, in its game and for a radius; trained once for them.

        Raises:
            ParameterError: as `check_play` does.
            InputError: there were no episodes to train it in.
        """
        self.check_play(policy, game)
        if self.adversary is not None:
            return self
        space: Any = threat.space
        key = ("adversary", policy.fingerprint(), space, self.training, self.gamma, self.lr, seed)
        if key not in game.known:
            from mmadv_rl.learning import trained

            game.known[key] = trained(policy, game, space, steps=self.training, gamma=self.gamma, lr=self.lr, seed=seed)
        return replace(self, adversary=game.known[key])

    def init(self, oracle: Oracle) -> State:
        x = oracle.region.x
        if self.adversary is None:
            return State(torch.zeros_like(x), x)
        held = getattr(oracle.problem.target, "memory", 0)
        seen = x.flatten(1)[:, : x[0].numel() - held]
        push = self.adversary(seen).to(x)
        push = torch.cat([push, push.new_zeros(len(x), held)], 1).reshape(x.shape)
        return State(push, oracle.region.pushed(push))

    def step(self, state: State, oracle: Oracle) -> State:
        if self.adversary is not None:
            oracle.evaluate(state.adv)
            return state
        x, half = oracle.region.x, self.candidates // 2
        drawn = oracle.noise.normal((half, *x.shape[1:]), x.dtype)
        drawn = torch.cat([drawn, -drawn], 1)
        tried = (state.mean.unsqueeze(1) + self.sigma * drawn).tanh()
        score = oracle.evaluate(oracle.region.pushed(tried)).score
        known = torch.isfinite(score)  # what the budget did not reach says nothing
        score = torch.where(known, score, 0.0)
        count = known.sum(1, keepdim=True).clamp_min(1)
        above = torch.where(known, score - score.sum(1, keepdim=True) / count, 0.0)
        spread = (above.square().sum(1, keepdim=True) / count).sqrt()
        advantage = torch.where(spread > 0, above / spread.clamp_min(torch.finfo(score.dtype).tiny), 0.0)
        mean = state.mean + (like(advantage.to(x), drawn) * drawn).sum(1) / self.candidates
        return State(mean, oracle.region.pushed(mean.tanh()))

    def pending(self, state: State) -> Tensor | None:
        return state.adv if self.adversary is None else None


def trainable() -> bool:
    """Whether what trains adversaries is installed."""
    return importlib.util.find_spec("stable_baselines3") is not None
