"""What the law checks need of inputs of several parts: the core's small victims, whose inputs come in two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmadv.testing import Kit, victims
from mmadv.testing.kit import Words
from mmadv.testing.victims import Stage
from mmadv_joint.space import Joint

FIRST = 7
"""Entries of the first part."""


class Together(nn.Module):
    """A victim of (B, n) on its two parts.

    Args:
        victim: of (B, n).
    """

    def __init__(self, victim: nn.Module) -> None:
        super().__init__()
        self.victim = victim
        self.eval()

    def forward(self, parts: dict[str, Tensor]) -> Tensor:
        return self.victim(torch.cat([parts["a"], parts["b"].flatten(1)], 1))


@dataclass(frozen=True)
class JointKit(Kit):
    """Victims, inputs in two parts with balls of one norm and size, and independent judgements of them.

    Example:
        >>> stage = JointKit().duel(JointKit().settings()[1])
        >>> {name: tuple(part.shape) for name, part in stage.x.items()}
        {'a': (6, 7), 'b': (6, 3, 3)}
    """

    shape: tuple[int, ...] = (16,)
    norms: tuple[str, ...] = ("linf", "l2")
    levels: int | None = None

    def settings(self) -> list[dict[str, Any]]:
        """One word, that the others are told by, and the parts."""
        return [{"parts": {name: {"norm": norm, "eps": 1.0} for name in "ab"}} for norm in self.norms]

    def duel(self, words: Words) -> Stage:
        """Where each row's lead is the same, so is the share of both balls that takes it: lead / Σ ‖slope‖*."""
        stage = victims.duel(_norm(words), self.rows, self.shape)
        slope = (stage.victim.weight[0] - stage.victim.weight[1]).detach().double()
        order = victims.DUAL[_norm(words)]
        reach = sum(float(torch.linalg.vector_norm(part, order)) for part in (slope[:FIRST], slope[FIRST:]))
        return self._split(stage, stage.radius * float(torch.linalg.vector_norm(slope, order)) / reach)

    def crowd(self, words: Words) -> Stage:
        return self._split(victims.crowd(_norm(words), self.rows + 2, self.shape))

    def corners(self, words: Words) -> Stage:
        return self._split(victims.corners(_norm(words), self.rows, self.shape))

    def _split(self, stage: Stage, radius: float | None = None) -> Stage:
        x = {"a": stage.x[:, :FIRST].clone(), "b": stage.x[:, FIRST:].reshape(len(stage.x), 3, 3).clone()}
        return Stage(Together(stage.victim), x, stage.y, stage.radius if radius is None else radius)

    def distance(self, adv: Any, x: Any, words: Words) -> Tensor:
        found = []
        for name, part in _parts(adv).items():
            delta = np.abs(part.detach().double().numpy() - x[name].detach().double().numpy()).reshape(len(part), -1)
            found.append(delta.max(1) if _norm(words) == "linf" else np.sqrt((delta * delta).sum(1)))
        return torch.from_numpy(np.stack(found).max(0))

    def rounding(self, words: Words) -> float:
        return super().rounding({"norm": _norm(words)})

    def inside(self, adv: Any) -> Tensor:
        return torch.stack([super(JointKit, self).inside(part) for part in _parts(adv).values()]).all(0)

    def answers(self, victim: nn.Module, x: Any) -> Tensor:
        return super().answers(victim, _parts(x))

    def masked(self, victim: Any) -> nn.Module:
        return Together(victims.masked(victim.victim))

    def brittle(self, victim: Any, x: Any) -> nn.Module:
        return Together(victims.Brittle(victim.victim, torch.cat([x["a"], x["b"].flatten(1)], 1)))

    def single_step(self, stage: Stage, radius: float, words: Words) -> Tensor:
        flat = torch.cat([stage.x["a"], stage.x["b"].flatten(1)], 1)
        inner = Stage(stage.victim.victim, flat, stage.y, stage.radius)
        return super().single_step(inner, radius, {"norm": _norm(words)})


def _norm(words: Words) -> str:
    return str(next(iter(words["parts"].values()))["norm"])


def _parts(x: Any) -> dict[str, Tensor]:
    return x.parts if isinstance(x, Joint) else x
