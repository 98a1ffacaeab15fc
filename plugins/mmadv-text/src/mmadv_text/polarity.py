"""Polarity: which words may say the opposite of one another."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from mmadv.assets import cache_folder
from mmadv_text.language import listed, senses_of
from mmadv_text.lexicon import kept, wordnet

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import Lemma, Synset

FLIPS = ("un", "in", "im", "il", "ir", "dis", "non", "non-", "mis", "anti", "anti-", "de")
"""Prefixes that turn a word into its opposite."""

PRAISE = {
    "a": listed(
        """absorbing accomplished admirable affecting amazing appealing astonishing astute awesome beautiful beloved best better
        breathtaking brilliant captivating charming clever compelling convincing cool dazzling delicious delightful elegant
        enchanting engaging engrossing enjoyable entertaining enthralling excellent exceptional exciting exhilarating exquisite
        fabulous fantastic fascinating fine first-class first-rate flawless fresh funny gifted good gorgeous graceful great
        gripping happy hilarious honest imaginative immaculate impeccable impressive incomparable incredible ingenious inimitable
        insightful inspired inspiring intelligent interesting invaluable inventive likable lively lovely magnificent marvellous
        marvelous masterful matchless memorable moving nice original outstanding peerless perfect pleasant poignant powerful
        priceless refreshing remarkable rewarding riveting satisfying sincere skillful smart sophisticated splendid stirring
        stunning sublime subtle superb superior superlative sweet talented terrific thoughtful thrilling timeless touching
        tremendous triumphant unbelievable unforgettable unparalleled uplifting vibrant vivid warm wise witty wonderful
        worthwhile worthy"""
    ),
    "n": listed(
        """beauty brilliance charm delight elegance excellence fun gem grace happiness joy laughter love masterpiece pleasure
        praise success talent treat triumph winner wisdom wit"""
    ),
    "v": listed(
        """admire adore amuse applaud captivate charm cherish dazzle delight enchant enjoy enrich entertain fascinate inspire
        love please praise satisfy succeed thrill triumph"""
    ),
}
BLAME = {
    "a": listed(
        """abominable abysmal absurd amateurish annoying appalling artificial atrocious awful bad bizarre bland bleak boring clumsy
        contrived corny crass crude crummy cynical deplorable depressing derivative disappointing disgusting dishonest dismal
        dreadful dreary dull dumb embarrassing empty exasperating false fatuous flawed flimsy foolish forgettable frightening
        ghastly gross grotesque hackneyed hideous hollow hopeless horrible horrid horrific horrifying idiotic implausible
        improbable inane incoherent incompetent inept inferior insipid irritating lackluster lame laughable lifeless listless
        lousy ludicrous lurid mawkish meaningless mediocre mindless miserable monotonous monstrous nasty obnoxious offensive
        painful pathetic pedestrian phony pitiful plodding pointless poor predictable preposterous pretentious repulsive
        revolting ridiculous rotten rubbish sad shallow shoddy sickening silly sloppy sluggish sour stale stupid tasteless
        tedious terrible terrifying tired tiresome trashy trite trivial ugly unbearable unconvincing uneven unfunny uninspired
        unoriginal unpleasant vapid vile vulgar weak worse worst worthless wretched"""
    ),
    "n": listed(
        """blame bore boredom chaos disappointment disaster disgust failure flaw flop garbage hatred horror insult junk
        mediocrity mess misery nonsense rubbish sham stupidity tedium trash travesty waste weakness"""
    ),
    "v": listed(
        """abhor annoy bore disappoint disgust dislike exasperate fail hate insult irritate loathe offend ruin sadden spoil
        squander suffer waste"""
    ),
}
"""Judgements by part of speech: what `rated` starts from. WordNet links `good` and `bad`, but not `fine` and `bad`."""

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
    suffixes (happy and unhappy, careful and careless); and where one praises and the other blames (see `rated`).

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
        rated(one, pos) * rated(other, pos) < 0
        or frozenset((one, other)) in CONVERSE
        or _flipped(one, other)
        or other in _opposites(one, pos)
        or one in _opposites(other, pos)
    )


@lru_cache(maxsize=1 << 16)
def rated(word: str, pos: str) -> float:
    """How much a word praises, from 1 for praise to −1 for blame; 0 for what does neither enough to tell.

    A word that is in none of the lists is as its senses are (`_ratings`), weighted by how often each occurs.

    Args:
        word: a lemma, with spaces.
        pos: WordNet's part of speech.

    Example:
        >>> [round(rated(word, "a"), 1) for word in ("superb", "grotesque", "unlovely", "flawless", "fishy", "red")]
        [1, -1, -0.4, 1, 0, 0]
        >>> [round(rated(word, "r"), 1) for word in ("superbly", "unconvincingly", "quickly")]
        [1.0, -0.9, 0]
    """
    for sign, listed_ones in ((1, PRAISE), (-1, BLAME)):
        if word in listed_ones.get(pos, ()):
            return sign
    ratings = _ratings(str(cache_folder()))
    known = [(lemma.count() + 1, value(lemma, ratings)) for lemma in senses_of(word.replace(" ", "_"), pos)]
    found = sum(weight * rating for weight, rating in known) / max(sum(weight for weight, _ in known), 1)
    return found if abs(found) >= TELLING else 0


TELLING = 0.2
"""A rating nearer to 0 says nothing: above, nineteen in twenty have the sign that people give the word."""


def value(lemma: Lemma, ratings: Mapping[str, float]) -> float:
    """The rating of a lemma's sense; an adverb's is that of its adjective."""
    synset = lemma.synset()
    if synset.pos() == "r":
        found = [ratings.get(one.synset().name(), 0.0) for one in lemma.pertainyms()]
        return sum(found) / max(len(found), 1)
    return ratings.get(synset.name(), 0.0)


HOPS, LOSS, AGREED, SHARE = 3, 0.7, 0.3, 0.4
"""How far a judgement spreads, what it loses on the way, how much neighbours have to agree, and how much of a listed word's
use a sense has to be to start from."""


@cache
def _ratings(folder: str) -> dict[str, float]:
    """Praise (1) to blame (−1) of synsets, by name: of the listed words' main senses, spread over WordNet's own relations.

    What is similar, derived, an attribute, or to be seen also is rated alike, and antonyms the other way round; of what was
    not rated yet, as the mean of its rated neighbours.
    """
    listed_ones = [
        (sign, pos, word) for sign, some in ((1, PRAISE), (-1, BLAME)) for pos in some for word in sorted(some[pos])
    ]
    key = hashlib.sha256(json.dumps([listed_ones, HOPS, LOSS, AGREED, SHARE]).encode()).hexdigest()[:8]

    def make() -> dict[str, float]:
        base: dict[str, float] = {}
        for sign, pos, word in listed_ones:
            lemmas = senses_of(word.replace(" ", "_"), pos)
            whole = sum(lemma.count() + 1 for lemma in lemmas)
            for lemma in lemmas:
                name = lemma.synset().name()
                base[name] = base.get(name, 0.0) + sign * (lemma.count() + 1) / whole
        found = {name: max(-1.0, min(1.0, rating)) for name, rating in base.items() if abs(rating) >= SHARE}
        for _ in range(HOPS):
            new = {}
            for name in {other for one in found for other, _ in _linked(one)} - found.keys():
                near = [sign * found[other] for other, sign in _linked(name) if other in found]
                mean = sum(near) / len(near) if near else 0.0
                if abs(mean) >= AGREED:
                    new[name] = LOSS * mean
            found |= new
        return {name: round(rating, 3) for name, rating in sorted(found.items())}

    return kept(f"polarity-{key}", make)


@lru_cache(maxsize=1 << 14)
def _linked(name: str) -> tuple[tuple[str, int], ...]:
    """The neighbours of a synset, and whether they are rated alike (1) or the other way round (−1)."""
    synset = wordnet().synset(name)
    found = [(other.name(), 1) for other in [*synset.similar_tos(), *synset.also_sees(), *synset.attributes()]]
    for lemma in synset.lemmas():
        found += [(other.synset().name(), 1) for other in lemma.derivationally_related_forms()]
        found += [(other.synset().name(), -1) for other in lemma.antonyms()]
    return tuple(dict.fromkeys(found))


def fits(word: str, lemma: Lemma) -> bool:
    """Whether a lemma in its sense judges as a word does: not at all if that doesn't, and as it does if it does.

    Args:
        word: a lemma, with spaces, of the same part of speech.
        lemma: that may replace it.

    Example:
        >>> lemma = wordnet().lemma
        >>> fits("funny", lemma("fishy.s.01.suspicious")), fits("funny", lemma("amusing.s.02.comic"))
        (False, True)
    """
    synset = lemma.synset()
    pos = "a" if synset.pos() == "s" else synset.pos()
    mine, its = rated(word, pos), rated(lemma.name().lower().replace("_", " "), pos)
    sense = value(lemma, _ratings(str(cache_folder())))
    if not mine:
        return abs(its) < STRONG or its * sense > 0
    return mine * its > 0 or (not its and mine * sense > 0)


STRONG = 0.5
"""A judgement that nobody overlooks."""


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
