"""Exhaustive search: every point of a small lattice, those with fewer replaced words first. The optimum others are measured by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle
from mmadv.errors import ParameterError
from mmadv.rows import shared
from mmadv_text.search import texts
from mmadv_text.texts import Lattice


@dataclass
class State:
    """Rows: which list of points each text has, and how many were asked about, (A,) each.

    Args:
        number: of the list.
        cursor: in it.
        points: (N, S) int16 for each text, ordered by the number of replaced words.
    """

    number: Tensor
    cursor: Tensor
    points: tuple[Tensor, ...] = shared()


@dataclass(frozen=True, kw_only=True)
class Exhaustive(Attack):
    """All of a small lattice; a step asks about up to `chunk` points of each text, all with equally many replaced words.

    Args:
        chunk: points of a step.
        most: points of a text; a larger lattice is refused.

    Example:
        >>> Exhaustive(most=1000).access.name
        'DECISION'
    """

    chunk: int = 1024
    most: int = 200_000

    access: ClassVar[Access] = Access.DECISION
    steps: ClassVar[int] = 1_000_000
    ratio: ClassVar[float] = 1.0

    def check(self, oracle: Oracle) -> None:
        for name in ("chunk", "most"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ParameterError(
                    f"{name} is {getattr(self, name)!r}", where=name, fix="give a whole number of at least 1"
                )
        region = oracle.region
        rows = zip(region.x.number.tolist(), region.limit.tolist(), oracle.ledger.done.tolist(), strict=True)
        for row, (number, limit, done) in enumerate(rows):
            if not done and volume(region.x.book[number], limit, self.most) > self.most:
                raise ParameterError(
                    f"the lattice has more than {self.most:,} points, which is as many as are searched",
                    where=f"x, row {row}",
                    fix="allow fewer words (words=2, a smaller eps) or fewer candidates, give most=, or use text.beam",
                )

    def init(self, oracle: Oracle) -> State:
        region = oracle.region
        slots = region.x.choice.shape[1]
        rows = zip(region.x.number.tolist(), region.limit.tolist(), oracle.ledger.done.tolist(), strict=True)
        points = tuple(enumerated(region.x.book[number], 0 if done else limit, slots) for number, limit, done in rows)
        number = torch.arange(len(points), device=region.limit.device)
        return State(number, torch.zeros_like(number), points)

    def step(self, state: State, oracle: Oracle) -> State:
        slots = oracle.region.x.choice.shape[1]
        choice = torch.zeros(len(state.number), self.chunk, slots, dtype=torch.int64)
        valid = torch.zeros(len(state.number), self.chunk, dtype=torch.bool)
        cursors = state.cursor.tolist()
        for row, (number, cursor) in enumerate(zip(state.number.tolist(), cursors, strict=True)):
            part = state.points[number][cursor : cursor + self.chunk]
            if len(part):
                words = (part != 0).sum(1)
                part = part[words == words[0]]
                choice[row, : len(part)], valid[row, : len(part)] = part.long(), True
        choice, valid = (tensor.to(state.number.device) for tensor in (choice, valid))
        oracle.retire(~valid.any(1))
        oracle.evaluate(texts(oracle, choice), valid=valid, novel=True)
        return State(state.number, state.cursor + valid.sum(1), state.points)


def volume(lattice: Lattice, limit: int, most: int) -> int:
    """How many points a lattice has with 1 to `limit` words replaced; where there are more than `most`, some number above it.

    Example:
        >>> from mmadv_text.candidates import Candidate
        >>> from mmadv_text.words import Words
        >>> pair = (Candidate("x", ""), Candidate("y", ""))
        >>> lattice = Lattice(Words.of("a b"), (0, 1), (pair, pair))
        >>> volume(lattice, 1, most=99), volume(lattice, 2, most=99)
        (4, 8)
    """
    counts = [1]  # the elementary symmetric polynomials of the numbers of options
    for options in lattice.options:
        counts += [0] * (len(counts) <= limit)
        for words in range(len(counts) - 1, 0, -1):
            counts[words] += counts[words - 1] * len(options)
        if sum(counts[1:]) > most:  # each slot adds to it: no later one takes any away
            break
    return sum(counts[1:])


def small(oracle: Oracle, most: int) -> Tensor:
    """(A,) bool: lattices of at most so many points."""
    region = oracle.region
    rows = zip(region.x.number.tolist(), region.limit.tolist(), strict=True)
    found = [volume(region.x.book[number], limit, most) <= most for number, limit in rows]
    return torch.tensor(found, dtype=torch.bool, device=region.limit.device)


def enumerated(lattice: Lattice, limit: int, slots: int) -> Tensor:
    """(N, slots) int16: every point with 1 to `limit` words replaced, fewer words first."""
    slot = torch.tensor([number for number, options in enumerate(lattice.options) for _ in options], dtype=torch.int64)
    option = torch.tensor([1 + k for options in lattice.options for k in range(len(options))], dtype=torch.int16)
    # For each slot, where the options of later slots begin.
    later = torch.searchsorted(slot, torch.arange(len(lattice.options)), right=True)
    frontier, last = torch.zeros(1, slots, dtype=torch.int16), torch.full((1,), -1)
    found = []
    for _ in range(min(limit, len(lattice.options))):
        start = torch.where(last < 0, 0, later[last.clamp_min(0)]) if len(later) else last.clamp_min(0)
        count = len(slot) - start
        base = torch.repeat_interleave(torch.arange(len(frontier)), count)
        within = torch.arange(int(count.sum())) - torch.repeat_interleave(count.cumsum(0) - count, count)
        move = start[base] + within
        frontier = frontier[base].scatter(1, slot[move].unsqueeze(1), option[move].unsqueeze(1))
        last = slot[move]
        found.append(frontier)
    return torch.cat(found) if found else torch.zeros(0, slots, dtype=torch.int16)
