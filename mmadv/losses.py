"""Losses an attacker climbs, computed from logits in a stable form: (…, L), label (…,) → (…,).

All grow as the label loses. Adding a constant to the logits changes none of them, and their ascent
directions survive any positive scale (law 5).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmadv.errors import ParameterError, nearest

Loss = Callable[..., Tensor]
"""`(logits, label) -> (…,)`, or with a third argument, the class to head for."""


def pick(logits: Tensor, label: Tensor) -> Tensor:
    """The label's logit, (…,)."""
    return logits.gather(-1, label.unsqueeze(-1)).squeeze(-1)


def others(logits: Tensor, label: Tensor) -> Tensor:
    """The logits with the label's own at −inf, (…, L)."""
    return logits.scatter(-1, label.unsqueeze(-1), float("-inf"))


def log_odds(logits: Tensor, label: Tensor) -> Tensor:
    """log Σ_{j≠y} exp z_j − z_y: the cross-entropy before its last, monotone step.

    Cross-entropy is softplus of this, so for every row the two rank inputs alike and have the same
    direction of ascent; but cross-entropy's gradient underflows to exactly 0 once the victim is sure
    (logits × 100), and this one's never does.

    Example:
        >>> z, y = torch.tensor([[200.0, 0.0, 0.0]]), torch.tensor([0])
        >>> log_odds(z, y)
        tensor([-199.3069])
    """
    return torch.logsumexp(others(logits, label), -1) - pick(logits, label)


def margin(logits: Tensor, label: Tensor) -> Tensor:
    """max_{j≠y} z_j − z_y (Carlini & Wagner, arXiv 1608.04644), with the label masked out, whatever the logits' sign.

    Example:
        >>> margin(torch.tensor([[-1000.0, -1002.0]]), torch.tensor([0]))
        tensor([-2.])
    """
    return others(logits, label).amax(-1) - pick(logits, label)


def dlr(logits: Tensor, label: Tensor) -> Tensor:
    """Difference of logits ratio, (max_{j≠y} z_j − z_y) / (z_(1) − z_(3)) (arXiv 2003.01690).

    Raises:
        ParameterError: fewer than three classes.

    Example:
        >>> dlr(torch.tensor([[4.0, 3.0, 0.0]]), torch.tensor([0]))
        tensor([-0.2500])
    """
    _need(logits, 3, "dlr")
    top = logits.topk(3, dim=-1).values
    return margin(logits, label) / (top[..., 0] - top[..., 2]).clamp_min(torch.finfo(logits.dtype).tiny)


def dlr_targeted(logits: Tensor, label: Tensor, towards: Tensor) -> Tensor:
    """Targeted DLR, (z_t − z_y) / (z_(1) − (z_(3) + z_(4)) / 2) (arXiv 2003.01690).

    Args:
        logits: (…, L), L ≥ 4.
        label: (…,) the class to leave.
        towards: (…,) the class to reach.

    Raises:
        ParameterError: fewer than four classes.

    Example:
        >>> dlr_targeted(torch.tensor([[4.0, 3.0, 1.0, 1.0]]), torch.tensor([0]), torch.tensor([1]))
        tensor([-0.3333])
    """
    _need(logits, 4, "dlr_targeted")
    top = logits.topk(4, dim=-1).values
    width = top[..., 0] - (top[..., 2] + top[..., 3]) / 2
    return (pick(logits, towards) - pick(logits, label)) / width.clamp_min(torch.finfo(logits.dtype).tiny)


def _need(logits: Tensor, classes: int, name: str) -> None:
    if logits.shape[-1] < classes:
        raise ParameterError(
            f"the loss {name!r} needs at least {classes} classes and the victim has {logits.shape[-1]}",
            where="loss",
            fix="use loss='ce' or loss='margin'",
        )


LOSSES: dict[str, Loss] = {"ce": log_odds, "margin": margin, "dlr": dlr}
"""The losses that attacks take by name; `ce` climbs as cross-entropy does."""


def by_name(name: str) -> Loss:
    """The loss called `name`.

    Raises:
        ParameterError: no such loss.
    """
    if name not in LOSSES:
        raise ParameterError(f"unknown loss {name!r}", where="loss", fix=nearest(name, LOSSES))
    return LOSSES[name]
