"""Texts as rows: each text is a lattice, its words beside what may stand in their place, and a choice of one for each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import torch
from torch import Tensor

from mmadv.rows import shared
from mmadv_text.candidates import Candidate
from mmadv_text.words import Words

DELETED, UNKNOWN = -1, -2
"""Choices that only a probe makes: the word left out, and the victim's word for unknown ones."""

Text = str | tuple[str, str]
"""A text, or a pair whose second part is attacked."""

ARTICLE = "article"
"""What a repaired a/an names as its source; no source of candidates may be called so."""


@dataclass(frozen=True)
class Change:
    """One place where an adversarial text differs from its original.

    Args:
        word: number of the word.
        original: what stood there.
        replacement: what stands there now.
        source: what offered it; `ARTICLE` for a repaired a/an, which counts as no word of its own.
        sense: what it was offered for.
    """

    word: int
    original: str
    replacement: str
    source: str
    sense: str = ""


@dataclass(frozen=True)
class Lattice:
    """A text and its substitutions.

    Args:
        words: the text.
        slots: numbers of the words that may be replaced.
        options: for each slot, what by.
        pair: the first part of a pair, which stays as it is.
        articles: repair a/an before a replacement, unless it is replaced itself.

    Example:
        >>> lattice = Lattice(Words.of("a good film"), (1,), ((Candidate("fine", "table"),),))
        >>> lattice.text({0: 1}), lattice.text({0: DELETED}), lattice.text({0: UNKNOWN})
        ('a fine film', 'a film', 'a [UNK] film')
    """

    words: Words
    slots: tuple[int, ...] = ()
    options: tuple[tuple[Candidate, ...], ...] = ()
    pair: str | None = None
    articles: bool = True

    @cached_property
    def _articles(self) -> dict[int, str]:
        """The a or an before the word of a slot."""
        from mmadv_text.language import is_article

        words = self.words
        return {
            number: words.words[slot - 1]
            for number, slot in enumerate(self.slots)
            if slot and is_article(words, slot - 1)
        }

    def _repairs(self, slot: int) -> bool:
        """Whether what a slot takes decides on the word before it."""
        return self.articles and slot in self._articles

    def text(self, choice: dict[int, int], unknown: str = "[UNK]") -> str:
        """The text with the chosen options.

        Args:
            choice: option by slot, from 1; 0 or missing for the original word.
            unknown: the victim's word for unknown ones.
        """
        return self.rendered(sorted((slot, option) for slot, option in choice.items() if option), unknown)

    def single(self, slot: int, option: int, unknown: str) -> str:
        """`text` of one change, as most candidates are: the shortest way to write them."""
        if option > 0 and self._repairs(slot):
            return self.rendered(((slot, option),), unknown)
        start, end = self.words.spans[self.slots[slot]]
        text = self.words.text
        if option > 0:
            return f"{text[:start]}{self.options[slot][option - 1].text}{text[end:]}"
        if option == UNKNOWN:
            return f"{text[:start]}{unknown}{text[end:]}"
        start, end = _left_out(text, start, end, 0)
        return text[:start] + text[end:]

    def rendered(self, choice: Iterable[tuple[int, int]], unknown: str) -> str:
        """`text` of (slot, option) pairs, the slots ascending."""
        return self._stretch(choice, unknown, 0, len(self.words.text), -1)

    def around(self, choice: Sequence[tuple[int, int]], slot: int, unknown: str) -> tuple[str, str] | None:
        """What stands before and after a slot's word, whichever option it takes; None where the option decides on an article.

        Args:
            choice: (slot, option) pairs of the other slots, ascending.
            slot: that is left open.
            unknown: the victim's word for unknown ones.
        """
        if self._repairs(slot):
            return None
        word, text = self.slots[slot], self.words.text
        start, end = self.words.spans[word]
        if not choice:
            return text[:start], text[end:]
        before = self._stretch([pair for pair in choice if pair[0] < slot], unknown, 0, start, -1)
        return before, self._stretch([pair for pair in choice if pair[0] > slot], unknown, end, len(text), word)

    def _stretch(self, choice: Iterable[tuple[int, int]], unknown: str, at: int, stop: int, last: int) -> str:
        """The text from `at` to `stop` with options in it, after the word `last` was replaced."""
        text, spans, slots = self.words.text, self.words.spans, self.slots
        found = []
        for slot, option in choice:
            before, last = last, slots[slot]
            start, end = spans[last]
            if option > 0:
                word = self.options[slot][option - 1].text
                if self._repairs(slot) and before != last - 1:
                    own, after = spans[last - 1]
                    found += [text[at:own], self._article(slot, word)]
                    at = after
            elif option == DELETED:
                word = ""
                start, end = _left_out(text, start, end, at)
            else:
                word = unknown
            found += [text[at:start], word]
            at = end
        found.append(text[at:stop])
        return "".join(found)

    def _article(self, slot: int, word: str) -> str:
        from mmadv_text.language import article

        own, follows = self._articles[slot], self.words.words[self.slots[slot]]
        if len(follows) < 2 or not follows.isupper():
            return article(own, word)
        form = article(own, word.lower())  # shouted, not spelt out
        return form.upper() if own.isupper() else form

    def _repaired(self, choice: dict[int, int]) -> dict[int, str]:
        """The articles that the chosen options change, by the number of the word."""
        words, taken = self.words.words, {self.slots[slot] for slot in choice}
        forms = {
            self.slots[slot] - 1: self._article(slot, self.options[slot][option - 1].text)
            for slot, option in choice.items()
            if option > 0 and self._repairs(slot) and self.slots[slot] - 1 not in taken
        }
        return {word: form for word, form in forms.items() if form != words[word]}

    def places(self, choice: dict[int, int]) -> list[tuple[int, int]]:
        """(start, end) of the word in each slot, in characters of the text with the chosen options."""
        pieces = list(self.words.pieces)
        chosen = {self.slots[slot]: self.options[slot][option - 1].text for slot, option in choice.items()}
        for word, form in {**chosen, **self._repaired(choice)}.items():
            pieces[2 * word + 1] = form
        ends = list(itertools.accumulate(map(len, pieces)))
        return [(ends[2 * slot], ends[2 * slot + 1]) for slot in self.slots]

    def changes(self, choice: dict[int, int]) -> list[Change]:
        """Every place where the text with the chosen options differs from the original, in order."""
        words = self.words.words
        found = [Change(word, words[word], form, ARTICLE) for word, form in self._repaired(choice).items()]
        for slot, option in choice.items():
            if option > 0:
                one, word = self.options[slot][option - 1], self.slots[slot]
                found.append(Change(word, words[word], one.text, one.source, one.sense))
        return sorted(found, key=lambda change: change.word)


