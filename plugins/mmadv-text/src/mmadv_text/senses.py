"""Senses: which of a word's WordNet senses its context suggests."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import torch

from mmadv.assets import cache_folder
from mmadv_text.language import SMALL, count
from mmadv_text.lexicon import glosses, kept

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import Synset
    from torch import Tensor

Encoder = Callable[[list[str]], "Tensor"]
"""Texts to (B, D) vectors."""

PRIOR, OVERLAP, NEARNESS = 0.5, 2.0, 8.0
"""How much frequency, shared words and the encoder's cosine weigh; see `likely`."""

WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*")


BLOCK = 25
"""Words: a sense is chosen by the block that its word is in and the two beside it, which of a short text is all of it."""

SHARPNESS = 2.0
"""How fast a sense gets less likely than one with a better score: e^(−2) for one point. Set on the words that the tests keep."""

Question = tuple[tuple[str, ...], int, "tuple[Synset, ...]"]
"""The words of a text, the position of one of them, and its synsets."""


def likely(
    questions: Sequence[Question],
    encoder: Encoder | None = None,
    known: dict[str, Tensor] | None = None,
) -> list[dict[Synset, float]]:
    """How likely each sense of a word is in its context: adapted Lesk with the senses' frequencies as prior.

    A sense's score is the log of its count in WordNet's tagged texts, plus what its gloss, examples, lemmas and
    neighbours (hypernyms, hyponyms, parts, similar adjectives, derived forms) share with the other words around it,
    each shared stem weighted by how rare it is in all glosses. With an encoder, the cosine between the text and the
    sense's gloss and examples is added; what it needs to see goes to it in one go, each text once. Probabilities are the
    softmax of the scores.

    Args:
        questions: what to choose.
        encoder: texts to (B, D) vectors.
        known: vectors of this encoder by text, which are used and added to.

    Returns:
        For each question the probability of each sense, the likeliest first; nothing if there are no synsets.

    Raises:
        AssetError: see `wordnet`.

    Example:
        >>> from mmadv_text.language import synsets
        >>> words = tuple("the bark of the dog woke the neighbors".split())
        >>> found = likely([(words, 1, synsets("bark", "NN"))])[0]
        >>> {synset.name(): round(chance, 1) for synset, chance in found.items() if chance > 0.1}
        {'bark.n.02': 0.5, 'bark.n.04': 0.3, 'bark.n.01': 0.2}
    """
    near = [(*_around(words, place), synsets) for words, place, synsets in questions]
    open_ones = [question for question in near if len(question[2]) > 1]
    if encoder is not None:
        known = {} if known is None else known
        needed = dict.fromkeys(text for question in open_ones for text in _described(question))
        new = [text for text in needed if text not in known]
        if new:
            known.update(zip(new, torch.nn.functional.normalize(encoder(new).detach().float(), dim=1), strict=True))
    found: list[dict[Synset, float]] = []
    for question in near:
        synsets = question[2]
        if len(synsets) < 2:
            found.append(dict.fromkeys(synsets, 1.0))
            continue
        scores = _scores(*question)
        if encoder is not None and known is not None:
            text, *described = (known[described] for described in _described(question))
            scores = [score + NEARNESS * float(text @ sense) for score, sense in zip(scores, described, strict=True)]
        weights = [math.exp(SHARPNESS * (score - max(scores))) for score in scores]
        order = sorted(range(len(synsets)), key=lambda number: -weights[number])
        found.append({synsets[number]: weights[number] / sum(weights) for number in order})
    return found


def _around(words: tuple[str, ...], place: int) -> tuple[tuple[str, ...], int]:
    """The words that a sense is chosen by, and the word's place among them."""
    start = max(place // BLOCK - 1, 0) * BLOCK
    return words[start : (place // BLOCK + 2) * BLOCK], place - start


def _described(question: Question) -> list[str]:
    """The text, and each sense's lemmas, gloss and examples."""
    words, position, synsets = question
    return [
        " ".join(words),
        *(
            f"{words[position]}: {synset.definition()}; {'; '.join([*synset.lemma_names(), *synset.examples()])}".replace(
                "_", " "
            )
            for synset in synsets
        ),
    ]


@lru_cache(maxsize=1 << 12)
def _stems(words: tuple[str, ...]) -> frozenset[str]:
    """The stems of the words that tell something."""
    return frozenset(_stem(word.lower()) for word in words if word.lower() not in SMALL)


def _scores(words: tuple[str, ...], position: int, synsets: tuple[Synset, ...]) -> list[float]:
    here = words[position].lower()
    context = _stems(words) - {_stem(here)}
    rarity = _rarity(str(cache_folder()))
    scores = []
    for synset in synsets:
        signature = _signature(synset)
        shared = sum(signature[stem] * rarity.get(stem, 1.0) for stem in sorted(context) if stem in signature)
        scores.append(PRIOR * math.log1p(count(synset, here)) + OVERLAP * shared)
    return scores


@lru_cache(maxsize=1 << 15)
def _signature(synset: Synset) -> dict[str, float]:
    """How much each stem tells of a sense."""
    found: dict[str, float] = {}

    def add(weight: float, *texts: str) -> None:
        for text in texts:
            for word in WORD.findall(text.lower().replace("_", " ")):
                if word not in SMALL:
                    stem = _stem(word)
                    found[stem] = max(found.get(stem, 0.0), weight)

    add(1.0, synset.definition(), *synset.examples(), *synset.lemma_names())
    for lemma in synset.lemmas():
        for other in lemma.derivationally_related_forms():
            add(0.6, other.synset().definition(), *other.synset().lemma_names())
    for other in [*synset.hypernyms(), *synset.similar_tos(), *synset.also_sees(), *synset.attributes()]:
        add(0.6, other.definition(), *other.examples(), *other.lemma_names())
    for other in [
        *synset.hyponyms(),
        *synset.part_meronyms(),
        *synset.part_holonyms(),
        *synset.member_holonyms(),
        *synset.topic_domains(),
        *synset.entailments(),
        *synset.causes(),
    ]:
        add(0.4, other.definition(), *other.lemma_names())
    return found


@lru_cache(maxsize=1 << 18)
def _stem(word: str) -> str:
    return str(_stemmer().stem(word))


@cache
def _stemmer() -> Any:
    from nltk.stem import PorterStemmer

    return PorterStemmer()


@cache
def _rarity(folder: str) -> dict[str, float]:
    """How rare each stem is in WordNet's glosses: from 0 for one in all of them to 1 for one in a single gloss."""

    def make() -> dict[str, float]:
        found = glosses()
        counts = Counter(stem for gloss in found for stem in {_stem(word.lower()) for word in gloss})
        return {stem: round(1 - math.log(count) / math.log(len(found)), 4) for stem, count in sorted(counts.items())}

    return kept("rarity", make)
