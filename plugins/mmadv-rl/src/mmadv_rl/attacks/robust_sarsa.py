"""Robust Sarsa (Zhang et al., arXiv 2003.08938, algorithm 4 of its appendix).

    play the policy; for its transitions (s, a, r, s', a') fit
        Q(s, a) → r + γ Q(s', a'),    and so that Q hardly changes where a does: λ · (max over ‖â − a‖ ≤ ε_a of Q(s, â) − Q(s, a))²
    at each step: s' = project(s' − lr · ε · ascend(∇ Q(s, π(s'))))

The successor of each transition is the one that was really played (peers shuffle the rows and pair strangers). For discrete
actions Q has a value for each, Q(s, π(s')) is their expectation, and there is nothing between them to be robust against;
what is climbed then is the logarithm of the expected regret, which falls and rises with it and keeps its gradient when the
policy is certain (law 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from mmadv import Loss, Oracle, ThreatModel
from mmadv.errors import InputError, ParameterError
from mmadv.target import rng_preserved
from mmadv_rl.attacks.base import (
    Climb,
    Lessons,
    check_numbers,
    check_rehearsed,
    continuous,
    deviation,
    refuse_unused,
)
from mmadv_rl.episodes import Episodes, Game

if TYPE_CHECKING:
    from mmadv_rl.play import Played

INF = float("inf")
TRAIN_SEED = 2**21
DISCRETE = "there is nothing between discrete actions that Q could be even in"
BATCH = 1024
"""Transitions that a round of a fit looks at."""


class Value(nn.Module):
    """Q(s, ·) of discrete actions, or Q(s, a) of continuous ones, on standardised inputs.

    Args:
        inputs: numbers that go in: those of an observation, and of a continuous action.
        outputs: actions, or 1.

    `lessons` are what it was learned from.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.lessons = Lessons()
        self.net = nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))
        self.mean: Tensor
        self.scale: Tensor
        self.size: Tensor
        self.middle: Tensor
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.register_buffer("size", torch.ones(()))
        self.register_buffer("middle", torch.zeros(()))
        self.low: Tensor
        self.high: Tensor
        self.register_buffer("low", torch.full((inputs,), -INF))
        self.register_buffer("high", torch.full((inputs,), INF))

    def bound(self, reach: Any) -> None:
        """Let continuous actions, the last inputs, count for what their bounds make of them."""
        for buffer, end in zip((self.low, self.high), reach, strict=True):
            buffer[-end.size :] = torch.as_tensor(end.reshape(-1)).to(buffer)

    def forward(self, x: Tensor) -> Tensor:
        # Their gradient leads on beyond the bounds: where it ended there, nothing would bring an action back.
        x = x + (x.clamp(self.low.to(x), self.high.to(x)) - x).detach()
        seen = ((x - self.mean.to(x)) / self.scale.to(x)).to(self.mean.dtype)
        return self.net(seen) * self.size + self.middle


