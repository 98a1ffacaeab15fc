"""Episodes to be played, by the seeds that they begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from mmadv.errors import ParameterError
from mmadv.source import Examples
from mmadv_rl.episodes import Episodes, Game, known, label_of


@dataclass(frozen=True)
class EpisodeSource:
    """Episodes of a game.

    Args:
        game: that is played.
        count: how many.
        seed: of the first.

    Example:
        >>> EpisodeSource(Game("CartPole-v1"), 20).take(0, 2).keys
        ['CartPole-v1/seed 0', 'CartPole-v1/seed 1']
    """

    game: Game
    count: int
    seed: int = 0
    labels: None = None

    @property
    def name(self) -> str:
        return self.game.name

    def __len__(self) -> int:
        return self.count

    def take(self, start: int, stop: int) -> Examples:
        assert self.game.below is not None
        seeds = torch.arange(self.seed + start, self.seed + min(stop, self.count))
        y = torch.full((len(seeds),), label_of(self.game.below))
        return Examples(Episodes.fresh(seeds, self.game), y, [f"{self.name}/seed {seed}" for seed in seeds.tolist()])


def source(
    *,
    env: str,
    episodes: int = 20,
    seed: int = 0,
    below: float | None = None,
    horizon: int | None = None,
    options: dict[str, Any] | None = None,
) -> EpisodeSource:
    """Episodes from the words of a spec.

    Args:
        env: name of a registered environment.
        episodes: how many.
        seed: of the first.
        below: the return under which an episode is lost; the environment's own threshold if not given.
        horizon: the most steps; the environment's own if not given.
        options: keyword arguments of the environment.

    Raises:
        ParameterError: a number that means nothing, or no such environment.
    """
    if isinstance(episodes, bool) or not isinstance(episodes, int) or episodes < 1:
        raise ParameterError(f"episodes is {episodes!r}", where="episodes", fix="give a number of at least 1")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ParameterError(f"seed is {seed!r}", where="seed", fix="give a whole number of at least 0")
    return EpisodeSource(known(env, below, horizon, options), episodes, seed)
