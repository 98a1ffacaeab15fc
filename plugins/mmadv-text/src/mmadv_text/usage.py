"""Usage: what nobody would write in another word's place."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from mmadv_text.language import common, listed
from mmadv_text.lexicon import wordnet

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import Lemma, Synset

UNFIT = listed("archaism derogation disparagement ethnic_slur obscenity")
"""WordNet's usage domains; many rare and rude words have none."""

OBSCENE = re.compile(r"\b(obscene|vulgar|ethnic slur|(offensive|disparaging|insulting) (term|name|word))")
INSULT = re.compile(r"\b(stupid|fool|foolish|subnormal|contemptible|despicable|prostitutes?|slang)\b")
"""Of the glosses of what nobody would say: of any noun or verb, and of nouns for people."""


def unfit(lemma: Lemma) -> bool:
    """Whether nobody would write a lemma in another word's place: rude, archaic, or too rare.

    Rude is what WordNet marks as such, together with all of a sense of which it marks one word; what a gloss calls obscene or
    offensive, or people stupid; and a word of which that is the first or every other sense. Rare is what its tagged texts don't
    have in this sense, and its glosses hardly have at all (`language.common`).

    >>> from mmadv_text.lexicon import wordnet
    >>> [unfit(wordnet().lemma(name)) for name in ("movie.n.01.film", "week.n.01.hebdomad", "dunce.n.01.bonehead")]
    [False, True, True]
    """
    synset = lemma.synset()
    marks = [*lemma.usage_domains(), *synset.usage_domains()]
    if any(mark.name().partition(".")[0] in UNFIT for mark in marks) or _rude(synset) or _swears(lemma.name().lower()):
        return True
    return lemma.count() == 0 and not all(map(common, re.split("[_-]", lemma.name())))


@lru_cache(maxsize=1 << 16)
def _rude(synset: Synset) -> bool:
    marks = {mark.name().partition(".")[0] for lemma in synset.lemmas() for mark in lemma.usage_domains()}
    gloss = synset.definition()
    return bool(
        marks & (UNFIT - {"archaism"})
        or OBSCENE.search(gloss)
        or (synset.lexname() == "noun.person" and INSULT.search(gloss))
    )


@lru_cache(maxsize=1 << 16)
def _swears(word: str) -> bool:
    """Whether a word, or one in it, is rude in its first noun sense or in every other."""
    parts = {word, *re.split("[_-]", word)}
    found = [
        [_rude(synset) for synset in wordnet().synsets(part, "n") if part in synset.lemma_names()] for part in parts
    ]
    return any(senses and (senses[0] or 2 * sum(senses) >= len(senses)) for senses in found)
