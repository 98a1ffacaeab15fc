"""The reinforcement-learning modality: what the core asks of observations and episodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mmadv import rows
from mmadv.errors import InputError, ParameterError
from mmadv_rl import episodes, space
from mmadv_rl.constraints import Turns
from mmadv_rl.episodes import Episodes, label_of, return_of
from mmadv_rl.goals import Falls

if TYPE_CHECKING:
    from mmadv import Attack, Problem, Target, ThreatModel
    from mmadv.alarms import Counts
    from mmadv.ledger import Ledger
    from mmadv_rl.kit import RLKit
    from mmadv_rl.source import EpisodeSource
    from mmadv_rl.space import ObsSpace

FEW = 6
"""Dimensions that are told one by one."""


class RL:
    """Observations (B, …) of a policy, or whole episodes of a game.

    Example:
        >>> RL().space(eps=0.1, most=25).turns.most
        25
    """

    name: ClassVar[str] = "rl"
    unit: ClassVar[str] = "change of an observation"
    continuous: ClassVar[bool] = True

    @property
    def kit(self) -> RLKit:
        from mmadv_rl.kit import RLKit

        return RLKit()

    def space(
        self,
        *,
        norm: str = "linf",
        eps: float = float("inf"),
        unit: str | Sequence[float] = "raw",
        low: float = float("-inf"),
        high: float = float("inf"),
        most: int | None = None,
        share: float | None = None,
        gap: float | None = None,
    ) -> space.ObsSpace:
        """The space of a user's words; see `ObsSpace` and `Turns`.

        Args:
            norm: `linf`, `l2` or `l1`.
            eps: the radius of one step's change, in units.
            unit: `raw`, `std`, `policy`, `range` or a number for each dimension.
            low: of single observations; a game knows its own.
            high: likewise.
            most: touched steps an episode.
            share: touched steps among those played.
            gap: only where the policy's preference is larger.

        Raises:
            ParameterError: a word that means nothing.
        """
        try:
            numbers = unit if isinstance(unit, str) else tuple(float(one) for one in unit)
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"unit is {unit!r}", where="unit", fix=f"give {', '.join(space.UNITS)}, or a number for each dimension"
            ) from error
        return space.ObsSpace(norm, eps, numbers, low, high, Turns(most, share, gap))

    def labels(self, y: Any) -> Any:
        """Returns, which are floating, as labels; numbers of actions as they are."""
        if isinstance(y, Tensor) and y.is_floating_point():
            y = y.tolist()
        if isinstance(y, Sequence) and y and all(isinstance(one, float) for one in y):
            return [label_of(one) for one in y]
        return y

    def said(self, label: int) -> str | None:
        value = return_of(label)
        # Numbers of actions are no returns: as bits of a float they are next to nothing.
        return f"{value:g}" if value == 0 or abs(value) > 1e-300 else None

    def inputs(self, x: Any) -> Any:
        return space.checked(x)

    def pose(self, target: Target, threat: ThreatModel, x: Any) -> tuple[Target, ThreatModel]:
        """Episodes are asked of a policy in its game, in the game's own units, for a return below the one asked for.

        Raises:
            ParameterError: a target for episodes.
            InputError: a target that can't play.
        """
        from mmadv_rl.target import Player, PolicyTarget

        if not isinstance(x, Episodes):
            turns: Turns = threat.space.turns  # type: ignore[attr-defined]
            for name in ("most", "share", "gap"):
                if getattr(turns, name) is not None:
                    raise ParameterError(
                        f"{name} is given, and single observations have no steps",
                        where=name,
                        fix="leave it out, or attack episodes: Game(…).episodes(…)",
                    )
            return target, threat
        if threat.goal.needs_target:
            raise ParameterError(
                "targets is given for episodes",
                where="targets",
                fix="give the attack the action: {name: rl.pgd, action: 0}",
            )
        policy = target.policy if isinstance(target, Player) else target
        if not isinstance(policy, PolicyTarget):
            raise InputError(
                f"a {type(target).__name__} can't play", where="target", fix="give a policy: a module or an algorithm"
            )
        asked: space.ObsSpace = threat.space  # type: ignore[assignment]
        player = Player(policy, x.game)
        player.space = asked.posed(player.policy, x)
        return player, dataclasses.replace(threat, space=player.space, goal=Falls())

    def run(self, problem: Problem, attack: Attack, **options: Any) -> tuple[Ledger, Counts] | None:
        """Play episodes; single observations are solved as everything is."""
        if not isinstance(problem.x, Episodes):
            return None
        from mmadv_rl.play import run

        if not bool(torch.isfinite(episodes.returns(problem.y)).all()):
            raise InputError(
                "y holds NaN or inf",
                where="y",
                fix="give the return below which each episode is lost, or use Game.episodes",
            )
        small = (problem.y != 0) & (episodes.returns(problem.y).abs() < 1e-300)
        if bool(small.any()):
            raise InputError(
                f"y holds {int(problem.y[small][0])}, a whole number",
                where="y",
                fix="give the return below which each episode is lost as a float, or what Game.episodes gives",
            )
        return run(problem, attack, **options)

    def stored(self, x: Any) -> Any:
        """In the dtype that the environment itself gives."""
        if not isinstance(x, Episodes):
            return x
        return dataclasses.replace(x, seen=_as_given(x.seen, x.game.dtype))

    def source(self, **words: Any) -> EpisodeSource:
        from mmadv_rl.source import source

        return source(**words)

    def write(self, row: Any, path: Path) -> Path:
        path = path.with_suffix(".npz")
        if isinstance(row, Episodes):
            path.write_bytes(episodes.pack(self.stored(row)))
        else:
            np.savez(path, observation=row[0].numpy())
        return path

    def read(self, path: Path) -> Any:
        packed = path.read_bytes()
        try:
            with np.load(path, allow_pickle=False) as found:
                if "observation" in found:
                    return torch.from_numpy(np.array(found["observation"])).unsqueeze(0)
        except (OSError, ValueError) as error:
            raise InputError(
                f"an episode can't be read: {error}", where=str(path), fix="run the audit again"
            ) from error
        return episodes.unpack(packed)

    def pack(self, row: Any) -> Tensor:
        if not isinstance(row, Episodes):
            return row[0]
        return torch.frombuffer(bytearray(episodes.pack(row)), dtype=torch.uint8)

    def unpack(self, packed: Sequence[Tensor]) -> Any:
        if packed[0].dtype != torch.uint8:
            return torch.stack(list(packed))
        return rows.join([episodes.unpack(one.numpy().tobytes()) for one in packed])

    def scale(self, space: ObsSpace, distance: float, x: Any) -> str:
        """A distance in units of the observations, one number for each dimension where there are few.

        Example:
            >>> agents = RL()
            >>> [agents.scale(agents.space(unit=unit), 0.1, None) for unit in ("raw", "range", (0.5, 2.0))]
            ['0.1 in raw units', '10 % of the range', '± 0.05, 0.2 in raw units']
        """
        each = "" if space.norm == "linf" else f", {space.norm} norm"
        if not isinstance(space.unit, str):
            if space.norm == "linf" and len(space.unit) <= FEW:
                return f"± {', '.join(f'{distance * one:.3g}' for one in space.unit)} in raw units"
            return f"{distance:.3g} × the units given{each}"
        if space.unit == "range":
            return f"{100 * distance:.3g} % of the range{each}"
        what = {
            "raw": " in raw units", "std": " standard deviations of clean play", "policy": " × the policy’s own scale"
        }[space.unit]  # fmt: skip
        return f"{distance:.3g}{what}{each}"

    def figures(self, x: Any, adv: Any, caption: tuple[str, str]) -> str:
        from mmadv_rl.figures import example

        return example(adv, caption) if isinstance(adv, Episodes) else ""


def _as_given(seen: Tensor, dtype: np.dtype) -> Tensor:
    """What comes of observations in an environment's own dtype; whole numbers are rounded."""
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        return seen.round().clamp(info.min, info.max)
    return seen if np.dtype(dtype).itemsize >= 4 else seen.to(torch.float16).float()
