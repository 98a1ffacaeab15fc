"""Usage: what nobody would write in another word's place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmadv_text.language import listed

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import Lemma


def unfit(lemma: Lemma) -> bool:
    """Whether WordNet marks a lemma, or all of its sense, as what nobody would write in another word's place."""
    domains = [*lemma.usage_domains(), *lemma.synset().usage_domains()]
    return any(domain.name().partition(".")[0] in UNFIT for domain in domains)


UNFIT = listed("archaism derogation disparagement ethnic_slur obscenity")
"""WordNet's usage domains; many rare and rude words have none."""
