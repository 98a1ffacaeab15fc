"""First-order search: one backward pass ranks all substitutions, and forward passes verify the best (HotFlip, arXiv 1712.06751).

    g       = gradient of the loss by the embeddings of the text so far
    value   = (embedding of the substitute − embedding of the word as it stands) · g, for every word and substitute
    word    = of those visited least often, the one with the substitute of the highest value
    ask the victim about its V substitutes of the highest value; take the feasible one that raises the loss most, if any does

HotFlip trusts the best value; here it is a proposal that forward passes decide on. Nothing is asked about twice, and a
word that was replaced may get another substitute on a later visit. The gradient is taken again only where a substitute
was taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle, losses
from mmadv.errors import ParameterError
from mmadv_text.attacks.greedy import accepted
from mmadv_text.search import Moves, ask, best, clean_loss, stuck, texts

NEVER = 1 << 40


@dataclass
class State:
    """Rows: the search of each text.

    Args:
        current: (A, S) the text so far.
        loss: (A,) its loss.
        value: (A, S, C) first-order values.
        stale: (A,) bool, whether the values are those of an earlier text.
        asked: (A, S, C) bool, which substitutes the victim was asked about.
        visits: (A, S) how often each word had its turn.
    """

    current: Tensor
    loss: Tensor
    value: Tensor
    stale: Tensor
    asked: Tensor
    visits: Tensor


@dataclass(frozen=True, kw_only=True)
class FirstOrder(Attack):
    """Gradient-guided substitutions, verified by forward passes; a step is the turn of one word of every text.

    Args:
        verify: V, substitutes of a word that the victim is asked about on each turn.

    Example:
        >>> FirstOrder(verify=3).verify
        3
    """

    verify: int = 2

    access: ClassVar[Access] = Access.GRADIENT
    steps: ClassVar[int] = 10_000

    def check(self, oracle: Oracle) -> None:
        if not isinstance(self.verify, int) or self.verify < 1:
            raise ParameterError(f"verify is {self.verify!r}", where="FirstOrder", fix="give a whole number above 0")

    def init(self, oracle: Oracle) -> State:
        region = oracle.region
        oracle.retire(stuck(oracle))
        zero = torch.zeros_like(region.x.choice)
        value = torch.zeros(*zero.shape, region.options, device=zero.device)
        stale = torch.ones(len(zero), dtype=torch.bool, device=zero.device)
        return State(zero, clean_loss(oracle), value, stale, torch.zeros_like(value, dtype=torch.bool), zero)

    def step(self, state: State, oracle: Oracle) -> State:
        region, current = oracle.region, state.current
        if not current.shape[1]:
            return state
        value = self._values(state, oracle)
        option = torch.arange(region.options, device=value.device)
        full = (region.changed(texts(oracle, current)) >= region.limit).unsqueeze(1)
        allowed = (option > 0) & (option < region.size.unsqueeze(-1)) & (option != current.unsqueeze(-1))
        allowed &= ~state.asked & ~(full & (current == 0)).unsqueeze(-1)
        value = value.masked_fill(~allowed, float("-inf"))
        # The word whose turn it is, and its best substitutes.
        highest = value.amax(2)
        least = state.visits.masked_fill(highest.isneginf(), NEVER).amin(1, keepdim=True)
        slot = highest.masked_fill(state.visits != least, float("-inf")).argmax(1, keepdim=True)
        own = value.gather(1, slot.unsqueeze(-1).expand(-1, -1, region.options))[:, 0]
        top, option = (part[:, : self.verify] for part in own.sort(dim=1, descending=True, stable=True))
        valid = ~top.isneginf() & ~oracle.ledger.done.unsqueeze(1)
        oracle.retire(~valid.any(1))
        slots = slot.expand(option.shape)
        moves = Moves(current.unsqueeze(1), torch.zeros_like(option), slots, option, valid)
        loss = ask(oracle, moves)
        index, found = best(oracle, moves, loss, state.loss)
        place = (slots * region.options + option).masked_fill(~valid, 0)  # option 0 is nobody's
        asked = state.asked.flatten(1).scatter(1, place, True).reshape(state.asked.shape)
        visits = state.visits + torch.zeros_like(state.visits).scatter(1, slot, 1)
        return accepted(state, moves, loss, index, found, value=value, stale=found[:, 0], asked=asked, visits=visits)

    def _values(self, state: State, oracle: Oracle) -> Tensor:
        """First-order values, taken anew where they are out of date."""
        stale = state.stale & ~oracle.ledger.done
        if not bool(stale.any()):
            return state.value
        answer = oracle.evaluate(
            texts(oracle, state.current), valid=stale.unsqueeze(1), loss=losses.log_odds, grad=True
        )
        return torch.where(stale[:, None, None], answer.grad, state.value)