def _left_out(text: str, start: int, end: int, least: int) -> tuple[int, int]:
    """What goes with a word that is left out: one of the spaces beside it too, none before `least`."""
    if text[end : end + 1] == " ":
        return start, end + 1
    if start > least and text[start - 1] == " ":
        return start - 1, end
    return start, end


@dataclass(eq=False, repr=False)
class Texts:
    """Rows of texts, and to people a sequence of strings.

    Args:
        choice: (A, S) or (A, K, S) int64, what stands in each slot: 0 for the original word, else the option; S is that of
            the text with most slots.
        number: (A,) or (A, K) int64, which lattice of the book.
        book: the lattices.

    Example:
        >>> texts = Texts.of(["one text", "another"])
        >>> texts[1], len(texts)
        ('another', 2)
    """

    choice: Tensor
    number: Tensor
    book: tuple[Lattice, ...] = shared()
    moved: Moved | None = shared(init=False, default=None)  # noqa: RUF009 (it is a field)
    """What these very rows were expanded from, which knows a quicker way to write them; parts of them don't have it."""

    @classmethod
    def of(cls, texts: Sequence[Text]) -> Texts:
        """Texts without any substitution."""
        split = [("", text) if isinstance(text, str) else text for text in texts]
        pairs = [None if isinstance(text, str) else text[0] for text in texts]
        return cls.lattices(
            [Lattice(Words.of(text), pair=pair) for (_, text), pair in zip(split, pairs, strict=True)], 0
        )

    @classmethod
    def lattices(cls, book: Sequence[Lattice], slots: int | None = None) -> Texts:
        """The originals of lattices."""
        if slots is None:
            slots = max((len(lattice.slots) for lattice in book), default=0)
        return cls(torch.zeros(len(book), slots, dtype=torch.int64), torch.arange(len(book)), tuple(book))

    @classmethod
    def joined(cls, parts: Sequence[Texts]) -> Texts:
        """Texts of several books one after another."""
        slots = max(part.choice.shape[-1] for part in parts)
        choice = [torch.nn.functional.pad(part.choice, (0, slots - part.choice.shape[-1])) for part in parts]
        starts = [sum(len(part.book) for part in parts[:index]) for index in range(len(parts))]
        number = [part.number + start for part, start in zip(parts, starts, strict=True)]
        return cls(torch.cat(choice), torch.cat(number), tuple(lattice for part in parts for lattice in part.book))

    def __repr__(self) -> str:
        return f"Texts({len(self)} texts, {int((self.choice != 0).sum())} words replaced)"

    def __len__(self) -> int:
        return len(self.number)

    @overload
    def __getitem__(self, index: int) -> Text: ...

    @overload
    def __getitem__(self, index: slice) -> Texts: ...

    def __getitem__(self, index: int | slice) -> Text | Texts:
        if isinstance(index, slice):
            return Texts(self.choice[index], self.number[index], self.book)
        return Texts(self.choice[index][None], self.number[index][None], self.book).strings()[0]

    def __iter__(self) -> Iterator[Text]:
        return iter(self.strings())

    @property
    def options(self) -> int:
        """C, the most choices that any slot of the book has, the original word among them."""
        return 1 + max((len(one) for lattice in self.book for one in lattice.options), default=0)

    def lattice(self, index: int) -> tuple[Lattice, dict[int, int]]:
        """One row's lattice, and the option chosen in each slot where it isn't the original word."""
        chosen = self.choice[index].tolist()
        return self.book[int(self.number[index])], {slot: option for slot, option in enumerate(chosen) if option}

    def changes(self, index: int) -> list[Change]:
        """Every place where one row differs from its original."""
        lattice, chosen = self.lattice(index)
        return lattice.changes(chosen)

    def texts(self, unknown: str = "[UNK]") -> list[str]:
        """The attacked text of every row, (A, …) flattened."""
        if self.moved is not None:
            return self.moved.texts(unknown)
        numbers = self.number.reshape(-1).tolist()
        choice = self.choice.reshape(len(numbers), self.choice.shape[-1])
        row, slot = choice.nonzero().unbind(1)
        counts = torch.bincount(row, minlength=len(numbers)).tolist()
        # One stream for all rows: a container for each of many thousands would wake the garbage collector.
        changes = zip(slot.tolist(), choice[row, slot].tolist(), strict=True)
        book = self.book
        return [
            book[number].single(*next(changes), unknown)
            if count == 1
            else book[number].rendered(itertools.islice(changes, count), unknown)
            if count
            else book[number].words.text
            for number, count in zip(numbers, counts, strict=True)
        ]

    def strings(self, unknown: str = "[UNK]") -> list[Text]:
        """What the victim is to read in every row: the attacked text, or the pair that it belongs to."""
        texts = self.texts(unknown)
        if all(lattice.pair is None for lattice in self.book):
            return list(texts)
        pairs = [self.book[number].pair for number in self.number.reshape(-1).tolist()]
        return [text if pair is None else (pair, text) for pair, text in zip(pairs, texts, strict=True)]


