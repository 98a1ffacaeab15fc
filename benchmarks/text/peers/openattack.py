"""OpenAttack 2.1.1. It lowers the text and joins tokens by spaces, which neither victim can tell from the original."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .. import lattice, sources
from ..lattice import Table
from ..measure import Counter, Found, Row
from . import stub

sources.use_nltk_data()
stub("language_tool_python", "OpenHowNet")

import OpenAttack  # noqa: E402
from OpenAttack.attack_assist.substitute.word.base import WordSubstitute  # noqa: E402
from OpenAttack.attackers import PWWSAttacker  # noqa: E402
from OpenAttack.exceptions import WordNotInDictionaryException  # noqa: E402
from OpenAttack.tags import TAG_English  # noqa: E402
from OpenAttack.text_process.tokenizer.base import Tokenizer  # noqa: E402


class Tokens(Tokenizer):
    """The lattice's words, and what stands between them; no tagger is left to time."""

    TAGS = {TAG_English}  # noqa: RUF012

    def do_tokenize(self, text: str, pos_tagging: bool = True) -> list[Any]:
        out, end = [], 0
        for a, b in lattice.spans(text):
            out += [*text[end:a].split(), text[a:b]]
            end = b
        out += text[end:].split()
        return [(token, "other") for token in out] if pos_tagging else out

    def do_detokenize(self, tokens: list[str]) -> str:
        return " ".join(tokens)


class FromTable(WordSubstitute):
    """The fixed candidates; it orders nothing by likeness here."""

    TAGS = {TAG_English}  # noqa: RUF012

    def __init__(self, table: Table) -> None:
        self.table = table

    def substitute(self, word: str, pos: str) -> list[tuple[str, float]]:
        if word not in self.table:
            raise WordNotInDictionaryException()
        return [(candidate, 1.0) for candidate in self.table[word]]


class Victim(OpenAttack.Classifier):
    """Its own count is what its base class records; the outside one is the counter's."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.queries = 0

    def get_pred(self, texts: list[str]) -> Any:
        return self.get_prob(texts).argmax(axis=1)

    def get_prob(self, texts: list[str]) -> Any:
        self.queries += len(texts)
        return self.counter(texts)


def pwws(victim: Counter, rows: Sequence[Row], table: Table, *, seed: int) -> list[Found]:
    attacker = PWWSAttacker(Tokens(), FromTable(table), filter_words=sorted(lattice.stop_words()))
    wrapped = Victim(victim)
    found = []
    for text, _ in rows:
        wrapped.queries = 0
        final = attacker(wrapped, {"x": text})
        found.append(Found(final if final is None else _respaced(text, final), wrapped.queries))
    return found


def _respaced(text: str, final: str) -> str:
    """The same tokens with the original's white space, so that all final texts can be compared."""
    tokens = iter(final.split(" "))
    old = Tokens().do_tokenize(text, pos_tagging=False)
    pattern = r"\s*".join(re.escape(token) for token in old)
    if re.fullmatch(rf"\s*{pattern}\s*", text) is None:
        return final
    out, at = [], 0
    for token in old:
        start = text.index(token, at)
        out += [text[at:start], next(tokens)]
        at = start + len(token)
    return "".join(out) + text[at:]


ATTACKS = {"pwws": pwws}
