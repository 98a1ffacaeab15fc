"""Genetic search (Alzantot et al., arXiv 1804.07998).

    perturb(x): choose a word with probability ∝ its number of substitutes; ask about all of them; take the best
    P members  = perturb(x) each
    repeat: the best member is kept; every other is a child of two parents drawn with probability softmax(fitness),
            each word from either with equal chance, and is perturbed

The paper draws parents by their fitness; some implementations favour the worse ones by a slip of sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle
from mmadv.errors import ParameterError
from mmadv_text.search import Moves, ask, clean_loss, population, spread, stuck, texts

IDLE = 3
"""Generations without a new text after which a search ends."""


@dataclass
class State:
    """Rows: the members (A, P, S), their losses (A, P), and for how many generations no new text came up (A,)."""

    members: Tensor
    loss: Tensor
    idle: Tensor


@dataclass(frozen=True, kw_only=True)
class Genetic(Attack):
    """Genetic search; a step is one generation.

    Args:
        members: P.
        temperature: of the softmax over losses by which parents are drawn.

    Example:
        >>> Genetic(members=20).members
        20
    """

    members: int = 30
    temperature: float = 0.3

    access: ClassVar[Access] = Access.SCORE
    steps: ClassVar[int] = 20

    def check(self, oracle: Oracle) -> None:
        if not isinstance(self.members, int) or self.members < 2:
            raise ParameterError(f"members is {self.members!r}", where="Genetic", fix="give a whole number above 1")
        if not self.temperature > 0:
            raise ParameterError(f"temperature is {self.temperature!r}", where="Genetic", fix="give a positive number")

    def init(self, oracle: Oracle) -> State:
        oracle.retire(stuck(oracle))
        zero = torch.zeros_like(oracle.region.x.choice)
        members = zero.unsqueeze(1).repeat(1, self.members, 1)
        loss = clean_loss(oracle).unsqueeze(1).expand(-1, self.members)
        return State(*perturbed(oracle, members, loss), torch.zeros_like(oracle.region.limit))

    def step(self, state: State, oracle: Oracle) -> State:
        rows, size, slots = state.members.shape
        before = oracle.ledger.queries.clone()
        weight = torch.softmax((state.loss / self.temperature).double().clamp_min(-1e9), 1)
        draws = oracle.noise.uniform((2, size), torch.float64)
        parents = torch.searchsorted(weight.cumsum(1), draws.flatten(1)).clamp_max(size - 1).reshape(rows, 2, size)
        one, other = (
            state.members.gather(1, parent.unsqueeze(-1).expand(-1, -1, slots)) for parent in parents.unbind(1)
        )
        child = torch.where(spread(oracle.noise, size, slots) < 0.5, one, other)
        # A child with too many words is its first parent again.
        small = (child != 0).sum(-1, keepdim=True) <= oracle.region.limit[:, None, None]
        child = torch.where(small, child, one)
        answered = population(oracle, child)
        loss = torch.where(answered.isneginf(), state.loss.gather(1, parents[:, 0]), answered)
        child, loss = perturbed(oracle, child, loss)
        elite = state.loss.argmax(1, keepdim=True)
        child[:, :1] = state.members.gather(1, elite.unsqueeze(-1).expand(-1, -1, slots))
        loss[:, :1] = state.loss.gather(1, elite)
        # A small lattice is soon known whole; what comes up again is known already.
        idle = torch.where(oracle.ledger.queries > before, 0, state.idle + 1)
        oracle.retire(idle >= IDLE)
        return State(child, loss, idle)


def perturbed(oracle: Oracle, members: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
    """Each member with the best substitute of one word, drawn with probability ∝ how many it has; and the losses.

    Args:
        oracle: of the rows.
        members: (A, P, S).
        loss: (A, P).
    """
    region = oracle.region
    rows, size, slots = members.shape
    if not slots:
        return members, loss
    full = (members != 0).sum(-1, keepdim=True) >= region.limit[:, None, None]
    weight = (region.size - 1).clamp_min(0).unsqueeze(1).double() * (~full | (members != 0))
    draw = oracle.noise.uniform((size,), torch.float64).unsqueeze(-1)
    total = weight.cumsum(-1)
    slot = torch.searchsorted(total, draw * total[..., -1:], right=True).clamp_max(slots - 1)
    open_ = torch.zeros_like(members, dtype=torch.bool).scatter(2, slot, weight.gather(2, slot) > 0)
    moves = Moves.around(region, members, open_ & ~oracle.ledger.done[:, None, None])
    answered = ask(oracle, moves)
    if not answered.shape[1]:
        return members, loss
    table = torch.full((rows, size, region.options), float("-inf"), dtype=answered.dtype, device=answered.device)
    place = (moves.base * region.options + moves.option).masked_fill(~moves.valid, 0)  # option 0 is nobody's
    table = table.flatten(1).scatter(1, place, answered).reshape(table.shape)
    table[..., 0] = float("-inf")
    top, option = table.max(2)
    if region.space.similarity is not None or region.edits is not None:
        moved = members.scatter(2, slot, option.unsqueeze(-1))
        top = torch.where(region.feasible(texts(oracle, moved)), top, float("-inf"))
    found = ~top.isneginf()
    members = torch.where(found.unsqueeze(-1), members.scatter(2, slot, option.unsqueeze(-1)), members)
    return members, torch.where(found, top, loss)
