"""English: tags, inflection, a/an, and which words of a text say something alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import lemminflect

from mmadv.assets import cache_folder
from mmadv_text.lexicon import tagger, wordnet, written
from mmadv_text.words import NUMBER, Words

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import Lemma, Synset

POS = {"NN": "n", "NNS": "n", "VB": "v", "JJ": "a", "RB": "r"} | {
    "VBD": "v",
    "VBG": "v",
    "VBN": "v",
    "VBP": "v",
    "VBZ": "v",
    "JJR": "a",
    "JJS": "a",
    "RBR": "r",
    "RBS": "r",
}
"""WordNet's part of speech of the Penn tags of content words; proper nouns are not among them."""

ARTICLES = frozenset({"a", "an"})
"""What changes with the sound of the next word."""

UNIVERSAL = {"n": "NOUN", "v": "VERB", "a": "ADJ", "r": "ADV"}


def listed(words: str) -> frozenset[str]:
    """Words of a string."""
    return frozenset(words.split())


AUXILIARIES = listed(
    """am are aren't be been being is isn't was wasn't were weren't ain't have haven't had hadn't has hasn't having
    do don't does doesn't did didn't doing done can can't cannot could couldn't may might must mustn't need needn't
    ought shall shan't should shouldn't will won't would wouldn't let let's"""
)
NEGATIONS = listed(
    """no not never none nor neither nobody nothing nowhere without cannot hardly barely scarcely seldom rarely lest
    unless except nope nah n't nt"""
) | {form for word in AUXILIARIES if word.endswith("n't") for form in (word, word.replace("'", ""))}
"""Words that turn a sentence around, as people write them: *don't*, *dont*, and *do n't* as treebanks cut it."""

FUNCTION = AUXILIARIES.union(
    NEGATIONS,
    listed(
        """either both all any each every some such other another same own one ones more most less least much many few
        fewer little enough several very too so as than then there here now also just only even ever else still yet quite rather almost
        however therefore thus hence perhaps maybe when where why how again once twice up down out off on over in away
        back about around through together apart ago instead anyway sort kind lot lots bit mr mrs ms dr st yes
        make makes made making get gets got gotten getting take takes took taken taking come comes came coming go goes
        went gone going give gives gave given giving put puts putting letting seem seems seemed seeming become becomes
        became becoming"""
    ),
)
"""Words that say little alone but turn a sentence around; none is a content word here, whatever its tag.

Quantifiers and light verbs are among them: what they say lies in their phrase (*little doubt*, *makes sense*), and what
stands beside them in WordNet says something else there.
"""

SMALL = FUNCTION | listed(
    """a an the of in on at by for with without from to into onto upon under between among before after during until
    since because while if though although whether and or but nor that this these those which who whom whose what it
    its he him his she her hers they them their theirs we us our ours you your yours i me my mine himself herself
    itself themselves myself yourself something anything nothing everything someone anyone everyone somebody anybody
    like use used using make made especially usually relating having etc"""
)
"""Words of a context or gloss that say nothing about what another means."""

LINKING = listed(
    """a an the and but or nor for so yet as at by in into of off on onto out over per to up via with from is vs than"""
)
"""What a headline leaves in lower case."""

MASS = listed(
    """advice baggage cash clothing content courage equipment evidence fun furniture garbage gear hardware harm
    homework housework information jewelry knowledge laughter legislation luck luggage machinery merchandise money
    music news nonsense patience pollution poetry progress research rubbish scenery shit software stuff traffic trash
    violence wealth weather wisdom"""
)
"""Nouns without a plural, which inflection rules would make up."""


STRAIGHT = str.maketrans(dict.fromkeys("’ʼ＇", "'"))
"""Apostrophes as keyboards have them."""


def plain(word: str) -> str:
    """A word as the lists of this module have it: in lower case, with straight apostrophes.

    >>> plain("Isn’t") in NEGATIONS
    True
    """
    return word.translate(STRAIGHT).lower()


def negates(text: str) -> bool:
    """Whether a word or phrase holds a negation.

    >>> negates("without delay"), negates("CANT"), negates("delay")
    (True, True, False)
    """
    return any(plain(word) in NEGATIONS for word in text.split())


