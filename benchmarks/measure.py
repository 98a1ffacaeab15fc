"""What is measured, and from outside of every library: passes, wall time, robust accuracy, validity, distance."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Attack = Callable[..., Tensor]


class Counted(nn.Module):
    """A victim that counts the rows that go through it, forwards and backwards."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.forwards = self.backwards = 0
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        logits = self.model(x)
        if logits.requires_grad:
            logits.register_hook(self._backward)  # on the output, so weight gradients count like input gradients
        return logits

    def _backward(self, grad: Tensor) -> None:
        self.backwards += len(grad)


@dataclass(frozen=True)
class Outcome:
    """One run of one attack; passes are per sample, norms are taken in float64."""

    seconds: float
    forwards: float
    backwards: float
    robust_accuracy: float  # right on the clean row and on the (valid) adversarial, over all rows
    median_distance: float  # over rows that were right; inf for a failure
    excess: float  # largest norm beyond ε
    outside: float  # largest distance from [0, 1]
    invalid: int  # rows over either tolerance: never a success


def run(attack: Attack, model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, **kw: Any) -> Outcome:
    """Run `attack` once with every global generator seeded by `kw["seed"]`, then judge what it returned."""
    seed_all(kw["seed"])
    counted = Counted(model)
    start = time.perf_counter()
    adv = attack(counted, x.clone(), y.clone(), norm=norm, eps=eps, **kw)
    seconds = time.perf_counter() - start
    judged = judge(model, x, y, adv.detach(), norm, eps)
    return Outcome(seconds, counted.forwards / len(x), counted.backwards / len(x), *judged)


@torch.no_grad()
def judge(
    model: nn.Module, x: Tensor, y: Tensor, adv: Tensor, norm: str, eps: float
) -> tuple[float, float, float, float, int]:
    distance = lp(adv.double() - x.double(), norm)
    outside = torch.maximum(-adv, adv - 1).double().flatten(1).amax(1).clamp(min=0)
    # Rounding is forgiven, a projection that is missing is not. NaN compares False, so it is invalid.
    valid = (distance <= eps * (1 + 1e-5) + 1e-6) & (outside <= 1e-6)
    right = model(x).argmax(1) == y
    success = right & valid & (model(adv.to(x.dtype)).argmax(1) != y)
    reached = torch.where(success, distance, torch.inf)[right]
    return (
        (right & ~success).double().mean().item(),
        reached.quantile(0.5, interpolation="lower").item(),
        (distance - eps).clamp(min=0).max().item(),
        outside.max().item(),
        int((~valid).sum()),
    )


def lp(delta: Tensor, norm: str) -> Tensor:
    return torch.linalg.vector_norm(delta.flatten(1), {"linf": torch.inf, "l2": 2, "l1": 1}[norm], dim=1)


def seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def paired(ours: Callable[[], object], theirs: Callable[[], object], pairs: int) -> list[float]:
    """Ratios of wall time, ours to theirs, run in turns (and in turned order) after one warm-up each."""
    ratios = []
    for pair in range(-1, pairs):
        times = {}
        for run_it in (ours, theirs) if pair % 2 else (theirs, ours):
            start = time.perf_counter()
            run_it()
            times[run_it] = time.perf_counter() - start
        if pair >= 0:
            ratios.append(times[ours] / times[theirs])
    return ratios
