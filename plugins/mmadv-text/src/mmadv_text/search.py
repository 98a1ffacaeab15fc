"""What the searches of this plugin share: the substitutions around a text, asked about in pieces, and the best that is feasible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mmadv import Evaluation, Oracle, losses
from mmadv.noise import Noise
from mmadv_text.space import TextRegion
from mmadv_text.texts import Texts

PIECE = 512
"""Candidates of a row that are asked about at once; long texts have more than memory has room for."""


@dataclass
class Moves:
    """Rows: every substitution of one more word in one of W base texts, those that there are standing first.

    Args:
        bases: (A, W, S) the choices that are started from.
        code: (A, K) int64, which base, slot and option, as one number.
        valid: (A, K) bool.
        options: C, the number of choices that codes are counted by.
    """

    bases: Tensor
    code: Tensor
    valid: Tensor
    options: int

    @classmethod
    def around(cls, region: TextRegion, bases: Tensor, open_: Tensor) -> Moves:
        """All substitutions at open slots.

        Args:
            region: of the texts.
            bases: (A, W, S).
            open_: (A, W, S) bool, where a word may be replaced.
        """
        options = region.options
        number = torch.arange(1, options, device=bases.device)
        allowed = open_.unsqueeze(-1) & (number < region.size[:, None, :, None])
        flat = allowed.flatten(1)
        count = flat.sum(1)
        most = int(count.max()) if len(count) else 0
        # Valid ones first, in their own order.
        row, at = flat.nonzero().unbind(1)
        place = flat.cumsum(1)[row, at] - 1
        code = flat.new_zeros((len(flat), most), dtype=torch.int64)
        code[row, place] = at
        valid = torch.arange(most, device=bases.device) < count.unsqueeze(1)
        return cls(bases, code, valid, options)

    @property
    def slot(self) -> Tensor:
        """(A, K) which slot each changes."""
        return self.code // (self.options - 1) % self.bases.shape[2] if self.options > 1 else self.code

    @property
    def option(self) -> Tensor:
        """(A, K) to which option."""
        return 1 + self.code % (self.options - 1) if self.options > 1 else self.code

    @property
    def base(self) -> Tensor:
        """(A, K) from which base."""
        return self.code // max((self.options - 1) * self.bases.shape[2], 1)

    def choice(self, part: slice = slice(None)) -> Tensor:
        """(A, k, S) the choices of some of the moves."""
        slots = self.bases.shape[2]
        base = self.base[:, part].unsqueeze(-1).expand(-1, -1, slots)
        return self.bases.gather(1, base).scatter(
            2, self.slot[:, part].unsqueeze(-1), self.option[:, part].unsqueeze(-1)
        )

    def picked(self, index: Tensor) -> Tensor:
        """(A, k, S) the choices of the moves at `index` (A, k)."""
        part = Moves(self.bases, self.code.gather(1, index), self.valid.gather(1, index), self.options)
        return part.choice()


def texts(oracle: Oracle, choice: Tensor) -> Texts:
    """Choices (A, S) or (A, K, S) as texts of the oracle's rows."""
    x: Texts = oracle.region.x
    number = x.number if choice.dim() == 2 else x.number.unsqueeze(1).expand(choice.shape[:2])
    return Texts(choice, number, x.book)


def pieces(candidates: int) -> Iterator[slice]:
    """Candidates cut into parts that fit into memory; where the cuts are depends on no other row."""
    for start in range(0, candidates, PIECE):
        yield slice(start, min(start + PIECE, candidates))


def ask(oracle: Oracle, moves: Moves) -> Tensor:
    """(A, K) how the victim's loss stands after each move; −inf where it was not asked.

    A row that is fooled by one part of its moves is not asked about the next.
    """
    total = moves.code.shape[1]
    found = [
        told(oracle.evaluate(texts(oracle, moves.choice(part)), valid=moves.valid[:, part], loss=losses.log_odds))
        for part in pieces(total)
    ]
    return torch.cat(found, 1) if found else moves.code.new_zeros(moves.code.shape, dtype=torch.float32)