def negated(text: Words) -> tuple[bool, ...]:
    """Which words of a text negate, with what is cut off of them: *ca n't*, *w/o*.

    >>> negated(Words.of("I ca n't go w/o you"))
    (False, True, True, False, True, True, False)
    """
    words = [plain(word) for word in text.words]
    found = [word in NEGATIONS for word in words]
    for place in range(len(words) - 1):
        split = words[place : place + 2] == ["w", "o"] and text.pieces[2 * place + 2] == "/"
        found[place] |= split or words[place + 1] in CUT
        found[place + 1] |= split
    return tuple(found)


CUT = frozenset({"n't", "nt"})
"""What negates the word before it."""


def tag(words: Sequence[str]) -> tuple[str, ...]:
    """Penn tags of a text's words; text in capitals or in a headline's case is read as if in lower case.

    Args:
        words: as they stand in the text, without punctuation.

    Raises:
        AssetError: see `tagger`.
    """
    return _tag(tuple(words), str(cache_folder()))


@lru_cache(maxsize=1 << 16)
def _tag(words: tuple[str, ...], folder: str) -> tuple[str, ...]:
    return tuple(tag for tag, _ in _read(words, folder))


@lru_cache(maxsize=1 << 16)
def _read(words: tuple[str, ...], folder: str) -> tuple[tuple[str, float], ...]:
    """Each word's tag, and how sure its part of speech is; see `lexicon.Telling`."""
    read = ["not" if word in CUT else word for word in plain_case(words)]
    return tuple((tag, sure) for _, tag, sure in tagger().tag(read, return_conf=True))


SURE = 0.9933
"""A part of speech that is less sure than this is none to choose synonyms by, where the word could be another.

A log-odds of 5: on held-out sentences of the Brown corpus, content words that are surer have the right part of speech in
97 % of cases, the others in 62 %.
"""


def headline(words: Sequence[str]) -> bool:
    """Whether all words that tell something are written with a capital.

    >>> headline("Stocks Fall Sharply on the News".split()), headline("I think it is GREAT".split())
    (True, False)
    """
    telling = [word for word in words if len(word) > 1 and word[0].isalpha() and word.lower() not in LINKING]
    return len(telling) > 2 and all(word[0].isupper() for word in telling)


def plain_case(words: Sequence[str]) -> list[str]:
    """The words in the case of running text.

    >>> plain_case("Stocks Fall Sharply on the News".split())
    ['stocks', 'fall', 'sharply', 'on', 'the', 'news']
    >>> plain_case("I think it is GREAT , Anna".split())
    ['I', 'think', 'it', 'is', 'great', ',', 'Anna']
    """
    words = [word.translate(STRAIGHT) for word in words]
    if headline(words):
        return [word if word == "I" else word.lower() for word in words]
    return [word.lower() if len(word) > 1 and word.isupper() else word for word in words]


# Forms


def lemmas(word: str, tag: str) -> tuple[str, ...]:
    """WordNet's lemmas that a word can be a form of, if it has this tag; empty if WordNet has none.

    Args:
        word: as it stands in the text.
        tag: Penn; only nouns, verbs, adjectives and adverbs have lemmas.

    Raises:
        AssetError: see `wordnet`.
    """
    return _lemmas(word.lower(), tag)


@lru_cache(maxsize=1 << 16)
def _lemmas(word: str, tag: str) -> tuple[str, ...]:
    pos = POS.get(tag)
    if pos is None:
        return ()
    found = _bases(word, pos)
    # `lay` in the past is a form of `lie`, in the present of `lay`: take those whose form with this tag it is.
    fitting = [lemma for lemma in found if word in lemminflect.getInflection(lemma, tag=tag, inflect_oov=False)]
    return tuple(fitting or found)


@lru_cache(maxsize=1 << 16)
def _bases(word: str, pos: str) -> tuple[str, ...]:
    """All lemmas that a word can be a form of, whatever its tag."""
    reader = wordnet()
    rule = reader.morphy(word, pos)
    known = [*lemminflect.getLemma(word, upos=UNIVERSAL[pos], lemmatize_oov=False), *([rule] if rule else []), word]
    # `synsets` finds lemmas by rules as well, so it also answers to `geese`.
    return tuple(
        lemma
        for lemma in dict.fromkeys(known)
        if any(lemma == name.lower() for synset in reader.synsets(lemma, pos) for name in synset.lemma_names())
    )


def synsets(word: str, tag: str) -> tuple[Synset, ...]:
    """A word's synsets of the tag's part of speech only, the most frequent first; none that name one thing or person.

    Args:
        word: as it stands in the text.
        tag: Penn.

    Raises:
        AssetError: see `wordnet`.
    """
    return _synsets(word.lower(), tag)


