"""Text space: which words may be replaced by what, how many of them, and how far the meaning may drift."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from mmadv.errors import InputError, ParameterError
from mmadv.noise import mixed
from mmadv.rows import shared
from mmadv_text.candidates import Candidate, Source
from mmadv_text.constraints import Editable, Similarity, distances, edited
from mmadv_text.texts import ARTICLE, UNKNOWN, Lattice, Moved, Text, Texts

OFFSET = -UNKNOWN
"""Choices below 0, which only probes make."""


@dataclass
class TextRegion:
    """Around texts: what each word may become, and within which limits.

    Args:
        x: (A, S) the original texts and their lattices.
        size: (A, S) int64, how many choices each slot has, the original word among them; 0 for padding.
        limit: (A,) int64, how many words may be replaced.
        length: (A,) int64, how many words there are.
        edits: (A, S, C) characters that each choice changes, or None where they have no limit.
        unseen: (A,) int64, characters that the victim doesn't read.
        uncompared: (A,) int64, those that the encoder doesn't.
        options: C, the most choices that any slot of the batch has.
        tickets: (S · (C + 2),) int64, what `keys` adds up.
        space: which it belongs to.
    """

    x: Texts
    size: Tensor
    limit: Tensor
    length: Tensor
    edits: Tensor | None
    unseen: Tensor
    uncompared: Tensor
    options: int = shared()
    tickets: Tensor = shared()  # noqa: RUF009 (it is a field)
    space: TextSpace = shared()  # noqa: RUF009

    def keys(self, adv: Texts | Moved) -> Tensor:
        """(A,) or (A, K) int64, equal for equal choices of the same text alone."""
        # Each choice of each slot has a random number of its own, the original word and padding 0; a text is their sum.
        width = self.options + OFFSET
        slot = torch.arange(self.size.shape[1], device=self.size.device) * width + OFFSET
        if isinstance(adv, Texts):
            return self.tickets[slot + adv.choice].sum(-1) + mixed(adv.number)
        origin = adv.origin.squeeze(-1)
        before = slot[adv.slot] + adv.bases[origin, adv.slot]
        change = self.tickets[slot[adv.slot] + adv.option] - self.tickets[before]
        return self.tickets[slot + adv.bases].sum(-1)[origin] + change + mixed(adv.number)

    def changed(self, adv: Texts) -> Tensor:
        """(A,) or (A, K) int64, words replaced."""
        return (adv.choice != 0).sum(-1)

    def distance(self, adv: Texts) -> Tensor:
        """(A,) or (A, K) the share of words replaced."""
        length = self.length if adv.choice.dim() == 2 else self.length.unsqueeze(1)
        return self.changed(adv).float() / length.clamp_min(1)

    def cheap(self, adv: Texts) -> Tensor:
        """(A,) or (A, K) bool: feasible as far as no encoder is needed to tell."""
        inside = ~self.outside(adv)
        if self.edits is None:
            return inside
        edits = self.edits.unsqueeze(1) if adv.choice.dim() == 3 else self.edits
        spent = edits.expand(*adv.choice.shape, edits.shape[-1])
        spent = spent.gather(-1, adv.choice.clamp_min(0).unsqueeze(-1)).squeeze(-1).sum(-1)
        return inside & (spent <= (self.space.edits or 0))

    def terms(self) -> dict[str, Tensor]:
        """(A,) float64 each: thresholds, candidates, what is cut off; an encoder isn't asked whether a text can be touched."""
        space, options = self.space, (self.size - 1).clamp_min(0)
        fixed = (options.sum(1) == 0) | (self.limit < 1)
        if self.edits is not None:
            there = torch.arange(1, self.edits.shape[2], device=self.size.device) <= options.unsqueeze(2)
            fixed |= ~(there & (self.edits[..., 1:] <= (space.edits or 0))).flatten(1).any(1)
        found = {"candidates": options.sum(1)}
        limits = {
            "words limit": space.words,
            "edits limit": space.edits,
            "similarity threshold": None if space.similarity is None else space.similarity.least,
        }
        found |= {
            name: torch.full_like(self.limit, value, dtype=torch.float64)
            for name, value in limits.items()
            if value is not None
        }
        # With an eps of 0 nothing was to be changed.
        only = {
            "untouchable": fixed & (space.eps > 0),
            "unseen characters": self.unseen,
            "uncompared characters": self.uncompared,
        }
        found |= {name: values.double().masked_fill(values == 0, float("nan")) for name, values in only.items()}
        return {name: values.double() for name, values in found.items()}

    def outside(self, adv: Texts) -> Tensor:
        """(A,) or (A, K) bool: replaces too many words, or by what the lattice does not offer.

        Every search knows of these. It does not of edits and similarity: it asks about a text and is told that it is none.
        """
        size, limit = self.size, self.limit
        if adv.choice.dim() == 3:
            size, limit = size.unsqueeze(1), limit.unsqueeze(1)
        offered = ((adv.choice >= 0) & (adv.choice < size.clamp_min(1))).all(-1)
        return ~(offered & (self.changed(adv) <= limit))

    def feasible(self, adv: Texts) -> Tensor:
        """(A,) or (A, K) bool; substitutions that the lattice does not offer are none."""
        if adv.book is not self.x.book:
            adv, known = self._translated(adv)
            return known & self.feasible(adv)
        inside = self.cheap(adv)
        check = self.space.similarity
        if check is None or not bool(inside.any()):
            return inside
        index = inside.reshape(-1).nonzero()[:, 0]
        flat = Texts(adv.choice.reshape(-1, adv.choice.shape[-1])[index], adv.number.reshape(-1)[index], adv.book)
        changed = (flat.choice != 0).any(1)
        near = torch.ones(len(index), dtype=torch.bool, device=inside.device)
        if bool(changed.any()):
            some = Texts(flat.choice[changed], flat.number[changed], flat.book)
            near[changed] = check.near(_attacked(some)).to(near.device)
        return inside.reshape(-1).index_copy(0, index, near).reshape(inside.shape)

    def _translated(self, adv: Texts) -> tuple[Texts, Tensor]:
        """Rows (A,) of another book in the words of this one's, and which of them it can say."""
        choice, known = self.x.choice.clone(), torch.zeros(len(adv), dtype=torch.bool, device=self.x.choice.device)
        for row in range(len(adv)):
            lattice = self.x.book[int(self.x.number[row])]
            found = _choice(lattice, *adv.lattice(row))
            if found is not None:
                known[row] = True
                for slot, option in found.items():
                    choice[row, slot] = option
        return Texts(choice, self.x.number, self.x.book), known

    def project(self, adv: Texts) -> Texts:
        """Infeasible texts become the originals: there is no nearest in between."""
        return Texts(adv.choice * self.feasible(adv).unsqueeze(-1), adv.number, adv.book)

    def judging(self) -> TextRegion:
        return self