@dataclass(frozen=True, kw_only=True)
class RobustSarsa(Climb):
    """Descent of the learned value of what the policy does when it is shown something else.

    Args:
        q: a module (B, size) -> (B, actions), or (B, size + actions) -> (B, 1) for continuous actions; if not given, learned
            from episodes, and for single observations what the policy itself holds its actions to be worth.
        gamma: discount.
        episodes: that it is learned from.
        rounds: of the fit, each on some of their transitions.
        reg: λ.
        action_eps: ε_a, in standard deviations of the policy's actions.

    Example:
        >>> RobustSarsa(gamma=0.9).episodes
        30
    """

    q: nn.Module | None = None
    gamma: float = 0.99
    episodes: int = 30
    rounds: int = 800
    reg: float = 0.1
    action_eps: float = 0.3

    steps: ClassVar[int] = 20

    @property
    def lessons(self) -> Lessons:
        """What Q was learned from."""
        return getattr(self.q, "lessons", Lessons())

    def check(self, oracle: Oracle) -> None:
        super().check(oracle)
        self._check()
        if self.q is None and self._values(oracle.region.x[:0], oracle.problem.target) is None:
            raise ParameterError(
                "q is missing, and single observations teach none", where="q", fix="give q=, or attack episodes"
            )
        if not continuous(oracle):
            refuse_unused(self, ("reg", "action_eps"), DISCRETE)
        if continuous(oracle) and not self.random_start:
            raise ParameterError("continuous actions need a random start", where="random_start", fix="leave it out")

    def _check(self) -> None:
        check_numbers(
            self, gamma=(float, 0, 1), episodes=(int, 1, INF), rounds=(int, 1, INF), reg=(float, 0, INF),
            action_eps=(float, 0, INF),
        )  # fmt: skip

    def known(self, x: Tensor, answer: Tensor, values: bool) -> Any:
        """Values of discrete actions, or the observations, for continuous ones."""
        return x.flatten(1) if values else self._values(x, None)

    def facts(self, oracle: Oracle) -> Any:
        x = oracle.region.x
        return x.flatten(1) if continuous(oracle) else self._values(x, oracle.problem.target)

    def _values(self, x: Tensor, target: Any) -> Tensor | None:
        """(A, actions) by the Q that there is."""
        if self.q is not None:
            return self.q(x.flatten(1)).detach()
        own = getattr(target, "action_values", None)
        found = None if own is None else own(x)
        return None if found is None else found.detach()

    def objective(self, values: bool) -> Loss:
        q = self.q

        def worth(output: Tensor, y: Tensor, facts: Tensor) -> Tensor:
            assert q is not None
            mean = output[..., : output.shape[-1] // 2]
            return -q(torch.cat([facts.to(mean), mean], -1))[..., 0]

        return worth if values else regretted

    def check_play(self, policy: Any, game: Game) -> None:
        """See that what is given means something for a policy in a game.

        Raises:
            ParameterError: a policy that remembers, whose value is not one of observations alone; a number that means nothing.
        """
        self._check()
        if game.actions is not None:
            refuse_unused(self, ("reg", "action_eps"), DISCRETE)
        if self.q is None and policy.memory:
            raise ParameterError("the policy remembers", where="robust_sarsa", fix="give q=, or choose another attack")

    def prepared(self, policy: Any, game: Game, threat: ThreatModel, seed: int) -> Self:
        """The attack with a Q learned for a policy in its game, once for all that `_key` tells apart.

        Raises:
            ParameterError: as `check_play` does.
            InputError: there were no episodes to learn from.
        """
        self.check_play(policy, game)
        if self.q is not None:
            return self
        key = self._key(policy, threat, seed)
        if key not in game.known:
            game.known[key] = self._fitted(policy, game, threat, seed)
        return replace(self, q=game.known[key])

    def _key(self, policy: Any, threat: ThreatModel, seed: int) -> tuple[Any, ...]:
        """What Q depends on: it comes from what the policy does alone, whatever the threat model."""
        return "q", policy.fingerprint(), self.gamma, self.episodes, self.rounds, self.reg, self.action_eps, seed

    def _fitted(self, policy: Any, game: Game, threat: ThreatModel, seed: int) -> nn.Module:
        return self.learned(policy, game, seed)

    def learned(self, policy: Any, game: Game, seed: int) -> Value:
        """Q of the fixed policy, from episodes with a little noise on their observations, so that other actions are seen too."""
        played = explored(policy, game, self.episodes, seed)
        net = self.fit(*taught(played, game), game=game, seed=seed)
        net.lessons = lessons(played)
        return net

    def fit(
        self, s: Tensor, a: Tensor, r: Tensor, after: Tensor, act_after: Tensor, ended: Tensor,
        spread: Tensor | None = None, *, game: Game, seed: int,
    ) -> Value:  # fmt: skip
        """Q of transitions as `transitions` gives them."""
        discrete = game.actions is not None
        with rng_preserved(torch.device("cpu"), seed=seed), torch.enable_grad():
            net = Value(s.shape[1] if discrete else s.shape[1] + a.shape[1], game.actions or 1)
            x, x_after = (s, after) if discrete else (torch.cat([s, a], 1), torch.cat([after, act_after], 1))
            if not discrete:
                net.bound(game.reach)
            net.mean.copy_(x.mean(0))
            net.scale.copy_(deviation(x).clamp_min(1e-3))
            horizon = 1 / (1 - min(self.gamma, 0.999))
            net.size.copy_((r.abs().mean() * horizon).clamp_min(1e-3))
            net.middle.copy_(r.mean() * horizon)
            optimiser = torch.optim.Adam(net.parameters(), 3e-3)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.rounds)
            aim = net
            for round_ in range(self.rounds):
                if round_ % 10 == 0:  # the target stands still for a while
                    with torch.no_grad():
                        ahead = aim(x_after)
                        if discrete:
                            ahead = ahead.gather(1, act_after.long())
                        wanted = r + self.gamma * ahead[:, 0] * ~ended
                some = drawn(len(s))
                value = net(x[some]).gather(1, a[some].long())[:, 0] if discrete else net(x[some])[:, 0]
                loss = ((value - wanted[some]) / net.size).square().mean()
                if not discrete and self.reg and spread is not None:
                    loss = loss + self.reg * self._uneven(net, s[some], a[some], spread)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        return net.requires_grad_(False).double().eval()  # whose rounding turns no step when others are asked about too

    def _uneven(self, net: Value, s: Tensor, a: Tensor, spread: Tensor) -> Tensor:
        """How much Q changes at most, to first order, where the action does by ε_a."""
        near = a.detach().requires_grad_()
        slope = torch.autograd.grad(net(torch.cat([s, near], 1)).sum(), near, create_graph=True)[0]
        return ((slope * spread * self.action_eps).abs().sum(1) / net.size).square().mean()


