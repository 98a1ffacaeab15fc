"""What the searches of this plugin share: the substitutions around a text, asked about in pieces, and the best that is feasible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mmadv import Evaluation, Oracle, losses
from mmadv.noise import Noise
from mmadv_text.space import TextRegion
from mmadv_text.texts import Moved, Texts

PIECE = 512
"""Candidates of a row that are asked about at once; long texts have more than memory has room for."""
IDLE = 3
"""Steps without a new text after which a population ends."""


@dataclass
class Moves:
    """Rows: substitutions of one more word in one of W base texts, those that there are standing first.

    Args:
        bases: (A, W, S) the choices that are started from.
        base: (A, K) int64, which of them.
        slot: (A, K) int64, which slot is changed.
        option: (A, K) int64, to what.
        valid: (A, K) bool.
    """

    bases: Tensor
    base: Tensor
    slot: Tensor
    option: Tensor
    valid: Tensor

    @classmethod
    def around(cls, region: TextRegion, bases: Tensor, open_: Tensor) -> Moves:
        """All substitutions at open slots.

        Args:
            region: of the texts.
            bases: (A, W, S).
            open_: (A, W, S) bool, where a word may be replaced.
        """
        device = bases.device
        row, base, slot = open_.nonzero().unbind(1)
        options = (region.size[row, slot] - 1).clamp_min(0)
        each = torch.repeat_interleave(torch.arange(len(row), device=device), options)
        number = torch.arange(len(each), device=device)
        option = 1 + number - (options.cumsum(0) - options)[each]
        row = row[each]
        count = torch.bincount(row, minlength=len(bases))
        place = number - (count.cumsum(0) - count)[row]
        most = int(count.max()) if len(count) else 0
        columns = torch.zeros(3, len(bases), most, dtype=torch.int64, device=device)
        columns[:, row, place] = torch.stack([base[each], slot[each], option])
        valid = torch.arange(most, device=device) < count.unsqueeze(1)
        return cls(bases, columns[0], columns[1], columns[2], valid)

    def texts(self, oracle: Oracle, part: slice = slice(None)) -> Moved:
        """Some of the moves as candidates of the oracle's rows."""
        rows, bases, slots = self.bases.shape
        origin = self.base[:, part] + bases * torch.arange(rows, device=self.base.device).unsqueeze(1)
        number = oracle.region.x.number.unsqueeze(1).expand(origin.shape)
        flat = self.bases.reshape(rows * bases, slots)
        return Moved(origin.unsqueeze(-1), self.slot[:, part], self.option[:, part], number, flat, oracle.region.x.book)

    def picked(self, index: Tensor) -> Tensor:
        """(A, k, S) the choices of the moves at `index` (A, k)."""
        base, slot, option = (column.gather(1, index) for column in (self.base, self.slot, self.option))
        start = self.bases.gather(1, base.unsqueeze(-1).expand(-1, -1, self.bases.shape[2]))
        return start.scatter(2, slot.unsqueeze(-1), option.unsqueeze(-1))


def texts(oracle: Oracle, choice: Tensor) -> Texts:
    """Choices (A, S) or (A, K, S) as texts of the oracle's rows."""
    x: Texts = oracle.region.x
    number = x.number if choice.dim() == 2 else x.number.unsqueeze(1).expand(choice.shape[:2])
    return Texts(choice, number, x.book)


def pieces(candidates: int) -> Iterator[slice]:
    """Candidates cut into parts that fit into memory; where the cuts are depends on no other row."""
    for start in range(0, candidates, PIECE):
        yield slice(start, min(start + PIECE, candidates))


def ask(oracle: Oracle, moves: Moves, novel: bool = False) -> Tensor:
    """(A, K) how the victim's loss stands after each move; −inf where it was not asked.

    A row that is fooled by one part of its moves is not asked about the next.

    Args:
        oracle: of the rows.
        moves: of each row.
        novel: none of them is asked about twice in all of the search.
    """
    found = [
        told(oracle.evaluate(moves.texts(oracle, part), valid=moves.valid[:, part], loss=losses.log_odds, novel=novel))
        for part in pieces(moves.valid.shape[1])
    ]
    return torch.cat(found, 1) if found else torch.zeros(moves.valid.shape, device=moves.valid.device)


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
    slot = torch.arange(slots, device=open_.device).expand(open_.shape)
    zero = torch.zeros_like(region.x.choice).unsqueeze(1)
    moves = Moves(zero, torch.zeros_like(slot), slot, torch.full_like(slot, instead), open_)
    found = [
        told(
            oracle.evaluate(
                moves.texts(oracle, part), valid=moves.valid[:, part], loss=losses.log_odds, probe=True, novel=True
            )
        )
        for part in pieces(slots)
    ]
    return torch.cat(found, 1) if found else torch.zeros(open_.shape, device=open_.device)


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


