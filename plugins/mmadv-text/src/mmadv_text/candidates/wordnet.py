"""WordNet synonyms: of a word's sense in its context, in the word's form and case, and never its opposite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from mmadv.errors import ParameterError
from mmadv_text import language, lexicon, polarity, usage
from mmadv_text.candidates import Candidate
from mmadv_text.encoder import identity
from mmadv_text.senses import Encoder, likely
from mmadv_text.words import Words

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import Synset
    from torch import Tensor

REMEMBERED = 1 << 14
"""Texts whose candidates are kept."""


@dataclass(frozen=True, kw_only=True)
class WordNet:
    """The lemmas that share a sense with a word.

    Only content words have any: nouns, verbs, adjectives and adverbs by their tag, but no names, numbers,
    auxiliaries, negations or light verbs, and none whose part of speech is in doubt. Of WordNet, only synsets of that part of
    speech count. A lemma is given in the form of the word that it replaces (wept: cried) and in its case. Left out are raw forms
    (`Dr.`), negations, opposites, what judges otherwise than the word (`polarity.fits`), what is rude, archaic or rare
    (`usage.unfit`), and what a tagger doesn't read as the same part of speech in the word's place.

    Args:
        senses: `context` for the senses that the text suggests (see `mmadv_text.senses`), `all` for every sense.
        certainty: with `context`, how likely the senses that a lemma belongs to have to be together. At 0.5, it is offered
            where the word has rather one of those than another.
        limit: candidates of a word at most.
        encoder: texts to (B, D) vectors, to choose senses by their glosses too.
        name: for records.

    Example:
        >>> WordNet(limit=3).limit
        3
    """

    senses: str = "context"
    certainty: float = 0.5
    limit: int | None = None
    encoder: Encoder | None = None
    name: str = "wordnet"
    _texts: dict[str, list[list[Candidate]]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _vectors: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.senses not in {"context", "all"}:
            raise ParameterError(f"senses is {self.senses!r}", where="WordNet", fix="give 'context' or 'all'")
        if not 0 <= self.certainty <= 1:
            raise ParameterError(f"certainty is {self.certainty}", where="WordNet", fix="give a probability, 0 to 1")
        if self.limit is not None and self.limit < 1:
            raise ParameterError(f"limit is {self.limit}", where="WordNet", fix="give at least 1, or leave it out")

    def fingerprint(self) -> str:
        encoder = None if self.encoder is None else identity(self.encoder)
        return (
            f"{self.name} 3: senses {self.senses}, certainty {self.certainty}, limit {self.limit}, encoder {encoder}, "
            f"{lexicon.fingerprint()}"
        )

    def __call__(self, texts: Sequence[Words]) -> list[list[list[Candidate]]]:
        if len(self._texts) > REMEMBERED:
            self._texts.clear()
            self._vectors.clear()
        new = {text.text: text for text in texts if text.text not in self._texts}
        tags = {key: language.content_tags(text) for key, text in new.items()}
        places = [(key, place) for key in new for place, tag in enumerate(tags[key]) if tag]
        questions = [
            (new[key].words, place, language.synsets(new[key].words[place], tags[key][place])) for key, place in places
        ]
        if self.senses == "context":
            meanings = likely(questions, self.encoder, self._vectors)
        else:
            meanings = [dict.fromkeys(found, 1.0) for _, _, found in questions]
        for key, text in new.items():
            self._texts[key] = [[] for _ in text.words]
        for (key, place), found in zip(places, meanings, strict=True):
            self._texts[key][place] = self._candidates(new[key].words, place, tags[key], found)
        return [[list(found) for found in self._texts[text.text]] for text in texts]

    def _candidates(
        self, words: tuple[str, ...], place: int, tags: tuple[str, ...], found: dict[Synset, float]
    ) -> list[Candidate]:
        """Of one word, best first."""
        word, tag = words[place], tags[place]
        attributive = (
            tag.startswith("JJ") and place + 1 < len(words) and language.tag(words)[place + 1][:2] in ATTRIBUTED
        )
        chances: dict[str, float] = {}
        for synset, chance in found.items():
            for name in synset.lemma_names():
                chances[name] = chances.get(name, 0.0) + chance
        forms: dict[str, str] = {}
        for synset in found:
            for lemma, marker in _replacements(synset, word.lower(), tag):
                if self.senses == "context" and chances[lemma.replace(" ", "_")] < self.certainty:
                    continue
                if marker == ("p" if attributive else "a"):
                    continue  # *the asleep boy, *the boy is mere
                form = language.inflected(lemma, tag, word)
                if form is not None and form.lower() != word.lower() and form not in forms:
                    forms[form] = synset.name()
        kept = [
            Candidate(form, self.name, meaning)
            for form, meaning in forms.items()
            if language.fits(words, place, tag, form)
        ]
        return kept[: self.limit]


ATTRIBUTED = {"NN", "JJ", "CD"}
"""What follows an adjective that stands before its noun."""


@lru_cache(maxsize=1 << 16)
def _replacements(synset: Synset, word: str, tag: str) -> tuple[tuple[str, str], ...]:
    """The lemmas of a sense that may stand for a word, most frequent first, with where they may stand.

    `a` marks adjectives that stand before a noun only, `p` those that never do.
    """
    bases = language.lemmas(word, tag)
    found = []
    for lemma in synset.lemmas():
        text = lemma.name().replace("_", " ")
        if text in bases or text in language.FUNCTION or language.negates(text) or not _usable(text, tag):
            continue
        if usage.unfit(lemma) or shortened(text, synset):
            continue
        if any(polarity.opposed(base, text, language.POS[tag]) or not polarity.fits(base, lemma) for base in bases):
            continue
        found.append((-lemma.count(), text, lemma.syntactic_marker() or ""))
    return tuple((text, marker) for _, text, marker in sorted(found))


def shortened(text: str, synset: Synset) -> bool:
    """Whether a lemma is another one of its sense cut off: *min* for *minute*.

    >>> from mmadv_text.lexicon import wordnet
    >>> shortened("min", wordnet().synset("minute.n.01")), shortened("film", wordnet().synset("movie.n.01"))
    (True, False)
    """
    return len(text) < 4 and any(name != text and name.startswith(text) for name in synset.lemma_names())


def _usable(lemma: str, tag: str) -> bool:
    """Whether a lemma reads well in running text.

    >>> _usable("motion picture", "NN"), _usable("Dr.", "NN"), _usable("yr", "NN"), _usable("kick the bucket", "VB")
    (True, False, False, False)
    """
    bare = lemma.replace(" ", "").replace("-", "")
    if not bare.isalpha() or lemma != lemma.lower():  # Dr., MD, one's, 60 minutes
        return False
    if not any(letter in "aeiou" for letter in lemma) and "y" not in lemma[1:]:  # yr, hrs
        return False
    parts = lemma.split(" ")
    if language.POS[tag] == "v":
        return len(parts) < 3 and parts[0] != "be"
    # A plural in a singular's place breaks the sentence around it.
    return tag != "NN" or not language.is_plural(parts[-1])
