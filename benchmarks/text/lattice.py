"""The lattice that every library searches: which words may change, and into what; and its exhaustive search."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from . import sources

Table = Mapping[str, Sequence[str]]
VERSION = 1
_WORD = re.compile(r"[\w'\-*@`˗×]+")


def spans(text: str) -> list[tuple[int, int]]:
    """Where the words are: TextAttack's `words_from_text`, so that positions mean the same everywhere."""
    found = []
    for match in _WORD.finditer(text):
        word = match[0].strip("'-_*@")
        if word:
            start = match.start() + match[0].index(word)
            found.append((start, start + len(word)))
    return found


def words(text: str) -> list[str]:
    return [text[a:b] for a, b in spans(text)]


def replaced(text: str, changes: Mapping[int, str]) -> str:
    """Words by position exchanged; all else stays byte for byte."""
    out, end = [], 0
    for position, (a, b) in enumerate(spans(text)):
        out += [text[end:a], changes.get(position, text[a:b])]
        end = b
    return "".join(out) + text[end:]


@cache
def stop_words() -> frozenset[str]:
    sources.use_nltk_data()
    from nltk.corpus import stopwords

    return frozenset(stopwords.words("english"))


def synonyms(word: str) -> list[str]:
    """As TextAttack's `WordSwapWordNet` gives them, sorted: every sense of every part of speech, single words only."""
    sources.use_nltk_data()
    from nltk.corpus import wordnet

    lemmas = {lemma for synset in wordnet.synsets(word) for lemma in synset.lemma_names()}
    return sorted(lemma for lemma in lemmas if lemma != word and "_" not in lemma and len(words(lemma)) == 1)


def table() -> dict[str, list[str]]:
    """Word → candidates for all words of the held-out texts, dumped once. Stop words have none."""
    path = sources.CACHE / f"candidates-v{VERSION}.json"
    if not path.exists():
        found = sorted({word for text, _ in sources.rows()[1] for word in words(text)} - stop_words())
        path.write_text(json.dumps({word: listed for word in found if (listed := synonyms(word))}, indent=0))
    return json.loads(path.read_text())


def candidates(text: str, table: Table) -> dict[int, Sequence[str]]:
    """Position → candidates; a position without any is missing."""
    return {i: table[word] for i, word in enumerate(words(text)) if word not in stop_words() and word in table}


def size(text: str, table: Table) -> int:
    return math.prod(1 + len(listed) for listed in candidates(text, table).values())


def changed(text: str, adversarial: str, table: Table) -> int | None:
    """How many words differ, None if the adversarial lies outside the lattice."""
    old, new = words(text), words(adversarial)
    if len(old) != len(new):
        return None
    allowed = {i: {words(c)[0] for c in listed} for i, listed in candidates(text, table).items()}
    different = [i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
    return len(different) if all(new[i] in allowed.get(i, ()) for i in different) else None


def exhaustive(victim: Callable[[Sequence[str]], Any], text: str, label: int, table: Table) -> dict[str, Any]:
    """The least number of words that flips the text, by trying all of the lattice in the order of that number."""
    options = candidates(text, table)
    tried = 0
    for count in range(1, len(options) + 1):
        best = None
        for chunk in _chunks(_points(text, options, count), 4096):
            tried += len(chunk)
            scores = victim(chunk)[:, label]
            at = int(scores.argmin())
            if best is None or scores[at] < best[0]:
                best = float(scores[at]), chunk[at]
        if best is not None and best[0] < 0.5:
            return {"words": count, "adversarial": best[1], "score": 1 - best[0], "tried": tried}
    return {"words": None, "adversarial": None, "score": None, "tried": tried}


def _points(text: str, options: Mapping[int, Sequence[str]], count: int) -> Iterator[str]:
    for positions in itertools.combinations(options, count):
        for choice in itertools.product(*(options[i] for i in positions)):
            yield replaced(text, dict(zip(positions, choice, strict=True)))


def _chunks(items: Iterator[str], length: int) -> Iterator[list[str]]:
    while chunk := list(itertools.islice(items, length)):
        yield chunk