@lru_cache(maxsize=1 << 16)
def _synsets(word: str, tag: str) -> tuple[Synset, ...]:
    reader = wordnet()
    found: dict[Synset, None] = {}
    for lemma in _lemmas(word, tag):
        for synset in reader.synsets(lemma, POS[tag]):
            # WordNet's index folds case, and lists `Ball` the actress under `ball`.
            if lemma in synset.lemma_names() and not synset.instance_hypernyms():
                found.setdefault(synset)
    return tuple(sorted(found, key=lambda synset: -count(synset, word)))


def senses_of(word: str, pos: str) -> list[Lemma]:
    """A word's lemmas, one for each of its senses."""
    return [
        lemma for synset in wordnet().synsets(word, pos) for lemma in synset.lemmas() if lemma.name().lower() == word
    ]


COMMON = 3
"""How often WordNet's glosses hold a word that people write."""


@lru_cache(maxsize=1 << 16)
def common(word: str) -> bool:
    """Whether WordNet's glosses hold a word in lower case, or one that it is a form of, at least `COMMON` times.

    >>> [common(word) for word in ("film", "films", "oddly", "hebdomad", "twelvemonth", "Hanks")]
    [True, True, True, False, False, False]
    """
    word, counts = plain(word), written()
    stems = [stem for stem in (word.removesuffix("ly"), word.removesuffix("y") + "e") if word.endswith("ly")]
    stems = [stem for stem in stems if any(one.count() for one in senses_of(stem, "a"))]
    forms = {word, *stems, *(base for pos in UNIVERSAL for base in _bases(word, pos))}
    return any(counts.get(form, 0) >= COMMON for form in forms)


@lru_cache(maxsize=1 << 16)
def count(synset: Synset, word: str) -> int:
    """How often WordNet's tagged texts have the word in this sense."""
    bases = _bases(word, "a" if synset.pos() == "s" else synset.pos())
    return max((lemma.count() for lemma in synset.lemmas() if lemma.name() in bases), default=0)


def inflected(lemma: str, tag: str, like: str) -> str | None:
    """A lemma in the form that a Penn tag asks for, and in the case of the word it replaces.

    Args:
        lemma: a word or phrase, with spaces. A verb phrase inflects at its first word, a noun phrase at its head.
        tag: plural, past, gerund, comparative …; tags without forms leave the lemma as it is.
        like: the word whose case is copied.

    Returns:
        The form, or None if the lemma has none, such as the plural of a mass noun.

    Example:
        >>> inflected("child", "NNS", "Kids"), inflected("give up", "VBD", "quit"), inflected("amusing", "JJR", "funnier")
        ('Children', 'gave up', 'more amusing')
        >>> inflected("information", "NNS", "data") is None
        True
    """
    form = _form(lemma, tag)
    return None if form is None else _cased(form, like)


@lru_cache(maxsize=1 << 16)
def _form(lemma: str, tag: str) -> str | None:
    if tag in {"NN", "VB", "VBP", "JJ", "RB"} or tag not in POS:
        return lemma
    if POS[tag] == "v":
        head, *rest = lemma.split(" ")
        forms = lemminflect.getInflection(head, tag=tag, inflect_oov="-" not in head)  # no *give-uped
        return " ".join([forms[0], *rest]) if forms else None
    if tag == "NNS":
        return _plural(lemma)
    *before, head = lemma.split(" ")
    forms = lemminflect.getInflection(head, tag=tag, inflect_oov=False)
    if forms and not before:
        return str(forms[0])
    # `more` only with what has degrees and is too long for an ending: no *most okay, *more all right
    return f"{'more' if tag.endswith('R') else 'most'} {lemma}" if len(head) > 5 and lemma.isalpha() else None


