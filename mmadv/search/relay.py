"""Attacks that hand rows on: each runs on those that all before it left standing, in one run and under one budget.

    for each member: init, its steps, its last iterate; rows that it ends rest until the next member begins

Rows that are fooled leave the batch at once, so that what a weaker and cheaper attack finds costs nothing of the dearer ones; and
what one discrete search was told costs the next nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from mmadv.ledger import Ledger
from mmadv.oracle import Evaluation, Oracle
from mmadv.protocol import Attack
from mmadv.rows import leaves, shared


class Member(NamedTuple):
    """One of the attacks; a pair of an attack and its steps is one as well.

    Args:
        attack: itself.
        steps: of it, `Attack.iterations` not multiplied in; its own number if not given.
        queries: how many candidates of a row it may send; as many as it wants if not given.
        enters: `(oracle) -> (A,)` bool, which rows it works on; all if not given.
        final: what it ends is ended for all, since nothing is left to find.
    """

    attack: Attack
    steps: int | None = None
    queries: int | None = None
    enters: Callable[[Oracle], Tensor] | None = None
    final: bool = False


@dataclass
class State:
    """Rows: the running member's own state, and which rows it has ended.

    Args:
        members: all of them.
        resting: (A,) bool, rows that wait for the next member; None as long as there are none, which costs no look at the device.
        spent: (A,) int64, queries before this member; None where it may ask as much as it wants.
        at: which one runs.
        step: of it.
        inner: its state.
    """

    members: tuple[Member, ...] = shared()
    resting: Tensor | None = None
    spent: Tensor | None = None
    at: int = 0
    step: int = 0
    inner: Any = None

    @property
    def member(self) -> Member:
        """The one that runs."""
        return self.members[self.at]

    @property
    def steps(self) -> int:
        """Of it."""
        return self.member.attack.steps if self.member.steps is None else self.member.steps


class Leg:
    """An oracle as one member sees it: it ends rows for that member alone, and spends what the member is granted.

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
        return self._state.steps

    @property
    def ledger(self) -> Ledger:
        """Rows that rest look done to the member."""
        ledger, resting = self._oracle.ledger, self._state.resting
        return ledger if resting is None else replace(ledger, done=ledger.done | resting)

    def retire(self, mask: Tensor) -> None:
        """End rows for this member, or for all if it is final."""
        resting = self._state.resting
        if self._state.member.final:
            self._oracle.retire(mask if resting is None else mask & ~resting)
        self._state.resting = mask if resting is None else resting | mask

    def evaluate(self, adv: Any, *, valid: Tensor | None = None, novel: bool = False, **words: Any) -> Evaluation:
        """Ask for rows that do not rest, as long as their queries last. What is novel to the member may be known to the run."""
        if self._state.resting is not None or self._state.spent is not None:
            valid = self._granted(adv, valid)
        return self._oracle.evaluate(adv, valid=valid, **words)

    def _granted(self, adv: Any, valid: Tensor | None) -> Tensor:
        """(A, K) bool, which candidates may be sent; rows whose queries are spent rest from now on."""
        oracle, state = self._oracle, self._state
        leaf, clean = next(leaves(adv)), next(leaves(oracle.region.x))
        granted = leaf.new_ones(leaf.shape[:2] if leaf.dim() > clean.dim() else (len(leaf), 1), dtype=torch.bool)
        if valid is not None:
            granted = granted & valid
        if state.resting is not None:
            granted = granted & ~state.resting.unsqueeze(1)
        if state.spent is None or state.member.queries is None:
            return granted
        # Candidates are counted, each of which may cost several passes.
        left = state.member.queries - (oracle.ledger.queries - state.spent) // oracle.problem.eot
        wanted, granted = granted.any(1), granted & (granted.cumsum(1) <= left.unsqueeze(1))
        over = wanted & ~granted.any(1)
        state.resting = over if state.resting is None else state.resting | over
        return granted


class Relay(Attack):
    """The base of attacks that are several, one after the other."""

    single_step: ClassVar[bool] = True

    def members(self, oracle: Oracle) -> Sequence[Member | tuple[Attack, int]]:
        """The attacks in their order."""
        raise NotImplementedError

    def iterations(self, steps: int) -> int:
        return 10_000_000  # the last member ends by itself

    def init(self, oracle: Oracle) -> State:
        return self._begun(State(tuple(Member(*one) for one in self.members(oracle))), oracle)

    def step(self, state: State, oracle: Oracle) -> State:
        attack = state.member.attack
        leg: Any = Leg(oracle, state)
        over = state.resting is not None and bool(leg.ledger.done.all())
        if state.step < attack.iterations(state.steps) and not over:
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
        return state.member.attack.pending(state.inner)

    def _begun(self, state: State, oracle: Oracle) -> State:
        attack, _, queries, enters, _ = state.member
        if enters is not None or queries is not None:
            oracle.open()  # the clean inputs are nobody's
        if enters is not None:
            state.resting = ~enters(oracle)
        if queries is not None:
            state.spent = oracle.ledger.queries.clone()
        leg: Any = Leg(oracle, state)
        attack.check(leg)
        state.inner = attack.init(leg)
        return state
