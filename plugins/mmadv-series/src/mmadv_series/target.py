"""Victims of series: torch modules with a stated normalisation, and any function."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmadv import CallableTarget, ModuleTarget, TargetClaim
from mmadv.errors import ParameterError


class Normalise(nn.Module):
    """(x − mean) / std per channel, as a differentiable part of the target.

    Args:
        mean: one number, or one for each channel.
        std: likewise, positive.

    Raises:
        ParameterError: different numbers of them, or a std that isn't positive.

    Example:
        >>> Normalise([0.5], [0.25])(torch.ones(1, 1, 1)).item()
        2.0
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise ParameterError(
                f"mean is {mean} and std is {std}",
                where="mean, std",
                fix="give lists of one mean and one positive std for each channel",
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).unsqueeze(1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).unsqueeze(1))

    def forward(self, x: Tensor) -> Tensor:
        mean, std = self.get_buffer("mean").to(x), self.get_buffer("std").to(x)
        if len(mean) not in (1, x.shape[1]):
            raise ParameterError(
                f"mean has {len(mean)} channels and the series {x.shape[1]}",
                where="mean, std",
                fix="give one value for each channel",
            )
        return (x - mean) / std

    def extra_repr(self) -> str:
        return f"{self.get_buffer('mean').flatten().tolist()}, {self.get_buffer('std').flatten().tolist()}"


class SeriesTarget(ModuleTarget):
    """A `torch.nn.Module` on series.

    Args:
        module: in eval mode, answers (B, L) to (B, C, T).
        mean: subtracted from each channel; none if not given.
        std: that each channel is divided by.
        **options: of `mmadv.ModuleTarget`.

    Raises:
        ParameterError: one of mean and std without the other.

    Example:
        >>> victim = nn.Sequential(nn.Flatten(), nn.Linear(6, 2)).eval()
        >>> SeriesTarget(victim, mean=[1.0, 2.0], std=[0.5, 0.5])(torch.zeros(4, 2, 3)).shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        name: str = "",
        output: str = "logits",
        device: str | torch.device | None = None,
        autocast: str | None = None,
        compile: bool = False,
        batch_size: int | None = None,
        allow_training: bool = False,
    ) -> None:
        if (mean is None) != (std is None):
            raise ParameterError(
                "one of mean and std is missing", where="mean, std", fix="give both, one for each channel, or neither"
            )
        prepare = None if mean is None or std is None else Normalise(mean, std)
        super().__init__(
            module, name=name, output=output, prepare=prepare, device=device, autocast=autocast,
            compile=compile, batch_size=batch_size, allow_training=allow_training,
        )  # fmt: skip


def claim(victim: object) -> TargetClaim | None:
    """The series plugin's offer to adapt a victim: modules give gradients, other functions answers alone."""
    if isinstance(victim, nn.Module):
        return TargetClaim("series", functools.partial(SeriesTarget, victim))
    if callable(victim):
        return TargetClaim("series", functools.partial(CallableTarget, victim))
    return None
