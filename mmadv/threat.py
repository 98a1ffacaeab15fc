"""Threat models and problems: what the attacker sees, may change, wants and spends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mmadv.access import Access
from mmadv.budget import Budget
from mmadv.goals import Goal, Untargeted
from mmadv.space import Space
from mmadv.target import Target


@dataclass(frozen=True)
class ThreatModel:
    """A frozen record of what an attack is up against.

    Args:
        space: inputs and feasible perturbations.
        access: what of the victim is shown.
        goal: what the attacker wants.
        budget: what each example may cost.
    """

    space: Space
    access: Access = Access.GRADIENT
    goal: Goal = field(default_factory=Untargeted)
    budget: Budget = field(default_factory=Budget)


@dataclass
class Problem:
    """A batch of examples under one threat model.

    Args:
        target: the victim's adapter.
        threat: the threat model.
        x: clean rows.
        y: (N,) what is right.
        ids: int64 (N,), one id for each example; noise is keyed by it.
        towards: (N,) what a targeted goal is to reach.
        seed: of all noise.
        eot: forward passes over which a randomised victim's answer is averaged (expectation over transformation,
            arXiv 1707.07397); each counts as a query.
        deterministic: False if the victim is known to answer differently each time; attacks then don't stop on a repeated iterate.
    """

    target: Target
    threat: ThreatModel
    x: Any
    y: Tensor
    ids: Tensor
    towards: Tensor | None = None
    seed: int = 0
    eot: int = 1
    deterministic: bool = True
