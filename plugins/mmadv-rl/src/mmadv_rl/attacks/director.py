"""A director in the space of actions, and an actor that steers the policy to them (after PA-AD, Sun et al., arXiv 2106.05087).

    reach(s) = actions that targeted PGD finds inside the ball around s
    director: Q(s, a) = r + γ min over a' in reach(s') of Q(s', a'), on play that tries all actions, then on play under attack;
              elsewhere the mean over the nearest transitions
    actor:    for a in ascending order of Q(s, a), a share of the steps each: s' = project(s' + lr · ε · ascend(∇ log-odds of a));
              the s' whose action has the least Q is shown

Where the paper learns its director by policy gradients, this one solves the Bellman equation of the attacker itself: what the
policy can be made to do is known, so that the least of it can be taken. It is for discrete actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmadv import Loss, Oracle, Problem, Targeted, ThreatModel, losses, solve
from mmadv.errors import ParameterError
from mmadv.ledger import Ledger
from mmadv.search.pgd import PGD as Search
from mmadv.search.pgd import State, default_lr
from mmadv_rl.attacks.base import Lessons, check_numbers, check_rehearsed, deviation, refuse_unused
from mmadv_rl.attacks.robust_sarsa import DISCRETE, INF, TRAIN_SEED, RobustSarsa, lessons, taught, transitions
from mmadv_rl.episodes import Episodes, Game

if TYPE_CHECKING:
    from mmadv_rl.play import Played

KEPT, NEAREST = 8192, 4
"""Transitions that values are taken from, and how many of them for one value."""
BY_ROW = "donot_use_mm_for_euclid_dist"
"""Distances whose rounding does not depend on how many observations are asked about: equal values would change their order with it."""
EXAMPLES = 256
"""Observations that stand for all, when those are sought that lead to an action."""
RESTARTS = 4
"""Starts from which an action is sought: what is reached in a narrow strip of the ball alone is leapt over from most of them."""


@dataclass(frozen=True, kw_only=True)
class Director(RobustSarsa):
    """Descent of the value that actions have for an attacker who goes on; `rounds` are backups, the other parameters Robust Sarsa's.

    Args:
        fits: of Q, each on all play before it.

    Example:
        >>> Director().fits
        3
    """

    fits: int = 3

    def _check(self) -> None:
        super()._check()
        check_numbers(self, fits=(int, 1, INF))

    def check_play(self, policy: Any, game: Game) -> None:
        """See that what is given means something for a policy in a game.

        Raises:
            ParameterError: continuous actions, or a policy that remembers; a number that means nothing.
        """
        self._check()
        if self.q is not None:
            return
        if game.actions is None or policy.memory:
            raise ParameterError(
                "the director lists the actions of a policy without memory",
                where="director",
                fix="use rl.robust_sarsa, or rl.mad",
            )
        refuse_unused(self, ("reg", "action_eps"), DISCRETE)

    def _key(self, policy: Any, threat: ThreatModel, seed: int) -> tuple[Any, ...]:
        """With the threat model, which holds for what is tried on the way too."""
        return "director", policy.fingerprint(), threat, self.gamma, self.episodes, self.rounds, self.fits, seed

    def objective(self, values: bool) -> Loss:
        return lambda output, y, facts: -taken(output, facts)

    def step(self, state: State, oracle: Oracle) -> State:
        order = state.facts.argsort(1)
        turn = min(state.step * order.shape[1] // oracle.steps, order.shape[1] - 1)
        grad = oracle.evaluate(state.adv, loss=towards_action, towards=order[:, turn], grad=True).grad
        adv = oracle.region.climb_(state.adv, grad, self.lr or default_lr(oracle.steps // order.shape[1] + 1))
        return replace(state, adv=adv, step=state.step + 1)

    def _fitted(self, policy: Any, game: Game, threat: ThreatModel, seed: int) -> Worth:
        """Q of the attacker's own Bellman equation."""
        from mmadv_rl.play import attacked

        played, spent = wandering(policy, game, threat, self.episodes, seed)
        parts, reach = [taught(played, game)], []
        net: Worth | None = None
        for fit in range(self.fits):
            if net is not None:
                seeds = torch.arange(TRAIN_SEED, TRAIN_SEED + self.episodes) + seed + fit * self.episodes
                problem = Problem(policy, threat, None, seeds, seeds, seed=seed)
                played = attacked(policy, Episodes.fresh(seeds, game), problem, replace(self, q=net))
                spent += lessons(played)
                parts.append(transitions([played], game))
                if not len(parts[-1][0]):  # under this attack all of them broke
                    parts.pop()
                    continue
            found, asked = reachable(policy, game, threat, parts[-1][3])
            reach.append(found)
            spent += asked
            s, a, r, after, _, ended = (torch.cat([part[column] for part in parts]) for column in range(6))
            net = self._fit(s, a, r, after, ended, torch.cat(reach), game, seed)
        assert net is not None
        net.lessons = spent
        return net

    def _fit(
        self, s: Tensor, a: Tensor, r: Tensor, after: Tensor, ended: Tensor, reach: Tensor, game: Game, seed: int
    ) -> Worth:
        kept = torch.randperm(len(s), generator=torch.Generator().manual_seed(seed))[:KEPT]
        s, a, r, after, ended, reach = (column[kept] for column in (s, a[:, 0].long(), r, after, ended, reach))
        worth = Worth(s, a, torch.zeros_like(r), game.actions or 1)
        near, weight = worth.near(after)
        never = weight[:, :, 0].isnan()  # taken, such as where most episodes broke
        for _ in range(self.rounds):
            each = torch.where(never, worth.value.max(), (worth.value[near] * weight).sum(2))
            least = each.masked_fill(~reach, float("inf")).amin(1)
            worth.value.copy_(r + self.gamma * torch.where(ended, 0.0, least))
        return worth