def _plural(noun: str) -> str | None:
    """The plural of a noun or noun phrase, which is that of its head.

    >>> [_plural(noun) for noun in ("goose", "brother-in-law", "earnings", "advice", "pes", "headman", "doberman")]
    ['geese', 'brothers-in-law', 'earnings', None, None, 'headmen', 'dobermans']
    >>> [_plural(noun) for noun in ("head of state", "motion picture", "trade-in", "letter of advice")]
    ['heads of state', 'motion pictures', 'trade-ins', 'letters of advice']
    """
    for joint in " -":
        parts = noun.split(joint)
        if len(parts) > 1:
            # The head stands before what a preposition joins to it; one that ends the word joins nothing.
            links = (place for place, part in enumerate(parts) if 0 < place < len(parts) - 1 and part in LINKS)
            head = next(links, len(parts)) - 1
            form = _plural(parts[head]) if parts[head] else None
            return None if form is None else joint.join([*parts[:head], form, *parts[head + 1 :]])
    if noun.lower() in MASS:
        return None
    if is_plural(noun):
        return noun
    known = lemminflect.getInflection(noun, tag="NNS", inflect_oov=False)
    if (
        not known
        and noun.endswith("man")
        and any(one.lexname() == "noun.person" for one in wordnet().synsets(noun, "n"))
    ):
        return f"{noun[:-2]}en"
    known = known or lemminflect.getInflection(noun, tag="NNS", inflect_oov=not noun.endswith("s"))
    return str(known[0]) if known else None


LINKS = listed("at by for from in of on to with")
"""Prepositions inside of nouns."""


@lru_cache(maxsize=1 << 16)
def is_plural(noun: str) -> bool:
    """Whether a noun is a plural as it stands, such as `earnings` and `feet`."""
    found = lemminflect.getLemma(noun, upos="NOUN", lemmatize_oov=False)
    return bool(found) and noun not in found


def _cased(form: str, like: str) -> str:
    """A word in the case of another: capitals, a capital first letter, or as it is."""
    if len(like) > 1 and like.isupper():
        return form.upper()
    if like[:1].isupper():
        return form[:1].upper() + form[1:]
    return form


# What rules of spelling get wrong, and letters that have no accent to take off.
LIGATURES = str.maketrans({"æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O"})
SOUNDS = {"once": "a", "ouija": "a", "usher": "an"}


def article(before: str, word: str) -> str:
    """The form of `a` or `an` before a word, by its sound; anything else, and before what has none, is given back as it is.

    Args:
        before: what stands there, in any case.
        word: that follows.

    Example:
        >>> [article("a", word) for word in ("hour", "university", "apple", "European", "FBI", "8", "umbrella")]
        ['an', 'a', 'an', 'a', 'an', 'an', 'an']
        >>> article("An", "UN"), article("the", "apple"), article("a", "étude"), article("an", "…")
        ('A', 'the', 'an', 'an')
    """
    form = _article(word) if before.lower() in ARTICLES else None
    if form is None:
        return before
    return form.upper() if before.isupper() and len(before) > 1 else form.title() if before[0].isupper() else form


@lru_cache(maxsize=1 << 16)
def _article(word: str) -> str | None:
    """`a` or `an`; None before what begins with no letter that English knows, and no digit."""
    bare = unicodedata.normalize("NFKD", word.translate(LIGATURES))
    word = re.sub(r"^[\W_]+", "", "".join(letter for letter in bare if not unicodedata.combining(letter)))
    if not word[:1].isascii() or not word:
        return None
    if word[0].isdigit():  # eight, eleven and eighteen, and their thousands and millions
        digits = re.match(r"\d+(?:,\d{3})*", word)[0].replace(",", "")  # type: ignore[index]
        return "an" if digits[0] == "8" or (digits[:2] in {"11", "18"} and len(digits) % 3 == 2) else "a"
    lower = word.lower()
    for start, form in SOUNDS.items():
        if lower.startswith(start):
            return form
    return str(_inflect().a(word)).partition(" ")[0].lower()


def is_article(text: Words, place: int) -> bool:
    """Whether a word is an article, right before the next word: not the letter of *vitamin A*, nor that of *plan A, then*.

    Args:
        text: cut into words.
        place: of the word; there is another after it.

    Example:
        >>> [is_article(Words.of(text), 1) for text in ("Such a film", "Vitamin A dose", "Fire! A fire", "plan a, then")]
        [True, False, True, False]
        >>> [is_article(Words.of(text), 2) for text in ("He is a “good” man", "This Is A Good Film", "take vitamin A daily")]
        [True, True, False]
    """
    word, follows = text.words[place], text.words[place + 1]
    if word.lower() not in ARTICLES or not OPENED.fullmatch(text.pieces[2 * place + 2]):
        return False
    return word != "A" or _starts(text, place) or (len(follows) > 1 and follows.isupper()) or headline(text.words)


