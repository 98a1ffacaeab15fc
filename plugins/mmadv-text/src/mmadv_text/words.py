"""Words: a text cut into words with offsets, so that what is not replaced stays byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import regex

WORD = regex.compile(
    r"""
    \p{L}[\p{L}\p{M}\p{N}]*(?:['’\-][\p{L}\p{M}\p{N}]+)*['’]?(?<=[\p{L}\p{M}\p{N}]|s['’])   # don't, well-made
  | \p{N}[\p{L}\p{N}.,:]*(?<=[\p{L}\p{N}])                                   # 3, 1,000.5, 1990s
    """,
    regex.VERBOSE,
)
"""Letters with their combining marks and digits, joined by apostrophes and hyphens; or what starts with a digit."""

NUMBER = regex.compile(r"\p{N}")
"""A digit, or another character that is a number."""


@dataclass(frozen=True)
class Words:
    """A text and where its words stand.

    Args:
        text: as given.
        given: (start, end) of each word, in characters, where they are not to be what `WORD` matches.

    Example:
        >>> words = Words.of("It isn't a well-made film, at all!")
        >>> words.words
        ('It', "isn't", 'a', 'well-made', 'film', 'at', 'all')
        >>> words.replaced({4: "movie"})
        "It isn't a well-made movie, at all!"
    """

    text: str
    given: tuple[tuple[int, int], ...] | None = None

    @classmethod
    def of(cls, text: str) -> Words:
        """A text's words."""
        return cls(text)

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """(start, end) of each word, in characters."""
        return tuple(match.span() for match in WORD.finditer(self.text)) if self.given is None else self.given

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words themselves."""
        return tuple(self.text[start:end] for start, end in self.spans)

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """The text in turn: what stands before the first word, the first word, what stands between, …, what stands after the last."""
        found, at = [], 0
        for start, end in self.spans:
            found += [self.text[at:start], self.text[start:end]]
            at = end
        return (*found, self.text[at:])

    def replaced(self, replacements: Mapping[int, str]) -> str:
        """The text with other words at some positions.

        Args:
            replacements: by the number of the word.
        """
        pieces = list(self.pieces)
        for place, word in replacements.items():
            pieces[2 * place + 1] = word
        return "".join(pieces)
