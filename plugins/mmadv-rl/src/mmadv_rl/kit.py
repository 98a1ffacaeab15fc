"""What the law checks need of observations: the core's small victims of tensors in [0, 1], with a critic beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mmadv.testing import Kit
from mmadv.testing.kit import Words
from mmadv.testing.victims import Stage


class Valued(nn.Module):
    """A victim that holds its best action to be worth 1 and others nothing, and an observation the lead of the best over the second.

    Args:
        victim: of observations.
    """

    def __init__(self, victim: nn.Module) -> None:
        super().__init__()
        self.victim = victim
        self.judge = [victim]  # not a submodule twice
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.victim(x)

    def action_values(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(self.judge[0](x).argmax(1), self.judge[0](x).shape[1]).to(x.dtype)

    def critic(self, x: Tensor, answer: Tensor) -> Tensor:
        first, second = answer.topk(2, 1).values.unbind(1)
        return first - second


@dataclass(frozen=True)
class RLKit(Kit):
    """The core's victims on few numbers, as observations are.

    Example:
        >>> RLKit().settings()[0]
        {'norm': 'linf', 'low': 0.0, 'high': 1.0}
    """

    shape: tuple[int, ...] = (16,)
    norms: tuple[str, ...] = ("linf", "l2")
    levels: int | None = None

    def settings(self) -> list[dict[str, Any]]:
        return [{"norm": norm, "low": 0.0, "high": 1.0} for norm in self.norms]

    def duel(self, words: Words) -> Stage:
        return self._valued(super().duel(words))

    def crowd(self, words: Words) -> Stage:
        return self._valued(super().crowd(words))

    def corners(self, words: Words) -> Stage:
        return self._valued(super().corners(words))

    def _valued(self, stage: Stage) -> Stage:
        return stage._replace(victim=Valued(stage.victim))