OPENED = re.compile(r"\s+[\"'`“‘«(\[{*_]*")
"""What may stand between an article and its word."""


def _starts(text: Words, place: int) -> bool:
    """Whether a word begins a sentence."""
    return place == 0 or bool(SENTENCE_END.search(text.pieces[2 * place]))


@cache
def _inflect() -> Any:
    import inflect  # takes a second, and only a/an needs it

    return inflect.engine()


# Words in place


def content_tags(text: Words) -> tuple[str, ...]:
    """The Penn tag of each content word of a text, and nothing for the others.

    Content words are nouns, verbs, adjectives and adverbs; not names, numbers, auxiliaries, negations, or the other
    words of `FUNCTION`. A capital that neither a sentence's start nor a headline explains makes a word a name.

    Args:
        text: cut into words.

    Raises:
        AssetError: see `tagger`.
    """
    words = tuple(plain(word) for word in text.words)
    read = _read(text.words, str(cache_folder()))
    tags = [tag for tag, _ in read]
    titled, closed = headline(text.words), negated(text)
    names = named(text)
    found = []
    for place, (word, (tag, sure)) in enumerate(zip(words, read, strict=True)):
        if tag.startswith("NNP") and not titled and _starts(text, place):
            # Names have no plural that is another word: `Children` begins a sentence.
            bases = _bases(word, "n")
            tag = "NNS" if bases and word not in bases else tag
        follows = words[place + 1] if place + 1 < len(words) else ""
        telling = len(word) > 1 and not NUMBER.search(word) and word not in FUNCTION and not closed[place]
        if not telling or names[place] or tag not in POS or (word in PHRASAL and follows == "to"):
            found.append("")
            continue
        tag = _settled(word, tag)
        if (
            tag in {"JJ", "VBG", "VBN"}
            and word in _bases(word, "a")
            and word not in (verbs := _bases(word, "v"))
            and verbs
        ):
            tag = _participle(text, tags, place) or ("JJ" if tag == "JJ" and sure >= SURE else "")
        elif sure < SURE and any(_bases(word, pos) for pos in UNIVERSAL if pos != POS[tag]):
            tag = ""
        elif (
            tag == "NN"
            and tags[place + 1 : place + 2] in (["NN"], ["NNS"])
            and _bases(word, "a")
            and _bases(follows, "n")
        ):
            tag = ""  # before a noun, either: *bass voice*, *novel idea*
        elif (
            tag == "JJ" and tags[max(place - 1, 0)] in {"DT", "PRP$"} and not _leads(tags, place) and _bases(word, "n")
        ):
            tag = ""  # before none, where one has to come: *a fine for speeding*
        found.append(tag)
    return tuple(found)


def _leads(tags: Sequence[str], place: int) -> bool:
    """Whether a word stands before a noun, or what may come before one."""
    return tags[place + 1 : place + 2] != [] and tags[place + 1][:2] in {"NN", "JJ", "CC", "CD", "RB", "VB"}


PHRASAL = listed("used supposed able bound")
"""Words that are half of an auxiliary before `to`."""

COPULAS = listed(
    "am is are was were be been being seem seems seemed look looks looked feel feels felt sound sounds sounded"
)
DEGREE = listed("very so too more most quite rather really truly somewhat less least as pretty utterly deeply")


def _participle(text: Words, tags: Sequence[str], place: int) -> str:
    """The tag of a participle that WordNet has as an adjective too; nothing where its place doesn't tell which it is.

    >>> def read(text, place): return _participle(Words.of(text), tag(Words.of(text).words), place)
    >>> read("a moving tale", 1), read("he is moving the chair", 2), read("the film is moving", 3), read("it gets drawn into it", 2)
    ('JJ', 'VBG', 'JJ', '')
    """

    def beside(step: int) -> tuple[str, str]:
        other = place + step
        cut = SENTENCE_END.search(text.pieces[2 * place + 1 + step]) or "," in text.pieces[2 * place + 1 + step]
        return (plain(text.words[other]), tags[other]) if 0 <= other < len(tags) and not cut else ("", "")

    (before, left), (_, right) = beside(-1), beside(1)
    if right in {"DT", "PRP", "PRP$", "RP", "WP", "NNP"} or left in {"TO", "MD"} or before in {"have", "has", "had"}:
        return tags[place] if tags[place].startswith("V") else ""
    joined = left == "CC" and tags[place - 2 : place - 1] in (["JJ"], ["RB"])
    if right[:2] in {"NN", "JJ"} and (joined or left in {"DT", "PRP$", "JJ", "JJR", "JJS", "CD", "RB"}):
        return "JJ"
    if tags[place] == "VBG" and before in AUXILIARIES and right in {"IN", "TO", "RB"}:
        return "VBG"
    if before in DEGREE or (right in {"", "CC"} and (before in COPULAS or left == "RB")):
        return "JJ"
    return ""