class Worth(nn.Module):
    """Q(s, ·) as the mean over the nearest transitions in which each action was taken, weighted by inverse squared distance.

    Such a mean never leads further from the truth than the values that go into it (Gordon 1995), so that the Bellman equation with
    its minimum has one solution and the backups end there; those of a network were driven far below any return.

    Args:
        s: (n, size) where actions were taken.
        a: (n,) which.
        value: (n,) what came of them.
        actions: how many there are.
    """

    def __init__(self, s: Tensor, a: Tensor, value: Tensor, actions: int) -> None:
        super().__init__()
        self.lessons, self.actions = Lessons(), actions
        self.scale: Tensor
        self.s: Tensor
        self.a: Tensor
        self.value: Tensor
        self.register_buffer("scale", deviation(s).clamp_min(1e-3))
        self.register_buffer("s", s / self.scale)
        self.register_buffer("a", a)
        self.register_buffer("value", value)
        self.eval()

    def near(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(A, actions, k) which transitions are near observations (A, size), and their weights; of none for actions never taken."""
        x = x.to(self.s) / self.scale
        index = torch.zeros(len(x), self.actions, NEAREST, dtype=torch.int64)
        weight = torch.full((len(x), self.actions, NEAREST), float("nan"))
        for action in range(self.actions):
            taken = (self.a == action).nonzero()[:, 0]
            if not len(taken):
                continue
            count = min(NEAREST, len(taken))
            for part in torch.arange(len(x)).split(1024):
                far, at = torch.cdist(x[part], self.s[taken], compute_mode=BY_ROW).topk(count, largest=False)
                closeness = 1 / (far.square() + 1e-6)
                index[part, action, :count] = taken[at]
                weight[part, action] = 0.0
                weight[part, action, :count] = closeness / closeness.sum(1, keepdim=True)
        return index, weight

    def forward(self, x: Tensor) -> Tensor:
        index, weight = self.near(x)
        return (self.value[index] * weight).sum(2).nan_to_num(float(self.value.max()))


def towards_action(output: Tensor, y: Tensor, action: Tensor) -> Tensor:
    """(…,) how near the policy is to an action."""
    return -losses.log_odds(output, action)


def taken(output: Tensor, facts: Tensor) -> Tensor:
    """(…,) the value of the action that answers (…, actions) decide on, by values of actions of the same shape."""
    return facts.to(output).gather(-1, output.argmax(-1, keepdim=True)).squeeze(-1)


def wandering(policy: Any, game: Game, threat: ThreatModel, count: int, seed: int) -> tuple[Played, Lessons]:
    """Episodes in which the policy is often led to any of the actions that it can be led to, so that all are seen everywhere.

    A policy without memory does what it is shown something for: an observation that brings an action about in one place does
    so in all. Without this Q would have to guess what rare actions are worth, and the least of guesses is far too low.

    Raises:
        InputError: no clean episode could be played.
    """
    from mmadv_rl.play import clean, run_episodes

    seeds = torch.arange(TRAIN_SEED + seed, TRAIN_SEED + seed + count)
    calm = clean(policy, Episodes.fresh(seeds, game))
    check_rehearsed(calm, game)
    generator = torch.Generator().manual_seed(seed)
    known = calm.episodes.true[calm.episodes.played & ~calm.broken.unsqueeze(1)]
    known = known[torch.randint(len(known), (EXAMPLES,), generator=generator)]
    low, high = game.box
    spread = policy.units("std", game)
    tried = [known, (known + spread * torch.randn(known.shape, generator=generator)).clamp(low, high)]
    asked = Lessons()
    for _, ledger in steered(policy, game, threat, known, doing(policy, game, known)):
        asked += Lessons(0, int(ledger.queries.sum()), int(ledger.gradients.sum()))
        tried.append(ledger.adv.flatten(1))
    shown = torch.cat(tried)
    acts = doing(policy, game, shown)
    asked += Lessons(0, len(known) + len(shown))
    able = [shown[acts == action] for action in range(game.actions or 0)]
    able = [some[torch.randint(len(some), (EXAMPLES,), generator=generator)] for some in able if len(some)]
    leading = torch.stack(able)  # (actions that there are, EXAMPLES, size)
    rate = torch.linspace(0.05, 1.0, count)

    def show(step: int, playing: Tensor, here: Tensor, rows: Tensor, answer: Tensor) -> Tensor:
        which = torch.randint(len(leading), (len(here),), generator=generator)
        other = leading[which, torch.randint(EXAMPLES, (len(here),), generator=generator)]
        swapped = torch.rand(len(here), generator=generator) < rate[playing]
        return torch.where(swapped.unsqueeze(1), other, here)

    played = run_episodes(policy, Episodes.fresh(seeds, game), show)
    return played, asked + lessons(calm) + lessons(played)


def doing(policy: Any, game: Game, x: Tensor) -> Tensor:
    """(A,) the policy's actions on observations (A, size)."""
    with torch.no_grad():
        return policy(x.reshape(len(x), *game.shape)).argmax(1)


def steered(
    policy: Any, game: Game, threat: ThreatModel, x: Tensor, own: Tensor, steps: int = 10
) -> Iterator[tuple[tuple[Tensor, int], Ledger]]:
    """For each action: observations of (A, size) whose own one is another, and what leads from them to it, as far as it is found."""
    threat = replace(threat, goal=Targeted(), budget=replace(threat.budget, steps=steps))
    for action in range(game.actions or 0):
        rest = (own != action).nonzero()[:, 0]
        if len(rest):
            problem = Problem(
                policy, threat, x[rest].reshape(len(rest), *game.shape), own[rest], rest, torch.full_like(rest, action)
            )
            yield (rest, action), solve(problem, Search(restarts=RESTARTS))


def reachable(policy: Any, game: Game, threat: ThreatModel, x: Tensor) -> tuple[Tensor, Lessons]:
    """(A, actions) bool: which actions the policy can be brought to around observations (A, size); and what was asked for it."""
    own, asked = doing(policy, game, x), Lessons(0, len(x))
    found = torch.nn.functional.one_hot(own, game.actions or 1).bool()
    for at, ledger in steered(policy, game, threat, x, own):
        found[at] = ledger.fooled
        asked += Lessons(0, int(ledger.queries.sum()), int(ledger.gradients.sum()))
    return found, asked
