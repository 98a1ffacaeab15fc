"""Greedy search in the order of word importance (Jin et al., arXiv 1907.11932; compared in Yoo et al., arXiv 2009.06368).

    importance of each word: how much the victim's loss rises when it is left out, unknown, or replaced (PWWS' order)
    for each word, the most important first:
        ask about all its substitutes; take the feasible one that raises the loss most, if any does

All texts go through their own order in lockstep; the substitutes of one word of every text are one batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle, losses
from mmadv.errors import ParameterError, nearest
from mmadv_text.search import Moves, ask, best, best_of_each, clean_loss, probed, stuck, texts, told
from mmadv_text.texts import DELETED, UNKNOWN

RANKINGS = ("delete", "unk", "pwws", "fewest", "random")


@dataclass
class State:
    """Rows: the text so far (A, S), its loss (A,), and the slots in the order they are visited (A, S)."""

    current: Tensor
    loss: Tensor
    order: Tensor
    visited: int = 0


@dataclass(frozen=True, kw_only=True)
class Greedy(Attack):
    """Word by word, the most important first; a step is one word.

    Args:
        ranking: what makes a word important: `delete` and `unk`, one query a word; `pwws`, one query a word and one a
            substitute (doi:10.18653/v1/P19-1103); `fewest`, no query: the word with the fewest substitutes first, so that a
            small budget sees many words; or `random`.

    Example:
        >>> Greedy(ranking="unk").ranking
        'unk'
    """

    ranking: str = "delete"

    access: ClassVar[Access] = Access.SCORE
    steps: ClassVar[int] = 10_000

    def check(self, oracle: Oracle) -> None:
        if self.ranking not in RANKINGS:
            raise ParameterError(
                f"unknown ranking {self.ranking!r}", where="ranking", fix=nearest(str(self.ranking), RANKINGS)
            )

    def init(self, oracle: Oracle) -> State:
        oracle.retire(stuck(oracle))
        zero = torch.zeros_like(oracle.region.x.choice)
        loss = clean_loss(oracle)
        importance = self.importance(oracle, loss).masked_fill(oracle.region.size < 2, float("-inf"))
        return State(zero, loss, importance.argsort(dim=1, descending=True, stable=True))

    def importance(self, oracle: Oracle, loss: Tensor) -> Tensor:
        """(A, S) of each slot, larger for what is replaced earlier; (A,) `loss` is that of the original."""
        if self.ranking == "random":
            return oracle.noise.uniform(oracle.region.size.shape[1:])
        if self.ranking == "fewest":
            return -oracle.region.size.double()
        if self.ranking != "pwws":
            return probed(oracle, DELETED if self.ranking == "delete" else UNKNOWN)
        return weighted_saliency(oracle, loss)[0]

    def step(self, state: State, oracle: Oracle) -> State:
        region = oracle.region
        if state.visited >= state.order.shape[1]:
            oracle.retire(torch.ones_like(region.limit, dtype=torch.bool))
            return state
        slot = state.order[:, state.visited : state.visited + 1]
        changed = region.changed(texts(oracle, state.current))
        oracle.retire((changed >= region.limit) | (region.size.gather(1, slot)[:, 0] < 2))
        there = torch.zeros_like(state.current, dtype=torch.bool).scatter(1, slot, True)
        moves = Moves.around(
            region, state.current.unsqueeze(1), (there & ~oracle.ledger.done.unsqueeze(1)).unsqueeze(1)
        )
        # Each word has its turn once, so that none of its options was asked about before unless the ranking did.
        loss = ask(oracle, moves, novel=self.ranking != "pwws")
        index, found = best(oracle, moves, loss, state.loss)
        return accepted(state, moves, loss, index, found, visited=state.visited + 1)


def accepted(state: Any, moves: Moves, loss: Tensor, index: Tensor, found: Tensor, **further: Any) -> Any:
    """The state with the move at `index` (A, 1) made where it was `found` (A, 1)."""
    from dataclasses import replace

    if not loss.shape[1]:
        return replace(state, **further)
    current = torch.where(found, moves.picked(index)[:, 0], state.current)
    return replace(
        state, current=current, loss=torch.where(found[:, 0], loss.gather(1, index)[:, 0], state.loss), **further
    )


def weighted_saliency(oracle: Oracle, loss: Tensor) -> tuple[Tensor, Tensor]:
    """How each slot ranks by PWWS' H = softmax(saliency) · gain, and its feasible option that gains most, (A, S) each.

    Probabilities are taken of the wrong side, 1 − P(y), and gains in the log domain, where they don't vanish when the victim
    is sure (law 5). What still is equal ranks by the loss itself.

    Args:
        oracle: of the rows.
        loss: (A,) of the original.

    Returns:
        The larger the earlier, −inf for slots that stay; and the options.
    """
    region = oracle.region
    open_ = region.size > 1
    clean = loss.double().unsqueeze(1)
    saliency = torch.sigmoid(probed(oracle, UNKNOWN).double()) - torch.sigmoid(clean)
    weight = torch.log_softmax(saliency.masked_fill(~open_, float("-inf")).clamp_min(-1e9), 1)
    zero = torch.zeros_like(region.x.choice).unsqueeze(1)
    moves = Moves.around(region, zero, (open_ & ~oracle.ledger.done.unsqueeze(1)).unsqueeze(1))
    # Of one word, the largest loss is the largest gain.
    top, option = best_of_each(oracle, moves, ask(oracle, moves).double(), moves.slot, open_.shape[1])
    sign = (top - clean).sign()
    size = torch.where(sign == 0, 0.0, sign * (weight + _log_difference(top, clean)))
    return _ranked(sign, size, top).masked_fill(~open_, float("-inf")), option


def _log_difference(one: Tensor, other: Tensor) -> Tensor:
    """log |σ(a) − σ(b)|, where either may have underflowed.

    Example:
        >>> _log_difference(torch.tensor([-2000.0, 1.0]), torch.tensor([-3000.0, 0.0]))
        tensor([-2.0000e+03, -1.4651e+00])
    """
    high, low = torch.maximum(one, other), torch.minimum(one, other)
    sigmoid = torch.nn.functional.logsigmoid
    return sigmoid(high) + sigmoid(-low) + torch.log(-torch.expm1(low - high))


def _ranked(*keys: Tensor) -> Tensor:
    """(A, S) how columns rank by the first key, where that is equal by the second, and so on: larger for larger keys.

    Example:
        >>> _ranked(torch.tensor([[1.0, 2.0, 1.0]]), torch.tensor([[5.0, 0.0, 6.0]])).argsort(dim=1, descending=True)
        tensor([[1, 2, 0]])
    """
    order = torch.arange(keys[0].shape[1], device=keys[0].device).expand(keys[0].shape)
    for key in reversed(keys):
        order = order.gather(1, key.gather(1, order).argsort(dim=1, descending=True, stable=True))
    return -order.argsort(dim=1).to(keys[0].dtype)


@dataclass(frozen=True, kw_only=True)
class Saliency(Attack):
    """Greedy search in the order of the gradient: a word is as important as its best substitute looks, to first order.

    One backward pass ranks all words. In arXiv 2009.06368, where the order by gradients is compared with others, a word is as
    important as the norm of its embedding's gradient; that says nothing of what may stand in for it.

    Example:
        >>> Saliency().access.name
        'GRADIENT'
    """

    access: ClassVar[Access] = Access.GRADIENT
    steps: ClassVar[int] = 10_000

    def init(self, oracle: Oracle) -> State:
        oracle.retire(stuck(oracle))
        answer = oracle.evaluate(oracle.region.x, loss=losses.log_odds, grad=True)
        importance = answer.grad.amax(2).masked_fill(oracle.region.size < 2, float("-inf"))
        zero = torch.zeros_like(oracle.region.x.choice)
        return State(zero, told(answer), importance.argsort(dim=1, descending=True, stable=True))

    def step(self, state: State, oracle: Oracle) -> State:
        return Greedy().step(state, oracle)
