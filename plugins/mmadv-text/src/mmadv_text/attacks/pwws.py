"""Probability weighted word saliency (Ren et al., ACL 2019, doi:10.18653/v1/P19-1103), in the paper's own order.

    S_i  = P(y|x) − P(y | x with w_i unknown)
    w_i* = argmax over substitutes of P(y|x) − P(y | x with w_i replaced);  ΔP_i* that maximum
    H_i  = softmax(S)_i · ΔP_i*
    replace w_i by w_i* one after the other in descending order of H, until the victim is wrong

The order and the substitutes are set once, on the original; TextAttack's version searches each word's substitutes again
along the way, which is `text.greedy` with `ranking="pwws"` here.

This departs from the paper in one thing: the paper swaps a named entity for the one of its kind that the other class has most
often. Here names stay, as everything does that changes what a text says; `entities=True` and a candidate source that knows
entities by class (`candidates=Table(…)`) bring the swap back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle
from mmadv_text.attacks.greedy import weighted_saliency
from mmadv_text.search import clean_loss, stuck, texts


@dataclass
class State:
    """Rows: the text so far, the slots in order and the option for each slot, (A, S) each."""

    current: Tensor
    order: Tensor
    option: Tensor
    visited: int = 0


@dataclass(frozen=True, kw_only=True)
class PWWS(Attack):
    """The paper's PWWS; a step is one word.

    Example:
        >>> PWWS().access.name
        'SCORE'
    """

    access: ClassVar[Access] = Access.SCORE
    steps: ClassVar[int] = 10_000

    def init(self, oracle: Oracle) -> State:
        oracle.retire(stuck(oracle))
        weight, option = weighted_saliency(oracle, clean_loss(oracle))
        order = weight.argsort(dim=1, descending=True, stable=True)
        return State(torch.zeros_like(oracle.region.x.choice), order, option)

    def step(self, state: State, oracle: Oracle) -> State:
        region = oracle.region
        if state.visited >= state.order.shape[1]:
            oracle.retire(torch.ones_like(region.limit, dtype=torch.bool))
            return state
        slot = state.order[:, state.visited : state.visited + 1]
        changed = region.changed(texts(oracle, state.current))
        oracle.retire((changed >= region.limit) | (region.size.gather(1, slot)[:, 0] < 2))
        swapped = state.current.scatter(1, slot, state.option.gather(1, slot))
        near = region.feasible(texts(oracle, swapped)).unsqueeze(1)
        oracle.evaluate(texts(oracle, swapped.unsqueeze(1)), valid=near & ~oracle.ledger.done.unsqueeze(1))
        return State(torch.where(near, swapped, state.current), state.order, state.option, state.visited + 1)
