"""Candidates: what each word of a text may be replaced by. Every source has the same interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from mmadv_text.words import Words


class Candidate(NamedTuple):
    """One replacement of one word.

    Args:
        text: as it is to stand in the text, inflected and in the original's case.
        source: the name of the source it comes from.
        sense: what it was chosen for, such as the name of a WordNet synset; empty where the source knows none.
    """

    text: str
    source: str
    sense: str = ""


@runtime_checkable
class Source(Protocol):
    """Where replacements come from.

    Attributes:
        name: for records.
    """

    name: str

    def __call__(self, texts: Sequence[Words]) -> list[list[list[Candidate]]]:
        """For each text and each of its words, the replacements: none twice, never the word itself, best first.

        What a text's words get depends on that text alone, not on the others in the call.
        """
        ...

    def fingerprint(self) -> str:
        """All that decides the replacements, for records."""
        ...
