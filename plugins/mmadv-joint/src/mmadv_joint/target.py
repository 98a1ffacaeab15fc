"""Victims of several inputs: modules and functions that take a dict of tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mmadv import CallableTarget, ModuleTarget, TargetClaim
from mmadv_joint.space import Joint


class Unpacked(nn.Module):
    """Rows as the dict of tensors that a victim takes."""

    def forward(self, x: Joint) -> dict[str, Tensor]:
        return x.parts


class JointTarget(ModuleTarget):
    """A `torch.nn.Module` that answers (B, L) to a dict of tensors (B, …).

    Args:
        module: in eval mode.
        **options: of `mmadv.ModuleTarget`.

    Example:
        >>> import torch
        >>> class Sum(nn.Module):
        ...     def forward(self, parts): return parts["a"][:, :2] + parts["b"].flatten(1)[:, :2]
        >>> JointTarget(Sum().eval())(Joint.of({"a": torch.ones(1, 2), "b": torch.ones(1, 1, 2)}))
        tensor([[2., 2.]])
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str = "",
        output: str = "logits",
        device: str | None = None,
        autocast: str | None = None,
        compile: bool = False,
        batch_size: int | None = None,
        allow_training: bool = False,
    ) -> None:
        super().__init__(
            module, name=name, output=output, prepare=Unpacked(), device=device, autocast=autocast,
            compile=compile, batch_size=batch_size, allow_training=allow_training,
        )  # fmt: skip


class FunctionTarget(CallableTarget):
    """Any function of a dict of tensors, asked for scores or labels.

    Args:
        function: to (B, L) scores or (B,) labels.
        **options: of `mmadv.CallableTarget`.
    """

    def __init__(
        self, function: Callable[[dict[str, Tensor]], Any], *, name: str = "", output: str = "logits",
        access: str | None = None, batch_size: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(function, name=name, output=output, access=access, batch_size=batch_size)

    def __call__(self, x: Joint) -> Tensor:
        return super().__call__(x.parts)


def claim(victim: object) -> TargetClaim | None:
    """The joint plugin's offer to adapt a victim."""
    if isinstance(victim, nn.Module):
        return TargetClaim("joint", functools.partial(JointTarget, victim))
    return TargetClaim("joint", functools.partial(FunctionTarget, victim)) if callable(victim) else None
