"""What the law checks need of series: the core's small victims on channels of different units, and behind a band."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmadv.testing import Kit, victims
from mmadv.testing.kit import Words
from mmadv.testing.victims import Stage

SHAPE = (2, 16)
"""With (2, 12), FGSM's cross-entropy in L2 fools 3 of 8 rows of the crowd, and the margin's step that law 8 compares it with 4."""
UNIT = (0.5, 4.0)
BAND = 0.5


class Heard(nn.Module):
    """A victim of what the channels, each divided by its unit, hold of slow cosines.

    Args:
        victim: of coefficients (B, C, k), or of the steps themselves.
        basis: (k, T) with orthonormal rows, so that distances are the same on both sides; None for the steps themselves.
    """

    def __init__(self, victim: nn.Module, basis: Tensor | None) -> None:
        super().__init__()
        self.victim = victim
        self.register_buffer("unit", torch.tensor(UNIT).unsqueeze(1))
        self.register_buffer("basis", basis)
        self.eval()

    def coefficients(self, x: Tensor) -> Tensor:
        """(B, C, k) of series."""
        x = x / self.get_buffer("unit").to(x)
        basis: Tensor | None = self._buffers["basis"]
        # A sum over the last axis, for the order of a matrix product's sums depends on the batch's size.
        return x if basis is None else (x.unsqueeze(2) * basis.to(x)).sum(-1)

    def forward(self, x: Tensor) -> Tensor:
        return self.victim(self.coefficients(x))


def cosines(count: int, length: int) -> Tensor:
    """(count, length) the slowest vectors of the DCT-II, orthonormal.

    Example:
        >>> basis = cosines(3, 8).double()
        >>> torch.allclose(basis @ basis.T, torch.eye(3).double(), atol=1e-6)
        True
    """
    steps = np.arange(length) + 0.5
    rows = np.cos(math.pi / length * np.arange(count)[:, None] * steps) * math.sqrt(2 / length)
    rows[0] /= math.sqrt(2)
    return torch.from_numpy(rows).float()


@dataclass(frozen=True)
class SeriesKit(Kit):
    """Victims of two channels whose units differ eightfold, and slow independent judgements.

    Within a band the victims look at the band alone, so that in L2 the nearest adversarial lies in it. In Linf it does
    not, and there is no setting for that.

    Example:
        >>> [words.get("band") for words in SeriesKit().settings()]
        [None, None, 0.5]
    """

    shape: tuple[int, ...] = SHAPE
    norms: tuple[str, ...] = ("linf", "l2")
    levels: int | None = None

    def settings(self) -> list[dict[str, Any]]:
        plain: list[dict[str, Any]] = [{"norm": norm, "unit": UNIT} for norm in self.norms]
        return [*plain, {"norm": "l2", "unit": UNIT, "band": BAND}]

    def duel(self, words: Words) -> Stage:
        return self._heard(victims.duel, self.rows, words)

    def crowd(self, words: Words) -> Stage:
        return self._heard(victims.crowd, self.rows + 2, words)

    def corners(self, words: Words) -> Stage:
        return self._heard(victims.corners, self.rows, words)

    def _heard(self, make: Callable[..., Stage], rows: int, words: Words) -> Stage:
        channels, length = self.shape
        count = length if words.get("band") is None else round(BAND * length)
        basis = None if words.get("band") is None else cosines(count, length)
        stage = make(words["norm"], rows, (channels, count))
        x = stage.x if basis is None else (stage.x.double() @ basis.double()).float()
        victim = Heard(stage.victim, basis)
        return stage._replace(victim=victim, x=x * torch.tensor(UNIT).unsqueeze(1))

    def distance(self, adv: Tensor, x: Tensor, words: Words) -> Tensor:
        units = torch.tensor(words["unit"], dtype=torch.float64).unsqueeze(1)
        return super().distance(adv.double() / units, x.double() / units, words)

    def rounding(self, words: Words) -> float:
        return 4 * super().rounding(words)  # in units of ½ a series is twice as large, and coefficients add up

    def inside(self, adv: Tensor) -> Tensor:
        return torch.isfinite(adv).flatten(1).all(1)

    def stored(self, adv: Tensor) -> Tensor:
        texts = [np.format_float_scientific(value, 5, unique=False) for value in adv.double().flatten().tolist()]
        return torch.tensor([float(text) for text in texts], dtype=torch.float64).reshape(adv.shape).to(adv.dtype)

    def single_step(self, stage: Stage, radius: float, words: Words) -> Tensor:
        """One step along the gradient in units; there is no box to clip to."""
        heard: Any = stage.victim
        units = heard.unit
        x = stage.x.clone().requires_grad_()
        logits = heard(x)
        own = logits.gather(1, stage.y.unsqueeze(1)).squeeze(1)
        other = logits.scatter(1, stage.y.unsqueeze(1), float("-inf")).amax(1)
        grad = (torch.autograd.grad((other - own).sum(), x)[0] * units).flatten(1)
        step = grad.sign() if words["norm"] == "linf" else grad / grad.square().sum(1, keepdim=True).sqrt()
        with torch.no_grad():
            return heard(stage.x + radius * step.reshape(x.shape) * units).argmax(1) != stage.y