@dataclass(eq=False, repr=False)
class Moved:
    """Rows of candidates, each a text with one slot changed; written out only when they are asked about.

    Args:
        origin: (A, K, 1) int64, which of the bases each starts from.
        slot: (A, K) int64, which slot it changes.
        option: (A, K) int64, to what.
        number: (A, K) int64, which lattice of the book.
        bases: (M, S) int64 choices.
        book: the lattices.
    """

    origin: Tensor
    slot: Tensor
    option: Tensor
    number: Tensor
    bases: Tensor = shared()  # noqa: RUF009 (it is a field)
    book: tuple[Lattice, ...] = shared()

    def expanded(self) -> Texts:
        """The candidates themselves."""
        choice = self.bases[self.origin.squeeze(-1)]
        choice = choice.scatter(-1, self.slot.unsqueeze(-1), self.option.unsqueeze(-1))
        texts = Texts(choice, self.number, self.book)
        texts.moved = self
        return texts

    def texts(self, unknown: str = "[UNK]") -> list[str]:
        """The attacked text of every candidate, (A, K) flattened.

        Neighbours mostly differ in the option alone, so that what stands around its word is written once for all of them.
        """
        chosen: dict[int, list[tuple[int, int]]] = {}
        base, slots = self.bases.nonzero().unbind(1)
        for number, *pair in zip(base.tolist(), slots.tolist(), self.bases[base, slots].tolist(), strict=True):
            chosen.setdefault(number, []).append((pair[0], pair[1]))
        found, before, around = [], (-1, -1), None
        columns = (self.number, self.origin, self.slot, self.option)
        for number, origin, slot, option in zip(*(one.reshape(-1).tolist() for one in columns), strict=True):
            lattice = self.book[number]
            if before != (origin, slot):
                before = origin, slot
                others = [pair for pair in chosen.get(origin, ()) if pair[0] != slot]
                around = lattice.around(others, slot, unknown)
            if around is not None and (option > 0 or option == UNKNOWN):
                word = unknown if option == UNKNOWN else lattice.options[slot][option - 1].text
                found.append(f"{around[0]}{word}{around[1]}")
            elif option and not others:
                found.append(lattice.single(slot, option, unknown))
            else:
                found.append(lattice.rendered(sorted([*others, (slot, option)]) if option else others, unknown))
        return found