@dataclass(frozen=True)
class TextSpace:
    """Texts whose words are replaced one by one.

    Args:
        candidates: what offers the replacements.
        eps: the share of words that may be replaced, at most; inf for a minimum-norm search.
        words: how many words may be replaced, at most.
        editable: which words may be replaced at all.
        similarity: how near the meaning must stay to the original's.
        edits: how many characters may change, at most: the Levenshtein distances of the replaced words, and of repaired
            articles, added up.
        articles: repair a/an before a replacement, which counts as no word of its own.
        seen: of texts, what the victim reads (`TokensTarget.seen`); words behind a cut stay as they are, for changing them can't fool.

    Raises:
        ParameterError: a share, a number or a threshold out of range.

    Example:
        >>> from mmadv_text.candidates.table import Table
        >>> region = TextSpace(Table({"good": ["fine"]}), eps=0.5).around(Texts.of(["a good film"]))
        >>> region.size.tolist(), region.limit.tolist()
        ([[2]], [1])
    """

    candidates: Source
    eps: float = float("inf")
    words: int | None = None
    editable: Editable = field(default_factory=Editable)
    similarity: Similarity | None = None
    edits: int | None = None
    articles: bool = True
    seen: Callable[[Sequence[Text]], list[tuple[int, int, int]]] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        share = not isinstance(self.eps, bool) and isinstance(self.eps, (int, float))
        if not share or not (0 <= self.eps <= 1 or self.eps == math.inf):
            raise ParameterError(
                f"eps is {self.eps!r}", where="eps", fix="give the share of words that may be replaced, such as 0.2"
            )
        for name, value in (("words", self.words), ("edits", self.edits)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise ParameterError(f"{name} is {value!r}", where=name, fix="give a whole number of at least 0")

    def fingerprint(self) -> str:
        """A digest of all that decides what is feasible: limits, candidates, and what similarity is measured by."""
        parts = [
            f"{self.eps}, {self.words}, {self.edits}, {self.articles}",
            self.editable.fingerprint(),
            self.candidates.fingerprint(),
            "" if self.similarity is None else self.similarity.fingerprint(),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def around(self, x: Texts) -> TextRegion:
        """The region around texts.

        Raises:
            InputError: texts that are perturbed already.
        """
        if bool((x.choice != 0).any()):
            row = int((x.choice != 0).any(1).nonzero()[0, 0])
            raise InputError("the clean text holds substitutions", where=f"row {row}", fix="pass the text itself")
        plain = [x.book[number] for number in x.number.tolist()]
        texts: Any = [one.words.text for one in plain]
        seen = [(0, 0, 0)] * len(texts) if self.seen is None else self.seen(x.strings())
        uncompared = [0] * len(plain) if self.similarity is None else self.similarity.unread(texts)
        book = self._lattices(plain, seen)
        texts = Texts.lattices(book)
        slots = texts.choice.shape[1]
        sizes = [[1 + len(options) for options in one.options] for one in book]
        size = torch.tensor([row + [0] * (slots - len(row)) for row in sizes], dtype=torch.int64).reshape(
            len(book), slots
        )
        length = torch.tensor([len(one.words.spans) for one in book], dtype=torch.int64)
        most = [self._most(len(one.words.spans)) for one in book]
        device = x.choice.device
        edits = None if self.edits is None else distances(book, slots).to(device)
        texts = Texts(texts.choice.to(device), texts.number.to(device), texts.book)
        limit = torch.tensor(most, dtype=torch.int64, device=device)
        tickets = mixed(torch.arange(slots * (texts.options + OFFSET), device=device) + (1 << 40))
        tickets[OFFSET :: texts.options + OFFSET] = 0
        unseen, beyond = (
            torch.tensor(values, dtype=torch.int64, device=device)
            for values in ([cut for _, _, cut in seen], uncompared)
        )
        return TextRegion(
            texts, size.to(device), limit, length.to(device), edits, unseen, beyond, texts.options, tickets, self
        )

    def _most(self, length: int) -> int:
        share = length if self.eps >= 1 else math.floor(self.eps * length + 1e-9)
        return share if self.words is None else min(share, self.words)

    def _lattices(self, plain: Sequence[Lattice], seen: Sequence[tuple[int, int, int]]) -> list[Lattice]:
        texts = [one.words for one in plain]
        offered = self.candidates(texts) if texts else []
        if not isinstance(offered, Sequence) or len(offered) != len(texts):
            found = f"{len(offered)} texts" if isinstance(offered, Sequence) else f"a {type(offered).__name__}"
            raise InputError(
                f"{getattr(self.candidates, 'name', 'the source')} gave {found} where it was asked about {len(texts)} texts",
                where="candidates",
                fix="give one list for each text",
            )
        # A source often gives one list for all places of a word; lists are held, so that no two have one id.
        known: dict[tuple[str, int], tuple[list[Candidate], tuple[Candidate, ...]]] = {}
        open_ = [
            [
                one and (not cut or (start < stop and end > first))
                for one, (start, end) in zip(row, words.spans, strict=True)
            ]
            for row, words, (first, stop, cut) in zip(self.editable.of(texts), texts, seen, strict=True)
        ]
        return [
            self._lattice(one, options, row, known) for one, options, row in zip(plain, offered, open_, strict=True)
        ]

    def _lattice(
        self,
        plain: Lattice,
        options: list[list[Candidate]],
        editable: Sequence[bool],
        known: dict[tuple[str, int], tuple[list[Candidate], tuple[Candidate, ...]]],
    ) -> Lattice:
        if len(options) != len(plain.words.spans):
            raise InputError(
                f"{getattr(self.candidates, 'name', 'the source')} gave candidates for {len(options)} words of {len(plain.words.spans)}",
                where="candidates",
                fix="give one list for each word, an empty one where there is nothing",
            )
        slots, kept = [], []
        for number, (word, own, open_) in enumerate(zip(plain.words.words, options, editable, strict=True)):
            if not open_ or not own:
                continue
            key = word, id(own)
            if key not in known:
                known[key] = own, self._usable(own, word)
            if usable := known[key][1]:
                slots.append(number)
                kept.append(usable)
        return Lattice(plain.words, tuple(slots), tuple(kept), plain.pair, self.articles)

    def _usable(self, own: Sequence[Candidate], word: str) -> tuple[Candidate, ...]:
        """Candidates of a word without doubles, the word itself and negations where those stay."""
        for one in own:
            if not isinstance(one, Candidate) or not isinstance(one.text, str) or one.source == ARTICLE:
                found = (
                    "source is called article"
                    if isinstance(one, Candidate) and one.source == ARTICLE
                    else f"is {one!r}"
                )
                raise InputError(
                    f"a candidate for {word!r} of {getattr(self.candidates, 'name', 'the source')} {found}"[:200],
                    where="candidates",
                    fix="give mmadv_text.candidates.Candidate(text, source), the source called by a name of its own",
                )
        usable = {one.text: one for one in own if one.text and one.text != word}
        if not self.editable.stop_words:
            usable = {text: one for text, one in usable.items() if self.editable.admits(text)}
        return tuple(usable.values())

    def relaxed(self) -> Self:
        return dataclasses.replace(self, eps=float("inf"))

    def measures(self, x: Texts, adv: Texts) -> dict[str, Tensor]:
        """Words replaced, characters edited and, where a threshold is set, similarity to the original."""
        changes = [adv.changes(row) for row in range(len(adv))]
        words = [sum(change.source != ARTICLE for change in one) for one in changes]
        edits = [edited(one) for one in changes]
        found = {"words": torch.tensor(words).float(), "edits": torch.tensor(edits).float()}
        if self.similarity is not None:
            found["similarity"] = self.similarity.of(list(zip(x.texts(), adv.texts(), strict=True)))
        return found


def checked(x: Any) -> Texts:
    """Texts of what a user passed.

    Raises:
        InputError: one string in place of a list, what has no order of rows, something that is no text, or texts beside pairs.
    """
    if isinstance(x, Texts):
        return x
    if isinstance(x, str):
        raise InputError("x is one string", where="x", fix="give a list of texts; one text becomes a list by [text]")
    if isinstance(x, (Mapping, Set)) or getattr(x, "ndim", 1) != 1 or not hasattr(x, "__iter__"):
        raise InputError(f"x is a {type(x).__name__}", where="x", fix="give a list of strings, in the order of y")
    texts: list[Text] = list(x)
    for row, text in enumerate(texts):
        # A list is never a pair: one of two words would be taken for one.
        pair = isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text)
        if not isinstance(text, str) and not pair:
            raise InputError(
                f"a {type(text).__name__} stands where a text is expected",
                where=f"x, row {row}",
                fix="give strings, or pairs: tuples (premise, hypothesis) of strings, whose second part is attacked",
            )
        if isinstance(text, str) != isinstance(texts[0], str):
            raise InputError(
                "texts and pairs of texts stand in one batch",
                where=f"x, row {row}",
                fix="give the ones or the others; a text alone is the pair ('', text)",
            )
        for part in (text,) if isinstance(text, str) else text:
            _encodable(part, row)
    return Texts.of(texts)


def _encodable(text: str, row: int) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text holds a lone surrogate at character {error.start}",
            where=f"x, row {row}",
            fix="read the file as UTF-8, or remove the character",
        ) from error


def _attacked(texts: Texts) -> list[tuple[str, str]]:
    """(original, adversarial) of each row."""
    return [
        (texts.book[number].words.text, text) for number, text in zip(texts.number.tolist(), texts.texts(), strict=True)
    ]


def _choice(lattice: Lattice, other: Lattice, chosen: dict[int, int]) -> dict[int, int] | None:
    """The options of `lattice` that make the same changes to the same text, or None."""
    if lattice.words.text != other.words.text or lattice.pair != other.pair:
        return None
    found = {}
    for slot, option in chosen.items():
        word = other.slots[slot]
        texts = [one.text for one in lattice.options[lattice.slots.index(word)]] if word in lattice.slots else []
        if option < 0 or other.options[slot][option - 1].text not in texts:
            return None
        found[lattice.slots.index(word)] = 1 + texts.index(other.options[slot][option - 1].text)
    # One space may repair articles, and another not.
    return found if lattice.text(found) == other.text(chosen) else None
