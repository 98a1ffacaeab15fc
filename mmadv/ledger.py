"""The ledger: what is known of each example, kept by the oracle and by nobody else."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from mmadv.rows import shared


class Status(StrEnum):
    """What became of an example. Only `robust` counts as robust (law 7)."""

    ALREADY_WRONG = "already_wrong"
    ROBUST = "robust"
    FOOLED = "fooled"
    INFEASIBLE = "infeasible"
    ERROR = "error"


@dataclass
class Signals:
    """Counts that alarms are raised from; zero-dimensional tensors on the device, so that counting costs no sync."""

    gradient_rows: Tensor
    zero_gradients: Tensor
    broken_gradients: Tensor
    looks_like_probabilities: Tensor
    opened: Tensor
    still_shrinking: Tensor
    nearest_found: Tensor
    first_steps: Tensor
    fallen: Tensor

    @classmethod
    def none(cls, device: torch.device) -> Signals:
        return cls(*(torch.zeros((), dtype=torch.int64, device=device) for _ in fields(cls)))


@dataclass
class Ledger:
    """One row per example.

    Args:
        adv: (A, …) the best adversarial seen; the clean input where none was feasible.
        score: (A,) the goal's score of it.
        clean_score: (A,) that of the clean input.
        distance: (A,) of it; for a minimum-norm search, inf until it hits.
        fooled: (A,) a feasible success was seen.
        wrong: (A,) the victim was wrong on the clean input.
        broken: (A,) the victim answered NaN or inf.
        strayed: (A,) a success was seen that breaks a constraint.
        done: (A,) frozen: nothing below changes any more.
        queries: (A,) forward passes until then.
        gradients: (A,) backward passes until then.
        recalled: (A,) answers until then that were known already, and cost nothing.
        forwards: rows that the victim was really sent, those of finished rows before the next compaction included.
        backwards: likewise.
        classes: of the victim, 0 where it answers labels alone.
        signals: for alarms.
        notes: (N,) what the attack itself says of each example (`Oracle.note`), by name; NaN where it says nothing.
        terms: (N,) what each example was attacked under, by name; NaN where there is nothing to say.
    """

    adv: Any
    score: Tensor
    clean_score: Tensor
    distance: Tensor
    fooled: Tensor
    wrong: Tensor
    broken: Tensor
    strayed: Tensor
    done: Tensor
    queries: Tensor
    gradients: Tensor
    recalled: Tensor
    forwards: int = field(default=0)
    backwards: int = field(default=0)
    classes: int = field(default=0)
    signals: Signals | None = shared(default=None)  # noqa: RUF009 (it is a field)
    notes: dict[str, Tensor] = shared(default_factory=dict)  # noqa: RUF009
    terms: dict[str, Tensor] = shared(default_factory=dict)  # noqa: RUF009

    @classmethod
    def blank(cls, x: Any, rows: int, device: torch.device, dtype: torch.dtype) -> Ledger:
        """Nothing known yet of `rows` examples."""

        def full(value: Any, kind: torch.dtype) -> Tensor:
            return torch.full((rows,), value, dtype=kind, device=device)

        return cls(
            adv=x,
            score=full(float("-inf"), dtype),
            clean_score=full(float("-inf"), dtype),
            distance=full(float("inf"), dtype),
            fooled=full(False, torch.bool),
            wrong=full(False, torch.bool),
            broken=full(False, torch.bool),
            strayed=full(False, torch.bool),
            done=full(False, torch.bool),
            queries=full(0, torch.int64),
            gradients=full(0, torch.int64),
            recalled=full(0, torch.int64),
        )

    @property
    def status(self) -> list[Status]:
        """One status a row; reads the device."""
        columns = zip(
            *(column.tolist() for column in (self.wrong, self.fooled, self.broken, self.strayed)), strict=True
        )
        return [
            Status.ALREADY_WRONG if wrong
            else Status.FOOLED if fooled
            else Status.ERROR if broken
            else Status.INFEASIBLE if strayed
            else Status.ROBUST
            for wrong, fooled, broken, strayed in columns
        ]  # fmt: skip
