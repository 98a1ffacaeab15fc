"""A director in the space of actions, and an actor that steers the policy to them (after PA-AD, Sun et al., arXiv 2106.05087).

    reach(s) = actions that targeted PGD finds inside the ball around s
    director: fit Q(s, a) → r + γ min over a' in reach(s') of Q(s', a'), on play that explores, then on play under attack
    actor:    for a in ascending order of Q(s, a), a share of the steps each: s' = project(s' + lr · ε · ascend(∇ log-odds of a));
              the s' whose action has the least Q is shown

Where the paper learns its director by policy gradients, this one is fitted to the Bellman equation of the attacker itself: what
the policy can be made to do is known, so that the least of it can be taken. It is for discrete actions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mmadv import Budget, Loss, Oracle, Problem, Targeted, ThreatModel, losses, solve
from mmadv.errors import ParameterError
from mmadv.search.pgd import PGD as Search
from mmadv.search.pgd import State, default_lr
from mmadv.target import rng_preserved
from mmadv_rl.attacks.robust_sarsa import TRAIN_SEED, RobustSarsa, Value, transitions
from mmadv_rl.episodes import Episodes, Game


@dataclass(frozen=True, kw_only=True)
class Director(RobustSarsa):
    """Descent of the value that actions have for an attacker who goes on; the other parameters are Robust Sarsa's.

    Args:
        fits: of Q, each on the play of all before it.

    Example:
        >>> Director().fits
        3
    """

    fits: int = 3

    def check(self, oracle: Oracle) -> None:
        super().check(oracle)
        if not isinstance(self.fits, int) or self.fits < 1:
            raise ParameterError(f"fits is {self.fits!r}", where="fits", fix="give a whole number of at least 1")

    def prepared(self, policy: Any, game: Game, space: Any, seed: int) -> Director:
        """The attack with a Q learned for a policy, its game and a radius.

        Raises:
            ParameterError: continuous actions, or a policy that remembers.
        """
        if self.q is not None:
            return self
        if game.actions is None or policy.memory:
            raise ParameterError(
                "the director lists the actions of a policy without memory",
                where="director",
                fix="use rl.robust_sarsa, or rl.mad",
            )
        key = ("director", policy.fingerprint(), space, self.gamma, self.episodes, self.rounds, self.fits, seed)
        if key not in game.known:
            game.known[key] = self._fitted(policy, game, space, seed)
        return replace(self, q=game.known[key])

    def objective(self, values: bool) -> Loss:
        return lambda output, y, facts: -taken(output, facts)

    def step(self, state: State, oracle: Oracle) -> State:
        order = state.facts.argsort(1)
        turn = min(state.step * order.shape[1] // oracle.steps, order.shape[1] - 1)
        grad = oracle.evaluate(state.adv, loss=towards_action, towards=order[:, turn], grad=True).grad
        adv = oracle.region.climb_(state.adv, grad, self.lr or default_lr(oracle.steps // order.shape[1] + 1))
        return replace(state, adv=adv, step=state.step + 1)

    def _fitted(self, policy: Any, game: Game, space: Any, seed: int) -> Value:
        """Q of the attacker's own Bellman equation."""
        from mmadv_rl.play import attacked

        played = [wandering(policy, game, self.episodes, seed)]
        net: Value | None = None
        for fit in range(self.fits):
            if net is not None:
                seeds = torch.arange(TRAIN_SEED, TRAIN_SEED + self.episodes) + seed + fit * self.episodes
                threat = ThreatModel(space, policy.access, budget=Budget())
                problem = Problem(policy, threat, None, seeds, seeds, seed=seed)
                played.append(attacked(policy, Episodes.fresh(seeds, game), problem, replace(self, q=net)))
            s, a, r, after, _, ended, _ = transitions(played, game)
            net = self._fit(s, a, r, after, ended, reachable(policy, game, space, after), game, seed)
        assert net is not None
        return net

    def _fit(
        self, s: Tensor, a: Tensor, r: Tensor, after: Tensor, ended: Tensor, reach: Tensor, game: Game, seed: int
    ) -> Value:
        with rng_preserved(torch.device("cpu"), seed=seed), torch.enable_grad():
            net = Value(s.shape[1], game.actions or 1)
            net.mean.copy_(s.mean(0))
            net.scale.copy_(s.std(0).clamp_min(1e-3))
            net.size.copy_((r.abs().mean() / (1 - min(self.gamma, 0.99))).clamp_min(1e-3))
            optimiser = torch.optim.Adam(net.parameters(), 3e-3)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.rounds)
            for round_ in range(self.rounds):
                if round_ % 5 == 0:
                    with torch.no_grad():
                        least = net(after).masked_fill(~reach, float("inf")).amin(1)
                        wanted = r + self.gamma * torch.where(ended, 0.0, least)
                value = net(s).gather(1, a.long())[:, 0]
                loss = torch.nn.functional.smooth_l1_loss(value / net.size, wanted / net.size)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        return net.requires_grad_(False).eval()


def towards_action(output: Tensor, y: Tensor, action: Tensor) -> Tensor:
    """(…,) how near the policy is to an action."""
    return -losses.log_odds(output, action)


def taken(output: Tensor, facts: Tensor) -> Tensor:
    """(…,) the value of the action that answers (…, actions) decide on, by values of actions of the same shape."""
    return facts.to(output).gather(-1, output.argmax(-1, keepdim=True)).squeeze(-1)


def wandering(policy: Any, game: Game, count: int, seed: int) -> Any:
    """Episodes in which the policy is often shown what it saw elsewhere, so that it does all kinds of things everywhere."""
    from mmadv_rl.play import clean, run_episodes

    seeds = torch.arange(TRAIN_SEED + seed, TRAIN_SEED + seed + count)
    calm = clean(policy, Episodes.fresh(seeds, game)).episodes
    known = calm.true[calm.played]
    generator = torch.Generator().manual_seed(seed)
    spread = policy.units("std", game)
    low, high = game.box
    rate = torch.linspace(0.05, 1.0, count)

    def show(step: int, playing: Tensor, here: Tensor, rows: Tensor, answer: Tensor) -> Tensor:
        other = known[torch.randint(len(known), (len(here),), generator=generator)]
        other = (other + spread * torch.randn(here.shape, generator=generator)).clamp(low, high)
        swapped = torch.rand(len(here), generator=generator) < rate[playing]
        return torch.where(swapped.unsqueeze(1), other, here)

    return run_episodes(policy, Episodes.fresh(seeds, game), show)


def reachable(policy: Any, game: Game, space: Any, x: Tensor, steps: int = 10) -> Tensor:
    """(A, actions) bool: which actions the policy can be brought to around observations (A, size)."""
    with torch.no_grad():
        own = policy(x.reshape(len(x), *game.shape)).argmax(1)
    found = torch.nn.functional.one_hot(own, game.actions or 1).bool()
    for action in range(game.actions or 0):
        rest = (own != action).nonzero()[:, 0]
        if not len(rest):
            continue
        threat = ThreatModel(space, policy.access, Targeted(), Budget(steps=steps))
        problem = Problem(
            policy, threat, x[rest].reshape(len(rest), *game.shape), own[rest], rest, torch.full_like(rest, action)
        )
        found[rest, action] = solve(problem, Search()).fooled
    return found