def best_of_each(oracle: Oracle, moves: Moves, value: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """In each group of moves the feasible one of the highest value.

    An encoder is asked about a move only when it would win.

    Args:
        oracle: of the rows.
        moves: to choose from.
        value: (A, K), −inf for moves out of the question.
        group: (A, K) int64, which group each is of; those of one group differ in their option alone.
        groups: G.

    Returns:
        (A, G) the values, −inf where a group has no feasible move, and (A, G) the options.
    """
    region: TextRegion = oracle.region
    place = (group * region.options + moves.option).masked_fill(~moves.valid, 0)  # option 0 is nobody's

    def by_option(column: Tensor, empty: float) -> Tensor:
        table = column.new_full((len(value), groups * region.options), empty).scatter(1, place, column)
        return table.reshape(len(value), groups, region.options)

    table = by_option(value, float("-inf"))
    table[..., 0] = float("-inf")
    limited = bool(value.shape[1]) and (region.space.similarity is not None or region.edits is not None)
    number = by_option(torch.arange(value.shape[1], device=value.device).expand(value.shape), 0) if limited else None
    while True:
        top, option = table.max(2)
        if number is None:
            return top, option
        index = number.gather(2, option.unsqueeze(-1))[..., 0]
        far = ~top.isneginf() & ~region.feasible(texts(oracle, moves.picked(index)))
        if not bool(far.any()):
            return top, option
        table = table.scatter(2, option.unsqueeze(-1), torch.where(far, float("-inf"), top).unsqueeze(-1))


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
    """(A, P) the victim's loss on members (A, P, S); −inf where it was not asked."""
    valid = (~oracle.ledger.done).unsqueeze(1).expand(members.shape[:2])
    return told(oracle.evaluate(texts(oracle, members), valid=valid, loss=losses.log_odds))


def within(oracle: Oracle, members: Tensor, otherwise: Tensor) -> Tensor:
    """Members (A, P, S) that are feasible, and in place of the others the feasible ones of `otherwise` (A, P, S)."""
    # An encoder isn't asked about rows that have ended.
    members = torch.where(oracle.ledger.done[:, None, None], otherwise, members)
    return torch.where(oracle.region.feasible(texts(oracle, members)).unsqueeze(-1), members, otherwise)


def perturbed(
    oracle: Oracle, members: Tensor, loss: Tensor, which: Tensor | None = None, most: int | None = None
) -> tuple[Tensor, Tensor]:
    """Members with the best feasible substitute of one word each, if it raises the loss; and their losses.

    A word is drawn with probability ∝ how many substitutes it has, one that is replaced already only where no other may be.

    Args:
        oracle: of the rows.
        members: (A, P, S).
        loss: (A, P).
        which: (A, P) bool, which of them; all if not given.
        most: what more substitutes than this count as.
    """
    region: TextRegion = oracle.region
    size, slots = members.shape[1:]
    if not slots:
        return members, loss
    full = (members != 0).sum(-1, keepdim=True) >= region.limit[:, None, None]
    weight = (region.size - 1).clamp(0, most).unsqueeze(1).double()
    fresh = weight * ((members == 0) & ~full)
    weight = torch.where(fresh.any(-1, keepdim=True), fresh, weight * (members != 0))
    total = weight.cumsum(-1)
    draw = oracle.noise.uniform((size,), torch.float64).unsqueeze(-1)
    slot = torch.searchsorted(total, draw * total[..., -1:], right=True).clamp_max(slots - 1)
    drawn = (weight.gather(2, slot) > 0) & ~oracle.ledger.done[:, None, None]
    if which is not None:
        drawn &= which.unsqueeze(-1)
    moves = Moves.around(region, members, torch.zeros_like(members, dtype=torch.bool).scatter(2, slot, drawn))
    answered = ask(oracle, moves)
    gaining = torch.where(answered > loss.gather(1, moves.base), answered, float("-inf"))
    top, option = best_of_each(oracle, moves, gaining, moves.base, size)
    found = ~top.isneginf()
    moved = members.scatter(2, slot, option.unsqueeze(-1))
    return torch.where(found.unsqueeze(-1), moved, members), torch.where(found, top, loss)


def idled(oracle: Oracle, before: Tensor, idle: Tensor) -> Tensor:
    """(A,) steps without a new text, this one included; rows end at `IDLE` of them.

    A small lattice is soon known whole; what comes up again is known already.

    Args:
        oracle: of the rows.
        before: (A,) queries before this step.
        idle: (A,) the steps before it.
    """
    idle = torch.where(oracle.ledger.queries > before, 0, idle + 1)
    oracle.retire(idle >= IDLE)
    return idle
