"""Beam search over substitutions (compared in Yoo et al., arXiv 2009.06368).

    beam = {the original}
    for each number of words: ask about every substitution of one more word in every text of the beam;
        the W feasible ones of the highest loss are the next beam

Texts with k replaced words are searched before any with k + 1, so that a success uses few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle
from mmadv.errors import ParameterError
from mmadv_text.search import Moves, ask, best, first_of_each, stuck, texts


@dataclass
class State:
    """Rows: the beam (A, W, S), and which of it there are (A, W)."""

    beam: Tensor
    alive: Tensor


@dataclass(frozen=True, kw_only=True)
class Beam(Attack):
    """Beam search; a step is one more word.

    Args:
        width: W, texts that are kept.

    Example:
        >>> Beam(width=4).width
        4
    """

    width: int = 8

    access: ClassVar[Access] = Access.SCORE
    steps: ClassVar[int] = 10_000

    def check(self, oracle: Oracle) -> None:
        if not isinstance(self.width, int) or self.width < 1:
            raise ParameterError(f"width is {self.width!r}", where="Beam", fix="give a whole number of at least 1")

    def init(self, oracle: Oracle) -> State:
        oracle.retire(stuck(oracle))
        zero = torch.zeros_like(oracle.region.x.choice)
        beam = zero.unsqueeze(1).repeat(1, self.width, 1)
        return State(beam, torch.arange(self.width, device=zero.device).expand(len(zero), -1) == 0)

    def step(self, state: State, oracle: Oracle) -> State:
        region = oracle.region
        room = region.changed(texts(oracle, state.beam)) < region.limit.unsqueeze(1)
        live = state.alive & room & ~oracle.ledger.done.unsqueeze(1)
        moves = Moves.around(region, state.beam, (state.beam == 0) & live.unsqueeze(-1))
        # The same text is reached in several orders of its words.
        number = torch.arange(moves.valid.shape[1], device=moves.valid.device)
        keys = torch.where(moves.valid, region.keys(moves.texts(oracle)), number)
        moves.valid = moves.valid & first_of_each(keys)
        oracle.retire(~moves.valid.any(1))
        loss = ask(oracle, moves)
        index, found = best(oracle, moves, loss, torch.full_like(loss.sum(1), float("-inf")), self.width)
        beam = moves.picked(index) if loss.shape[1] else state.beam
        return State(beam, found)
