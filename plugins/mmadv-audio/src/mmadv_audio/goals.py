"""What an attacker may want of a recogniser besides another or one certain transcript: enough wrong words."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Loss, Verdict
from mmadv.errors import ParameterError
from mmadv_audio.transcripts import text_of, word_error_rate


@dataclass(frozen=True)
class WordErrors:
    """A word error rate of at least `least`, against the reference transcript; of several passes the mean of theirs.

    Args:
        least: 0.5 is every second word wrong; more than 1 is possible, where words are inserted.

    Raises:
        ParameterError: not above 0 and finite.

    Example:
        >>> from mmadv_audio.transcripts import labels_of
        >>> goal = WordErrors(0.5)
        >>> goal(labels_of(["open a door", "shut up now"]), labels_of(["open the door", "open the door"]))
        Verdict(score=tensor([0.3333, 1.0000]), hit=tensor([False,  True]))
    """

    least: float = 0.5

    name: ClassVar[str] = "word errors"
    needs_target: ClassVar[bool] = False
    passes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.least, (int, float)) or not 0 < self.least < float("inf"):
            raise ParameterError(
                f"wer is {self.least!r}", where="wer", fix="give the least word error rate that counts, such as 0.5"
            )

    def __call__(self, output: Tensor, y: Tensor, towards: Tensor | None = None) -> Verdict:
        """The score is the word error rate of labels (…,), or the mean of those of several passes (…, P)."""
        several = output.dim() > y.dim()
        beside = (y.unsqueeze(-1) if several else y).expand(output.shape)
        pairs = zip(output.reshape(-1).tolist(), beside.reshape(-1).tolist(), strict=True)
        rates = torch.tensor([_rate(heard, right) for heard, right in pairs], dtype=torch.float32)
        score = rates.reshape(output.shape).to(output.device)
        score = score.mean(-1) if several else score
        return Verdict(score, score >= self.least)

    def right(self, output: Tensor, y: Tensor) -> Tensor:
        return ~self(output, y).hit

    def loss(self, function: Loss, output: Tensor, y: Tensor, towards: Tensor | None = None) -> Tensor:
        return function(output, y)


@functools.lru_cache(65_536)
def _rate(heard: int, right: int) -> float:
    if heard < 0:  # a candidate that no budget was left for
        return 0.0
    return word_error_rate(text_of(right), text_of(heard))