def regretted(output: Tensor, y: Tensor, facts: Tensor) -> Tensor:
    """(…,) logarithm of what the policy's action is expected to cost against the best, by values of actions (…, actions)."""
    each = facts.to(output)
    regret = each.amax(-1, keepdim=True) - each
    regret = torch.where(
        (regret > 0).any(-1, keepdim=True), regret, 1.0
    )  # where all are worth the same, nothing is climbed
    return torch.logsumexp(output.log_softmax(-1) + regret.log(), -1)


def drawn(count: int) -> Tensor | slice:
    """Which of so many transitions a round looks at, by torch's own generator."""
    return slice(None) if count <= BATCH else torch.randint(count, (BATCH,))


def explored(policy: Any, game: Game, count: int, seed: int, noise: float = 0.5) -> Played:
    """Episodes of the policy, every second one with noise on what it is shown, so that its value off its own path is seen too.

    The noise is in the scale of the policy's normaliser, if it has one: a steady agent's own observations hardly vary, and as
    little noise would never unbalance it.
    """
    from mmadv_rl.play import run_episodes

    generator = torch.Generator().manual_seed(seed)
    spread = policy.units("policy" if policy.normalised else "std", game)
    # From next to none to far more: without ends to be seen all is worth the same, and how much a policy bears is not known.
    amount = noise * torch.linspace(0.1, 12.0, count).unsqueeze(1)
    low, high = game.box

    def show(step: int, playing: Tensor, here: Tensor, rows: Tensor, answer: Tensor) -> Tensor:
        shaken = here + amount[playing] * spread * torch.randn(here.shape, generator=generator)
        return torch.where((playing % 2 == 0).unsqueeze(1), here, shaken.clamp(low, high))

    seeds = torch.arange(TRAIN_SEED + seed, TRAIN_SEED + seed + count)
    return run_episodes(policy, Episodes.fresh(seeds, game), show)


def lessons(played: Played) -> Lessons:
    """What episodes cost who learns from them: at each step the victim is asked once for what it does, and by attacks."""
    steps = int(played.episodes.length.sum())
    return Lessons(steps, steps + int(played.queries.sum()), int(played.gradients.sum()))


def taught(played: Played, game: Game) -> tuple[Tensor, ...]:
    """What `transitions` gives of episodes, of which there is some.

    Raises:
        InputError: all episodes broke, or the clock cut them at their first step.
    """
    check_rehearsed(played, game)
    found = transitions([played], game)
    if not len(found[0]):
        raise InputError(
            f"no step of the {len(played.broken)} training episodes leads to another one or to an end",
            where=game.name,
            fix="give a longer horizon=, or choose an attack that learns from no episodes, such as rl.pgd",
        )
    return found


def transitions(parts: Sequence[Played], game: Game) -> tuple[Tensor, ...]:
    """(s, a, r, s', a', whether s' is an end, spread of actions) of played episodes, each with its true successor.

    An episode that the clock cut has no end in it, and its last step teaches nothing; nor does one that broke.
    """
    columns = [_steps(part, game) for part in parts]
    s, a, r, after, act_after, ended = (torch.cat(column) for column in zip(*columns, strict=True))
    return s, a, r, after, act_after, ended, deviation(a).clamp_min(1e-3)


def _steps(played: Played, game: Game) -> tuple[Tensor, ...]:
    x, rewards = played.episodes, played.rewards
    assert rewards is not None
    assert played.ended is not None
    s, a = x.true.float(), x.acts.float()
    whole = x.played & ~played.broken.unsqueeze(1)
    inner = whole[:, :-1] & whole[:, 1:]
    end = torch.arange(s.shape[1]) == (x.length - 1).unsqueeze(1)
    last = end & whole & played.ended.unsqueeze(1)
    ended = torch.cat([torch.zeros(int(inner.sum()), dtype=torch.bool), torch.ones(int(last.sum()), dtype=torch.bool)])
    return (
        torch.cat([s[:, :-1][inner], s[last]]), torch.cat([a[:, :-1][inner], a[last]]),
        torch.cat([rewards[:, :-1][inner], rewards[last]]).float(),
        torch.cat([s[:, 1:][inner], s[last]]), torch.cat([a[:, 1:][inner], a[last]]), ended,
    )  # fmt: skip
