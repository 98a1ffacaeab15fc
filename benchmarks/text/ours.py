"""mmadv itself, behind the peers' signature.

    attack(victim, rows, table, *, seed) -> list[Found]     one `Found` for each row, in the rows' order

On the bag of words the victim is called as the peers call it, on lists of strings; on MiniLM through the plugin's own
target, which batches by tokens.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import mmadv
from mmadv_text.candidates import Candidate
from mmadv_text.target import TransformersTarget
from mmadv_text.texts import Lattice, Texts
from mmadv_text.words import Words

from . import lattice
from .lattice import Table
from .measure import Attack, Counter, Found, Row


class Shared:
    """The table that every library searches, stop words left alone."""

    name = "table"

    def __init__(self, table: Table) -> None:
        stopped = lattice.stop_words()
        self._of = functools.cache(
            lambda word: [Candidate(one, "table") for one in (() if word in stopped else table.get(word, ()))]
        )

    def __call__(self, texts: Sequence[Words]) -> list[list[list[Candidate]]]:
        return [list(map(self._of, words.words)) for words in texts]

    def fingerprint(self) -> str:
        return "the benchmark's table"


class Noted(TransformersTarget):
    """The plugin's target, saying what it sends and how long that takes."""

    counter: Counter

    def __call__(self, x: Texts) -> Tensor:
        began = time.perf_counter()
        answer = super().__call__(x)
        self.counter.note(x.texts(), time.perf_counter() - began)
        return answer

    def traced(self, x: Texts) -> Any:
        began = time.perf_counter()
        answer = super().traced(x)
        self.counter.note(x.texts(), time.perf_counter() - began)
        self.counter.gradients += len(x)
        return answer


def _attack(name: str, **words: Any) -> Attack:
    def run(victim: Counter, rows: Sequence[Row], table: Table, *, seed: int) -> list[Found]:
        spans = [tuple(lattice.spans(text)) for text, _ in rows]
        x = Texts.lattices([Lattice(Words(text, span)) for (text, _), span in zip(rows, spans, strict=True)], 0)
        model: Any = victim
        options: dict[str, Any] = {"output": "probabilities"}
        if hasattr(victim.victim, "model"):
            model, options = Noted(victim.victim.model, tokenizer=victim.victim.tokenizer, max_length=128), {}
            model.counter = victim
        every = {
            "stop_words": True,
            "entities": True,
            "digits": True,
            "quoted": True,
            "markup": True,
            "articles": False,
        }
        result = mmadv.attack(
            model, x, torch.tensor([label for _, label in rows]), name, modality="text", seed=seed,
            preset="none", eps=1.0, candidates=Shared(table), **every, **options, **words,
        )  # fmt: skip
        scores = result.score.tolist()
        queries = result.queries.tolist()
        return [Found(text, queries[row], scores[row]) for row, text in enumerate(result.adv)]

    return run


ATTACKS: dict[str, Attack] = {
    "pwws": _attack("text.greedy", ranking="pwws"),
    "pwws-paper": _attack("text.pwws"),
    "wir-delete": _attack("text.greedy", ranking="delete"),
    "wir-unk": _attack("text.greedy", ranking="unk"),
    "wir-gradient": _attack("text.saliency"),
    "first-order": _attack("text.firstorder"),
    "beam-8": _attack("text.beam", width=8),
    "genetic": _attack("text.genetic"),
    "swarm": _attack("text.swarm"),
    "suite": _attack("text.suite"),
}

# They see gradients, which a bag of words has none of.
TRANSFORMERS_ONLY = {"wir-gradient", "first-order"}
