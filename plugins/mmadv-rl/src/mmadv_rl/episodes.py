"""Games, and episodes of them as rows: what the environment said, and what the policy was shown instead."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmadv.errors import InputError, ParameterError
from mmadv.rows import shared
from mmadv_rl.policies import one_line


def label_of(value: float) -> int:
    """A return as an int64 label that loses nothing: the bits of its float64.

    Example:
        >>> return_of(label_of(-1.5))
        -1.5
    """
    return int(np.float64(value).view(np.int64))


def return_of(label: int) -> float:
    """The return that a label stands for."""
    return float(np.int64(label).view(np.float64))


def returns(labels: Tensor) -> Tensor:
    """float64 returns of int64 labels of any shape."""
    return labels.contiguous().view(torch.float64)


@dataclass(frozen=True)
class Game:
    """An environment that episodes can be played in; each episode has an instance of its own for as long as it lasts.

    Args:
        name: of a registered gymnasium environment, or for records where `make` is given.
        below: an episode is lost if its return is less; the environment's own reward threshold if not given.
        horizon: the most steps of an episode; the environment's own limit if not given.
        options: keyword arguments of the environment.
        make: builds the environment in place of `gymnasium.make`.

    Raises:
        ParameterError: no such environment; spaces that can't be attacked; no `below` or `horizon` where the environment
            doesn't say.

    Example:
        >>> game = Game("CartPole-v1")
        >>> game.below, game.horizon, game.shape, game.actions
        (475.0, 500, (4,), 2)
    """

    name: str
    below: float | None = None
    horizon: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    make: Callable[..., Any] | None = field(default=None, compare=False)
    # Of this very game: `dataclasses.replace` makes another one.
    _idle: list[Any] = field(default_factory=list, init=False, compare=False, repr=False)
    known: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        import gymnasium as gym

        env = self.built()
        spec = env.spec
        own_horizon = getattr(spec, "max_episode_steps", None)
        if self.below is None and self.horizon not in (None, own_horizon):
            raise ParameterError(
                f"horizon is {self.horizon!r}, and the return that {self.name} asks for is one of its own {own_horizon} steps",
                where="below",
                fix="give below=, the return below which an episode of so many steps is lost",
            )
        for name, value, own in (
            ("below", self.below, getattr(spec, "reward_threshold", None)),
            ("horizon", self.horizon, own_horizon),
        ):
            if value is None and own is None:
                raise ParameterError(f"{self.name} does not say its {name}", where=name, fix=f"give {name}=")
            object.__setattr__(self, name, own if value is None else value)
        if isinstance(self.below, bool) or not isinstance(self.below, (int, float)) or not np.isfinite(self.below):
            raise ParameterError(f"below is {self.below!r}", where="below", fix="give a return, such as 475")
        if isinstance(self.horizon, bool) or not isinstance(self.horizon, int) or self.horizon < 1:
            raise ParameterError(f"horizon is {self.horizon!r}", where="horizon", fix="give a number of steps")
        object.__setattr__(self, "below", float(self.below))
        if not isinstance(env.observation_space, gym.spaces.Box):
            raise ParameterError(
                f"the observations of {self.name} are {type(env.observation_space).__name__}",
                where="env",
                fix="wrap the environment so that they are a Box, such as with gymnasium.wrappers.FlattenObservation",
            )
        acts: Any = env.action_space
        late = isinstance(acts, gym.spaces.Discrete) and acts.start != 0
        if late or not isinstance(acts, (gym.spaces.Discrete, gym.spaces.Box)):
            raise ParameterError(
                f"the actions of {self.name} are {acts}",
                where="env",
                fix="wrap the environment so that they are a Box, or Discrete and begin at 0",
            )
        part = env
        while isinstance(part, gym.Wrapper):
            if getattr(part, "update_running_mean", False):
                raise ParameterError(
                    f"the {type(part).__name__} of {self.name} is still learning, so that no episode is like another",
                    where="env",
                    fix="set its update_running_mean = False in make=, with the statistics that the policy was trained with, "
                    "or leave it out and give the policy a normaliser=",
                )
            part = part.env
        self._idle.append(env)

    def built(self, **options: Any) -> Any:
        """A new environment, with further options of its own.

        Raises:
            ParameterError: it can't be made.
        """
        import gymnasium as gym

        fix = "name a registered environment, install what it needs, or give make="
        try:
            env = (self.make or partial(gym.make, self.name))(**self.options, **options)
        except Exception as error:
            raise ParameterError(f"the environment can't be made: {one_line(error)}", where="env", fix=fix) from error
        if not isinstance(env, gym.Env):
            raise ParameterError(f"make gives a {type(env).__name__}, no environment", where="env", fix=fix)
        return env

    @contextmanager
    def instances(self, count: int) -> Iterator[list[Any]]:
        """Environments for so many episodes, kept for the next ones; who finds one broken puts None in its place."""
        lent = [self._idle.pop() if self._idle else self.built() for _ in range(count)]
        try:
            yield lent
        finally:
            self._idle.extend(env for env in lent if env is not None)

    @property
    def space(self) -> Any:
        """Of observations."""
        return self._idle[0].observation_space if self._idle else self.built().observation_space

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one observation."""
        return tuple(self._static("shape", lambda env: env.observation_space.shape))

    @property
    def size(self) -> int:
        """How many numbers an observation has."""
        return int(np.prod(self.shape))

    @property
    def dtype(self) -> np.dtype:
        """Of observations."""
        return self._static("dtype", lambda env: env.observation_space.dtype)

    @property
    def box(self) -> tuple[Tensor, Tensor]:
        """(size,) bounds of observations, from the environment's own space."""
        return self._static(
            "box", lambda env: tuple(_float32(end) for end in (env.observation_space.low, env.observation_space.high))
        )

    @property
    def actions(self) -> int | None:
        """How many actions there are; None for continuous ones."""
        import gymnasium as gym

        return self._static(
            "actions",
            lambda env: int(env.action_space.n) if isinstance(env.action_space, gym.spaces.Discrete) else None,
        )

    @property
    def reach(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Bounds of continuous actions."""
        if self.actions is not None:
            return None
        return self._static("reach", lambda env: (env.action_space.low, env.action_space.high))

    def _static(self, name: str, of: Callable[[Any], Any]) -> Any:
        if name not in self.known:
            with self.instances(1) as (env,):
                self.known[name] = of(env)
        return self.known[name]

    def episodes(self, count: int, seed: int = 0) -> tuple[Episodes, Tensor]:
        """Episodes that are still to be played, and the labels that say when each is lost.

        Args:
            count: how many.
            seed: of the first; each further one has the next.

        Raises:
            ParameterError: a negative number.
        """
        for name, value in (("count", count), ("seed", seed)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ParameterError(f"{name} is {value!r}", where=name, fix="give a whole number of at least 0")
        seeds = torch.arange(seed, seed + count)
        assert self.below is not None
        return Episodes.fresh(seeds, self), torch.full((count,), label_of(self.below))


def _float32(bounds: np.ndarray) -> Tensor:
    """Bounds as they hold for float32 observations; what is larger than any is none."""
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.asarray(bounds).astype(np.float32).reshape(-1))


@dataclass(eq=False, repr=False)
class Episodes:
    """Rows of episodes; those that are still to be played have no steps.

    Args:
        seed: (A,) int64 that the environment is reset with.
        seen: (A, T, size) what the policy was shown; 0 after an episode's end.
        true: (A, T, size) what the environment said.
        length: (A,) int64 steps.
        acts: (A, T, actions) float64 what the policy did.
        changed: (A,) int64 at how many of the steps it would have done something else.
        calm: (A, C, actions) float64 what it does in the episode of the same seed when nothing is touched.
        calm_length: (A,) int64 steps of that.
        taught: (A,) int64 steps that what shows it was trained for before.
        game: what is played.

    Example:
        >>> Game("CartPole-v1").episodes(3)[0]
        Episodes(3 of CartPole-v1, 0 steps)
    """

    seed: Tensor
    seen: Tensor
    true: Tensor
    length: Tensor
    acts: Tensor
    changed: Tensor
    calm: Tensor
    calm_length: Tensor
    taught: Tensor
    game: Game = shared()  # noqa: RUF009 (it is a field)

    @classmethod
    def fresh(cls, seed: Tensor, game: Game) -> Episodes:
        """Episodes that are still to be played."""
        width = 1 if game.actions is not None else len(game.reach[0].reshape(-1))  # type: ignore[index]
        nothing, zero = torch.zeros(len(seed), 0, game.size), torch.zeros_like(seed)
        acts = torch.zeros(len(seed), 0, width, dtype=torch.float64)
        return cls(seed, nothing, nothing, zero, acts, zero, acts, zero, zero, game)

    @classmethod
    def joined(cls, parts: Sequence[Episodes]) -> Episodes:
        """Episodes of several batches one after another."""

        def together(name: str) -> Tensor:
            tensors = [getattr(part, name) for part in parts]
            longest = max(tensor.shape[1] for tensor in tensors)
            return torch.cat([torch.nn.functional.pad(one, (0, 0, 0, longest - one.shape[1])) for one in tensors])

        columns = {
            name: together(name)
            if name in ("seen", "true", "acts", "calm")
            else torch.cat([getattr(p, name) for p in parts])
            for name in ("seed", "seen", "true", "length", "acts", "changed", "calm", "calm_length", "taught")
        }
        return cls(**columns, game=parts[0].game)

    @property
    def played(self) -> Tensor:
        """(A, T) bool, which steps were played."""
        return torch.arange(self.seen.shape[1], device=self.seen.device) < self.length.unsqueeze(1)

    @property
    def touched(self) -> Tensor:
        """(A, T) bool, at which steps the policy was shown something else than the environment said."""
        return (self.seen != self.true).any(2) & self.played

    def __len__(self) -> int:
        return len(self.seed)

    def __repr__(self) -> str:
        return f"Episodes({len(self)} of {self.game.name}, {int(self.length.sum())} steps)"


ARRAYS = ("seed", "seen", "true", "acts", "changed", "calm", "taught")


def pack(row: Episodes) -> bytes:
    """One episode as an .npz archive without any pickle."""
    buffer = io.BytesIO()
    steps, calm = int(row.length[0]), int(row.calm_length[0])
    cut = {"seen": steps, "true": steps, "acts": steps, "calm": calm}
    arrays = {name: getattr(row, name)[0][: cut[name]] if name in cut else getattr(row, name)[0] for name in ARRAYS}
    game = json.dumps(
        {"name": row.game.name, "below": row.game.below, "horizon": row.game.horizon, "options": row.game.options}
    )
    np.savez(buffer, game=np.frombuffer(game.encode(), np.uint8), **{n: one.numpy() for n, one in arrays.items()})
    return buffer.getvalue()


def unpack(packed: bytes, game: Game | None = None) -> Episodes:
    """The episode in such an archive.

    Args:
        packed: the archive.
        game: what it was played in, where that can't be made from its name.

    Raises:
        InputError: it is no such archive.
    """
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as found:
            held = {name: torch.from_numpy(np.array(found[name])).unsqueeze(0) for name in ARRAYS}
            about = json.loads(bytes(found["game"]))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"an episode can't be read: {error}", where="episode", fix="run the audit again") from error
    steps, calm = (torch.tensor([held[name].shape[1]]) for name in ("seen", "calm"))
    game = game or known(about["name"], about["below"], about["horizon"], about["options"])
    return Episodes(
        held["seed"], held["seen"], held["true"], steps, held["acts"], held["changed"], held["calm"], calm,
        held["taught"], game,
    )  # fmt: skip


_GAMES: dict[str, Game] = {}


def known(
    name: str, below: float | None = None, horizon: int | None = None, options: dict[str, Any] | None = None
) -> Game:
    """A game by what it is made of, one object for all who ask; `enter` makes one of a user's own environments known."""
    key = json.dumps([name, below, horizon, options or {}], sort_keys=True)
    if key not in _GAMES:
        enter(Game(name, below, horizon, options or {}), key)
    return _GAMES[key]


def enter(game: Game, *keys: str) -> Game:
    """Make a game known by what it is made of."""
    own = json.dumps([game.name, game.below, game.horizon, game.options], sort_keys=True)
    for key in (own, *keys):
        _GAMES[key] = game
    return game