def told(answer: Evaluation) -> Tensor:
    """The loss of an evaluation, −inf where there was no answer."""
    return torch.where(answer.score.isneginf() | answer.loss.isnan(), float("-inf"), answer.loss)


def probed(oracle: Oracle, instead: int) -> Tensor:
    """(A, S) the victim's loss with each open word left out or unknown; −inf for the others.

    Args:
        oracle: of the rows.
        instead: `DELETED` or `UNKNOWN`.
    """
    region: TextRegion = oracle.region
    open_ = region.size > 1
    slots = open_.shape[1]
    found = []
    for part in pieces(slots):
        number = torch.arange(part.start, part.stop, device=open_.device)
        choice = torch.zeros(len(open_), len(number), slots, dtype=torch.int64, device=open_.device)
        choice[:, torch.arange(len(number)), number] = instead
        answer = oracle.evaluate(texts(oracle, choice), valid=open_[:, part], loss=losses.log_odds, probe=True)
        found.append(told(answer))
    return torch.cat(found, 1) if found else torch.zeros(open_.shape)


def clean_loss(oracle: Oracle) -> Tensor:
    """(A,) the loss on the originals, whose answer the oracle remembers."""
    answer = oracle.evaluate(oracle.region.x, loss=losses.log_odds)
    return answer.loss


def stuck(oracle: Oracle) -> Tensor:
    """(A,) bool: texts of which nothing may be replaced."""
    return ~(oracle.region.size > 1).any(1) | (oracle.region.limit < 1)


def best(oracle: Oracle, moves: Moves, value: Tensor, above: Tensor, width: int = 1) -> tuple[Tensor, Tensor]:
    """The feasible moves of the highest values, of equal ones the first.

    An encoder is asked about a move only when it would win.

    Args:
        oracle: of the rows.
        moves: to choose from.
        value: (A, K), −inf for moves out of the question.
        above: (A,) what it must exceed.
        width: W, how many of each row.

    Returns:
        (A, W) index of the moves, and (A, W) bool: whether there are so many.
    """
    region: TextRegion = oracle.region
    if not value.shape[1]:
        nothing = torch.zeros(len(value), width, dtype=torch.int64, device=value.device)
        return nothing, nothing.bool()
    value = torch.where(value > above.unsqueeze(1), value, float("-inf"))
    width_here = min(width, value.shape[1])
    while True:
        top, index = value.sort(dim=1, descending=True, stable=True)
        top, index = top[:, :width_here], index[:, :width_here]
        found = ~top.isneginf()
        if region.space.similarity is None and region.edits is None:
            break
        far = found & ~region.feasible(texts(oracle, moves.picked(index)))
        if not bool(far.any()):
            break
        value = value.scatter(1, index, torch.where(far, float("-inf"), top))
    pad = (0, width - width_here)
    return torch.nn.functional.pad(index, pad), torch.nn.functional.pad(found, pad)


def first_of_each(keys: Tensor) -> Tensor:
    """(A, K) bool: which of equal keys stands first in its row.

    Example:
        >>> first_of_each(torch.tensor([[5, 3, 5, 3]]))
        tensor([[ True,  True, False, False]])
    """
    ordered, index = keys.sort(dim=1, stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return torch.zeros_like(first).scatter(1, index, first)


def spread(noise: Noise, population: int, slots: int) -> Tensor:
    """(A, P, S) uniform draws on (0, 1), the same for a text whatever the batch's longest one is."""
    return noise.uniform((slots, population), torch.float64).transpose(1, 2)


def population(oracle: Oracle, members: Tensor) -> Tensor:
    """(A, P) the victim's loss on members (A, P, S); −inf where it was not asked, or for what is not feasible."""
    region: TextRegion = oracle.region
    adv = texts(oracle, members)
    valid = ~oracle.ledger.done.unsqueeze(1) & region.cheap(adv)
    return told(oracle.evaluate(adv, valid=valid, loss=losses.log_odds))
