"""The suite: a parameter-free sequence of searches that gives one number, each on the texts still standing.

    exhaustive      lattices of at most 2,000 points are searched whole, fewer words first: there the answer is exact
    beam, W = 8     up to 1,000 queries: few words, long lattices cut off
    greedy          PWWS' order, up to 1,500 queries: deep where beam is cut off
    genetic         up to 1,000 queries: what a monotone path misses

A text ends at its first feasible success, which has few words, since what searches by words comes first. That is dear: under a
budget that doesn't cover these tiers, 3,500 queries, what flips most texts for least comes first, and a success may have more words
than it needs:

    exhaustive      lattices that the budget covers whole
    greedy          words with few substitutes first, where to leave out each word once would take a third of the budget
    greedy          in the order of what leaving words out does, about 2 queries a word
    greedy          PWWS' order
    beam, genetic   as far as the budget goes

What one search was told costs the next nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mmadv import Access, Oracle
from mmadv.search.relay import Member, Relay
from mmadv_text.attacks.beam import Beam
from mmadv_text.attacks.exhaustive import Exhaustive, small
from mmadv_text.attacks.genetic import Genetic
from mmadv_text.attacks.greedy import Greedy

SMALL = 2_000
"""Points up to which a lattice is searched whole."""
RANKED = 3
"""How many times its words a text's budget must be for each to be left out once."""
WIDE = Member(Beam(width=8), queries=1_000)
DEEP = Member(Greedy(ranking="pwws"), queries=1_500)
OTHER = Member(Genetic(members=20), queries=1_000)


@dataclass(frozen=True, kw_only=True)
class Suite(Relay):
    """Exhaustive, beam, greedy and genetic search, one after the other.

    Example:
        >>> Suite().access.name
        'SCORE'
    """

    access: ClassVar[Access] = Access.SCORE
    ratio: ClassVar[float] = 1.0

    def members(self, oracle: Oracle) -> tuple[Member, ...]:
        budget = oracle.problem.threat.budget.queries
        left = math.inf if budget is None else budget // oracle.problem.eot - 1  # without the clean text
        most = int(min(SMALL, left))
        whole = Member(Exhaustive(chunk=256, most=SMALL), enters=lambda oracle: small(oracle, most), final=True)
        if left >= sum(member.queries or 0 for member in (WIDE, DEEP, OTHER)):
            return whole, WIDE, DEEP, OTHER

        def short(oracle: Oracle) -> Tensor:
            return RANKED * (oracle.region.size > 1).sum(1) > left

        return whole, Member(Greedy(ranking="fewest"), enters=short), Member(Greedy()), DEEP, WIDE, OTHER
