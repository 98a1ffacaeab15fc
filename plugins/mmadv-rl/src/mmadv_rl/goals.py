"""What an attacker wants of an episode: a return that is too low."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from mmadv import Verdict
from mmadv_rl.episodes import returns


@dataclass(frozen=True)
class Falls:
    """A return below the one that `y` stands for; the score is by how much, also once it is.

    Example:
        >>> import torch
        >>> from mmadv_rl.episodes import label_of
        >>> Falls()(torch.tensor([label_of(9.0)]), torch.tensor([label_of(475.0)]))
        Verdict(score=tensor([466.], dtype=torch.float64), hit=tensor([True]))
    """

    name: ClassVar[str] = "return below"
    needs_target: ClassVar[bool] = False
    graded: ClassVar[bool] = True  # a lost episode can be lost by more

    def __call__(self, output: Tensor, y: Tensor, towards: Any = None) -> Verdict:
        score = returns(y) - returns(output)
        return Verdict(score, score > 0)

    def right(self, output: Tensor, y: Tensor) -> Tensor:
        return ~self(output, y).hit

    def loss(self, function: Any, output: Tensor, y: Tensor, towards: Any = None) -> Tensor:
        return self(output, y).score
