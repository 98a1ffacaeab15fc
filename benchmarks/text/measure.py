"""What is measured, from outside of every library: calls, texts, time in the victim, success, words, the floor."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from . import lattice
from .lattice import Table

Row = tuple[str, int]


@dataclass(frozen=True)
class Found:
    """What an attack says of one text.

    Attributes:
        text: The best text that was found; None if the library gives none for a failure.
        queries: The library's own count.
    """

    text: str | None
    queries: int
    score: float | None = None


Attack = Callable[..., list[Found]]


@dataclass
class Counter:
    """A victim that notes what is sent to it, and how long it took over it.

    A library that runs `victim.model` itself says what it sent by `note`; the forward passes are counted either way.
    """

    victim: Any
    sent: list[Sequence[str]] = field(default_factory=list)
    forwards: list[int] = field(default_factory=list)
    gradients: int = 0
    seconds: float = 0.0

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        start = time.perf_counter()
        out = self.victim(texts)
        self.seconds += time.perf_counter() - start
        self.sent.append(texts)
        return out

    def note(self, texts: Sequence[str], seconds: float = 0.0) -> None:
        self.sent.append(texts)
        self.seconds += seconds

    def __enter__(self) -> Counter:
        model = getattr(self.victim, "model", None)
        self._hook = model.register_forward_pre_hook(self._forward, with_kwargs=True) if model is not None else None
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._hook.remove()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Forward passes in here are nobody's."""
        count = len(self.forwards)
        yield
        del self.forwards[count:]

    def _forward(self, _: torch.nn.Module, args: Any, kwargs: Any) -> None:
        self.forwards.append(len(next(v for v in (*args, *kwargs.values()) if v is not None)))


def run(
    attack: Attack,
    victim: Any,
    rows: Sequence[Row],
    table: Table,
    *,
    seed: int = 0,
    floor: bool = True,
    chunk: int | None = None,
) -> dict[str, Any]:
    """Run with every global generator seeded once, judge each text again, classify the same texts in full batches.

    `chunk` rows at a time the attack and the floor take turns, so that a machine that slows down slows both: for
    attacks that search one text at a time anyway.
    """
    seed_all(seed)
    found: list[Found] = []
    distinct: set[str] = set()
    seconds = bare = 0.0
    with Counter(victim) as counter:
        for start in range(0, len(rows), chunk or max(1, len(rows))):
            part, before = rows[start : start + chunk] if chunk else rows, len(counter.sent)
            began = time.perf_counter()
            found += attack(counter, part, table, seed=seed)
            seconds += time.perf_counter() - began
            fresh = {text for texts in counter.sent[before:] for text in texts} - distinct
            distinct |= fresh
            if floor:
                with counter.paused():
                    bare += _floor(victim, sorted(fresh), 1 if chunk else 3)
    per_text = judge(victim, rows, found, table)
    wins = [p for p in per_text if p["success"]]
    texts = sum(map(len, counter.sent))
    forwards = counter.forwards or list(map(len, counter.sent))
    n = max(1, len(rows))
    return {
        "rows": len(rows),
        "success": len(wins) / n,
        "invalid": sum(p["invalid"] for p in per_text),
        "words": statistics.fmean(p["words"] / p["length"] for p in wins) if wins else None,
        "queries": statistics.fmean(f.queries for f in found) if found else None,
        "texts": texts / n,
        "distinct": len(distinct) / n,
        "gradients": counter.gradients / n,
        "calls": len(counter.sent) / n,
        "batch": texts / max(1, len(counter.sent)),
        "forward_batch": statistics.fmean(forwards) if forwards else None,
        "seconds": seconds,
        "seconds_in_victim": counter.seconds,
        "outside_us": (seconds - counter.seconds) / max(1, texts) * 1e6,
        "floor_seconds": bare or None,
        "ratio": seconds / bare if bare else None,
        "per_text": per_text,
    }


def judge(victim: Any, rows: Sequence[Row], found: Sequence[Found], table: Table) -> list[dict[str, Any]]:
    """Each final text classified again, apart from the attack; outside the lattice is never a success."""
    finals = [f.text if f.text is not None else text for f, (text, _) in zip(found, rows, strict=True)]
    scores = victim(finals)
    out = []
    for (text, label), f, final, row in zip(rows, found, finals, scores, strict=True):
        count = lattice.changed(text, final, table)
        out.append(
            {"text": text, "label": label, "final": f.text, "queries": f.queries, "score": f.score, "words": count,
             "length": len(lattice.words(text)), "invalid": count is None,
             "success": bool(row.argmax() != label and count is not None)}
        )  # fmt: skip
    return out


def against_optimum(per_text: Sequence[dict[str, Any]], optima: Sequence[int | None]) -> dict[str, Any]:
    """Flips that were missed and words beyond the least possible, over texts that can be flipped."""
    pairs = [(p, best) for p, best in zip(per_text, optima, strict=True) if best is not None]
    return {
        "texts": len(optima),
        "flippable": len(pairs),
        "missed": sum(not p["success"] for p, _ in pairs),
        "extra_words": sum(p["words"] - best for p, best in pairs if p["success"]),
        "impossible": sum(p["success"] for p, best in zip(per_text, optima, strict=True) if best is None),
    }


def seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def _floor(victim: Any, distinct: Sequence[str], most: int) -> float:
    """The bare victim on the same distinct texts at once; the best of up to three where that is quick."""
    times: list[float] = []
    while not times or (len(times) < most and times[0] < 30):
        start = time.perf_counter()
        victim(distinct)
        times.append(time.perf_counter() - start)
    return min(times)
