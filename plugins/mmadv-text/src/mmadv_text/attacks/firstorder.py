"""First-order search: one backward pass ranks all substitutions, and forward passes verify the best (HotFlip, arXiv 1712.06751).

    g       = gradient of the loss by the embeddings of the text so far
    value   = (embedding of the substitute − embedding of the word) · g, for every word and substitute
    ask the victim about the V of the highest value; take the feasible one that raises the loss most, if any does

where the gradient stays the same because nothing was taken, the next V are asked about without another backward pass.
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


@dataclass
class State:
    """Rows: the text so far (A, S), its loss (A,), first-order values (A, S, C), and whether they are out of date (A,)."""

    current: Tensor
    loss: Tensor
    value: Tensor
    stale: Tensor


@dataclass(frozen=True, kw_only=True)
class FirstOrder(Attack):
    """Gradient-guided substitutions, verified by forward passes; a step is one round of them.

    Args:
        verify: V, substitutions asked about in each round.

    Example:
        >>> FirstOrder(verify=3).verify
        3
    """

    verify: int = 4

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
        return State(zero, clean_loss(oracle), value, torch.ones(len(zero), dtype=torch.bool, device=zero.device))

    def step(self, state: State, oracle: Oracle) -> State:
        region = oracle.region
        full = region.changed(texts(oracle, state.current)) >= region.limit
        oracle.retire(full)
        value = state.value
        stale = state.stale & ~oracle.ledger.done
        if bool(stale.any()):
            answer = oracle.evaluate(
                texts(oracle, state.current), valid=stale.unsqueeze(1), loss=losses.log_odds, grad=True
            )
            option = torch.arange(region.options, device=value.device)
            open_ = ((state.current == 0) & (region.size > 1)).unsqueeze(-1)
            allowed = open_ & (option > 0) & (option < region.size.unsqueeze(-1))
            fresh = answer.grad[..., : region.options].masked_fill(~allowed, float("-inf"))
            value = torch.where(stale[:, None, None], fresh, value)
        top, code = value.flatten(1).sort(dim=1, descending=True, stable=True)
        top, code = top[:, : self.verify], code[:, : self.verify]
        valid = ~top.isneginf() & ~oracle.ledger.done.unsqueeze(1)
        oracle.retire(~valid.any(1))
        slot, option = code // region.options, code % region.options
        moves = Moves(state.current.unsqueeze(1), torch.zeros_like(code), slot, option, valid)
        loss = ask(oracle, moves)
        index, found = best(oracle, moves, loss, state.loss)
        value = value.flatten(1).scatter(1, code, float("-inf")).reshape(value.shape)
        return accepted(state, moves, loss, index, found, value=value, stale=found[:, 0])
