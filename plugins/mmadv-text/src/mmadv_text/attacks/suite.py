"""The suite: a parameter-free sequence of searches at fixed query tiers that gives one number, each on the texts still standing.

    exhaustive   lattices of at most 2,000 points are searched whole, fewer words first: there the answer is exact
    beam, W = 8   up to 1,000 queries: few words, long lattices cut off
    greedy        PWWS' order, up to 1,500 queries more: deep where beam is cut off
    genetic       up to 1,000 queries more: what a monotone path misses

What one search was told costs the next nothing. A text ends at its first feasible success.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Evaluation, Oracle
from mmadv.losses import Loss
from mmadv_text.attacks.beam import Beam
from mmadv_text.attacks.exhaustive import Exhaustive, volume
from mmadv_text.attacks.genetic import Genetic
from mmadv_text.attacks.greedy import Greedy

SMALL = 2_000
"""Points up to which a lattice is searched whole."""
TIERS: tuple[tuple[Attack, int], ...] = (
    (Exhaustive(chunk=256, most=SMALL), SMALL + 1),
    (Beam(width=8), 1_000),
    (Greedy(ranking="pwws"), 1_500),
    (Genetic(members=20), 1_000),
)
"""Searches, and the queries of each."""


@dataclass
class State:
    """Rows: the running search's own state, which texts rest until the next search, and the queries spent before it.

    Args:
        tier: which search runs.
        step: of it.
        inner: its state.
        resting: (A,) bool.
        spent: (A,) int64.
        small: (A,) bool, lattices that are searched whole.
    """

    resting: Tensor
    spent: Tensor
    small: Tensor
    inner: Any = None
    tier: int = 0
    step: int = 0


class Leg:
    """An oracle as one search of the suite sees it: it ends rows for that search alone, and spends what the tier grants.

    Args:
        oracle: of the suite.
        state: of the suite.
        queries: of the tier.
    """

    def __init__(self, oracle: Oracle, state: State, queries: int) -> None:
        self._oracle, self._state, self._queries = oracle, state, queries

    def __getattr__(self, name: str) -> Any:
        return getattr(self._oracle, name)

    @property
    def ledger(self) -> Any:
        """Rows that rest look done to the search."""
        from dataclasses import replace

        ledger = self._oracle.ledger
        return replace(ledger, done=ledger.done | self._state.resting)

    @property
    def steps(self) -> int:
        return TIERS[self._state.tier][0].steps

    def retire(self, mask: Tensor) -> None:
        """End rows for this search."""
        self._state.resting = self._state.resting | mask

    def evaluate(
        self,
        adv: Any,
        *,
        valid: Tensor | None = None,
        loss: Loss | None = None,
        probe: bool = False,
        novel: bool = False,
    ) -> Evaluation:
        """Ask for rows that do not rest, as long as the tier's queries last."""
        oracle, state = self._oracle, self._state
        if adv is oracle.region.x:
            return oracle.evaluate(adv, loss=loss)
        asked = torch.ones_like(adv.number, dtype=torch.bool) if valid is None else valid
        asked = asked.reshape(len(asked), -1) & ~state.resting.unsqueeze(1)
        # A tier counts candidates, each of which may cost several passes.
        left = self._queries - (oracle.ledger.queries - state.spent) // oracle.problem.eot
        affordable = asked & (asked.cumsum(1) <= left.unsqueeze(1))
        state.resting = state.resting | (asked.any(1) & ~affordable.any(1))
        return oracle.evaluate(adv, valid=affordable, loss=loss, probe=probe, novel=False)


@dataclass(frozen=True, kw_only=True)
class Suite(Attack):
    """Exhaustive, beam, greedy and genetic search, one after the other.

    Example:
        >>> Suite().access.name
        'SCORE'
    """

    access: ClassVar[Access] = Access.SCORE
    single_step: ClassVar[bool] = True
    ratio: ClassVar[float] = 1.0

    def iterations(self, steps: int) -> int:
        return 1_000_000  # every search ends by itself

    def init(self, oracle: Oracle) -> State:
        region = oracle.region
        small = torch.tensor(
            [
                volume(region.x.book[number], limit, SMALL) <= SMALL
                for number, limit in zip(region.x.number.tolist(), region.limit.tolist(), strict=True)
            ],
            dtype=torch.bool,
            device=region.limit.device,
        )
        zero = torch.zeros_like(region.limit)
        return self._begun(State(~small, zero, small), oracle)

    def step(self, state: State, oracle: Oracle) -> State:
        attack, queries = TIERS[state.tier]
        if state.step < attack.iterations(attack.steps) and not bool((state.resting | oracle.ledger.done).all()):
            leg = Leg(oracle, state, queries)
            state.inner = attack.step(state.inner, leg)  # type: ignore[arg-type]
            state.step += 1
            return state
        if state.tier == 0:
            oracle.retire(state.small & ~state.resting)  # nothing is left to find, unless the tier ended first
        if state.tier + 1 == len(TIERS):
            oracle.retire(torch.ones_like(state.resting))
            return state
        fresh = State(torch.zeros_like(state.resting), oracle.ledger.queries.clone(), state.small, tier=state.tier + 1)
        return self._begun(fresh, oracle)

    def _begun(self, state: State, oracle: Oracle) -> State:
        attack, queries = TIERS[state.tier]
        if bool((state.resting | oracle.ledger.done).all()):
            state.step = attack.iterations(attack.steps)
            return state
        leg = Leg(oracle, state, queries)
        state.inner = attack.init(leg)  # type: ignore[arg-type]
        return state
