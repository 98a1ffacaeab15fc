"""Candidates from a table that the user gives, such as a list of counter-fitted synonyms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from mmadv.errors import ParameterError
from mmadv_text.candidates import Candidate
from mmadv_text.words import Words


class Table:
    """Replacements by word; the lower-case word is looked up where the word itself isn't there.

    Args:
        replacements: by word, best first.
        name: for records.

    Raises:
        ParameterError: replacements that are no lists of texts.

    Example:
        >>> Table({"good": ["fine", "good"]})([Words.of("Good grief")])[0][0]
        [Candidate(text='fine', source='table', sense='')]
    """

    def __init__(self, replacements: Mapping[str, Sequence[str]], name: str = "table") -> None:
        for word, texts in replacements.items():
            if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
                raise ParameterError(
                    f"the replacements of {word!r} are {texts!r}"[:200],
                    where="Table",
                    fix=f'give a list: {{{word!r}: ["…"]}}',
                )
        self.name = name
        self._candidates = {
            word: [Candidate(text, name) for text in dict.fromkeys(texts) if text != word]
            for word, texts in replacements.items()
        }

    def __str__(self) -> str:
        return self.name

    def __call__(self, texts: Sequence[Words]) -> list[list[list[Candidate]]]:
        found = self._candidates
        return [[found.get(word) or found.get(word.lower(), []) for word in words.words] for words in texts]

    def fingerprint(self) -> str:
        plain = {word: [one.text for one in options] for word, options in sorted(self._candidates.items())}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
