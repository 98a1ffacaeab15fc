"""Genetic search (Alzantot et al., arXiv 1804.07998).

    perturb(x): of the words not replaced yet draw one with probability ∝ its number of substitutes;
                ask about all of them; take the best if it raises the loss
    P members  = perturb(the original) each
    repeat: the best member is kept; every other is a child of two parents drawn with probability softmax(fitness / T),
            each word from either with equal chance, and is perturbed

The paper draws parents by their fitness; some implementations favour the worse ones by a slip of sign. This departs from it in:
- fitness: the members' losses stretched to 0…1, where the paper has probabilities, which are all alike once the victim is sure.
  Choices then don't depend on the scale of its logits (law 5).
- the limits of the text space in place of the paper's own of distance and language: perturb takes the best feasible substitute,
  and a child that is not feasible is its first parent again. Where as many words are replaced as may be, perturb draws one of those.
- a search ends after 3 generations without a new text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle
from mmadv.errors import ParameterError
from mmadv_text.search import clean_loss, idled, perturbed, population, spread, stuck, within


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
        temperature: T, of the softmax over fitness, which is from 0 to 1.

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
        weight = torch.softmax(fitness(state.loss) / self.temperature, 1)
        draws = oracle.noise.uniform((2, size), torch.float64)
        parents = torch.searchsorted(weight.cumsum(1), draws.flatten(1)).clamp_max(size - 1).reshape(rows, 2, size)
        one, other = (
            state.members.gather(1, parent.unsqueeze(-1).expand(-1, -1, slots)) for parent in parents.unbind(1)
        )
        child = torch.where(spread(oracle.noise, size, slots) < 0.5, one, other)
        child = within(oracle, child, one)
        answered = population(oracle, child)
        loss = torch.where(answered.isneginf(), state.loss.gather(1, parents[:, 0]), answered)
        child, loss = perturbed(oracle, child, loss)
        elite = state.loss.argmax(1, keepdim=True)
        child[:, :1] = state.members.gather(1, elite.unsqueeze(-1).expand(-1, -1, slots))
        loss[:, :1] = state.loss.gather(1, elite)
        return State(child, loss, idled(oracle, before, state.idle))


def fitness(loss: Tensor) -> Tensor:
    """Losses (A, P) stretched to 0…1 in each row, float64; 0 where all are equal.

    Example:
        >>> fitness(torch.tensor([[-300.0, -100.0, -200.0], [1.0, 1.0, 1.0]]))
        tensor([[0.0000, 1.0000, 0.5000],
                [0.0000, 0.0000, 0.0000]], dtype=torch.float64)
    """
    loss = loss.double()
    low, high = loss.amin(1, keepdim=True), loss.amax(1, keepdim=True)
    return ((loss - low) / (high - low)).nan_to_num(0.0)
