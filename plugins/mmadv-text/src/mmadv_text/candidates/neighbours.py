"""Neighbours in an embedding: the words whose vectors are nearest, in the word's form, and no opposites."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmadv.errors import InputError, ParameterError
from mmadv_text import language, lexicon, polarity
from mmadv_text.candidates import Candidate
from mmadv_text.words import Words

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 256
"""Words whose neighbours are looked up at once: (CHUNK, V) cosines."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest words by cosine, in any table of word vectors.

    Vectors know neither senses nor opposites (`good` is near `bad`), so the same checks as with WordNet's synonyms
    apply: content words only, the same part of speech and form, no opposites.

    Args:
        words: the vocabulary, in lower case.
        matrix: its vectors, (V, D).
        k: neighbours looked at for each word.
        least: their cosine at least.
        checks: ask WordNet and the tagger for part of speech and form; without, neighbours stand as they are.
        veto: leave WordNet's opposites out; needs `checks`.
        name: for records.

    Raises:
        InputError: the vectors don't fit the words or are not finite.
        ParameterError: k or least is out of range.

    Example:
        >>> source = Neighbours(["film", "movie", "tree"], torch.tensor([[1.0, 0.1], [1.0, 0.2], [0, 1.0]]), checks=False)
        >>> [[found.text for found in word] for word in source([Words.of("Film it!")])[0]]
        [['Movie'], []]
    """

    words: Sequence[str]
    matrix: Tensor | NDArray
    k: int = 8
    least: float = 0.7
    checks: bool = True
    veto: bool = True
    name: str = "neighbours"
    _unit: Tensor = field(init=False, repr=False)
    _index: dict[str, int] = field(init=False, repr=False)
    _known: dict[int, list[str]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        matrix = torch.as_tensor(self.matrix).detach().float()
        if matrix.ndim != 2 or len(matrix) != len(self.words):
            raise InputError(
                f"the matrix is {tuple(matrix.shape)} for {len(self.words)} words",
                where="Neighbours",
                fix="give one row of the matrix for each word",
            )
        if not matrix.isfinite().all():
            raise InputError("the matrix holds NaN or infinity", where="Neighbours", fix="leave those words out")
        if self.k < 1 or not -1 <= self.least <= 1:
            raise ParameterError(
                f"k is {self.k} and least is {self.least}", where="Neighbours", fix="give k >= 1 and a cosine"
            )
        object.__setattr__(self, "_unit", torch.nn.functional.normalize(matrix, dim=1))
        object.__setattr__(self, "_index", {word: place for place, word in reversed(list(enumerate(self.words)))})

    def fingerprint(self) -> str:
        digest = hashlib.sha256("\0".join(self.words).encode())
        digest.update(self._unit.cpu().contiguous().numpy().tobytes())
        language_used = lexicon.fingerprint() if self.checks else "unchecked"
        return f"{self.name} 2: {digest.hexdigest()[:16]}, k {self.k}, least {self.least}, veto {self.veto}, {language_used}"

    def __call__(self, texts: Sequence[Words]) -> list[list[list[Candidate]]]:
        tags = [language.content_tags(text) if self.checks else ("-",) * len(text.words) for text in texts]
        self._look_up({word.lower() for text in texts for word in text.words} & self._index.keys())
        return [
            [self._candidates(text.words, place, tag) if tag else [] for place, tag in enumerate(found)]
            for text, found in zip(texts, tags, strict=True)
        ]

    def _look_up(self, words: set[str]) -> None:
        """Remember the neighbours of words."""
        rows = sorted({self._index[word] for word in words} - self._known.keys())
        for start in range(0, len(rows), CHUNK):
            some = rows[start : start + CHUNK]
            cosine = self._unit[some] @ self._unit.T
            cosine[range(len(some)), some] = -2.0
            # One more than asked for, so that a word listed twice doesn't cost a neighbour; sort is stable, topk not.
            value, place = cosine.topk(min(self.k + 1, len(self.words)))
            for row, values, places in zip(some, value.tolist(), place.tolist(), strict=True):
                near = sorted(
                    (-value, place) for value, place in zip(values, places, strict=True) if value >= self.least
                )
                self._known[row] = [self.words[place] for _, place in near][: self.k]

    def _candidates(self, words: tuple[str, ...], place: int, tag: str) -> list[Candidate]:
        word = words[place]
        row = self._index.get(word.lower())
        found: dict[str, None] = {}
        for near in self._known[row] if row is not None else ():
            form = self._form(near, words, place, tag)
            if form is not None and form.lower() != word.lower():
                found.setdefault(form)
        return [Candidate(form, self.name) for form in found]

    def _form(self, near: str, words: tuple[str, ...], place: int, tag: str) -> str | None:
        word = words[place]
        if not self.checks:
            return language.inflected(near, "", word)
        form = language.reshaped(near, word, tag)
        if form is None or near in language.FUNCTION or not language.fits(words, place, tag, form):
            return None
        if self.veto and any(
            polarity.opposed(mine, other, language.POS[tag])
            for mine in language.lemmas(word, tag)
            for other in language.lemmas(near, tag)
        ):
            return None
        return form
