"""Square waves: the policy is led from one end of what it does to the other and back, at the beat of what it steers.

    waves: (u⁺, u⁻, h), u of discrete actions two of them, of continuous ones (±1, …, ±1) and its opposite; h steps are half a period
    at each step t: s' = project(s' + lr · ε · ascend(∇ ⟨u(t), π(s')⟩)),  u(t) = u⁺ where ⌊t / h⌋ is even, else u⁻
    rehearse all waves, then those with h near the best one's; what has the least mean return is played

Attacks that look one step ahead turn the action of that step, which a feedback controller makes good at the next. Small pushes at
the beat of the closed loop add up instead. Where what happens is linear in a bounded push, the best pushes are at its ends all the
time and only change sides (the bang-bang principle; Bellman, Glicksberg & Gross 1956), so that only sides and moments are sought.

Rehearsals are episodes of other seeds, with one gradient step at each observation; they are charged to every episode. Those that
break are left out of the means.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmadv import Loss, Oracle, Problem, ThreatModel
from mmadv.errors import ParameterError
from mmadv.search.pgd import Ascent, State
from mmadv_rl.attacks.base import Lessons, check_numbers, continuous, none_played, refuse_unused, why_broken
from mmadv_rl.attacks.director import towards_action
from mmadv_rl.attacks.pgd import PGD
from mmadv_rl.attacks.robust_sarsa import TRAIN_SEED, lessons
from mmadv_rl.episodes import Episodes, Game

if TYPE_CHECKING:
    from mmadv_rl.target import PolicyTarget

FOREVER = 2**31
HALVES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
NEAR = (5 / 8, 3 / 4, 7 / 8, 9 / 8, 5 / 4)
"""Half periods of the second rehearsal, as shares of the best one of the first."""
ROWS = 128
"""Environments side by side in a rehearsal."""


@dataclass(frozen=True)
class Wave:
    """Where the policy is led to, for each of some rows or for all alike.

    Args:
        ends: (R, 2, F), R the number of rows or 1; F is 1 and an end an action, or a direction of continuous ones.
        half: (R,) steps of half a period.
        lessons: what it cost to find it.

    Example:
        >>> [int(Wave(torch.tensor([[[0], [1]]]), torch.tensor([2])).at(step, torch.arange(1))) for step in range(5)]
        [0, 0, 1, 1, 0]
    """

    ends: Tensor
    half: Tensor
    lessons: Lessons = field(default_factory=Lessons)

    def at(self, step: int, rows: Tensor) -> Tensor:
        """(A, F) the ends that rows (A,) head for."""
        rows = rows if len(self.half) > 1 else torch.zeros_like(rows)
        return self.ends[rows, step // self.half[rows] % 2]

    def taken(self, index: Tensor) -> Wave:
        """Some of the rows."""
        return Wave(self.ends[index], self.half[index])


@dataclass(frozen=True, kw_only=True)
class Waves(PGD):
    """PGD for single observations; in episodes, gradient steps towards one end of what the policy does and the other by turns.

    Args:
        episodes: that each wave is rehearsed in.
        waves: that are rehearsed at most; which, the run's seed decides.

    Example:
        >>> Waves(episodes=2).waves
        96
    """

    episodes: int = 4
    waves: int = 96

    def check(self, oracle: Oracle) -> None:
        self._check()
        refuse_unused(self, ("episodes", "waves"), "single observations need no rehearsal")
        super().check(oracle)

    def _check(self) -> None:
        check_numbers(self, episodes=(int, 1, float("inf")), waves=(int, 1, float("inf")))
        if self.action is not None:
            raise ParameterError("waves lead to several actions", where="action", fix="use rl.pgd for a certain one")

    def check_play(self, policy: PolicyTarget, game: Game) -> None:
        """See that what is given means something for a policy in a game.

        Raises:
            ParameterError: it doesn't, or plays no part.
        """
        self._check()
        refuse_unused(self, ("loss",), "in episodes it is the actions that are led to which decide what is climbed")

    def prepared(self, policy: PolicyTarget, game: Game, threat: ThreatModel, seed: int) -> Led:
        """The attack that leads by the wave which does a policy most harm in its game under a threat model; sought once for them.

        Raises:
            ParameterError: as `check_play` does.
            InputError: no wave could be rehearsed.
        """
        self.check_play(policy, game)
        key = ("wave", policy.fingerprint(), threat, self.episodes, self.waves, seed)
        if key not in game.known:
            game.known[key] = self._sought(policy, game, threat, seed)
        shared = {one.name: getattr(self, one.name) for one in fields(Ascent)}
        return Led(wave=game.known[key], **shared)

    def _sought(self, policy: PolicyTarget, game: Game, threat: ThreatModel, seed: int) -> Wave:
        """The wave with the least mean return, and what all rehearsals cost."""
        generator = torch.Generator().manual_seed(seed)
        tried = every(game, generator)
        if len(tried.half) > self.waves:
            tried = tried.taken(torch.randperm(len(tried.half), generator=generator)[: self.waves])
        found, cost, reason = self._rehearsed(tried, policy, game, threat, seed)
        if bool(found.isinf().all()):
            raise none_played(game, len(found) * self.episodes, reason)
        best, least = tried.taken(found.argmin()[None]), found.min()
        half = int(best.half)
        halves = sorted({round(half * share) for share in NEAR} - {0, half}) if half < FOREVER else []
        if halves:
            near = Wave(best.ends.expand(len(halves), -1, -1), torch.tensor(halves))
            found, again, _ = self._rehearsed(near, policy, game, threat, seed)
            cost += again
            if bool(found.min() < least):
                best = near.taken(found.argmin()[None])
        return replace(best, lessons=cost)

    def _rehearsed(
        self, wave: Wave, policy: PolicyTarget, game: Game, threat: ThreatModel, seed: int
    ) -> tuple[Tensor, Lessons, str]:
        """(R,) mean returns of the episodes under each wave that did not break, inf if all did; what they cost, and why the first broke."""
        from mmadv_rl.play import attacked

        threat = replace(threat, budget=replace(threat.budget, steps=1))
        returns, cost, reason = [], Lessons(), ""
        for part in torch.arange(len(wave.half)).split(max(1, ROWS // self.episodes)):
            seeds = torch.arange(TRAIN_SEED + seed, TRAIN_SEED + seed + self.episodes).repeat(len(part))
            attack = Led(wave=wave.taken(part.repeat_interleave(self.episodes)), random_start=False)
            problem = Problem(policy, threat, None, seeds, torch.arange(len(seeds)), seed=seed)
            played = attacked(policy, Episodes.fresh(seeds, game), problem, attack)
            total = torch.where(played.broken, float("nan"), played.total).reshape(len(part), -1)
            returns.append(total.nanmean(1).nan_to_num(float("inf")))
            cost += lessons(played)
            reason = reason or (why_broken(played) if bool(played.broken.any()) else "")
        return torch.cat(returns), cost, reason


@dataclass(frozen=True, kw_only=True)
class Led(Ascent):
    """Gradient steps towards what a wave leads to at each step of the episodes being played.

    Args:
        wave: that leads.
    """

    wave: Wave

    @property
    def lessons(self) -> Lessons:
        """What it cost to find the wave."""
        return self.wave.lessons

    def leads(self, step: int, rows: Tensor) -> Tensor:
        """(A, F) where rows (A,) of the episodes being played are led to."""
        return self.wave.at(step, rows)

    def objective(self, values: bool) -> Loss:
        """What decides which candidate of an observation is shown, as in `Climb`."""
        return led_on if values else led_to

    def init(self, oracle: Oracle) -> State:
        if oracle.steps > 1:
            x = oracle.region.x
            oracle.evaluate(oracle.region.climb_(x, self.climb(x, None, oracle), 1.0))  # one long step, as FGSM's
        return super().init(oracle)

    def climb(self, adv: Tensor, facts: Any, oracle: Oracle) -> Tensor:
        return oracle.evaluate(adv, loss=self.objective(continuous(oracle)), towards=oracle.towards, grad=True).grad


def every(game: Game, generator: torch.Generator) -> Wave:
    """All waves between two discrete actions or opposite signs of continuous ones, with all half periods, and all constants."""
    if game.actions is not None:
        pairs = torch.tensor([pair for pair in product(range(game.actions), repeat=2) if pair[0] != pair[1]])
        ends = pairs.reshape(len(pairs), 2, 1)
        still = torch.arange(game.actions).reshape(-1, 1, 1).expand(-1, 2, 1)
    else:
        assert game.reach is not None
        low, high = (torch.as_tensor(end, dtype=torch.float64).reshape(-1) for end in game.reach)
        width = (high - low).nan_to_num(posinf=1.0)
        signs = corners(len(width), generator) / width  # each dimension counts by the share of its range
        ends = torch.stack([signs, -signs], 1)
        still = signs.unsqueeze(1).expand(-1, 2, -1)
    half = torch.tensor(HALVES).repeat_interleave(len(ends))
    return Wave(
        torch.cat([ends.repeat(len(HALVES), 1, 1), still]), torch.cat([half, torch.full((len(still),), FOREVER)])
    )


def corners(size: int, generator: torch.Generator, most: int = 64) -> Tensor:
    """(R, size) all vectors of signs, or `most` of them, each with its opposite."""
    if 2**size <= most:
        return torch.tensor(list(product((1.0, -1.0), repeat=size)))
    drawn = torch.randint(2, (most // 2, size), generator=generator) * 2.0 - 1
    return torch.cat([drawn, -drawn])


def led_to(output: Tensor, y: Tensor, facts: Tensor) -> Tensor:
    """(…,) how near the policy is to the discrete actions (…, 1)."""
    return towards_action(output, y, facts[..., 0])


def led_on(output: Tensor, y: Tensor, facts: Tensor) -> Tensor:
    """(…,) how far the means of continuous actions are along the ends (…, F)."""
    return (output[..., : facts.shape[-1]] * facts.to(output)).sum(-1)