def named(text: Words) -> tuple[bool, ...]:
    """Which words their capitals make names: those that neither a sentence's start nor a headline nor shouting explains.

    Capitals inside of other text are an acronym where WordNet knows the word in capitals or not at all. In a headline, where all
    words have one, names are those that are rare in lower case.

    >>> def names(text): return [word for word, name in zip(Words.of(text).words, named(Words.of(text))) if name]
    >>> names("We saw IBM and a GREAT film by Anna"), names("Tom Hanks Shines In New Film")
    (['IBM', 'Anna'], ['Tom', 'Hanks'])
    """
    titled = headline(text.words)
    found = []
    for place, word in enumerate(text.words):
        if not word[:1].isupper() or len(word) < 2:
            found.append(False)
        elif titled:
            found.append(plain(word) not in SMALL and not common(word))
        elif word.isupper():
            known = [lemma for synset in wordnet().synsets(word.lower()) for lemma in synset.lemma_names()]
            found.append(not known or word in known)
        else:
            found.append(not _starts(text, place) and plain(word) not in SMALL)
    return tuple(found)


@lru_cache(maxsize=1 << 16)
def _settled(word: str, tag: str) -> str:
    """The tag of the same part of speech that the word's form allows: `geese` is plural, whatever the tagger says."""
    pos = POS[tag]
    bases = _bases(word, pos)
    if not bases or word in bases or any(word in lemminflect.getInflection(base, tag=tag) for base in bases):
        return tag
    fitting = (other for other in POS if POS[other] == pos and word in lemminflect.getInflection(bases[0], tag=other))
    return next(fitting, tag)


SENTENCE_END = re.compile('[.!?:;"“”\n•—]')


def fits(words: Sequence[str], position: int, tag: str, replacement: str) -> bool:
    """Whether a replacement is read as the same part of speech, in the place of the word.

    Args:
        words: of the text.
        position: of the word.
        tag: of the word, Penn.
        replacement: one or more words.

    Raises:
        AssetError: see `tagger`.
    """
    folder = str(cache_folder())
    cased = _cased_plainly(tuple(words))
    before, after = cased[max(position - 3, 0) : position], cased[position + 1 : position + 3]
    new = replacement.lower().split(" ")
    head = 0 if POS.get(tag) == "v" else len(new) - 1
    got = _window(folder, (*before, *new, *after))[len(before) + head]
    was = _window(folder, (*before, cased[position], *after))[len(before)]
    return bool({tag[:2], was[:2]} & {got[:2]}) or ({tag, got} <= PARTICIPIAL)


@lru_cache(maxsize=64)
def _cased_plainly(words: tuple[str, ...]) -> list[str]:
    return plain_case(words)


PARTICIPIAL = {"JJ", "VBN", "VBG"}
"""Taggers seldom agree where a participle becomes an adjective, and either reads well."""


@lru_cache(maxsize=1 << 18)
def _window(folder: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """Tags of a few words that are in plain case already."""
    return tuple(tag for _, tag in tagger().tag(words))


def reshaped(candidate: str, word: str, tag: str) -> str | None:
    """A word from elsewhere in the form that replaces another: as it is if it has the tag's form, else re-inflected.

    Args:
        candidate: in any form.
        word: that it replaces; gives the case.
        tag: of the word, Penn.

    Returns:
        None if WordNet has no such word of that part of speech, or both are forms of one lemma.

    Raises:
        AssetError: see `wordnet`.
    """
    candidate = candidate.lower()
    bases = lemmas(candidate, tag)
    if not bases or set(bases) & set(lemmas(word, tag)):
        return None
    plain = tag in {"NN", "VB", "VBP", "JJ", "RB"}
    if (plain and candidate in bases) or (
        not plain and any(candidate in lemminflect.getInflection(base, tag=tag) for base in bases)
    ):
        return _cased(candidate, word)
    return inflected(bases[0], tag, word)
