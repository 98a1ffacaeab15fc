"""TextAttack 0.3.11, each text on its own through `Attack.attack`, as its `Attacker` does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from .. import lattice, sources
from ..lattice import Table
from ..measure import Counter, Found, Row
from . import stub

sources.use_nltk_data()
stub("bert_score", "flair", "flair.data", "flair.models", "language_tool_python", "pinyin", "OpenHowNet", "langdetect")
sys.modules["flair.data"].Tokenizer = object  # it is derived from
sys.modules["flair"].data = sys.modules["flair.data"]

import textattack  # noqa: E402
from textattack.constraints.pre_transformation import RepeatModification, StopwordModification  # noqa: E402
from textattack.goal_functions import UntargetedClassification  # noqa: E402
from textattack.models.wrappers import HuggingFaceModelWrapper, ModelWrapper  # noqa: E402
from textattack.search_methods import (  # noqa: E402
    AlzantotGeneticAlgorithm,
    BeamSearch,
    GreedyWordSwapWIR,
    ParticleSwarmOptimization,
    SearchMethod,
)
from textattack.shared.utils import words_from_text  # noqa: E402
from textattack.transformations import WordSwap  # noqa: E402

textattack.shared.utils.logger.setLevel("ERROR")  # it doesn't know our victims' class, and says so at each attack


class FromTable(WordSwap):
    """The fixed candidates instead of WordNet's; no look-up of its own is left to time."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table

    def _get_replacement_words(self, word: str) -> Sequence[str]:
        return self.table.get(word, ())


class Wrapped(ModelWrapper):
    def __init__(self, victim: Counter) -> None:
        self.model = self.victim = victim

    def __call__(self, texts: list[str], **_: Any) -> Any:
        return self.victim(texts)


class WithGradients(HuggingFaceModelWrapper):
    """Its own `get_grad`, and our victim instead of its padding to the maximum."""

    def __init__(self, victim: Counter) -> None:
        super().__init__(victim.victim.model, victim.victim.tokenizer)
        self.victim = victim

    def __call__(self, texts: list[str]) -> Any:
        return self.victim(texts)

    def get_grad(self, text: str) -> Any:
        start = time.perf_counter()
        out = super().get_grad(text)
        self.victim.seconds += time.perf_counter() - start
        self.victim.gradients += 1
        return out


class Stock(HuggingFaceModelWrapper):
    """Its wrapper as it comes, which pads every text to the tokenizer's maximum."""

    def __init__(self, victim: Counter) -> None:
        super().__init__(victim.victim.model, victim.victim.tokenizer)
        self.victim = victim

    def __call__(self, texts: list[str]) -> Any:
        start = time.perf_counter()
        out = super().__call__(texts)
        self.victim.note(texts, time.perf_counter() - start)
        return out


def _attack(search: Callable[[], SearchMethod], wrapper: type[ModelWrapper] = Wrapped) -> Callable[..., list[Found]]:
    def run(victim: Counter, rows: Sequence[Row], table: Table, *, seed: int) -> list[Found]:
        wrapped = wrapper(victim)
        goal = UntargetedClassification(wrapped)
        constraints = [RepeatModification(), StopwordModification()]
        attack = textattack.Attack(goal, constraints, FromTable(table), search())
        found = []
        for text, label in rows:
            result = attack.attack(text, label)
            final = result.perturbed_result
            found.append(Found(result.perturbed_text(), goal.num_queries, float(final.score)))
        return found

    return run


def check_words(rows: Sequence[Row]) -> None:
    """The lattice's words are TextAttack's."""
    for text, _ in rows:
        if lattice.words(text) != words_from_text(text):
            raise AssertionError(f"words differ: {text!r}")


ATTACKS = {
    "pwws": _attack(lambda: GreedyWordSwapWIR("weighted-saliency")),
    "wir-delete": _attack(lambda: GreedyWordSwapWIR("delete")),
    "wir-unk": _attack(lambda: GreedyWordSwapWIR("unk")),
    "wir-gradient": _attack(lambda: GreedyWordSwapWIR("gradient"), WithGradients),
    "wir-delete, stock wrapper": _attack(lambda: GreedyWordSwapWIR("delete"), Stock),
    "beam-8": _attack(lambda: BeamSearch(8)),
    # Its recipe of that name (`GeneticAlgorithmAlzantot2018`).
    "genetic": _attack(lambda: AlzantotGeneticAlgorithm(pop_size=60, max_iters=20, post_crossover_check=False)),
    # Its recipe `PSOZang2020`.
    "swarm": _attack(lambda: ParticleSwarmOptimization(pop_size=60, max_iters=20)),
}
TRANSFORMERS_ONLY = {"wir-gradient", "wir-delete, stock wrapper"}
