"""TextAttack's greedy searches again in plain Python: what they find and ask, without what its framework costs.

Same final text, score and count of queries as TextAttack, text by text (`python -m text.peers.plain` compares), but for
equally important words, whose order its unstable sort leaves to the processor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .. import lattice
from ..lattice import Table
from ..measure import Counter, Found, Row

Options = Mapping[int, Sequence[str]]
Score = Callable[[Sequence[str]], np.ndarray]  # 1 − the label's probability


def _without(sentence: _Sentence, i: int) -> str:
    """A word deleted, with the space before it (after it, if it comes first); never after the text's last word."""
    text, (a, b) = sentence.text, sentence.spans[i]
    if b == len(text):
        return text[:a]
    if i == 0:
        return text[:a] + text[b:].removeprefix(" ")
    return text[:a].removesuffix(" ") + text[b:]


class _Sentence:
    """A text and where its words are; exchanging one of them doesn't look for the others again."""

    def __init__(self, text: str) -> None:
        self.text, self.spans = text, lattice.spans(text)

    def swapped(self, i: int, word: str) -> str:
        a, b = self.spans[i]
        return self.text[:a] + word + self.text[b:]


def _delete(sentence: _Sentence, free: Sequence[int], options: Options, score: Score) -> tuple[np.ndarray, int]:
    return score([_without(sentence, i) for i in free]), len(free)


def _unk(sentence: _Sentence, free: Sequence[int], options: Options, score: Score) -> tuple[np.ndarray, int]:
    return score([sentence.swapped(i, "[UNK]") for i in free]), len(free)


def _pwws(sentence: _Sentence, free: Sequence[int], options: Options, score: Score) -> tuple[np.ndarray, int]:
    saliency, queries = _unk(sentence, free, options, score)
    saliency = np.exp(saliency - saliency.max())
    best = np.zeros(len(free))
    for at, i in enumerate(free):
        if i in options:
            best[at] = score([sentence.swapped(i, word) for word in options[i]]).max()
            queries += len(options[i])
    return saliency / saliency.sum() * best, queries


def _greedy(rank: Callable[..., tuple[np.ndarray, int]]) -> Callable[..., list[Found]]:
    def run(victim: Counter, rows: Sequence[Row], table: Table, *, seed: int) -> list[Found]:
        return [_search(rank, victim, text, label, table) for text, label in rows]

    return run


def _search(rank: Callable, victim: Counter, text: str, label: int, table: Table) -> Found:
    def score(texts: Sequence[str]) -> np.ndarray:
        return 1 - victim(texts)[:, label]

    sentence, best = _Sentence(text), float(score([text])[0])
    options, stop = lattice.candidates(text, table), lattice.stop_words()
    free = [i for i, (a, b) in enumerate(sentence.spans) if text[a:b] not in stop]
    if not free:
        return Found(text, 1, best)
    importance, queries = rank(sentence, free, options, score)
    queries += 1
    for at in (-importance).argsort(kind="stable"):
        if best > 0.5:
            break
        tried = sorted(sentence.swapped(free[at], word) for word in options.get(free[at], ()))
        if not tried:
            continue
        scores = score(tried)
        queries += len(tried)
        first = int(scores.argmax())
        if scores[first] > best:
            sentence, best = _Sentence(tried[first]), float(scores[first])
    return Found(sentence.text, queries, best)


ATTACKS = {"pwws": _greedy(_pwws), "wir-delete": _greedy(_delete), "wir-unk": _greedy(_unk)}


def main() -> None:
    from .. import run

    cells = json.loads((run.RESULTS / "text-per-text.json").read_text())
    texts = {(c["victim"], c["attack"], c["library"]): c["per_text"] for c in cells}
    for (victim, attack, library), theirs in texts.items():
        mine = texts.get((victim, attack, "plain"))
        if library == "plain" or not mine:
            continue
        pairs = list(zip(mine, theirs, strict=False))
        same = {k: sum(a[k] == b[k] for a, b in pairs) for k in ("final", "queries", "success", "words")}
        print(f"{victim}, {attack}, {library}: of {len(pairs)} texts the same", same)


if __name__ == "__main__":
    main()
