"""Attacks that hand rows on: each runs on those that all before it left standing, in one run and under one budget.

    for each member: init, its steps, its last iterate; rows that it ends rest until the next member begins

Rows that are fooled leave the batch at once, so that what a weaker and cheaper attack finds costs nothing of the dearer ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmadv.ledger import Ledger
from mmadv.oracle import Evaluation, Oracle
from mmadv.protocol import Attack
from mmadv.rows import shared


@dataclass
class State:
    """Rows: the running member's own state, and which rows it has ended.

    Args:
        members: all of them, and the number of steps of each.
        resting: (A,) bool, rows that wait for the next member; None as long as there are none, which costs no look at the device.
        at: which one runs.
        step: of it.
        inner: its state.
    """

    members: tuple[tuple[Attack, int], ...] = shared()
    resting: Tensor | None = None
    at: int = 0
    step: int = 0
    inner: Any = None


class Leg:
    """An oracle as one member sees it: it ends rows for that member alone.

    Args:
        oracle: of the run.
        state: of the run.
    """

    def __init__(self, oracle: Oracle, state: State) -> None:
        self._oracle, self._state = oracle, state

    def __getattr__(self, name: str) -> Any:
        return getattr(self._oracle, name)

    @property
    def steps(self) -> int:
        """Of the member."""
        return self._state.members[self._state.at][1]

    @property
    def ledger(self) -> Ledger:
        """Rows that rest look done to the member."""
        ledger, resting = self._oracle.ledger, self._state.resting
        return ledger if resting is None else replace(ledger, done=ledger.done | resting)

    def retire(self, mask: Tensor) -> None:
        """End rows for this member."""
        resting = self._state.resting
        self._state.resting = mask if resting is None else resting | mask

    def evaluate(self, adv: Any, *, valid: Tensor | None = None, **words: Any) -> Evaluation:
        """Ask for rows that do not rest."""
        if self._state.resting is not None:
            awake = ~self._state.resting.unsqueeze(1)
            valid = awake if valid is None else awake & valid
        return self._oracle.evaluate(adv, valid=valid, **words)


class Relay(Attack):
    """The base of attacks that are several, one after the other."""

    single_step: ClassVar[bool] = True

    def members(self, oracle: Oracle) -> tuple[tuple[Attack, int], ...]:
        """The attacks, and the number of steps of each, `Attack.iterations` not multiplied in."""
        raise NotImplementedError

    def iterations(self, steps: int) -> int:
        return 10_000_000  # the last member ends by itself

    def init(self, oracle: Oracle) -> State:
        return self._begun(State(self.members(oracle)), oracle)

    def step(self, state: State, oracle: Oracle) -> State:
        attack, steps = state.members[state.at]
        leg: Any = Leg(oracle, state)
        over = state.resting is not None and bool(leg.ledger.done.all())
        if state.step < attack.iterations(steps) and not over:
            state.inner = attack.step(state.inner, leg)
            state.step += 1
            return state
        last = attack.pending(state.inner)
        if last is not None and not over:
            leg.evaluate(last)
        if state.at + 1 == len(state.members):
            oracle.retire(torch.ones_like(oracle.ledger.done))
            return state
        return self._begun(State(state.members, at=state.at + 1), oracle)

    def pending(self, state: State) -> Any:
        return state.members[state.at][0].pending(state.inner)

    def _begun(self, state: State, oracle: Oracle) -> State:
        attack, _ = state.members[state.at]
        leg: Any = Leg(oracle, state)
        attack.check(leg)
        state.inner = attack.init(leg)
        return state
