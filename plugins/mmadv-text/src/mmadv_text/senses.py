"""Senses: which of a word's WordNet senses its context suggests."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmadv.assets import cache_folder
from mmadv_text.language import FUNCTION, count, listed
from mmadv_text.lexicon import DATA, wordnet

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import Synset
    from torch import Tensor

Encoder = Callable[[list[str]], "Tensor"]
"""Texts to (B, D) vectors."""

SMALL = FUNCTION | listed(
    """a an the of in on at by for with without from to into onto upon under between among before after during until
    since because while if though although whether and or but nor that this these those which who whom whose what it
    its he him his she her hers they them their theirs we us our ours you your yours i me my mine himself herself
    itself themselves myself yourself something anything nothing everything someone anyone everyone somebody anybody
    like use used using make made especially usually relating having etc"""
)
"""Words of a context or gloss that say nothing about what another means."""

PRIOR, OVERLAP, NEARNESS = 0.5, 2.0, 8.0
"""How much frequency, shared words and the encoder's cosine weigh; see `sense`."""

WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*")


def sense(
    words: Sequence[str], position: int, synsets: Sequence[Synset], encoder: Encoder | None = None
) -> Synset | None:
    """The sense of a word in its context: adapted Lesk with the senses' frequencies as prior.

    A sense's score is the log of its count in WordNet's tagged texts, plus what its gloss, examples, lemmas and
    neighbours (hypernyms, hyponyms, parts, similar adjectives, derived forms) share with the other words of the text,
    each shared stem weighted by how rare it is in all glosses. With an encoder, the cosine between the text and the
    sense's gloss and examples is added.

    Args:
        words: of the text.
        position: of the word.
        synsets: to choose from.
        encoder: texts to (B, D) vectors.

    Returns:
        The best; the first of equals. None if there are no synsets.

    Raises:
        AssetError: see `wordnet`.
    """
    return chosen([(tuple(words), position, tuple(synsets))], encoder)[0]


Question = tuple[tuple[str, ...], int, "tuple[Synset, ...]"]
"""The words of a text, the position of one of them, and its synsets."""


def chosen(
    questions: Sequence[Question], encoder: Encoder | None = None, known: dict[str, Tensor] | None = None
) -> list[Synset | None]:
    """`sense` for many words at once: what the encoder needs to see goes to it in one go, each text once.

    Args:
        questions: what to choose.
        encoder: texts to (B, D) vectors.
        known: vectors of this encoder by text, which are used and added to.
    """
    open_ones = [question for question in questions if len(question[2]) > 1]
    if encoder is not None:
        known = {} if known is None else known
        needed = dict.fromkeys(text for question in open_ones for text in _described(question))
        new = [text for text in needed if text not in known]
        if new:
            known.update(zip(new, torch.nn.functional.normalize(encoder(new).detach().float(), dim=1), strict=True))
    found: list[Synset | None] = []
    for question in questions:
        synsets = question[2]
        if len(synsets) < 2:
            found.append(synsets[0] if synsets else None)
            continue
        scores = _scores(*question)
        if encoder is not None and known is not None:
            text, *glosses = (known[described] for described in _described(question))
            scores = [score + NEARNESS * float(text @ gloss) for score, gloss in zip(scores, glosses, strict=True)]
        found.append(synsets[max(range(len(synsets)), key=scores.__getitem__)])
    return found


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


def _scores(words: tuple[str, ...], position: int, synsets: tuple[Synset, ...]) -> list[float]:
    here = words[position].lower()
    context = {
        stem
        for place, word in enumerate(words)
        if place != position and word.lower() not in SMALL and (stem := _stem(word.lower())) != _stem(here)
    }
    rarity = _rarity(str(cache_folder()))
    scores = []
    for synset in synsets:
        signature = _signature(synset)
        shared = sum(signature[stem] * rarity.get(stem, 1.0) for stem in context if stem in signature)
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
    reader = wordnet()
    path = Path(folder, "tagger", f"rarity-{reader.get_version()}-1.json")
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    glosses = [
        line.partition("|")[2]
        for name in DATA
        for line in reader.open(name).read().splitlines()
        if not line.startswith("  ")
    ]
    counts = Counter(stem for gloss in glosses for stem in {_stem(word) for word in WORD.findall(gloss.lower())})
    whole = math.log(len(glosses))
    found = {stem: round(1 - math.log(count) / whole, 4) for stem, count in sorted(counts.items())}
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    hidden.write_text(json.dumps(found), encoding="utf-8")
    os.replace(hidden, path)
    return found
