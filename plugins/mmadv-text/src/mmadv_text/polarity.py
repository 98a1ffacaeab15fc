"""Polarity: which words may say the opposite of one another."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from mmadv_text.language import listed
from mmadv_text.lexicon import wordnet

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import Lemma, Synset

FLIPS = ("un", "in", "im", "il", "ir", "dis", "non", "non-", "mis", "anti", "anti-", "de")
"""Prefixes that turn a word into its opposite."""

PRAISE = listed(
    """admirable amazing awesome beautiful best better brilliant charming delightful enjoyable excellent exceptional
    exquisite fabulous fantastic fine first-class first-rate flawless funny good gorgeous great impressive incredible
    immaculate impeccable inimitable invaluable incomparable lovely magnificent marvellous marvelous masterful matchless
    nice outstanding peerless perfect pleasant priceless remarkable satisfying splendid stunning sublime superb superior
    superlative terrific tremendous unbelievable unforgettable unparalleled wonderful"""
)
BLAME = listed(
    """abominable abysmal absurd annoying appalling atrocious awful bad bizarre boring crummy deplorable disappointing
    disgusting dismal dreadful dreary dull embarrassing flawed flimsy frightening ghastly grotesque hideous horrible horrid
    horrific horrifying implausible improbable inept inferior lame laughable lousy ludicrous mediocre miserable monstrous
    nasty pathetic pitiful poor preposterous repulsive revolting ridiculous rotten rubbish shoddy sickening stupid tedious
    terrible terrifying ugly vile worse worst wretched"""
)
"""Judgements: WordNet links `good` and `bad`, but not `fine` and `bad`. See `_judgement` for those with affixes."""

CONVERSE = {
    frozenset(pair)
    for pair in (("teach", "learn"), ("lend", "borrow"), ("buy", "sell"), ("bring", "take"), ("rent", "let"))
}
"""Verbs that say the same of the other party; WordNet has some as synonyms, and none as antonyms."""

LESS = re.compile(r"(.{3,})less(?:ly|ness)?")


def opposed(one: str, other: str, pos: str) -> bool:
    """Whether one word may say the opposite of another.

    By WordNet's antonyms: of any sense of the word, of the adjectives that it is similar to with all that is similar to
    their antonyms (`huge` is like `large`, and `tiny` like `small`), and of the words derived from it; by prefixes and
    suffixes (happy and unhappy, careful and careless); and by praise and blame, of which there are short lists, and which
    affixes that negate turn around.

    Args:
        one: a lemma, with spaces.
        other: another.
        pos: WordNet's part of speech, `n`, `v`, `a` or `r`.

    Raises:
        AssetError: see `wordnet`.
    """
    one, other = one.lower().replace("_", " "), other.lower().replace("_", " ")
    if one == other:
        return False
    return (
        _judgement(one, pos) * _judgement(other, pos) < 0
        or frozenset((one, other)) in CONVERSE
        or _flipped(one, other)
        or other in _opposites(one, pos)
        or one in _opposites(other, pos)
    )


@lru_cache(maxsize=1 << 16)
def _judgement(word: str, pos: str) -> int:
    """1 for an adjective or adverb of praise, −1 for one of blame, 0 for others.

    What is negated of a word that says neither is no praise: *unconvincing*, *pointless*.

    >>> [_judgement(word, "a") for word in ("superb", "grotesque", "unlovely", "pointless", "flawless", "red")]
    [1, -1, -1, -1, 1, 0]
    >>> [_judgement(word, "r") for word in ("superbly", "terribly", "unconvincingly", "happily", "quickly")]
    [1, -1, -1, 0, 0]
    """
    if pos not in "ar":
        return 0
    if word in PRAISE or word in BLAME:
        return 1 if word in PRAISE else -1
    if pos == "r":  # superb-ly, terrib-ly, aesthetic-ally
        stems = (
            [word.removesuffix("ly"), word.removesuffix("y") + "e", word.removesuffix("ally")]
            if word.endswith("ly")
            else []
        )
        return next(filter(None, (_judgement(stem, "a") for stem in stems if stem != word)), 0)
    for flip in FLIPS:
        stem = word.removeprefix(flip)
        if len(stem) > 2 and stem != word and wordnet().synsets(stem, "a"):
            return -_judgement(stem, "a") or -1
    found = LESS.fullmatch(word)
    return -1 if found and wordnet().synsets(found[1], "n") else 0


def _flipped(one: str, other: str) -> bool:
    """Whether two words differ by an affix that negates.

    >>> _flipped("unhappy", "happy"), _flipped("careful", "careless"), _flipped("nonstop", "stop"), _flipped("a", "b")
    (True, True, True, False)
    """
    short, long = sorted((one, other), key=len)
    if len(short) > 2 and any(long == flip + short for flip in FLIPS):
        return True
    for without, with_it in ((one, other), (other, one)):  # careful and careless, harmful and harmlessly
        found = LESS.fullmatch(without)
        if found and with_it.startswith(found[1]) and not LESS.fullmatch(with_it):
            return True
    return False


@lru_cache(maxsize=1 << 16)
def _opposites(lemma: str, pos: str) -> frozenset[str]:
    """All that WordNet's links make an opposite of a lemma."""
    found: set[str] = set()
    for synset in wordnet().synsets(lemma.replace(" ", "_"), pos):
        for mine in synset.lemmas():
            if mine.name().lower().replace("_", " ") != lemma:
                continue
            found.update(_antonyms(mine))
            for related in [*mine.derivationally_related_forms(), *mine.pertainyms()]:
                for opposite in related.antonyms():
                    found.update(_names(opposite.synset()))
                    for back in opposite.derivationally_related_forms():
                        if back.synset().pos() in ("as" if pos == "a" else pos):
                            found.add(back.name().lower().replace("_", " "))
        if pos == "a":
            # A satellite has the antonyms of the adjective it is like, and what is like those.
            for head in [synset, *synset.similar_tos()] if synset.pos() == "s" else [synset]:
                for mine in head.lemmas():
                    if head is not synset or mine.name().lower().replace("_", " ") == lemma:
                        for opposite in mine.antonyms():
                            found.update(_names(opposite.synset()))
                            for similar in opposite.synset().similar_tos():
                                found.update(_names(similar))
    return frozenset(found - {lemma})


def _antonyms(lemma: Lemma) -> set[str]:
    return {name for opposite in lemma.antonyms() for name in _names(opposite.synset())}


def _names(synset: Synset) -> set[str]:
    return {name.lower().replace("_", " ") for name in synset.lemma_names()}
