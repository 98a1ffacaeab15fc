"""Characters: typing errors and letters that look alike, one edit a word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmadv.errors import ParameterError, nearest
from mmadv_text.candidates import Candidate
from mmadv_text.words import Words

KINDS = ("swap", "delete", "insert", "neighbour key", "homoglyph")

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _keys() -> dict[str, str]:
    """The keys beside each letter on a QWERTY keyboard, of which each row stands half a key further right."""
    place = {letter: (row, column + row / 2) for row, keys in enumerate(ROWS) for column, letter in enumerate(keys)}
    return {
        one: "".join(
            other
            for other, (row, column) in place.items()
            if other != one and abs(row - place[one][0]) <= 1 and abs(column - place[one][1]) <= 1
        )
        for one in place
    }


KEYS = _keys()

HOMOGLYPHS = dict(
    zip(
        "aceghijlopsvxyABCEHIJKMNOPSTXYZ",
        "асеɡһіјӏорѕνхуАВСЕНІЈКМΝОРЅТХΥΖ",
        strict=True,
    )
)
"""Letters of other alphabets that look like Latin ones."""


@dataclass(frozen=True, kw_only=True)
class Characters:
    """Every word with one character wrong.

    Args:
        kinds: of edits, in the order in which they are offered: `swap` of two neighbours, `delete`, `insert` (a letter
            typed twice), `neighbour key`, and `homoglyph`, a letter of another alphabet that looks the same.
        limit: candidates of a word at most, taken from the kinds in turn.
        first: edit the first letter too; readers and most defences hang on it.
        shortest: characters that a word must have.
        name: for records.

    Raises:
        ParameterError: an unknown kind, or a limit below 1.

    Example:
        >>> source = Characters(kinds=("swap", "delete"), limit=4)
        >>> [found.text for found in source([Words.of("Movies")])[0][0]]
        ['Mvoies', 'Mvies', 'Moives', 'Moies']
    """

    kinds: Sequence[str] = KINDS
    limit: int | None = None
    first: bool = False
    shortest: int = 3
    name: str = "characters"

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise ParameterError(f"no kind {kind!r}", where="Characters", fix=nearest(kind, KINDS))
        if self.limit is not None and self.limit < 1:
            raise ParameterError(f"limit is {self.limit}", where="Characters", fix="give at least 1, or leave it out")

    def fingerprint(self) -> str:
        return f"{self.name} 1: {', '.join(self.kinds)}; limit {self.limit}, first {self.first}, from {self.shortest}"

    def __call__(self, texts: Sequence[Words]) -> list[list[list[Candidate]]]:
        return [[self._candidates(word) for word in text.words] for text in texts]

    def _candidates(self, word: str) -> list[Candidate]:
        if len(word) < self.shortest:
            return []
        found: dict[str, str] = {}
        streams = {kind: self._edits(kind, word) for kind in self.kinds}
        while streams and (self.limit is None or len(found) < self.limit):
            for kind, stream in list(streams.items()):
                edited = next(stream, None)
                if edited is None:
                    del streams[kind]
                elif edited != word and (self.limit is None or len(found) < self.limit):
                    found.setdefault(edited, kind)
        return [Candidate(edited, self.name, kind) for edited, kind in found.items()]

    def _edits(self, kind: str, word: str) -> Iterator[str]:
        """A word's edits of one kind, from left to right."""
        for place in range(0 if self.first else 1, len(word)):
            before, letter, after = word[:place], word[place], word[place + 1 :]
            if not letter.isalpha():  # apostrophes, hyphens and digits are no typing errors: they change the word
                continue
            if kind == "swap" and after[:1].isalpha():
                yield before + after[0] + letter + after[1:]
            elif kind == "delete":
                yield before + after
            elif kind == "insert":
                yield before + letter + letter + after
            elif kind == "neighbour key":
                for key in KEYS.get(letter.lower(), ""):
                    yield before + (key.upper() if letter.isupper() else key) + after
            elif kind == "homoglyph" and letter in HOMOGLYPHS:
                yield before + HOMOGLYPHS[letter] + after
