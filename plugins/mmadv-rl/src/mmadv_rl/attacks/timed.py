"""The strategically timed attack (Lin et al., arXiv 1703.06748): only where the policy prefers one action clearly.

    attack at s if max π(s) − min π(s) > β, and turns are left

With `most` in the threat model and no β, β is the quantile of clean episodes that would spend the turns; what they cost is charged to
every episode.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from mmadv import Oracle, ThreatModel
from mmadv.search.pgd import State
from mmadv_rl.attacks.base import Lessons, check_numbers, check_rehearsed
from mmadv_rl.attacks.pgd import PGD
from mmadv_rl.constraints import gap, preference
from mmadv_rl.episodes import Episodes, Game


@dataclass(frozen=True, kw_only=True)
class Timed(PGD):
    """PGD where it counts; the other parameters are those of `rl.pgd`.

    Args:
        beta: the least preference that is attacked; from clean episodes if not given.

    Example:
        >>> Timed(beta=0.5).beta
        0.5
    """

    beta: float | None = None

    def check(self, oracle: Oracle) -> None:
        self._check()
        super().check(oracle)

    def _check(self) -> None:
        if self.beta is not None:
            check_numbers(self, beta=(float, 0, 1))

    def check_play(self, policy: Any, game: Game) -> None:
        """See that what is given means something for a policy in a game.

        Raises:
            ParameterError: a β that no difference of probabilities can have.
        """
        self._check()

    def prepared(self, policy: Any, game: Game, threat: ThreatModel, seed: int) -> Timed:
        """The attack with a β for a policy, its game and the turns that there are.

        Raises:
            ParameterError: as `check_play` does.
            InputError: no clean episode could be played.
        """
        self.check_play(policy, game)
        if self.beta is not None:
            return self
        turns = threat.space.turns  # type: ignore[attr-defined]
        if turns.most is None and turns.share is None:
            return replace(self, beta=0.0)
        from mmadv_rl.play import run_episodes
        from mmadv_rl.target import CALM_EPISODES, CALM_SEED

        gaps: list[Tensor] = []
        whose: list[Tensor] = []

        def show(step: int, playing: Tensor, here: Tensor, rows: Tensor, answer: Tensor) -> Tensor:
            gaps.append(preference(answer, game))
            whose.append(playing)
            return here

        seeds = torch.arange(CALM_SEED, CALM_SEED + CALM_EPISODES)
        played = run_episodes(policy, Episodes.fresh(seeds, game), show)
        check_rehearsed(played, game)
        steps, whole = int(played.episodes.length.sum()), ~played.broken
        seen = torch.cat(gaps)[whole[torch.cat(whose)]]
        share = 1.0
        if turns.most is not None:
            share = min(share, int(whole.sum()) * turns.most / len(seen))
        if turns.share is not None:
            share = min(share, turns.share)
        beta = float(torch.quantile(seen.double(), 1 - share)) if share < 1 else 0.0
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return Rehearsed(**own | {"beta": beta}, lessons=Lessons(steps, steps))

    def init(self, oracle: Oracle) -> State:
        state = super().init(oracle)
        if self.beta and not getattr(oracle.problem.threat.goal, "steered", False):  # single observations
            oracle.retire(gap(oracle.evaluate(oracle.region.x).output) < self.beta)
        return state

    def chooses(self, answer: Tensor, spent: Tensor, game: Game) -> Tensor:
        """(A,) bool: where to act."""
        return preference(answer, game) >= (self.beta or 0.0)


@dataclass(frozen=True, kw_only=True)
class Rehearsed(Timed):
    """The attack with a β from clean episodes.

    Args:
        lessons: what they cost.
    """

    lessons: Lessons = field(default_factory=Lessons)
