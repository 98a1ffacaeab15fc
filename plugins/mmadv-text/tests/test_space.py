"""Text space: what may change, what stays byte for byte, and what a text may hold."""

import itertools
import json
import random
import sys
import time
import types

import numpy
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import mmadv
from mmadv import MemorySource, cli
from mmadv.audit import Audit
from mmadv.errors import InputError, ParameterError, RunError, TargetError
from mmadv.host import default_host
from mmadv.testing import Case, Trial
from mmadv.testing.checks import alone
from mmadv.testing.victims import Counting
from mmadv_text import lexicon
from mmadv_text.attacks.exhaustive import volume
from mmadv_text.candidates import Candidate
from mmadv_text.candidates.table import Table
from mmadv_text.constraints import MARKUP, Editable, Similarity
from mmadv_text.kit import Bag, TextKit
from mmadv_text.modality import TextModality, described
from mmadv_text.space import TextSpace
from mmadv_text.target import CutWarning, StringsTarget, Tokens, TokensTarget, Vocabulary
from mmadv_text.texts import DELETED, UNKNOWN, Lattice, Moved, Texts
from mmadv_text.words import Words

EVERY = Editable(stop_words=True, digits=True, entities=True, quoted=True)
TABLE = Table({"good": ["fine", "excellent"], "film": ["movie", "motion picture"], "not": ["never"], "3": ["4"]})
ODD = [
    "",
    " ",
    "word",
    "😀 good 👩‍👩‍👧‍👦 film!",
    "שלום good עולם",
    "e\u0301clair good na\u0308ive",
    "tab\tgood\r\nfilm\x00\x07",
    "<b>good</b> &amp; <script>alert(1)</script> film",
    "GOOD\u200bfilm\u2028good",
    "“good” isn’t ‘film’—good…",
]


@pytest.mark.parametrize("text", ODD)
def test_what_is_not_replaced_stays_byte_for_byte(text):
    words = Words.of(text)
    assert "".join(words.pieces) == text
    assert [text[start:end] for start, end in words.spans] == list(words.words)
    region = TextSpace(TABLE, editable=EVERY).around(Texts.of([text]))
    lattice = region.x.book[0]
    for slot, options in enumerate(lattice.options):
        changed = lattice.text({slot: 1})
        start, end = words.spans[lattice.slots[slot]]
        assert changed.startswith(text[:start])
        assert changed.endswith(text[end:])
        assert changed[start : len(changed) - len(text) + end] == options[0].text


def test_odd_texts_come_back_from_their_file(tmp_path):
    kind = TextModality()
    x = Texts.of([(text, f"good {text}") for text in ODD])
    region = TextSpace(TABLE, editable=EVERY).around(x)
    choice = torch.zeros_like(region.x.choice)
    choice[:, 0] = 2
    adv = Texts(choice, region.x.number, region.x.book)
    files = [kind.read(kind.write(adv[row : row + 1], tmp_path / str(row)))[0] for row in range(len(adv))]
    assert files == list(kind.stored(adv)) == list(adv)
    assert files[0] == ("", "excellent ")


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize(
    "attack", ["text.pwws", "text.greedy", "text.beam", "text.genetic", "text.swarm", "text.suite"]
)
def test_odd_texts_are_attacked_without_a_word(text, attack):
    def victim(texts):
        good = torch.tensor([float(one.lower().count("good")) for one in texts])
        return torch.stack([torch.full_like(good, 0.5), good], 1)

    every = {"stop_words": True, "entities": True, "quoted": True, "digits": True}
    options = {"preset": "none", "eps": 1.0, "candidates": TABLE, **every}
    result = mmadv.attack(victim, [text], [1 if "good" in text.lower() else 0], attack, **options)
    assert (result.status[0].value == "fooled") == ("good" in text)
    assert not any(status.value == "error" for status in result.status)


def test_a_hundred_kilobytes():
    text = "A good film. " * 8000
    result = mmadv.attack(
        lambda texts: torch.tensor([[float(one.count("good")), 7998.5] for one in texts]),
        [text], [0], "text.greedy", ranking="random", steps=12, preset="none", eps=1.0, candidates=TABLE, entities=True, stop_words=True,
    )  # fmt: skip
    assert result.status[0].value == "fooled"
    assert [change.original for change in result.adv.changes(0) if change.source != "article"].count("good") == 2
    assert (
        result.adv[0].replace("excellent", "good").replace("An", "A").replace("fine", "good").count("A good film. ")
        >= 7990
    )
    assert result.queries[0] <= 1 + 2 * 12


def test_a_hundred_kilobytes_of_which_little_is_read():
    class Short(Vocabulary):
        def __call__(self, texts):
            found = super().__call__(texts)
            return [
                Tokens(one.ids[:30], one.spans[:30], None, len(text) - one.spans[29][1])
                for one, text in zip(found, texts, strict=True)
            ]

    victim = Told(torch.tensor([2.0, 1.0]))
    target = TokensTarget(victim, tokenizer=Short(["good"]))
    with pytest.warns(CutWarning, match="reads 30 tokens at most"):
        result = mmadv.attack(
            target, ["A good film. " * 8000], [0], "text.greedy", modality="text", preset="none", eps=1.0, candidates=TABLE,
            entities=True, stop_words=True,
        )  # fmt: skip
    assert result.terms["candidates"].tolist() == [4 * 10]
    assert result.queries[0] == 1 + 20 + 40  # clean, each word left out, each candidate


def test_articles_are_repaired_and_recorded():
    space = TextSpace(TABLE, editable=EVERY)
    x = Texts.of(["A good film", "that was a  good one", "an, good"])
    region = space.around(x)
    adv = Texts(torch.tensor([[2, 0], [2, 0], [2, 0]]), region.x.number, region.x.book)
    assert list(adv) == ["An excellent film", "that was an  excellent one", "an, excellent"]
    assert [(one.word, one.replacement, one.source) for one in adv.changes(0)] == [
        (0, "An", "article"),
        (1, "excellent", "table"),
    ]
    assert region.distance(adv).tolist() == pytest.approx([1 / 3, 1 / 5, 1 / 2])  # the article is no word of its own


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("Vitamin A good", "Vitamin A excellent"),  # a letter
        ("VITAMINS ARE A GOOD THING", "VITAMINS ARE AN EXCELLENT THING"),
        ("It was A GOOD thing", "It was AN EXCELLENT thing"),
        ("Hm. A good thing", "Hm. An excellent thing"),
        ("An EXCELLENT film", "A FINE film"),
        ("AN EXCELLENT film", "A FINE film"),
        ("A fine film", "An étude film"),
        ("an excellent film", "a fine film"),
        ("a great film", "a … film"),  # nothing to hear
        ("an odd film", "an 😀 film"),
        ("a STRANGE film", "a STRONG film"),
    ],
)
def test_articles_follow_the_sound_and_letters_stay(text, changed):
    own = {"good": "excellent", "excellent": "fine", "fine": "étude", "great": "…", "odd": "😀", "GOOD": "EXCELLENT"}
    table = Table({word: [other] for word, other in {**own, "EXCELLENT": "FINE", "STRANGE": "STRONG"}.items()})
    region = TextSpace(table, editable=EVERY).around(Texts.of([text]))
    assert Texts(torch.ones_like(region.x.choice), region.x.number, region.x.book)[0] == changed


def test_candidates_that_share_a_base_are_written_as_if_each_stood_alone():
    words = Words.of("An honest  film: a fine, a odd\none of an  hour")
    options = [
        ("big", "own"),
        ("apt", "true"),
        ("movie", "art"),
        ("the",),
        ("good", "able"),
        ("one", "an"),
        ("eerie",),
        ("day",),
    ]
    slots = (0, 1, 2, 3, 4, 5, 6, 10)  # articles among them, and words right after one
    for articles in (True, False):
        book = (
            Lattice(
                words, slots, tuple(tuple(Candidate(one, "table") for one in own) for own in options), None, articles
            ),
            Lattice(words, slots[:2], tuple(tuple(Candidate(one, "table") for one in own) for own in options[:2])),
        )
        draw = random.Random(0)
        bases = [[draw.choice([0, 0, 1, len(own), DELETED]) for own in options] for _ in range(60)]
        rows = [
            (base, slot, option) for base in range(60) for slot, own in enumerate(options)
            for option in (UNKNOWN, DELETED, *range(len(own) + 1))
        ]  # fmt: skip
        base, slot, option = torch.tensor(rows).unbind(1)
        moved = Moved(base[:, None], slot, option, torch.zeros_like(base), torch.tensor(bases), book)
        candidates = moved.expanded()
        assert candidates.moved is moved
        alone = Texts(candidates.choice, candidates.number, book)
        assert candidates.texts("?") == alone.texts("?")
        part = candidates[5:9]
        assert part.texts("?") == alone.texts("?")[5:9], "a part is not written as the whole"


def test_probes():
    lattice = Lattice(Words.of("so good, truly"), (1, 2), ((Candidate("fine", ""),), (Candidate("really", ""),)))
    assert lattice.text({0: DELETED}) == "so, truly"
    assert lattice.text({1: DELETED}) == "so good,"
    assert lattice.text({1: UNKNOWN}, "<unk>") == "so good, <unk>"


def test_which_words_may_be_replaced():
    text = Words.of('The good 3 friends of Maria said "good film" and liked it')
    open_ = [word for word, ok in zip(text.words, Editable().of([text])[0], strict=True) if ok]
    assert open_ == ["good", "friends", "said", "liked"]
    assert "film" in [word for word, ok in zip(text.words, Editable(quoted=True).of([text])[0], strict=True) if ok]
    assert "The" in [word for word, ok in zip(text.words, Editable(stop_words=True).of([text])[0], strict=True) if ok]
    assert "3" in [word for word, ok in zip(text.words, Editable(digits=True).of([text])[0], strict=True) if ok]
    assert "Maria" in [word for word, ok in zip(text.words, Editable(entities=True).of([text])[0], strict=True) if ok]


@pytest.mark.parametrize(
    ("text", "open_"),
    [
        ("it isn’t good and I don't, dont, Cant or CANNOT like it without you, never", "good like"),
        ("<b class='good'>fine</b> &eacute; film &amp; a <i>dull</i> one <!-- old -->", "fine film dull one"),
        ("see https://good.org/film?x=old or www.fine.net/dull or good.com. See", "see See"),
        ("write to good.film@fine.org or @goodfilm about #good film", "write film"),
        ("in route66 and Covid-19, the 1990s, mp3s, H2O and x² good", "good"),
    ],
)
def test_words_that_no_reader_would_swap_stay(text, open_):
    words = Words.of(text)
    found = [word for word, ok in zip(words.words, Editable(entities=True).of([words])[0], strict=True) if ok]
    assert [word for word in found if word not in ("or", "and", "about")] == open_.split()


def test_no_source_offers_a_negation_where_those_stay():
    def offered(**words):
        space = TextModality().space(preset="none", entities=True, **words)
        return {one.text for own in space.around(Texts.of(["a note by you"])).x.book[0].options for one in own}

    assert offered(candidates=Table({"note": ["not", "letter"]})) == {"letter"}
    assert offered(candidates=Table({"note": ["not", "letter"]}), stop_words=True) == {"not", "letter"}
    assert "not" not in offered(candidates="characters")
    assert len(offered(candidates="characters")) > 5


def test_words_go_on_over_digits():
    words = "route66 Covid-19 mp3 mp3's 1990s 3 x² top-10 don't actors'"
    assert Words.of(words + " ...").words == tuple(words.split())


def test_markup_is_found_in_linear_time():
    start = time.process_time()
    for text in (
        "a" * 100_000,
        "a." * 50_000,
        "a-" * 50_000,
        "<a " * 30_000,
        "<!" * 50_000,
        "www." * 25_000 + "@",
        "&a" * 50_000,
    ):
        assert len(list(MARKUP.finditer(text))) < 60_000
    assert time.process_time() - start < 2


def test_markup_may_be_opened():
    (found,) = Editable(markup=True, entities=True).of([Words.of("good #good")])
    assert found == [True, True]
    space = TextModality().space(preset="none", candidates=TABLE, markup=True)
    assert space.around(Texts.of(["what #good it is"])).size.sum() == 3


@pytest.mark.parametrize(
    ("limits", "most"), [({"eps": 0.5}, 2), ({"eps": 0.49}, 1), ({"eps": 1.0, "words": 1}, 1), ({"eps": 0.0}, 0)]
)
def test_share_and_number_of_words(limits, most):
    region = TextSpace(TABLE, editable=EVERY, **limits).around(Texts.of(["good film good film"]))
    assert region.limit.tolist() == [most]
    for choice in itertools.product(range(2), repeat=4):
        adv = Texts(torch.tensor([choice]), region.x.number, region.x.book)
        assert bool(region.feasible(adv)) == (sum(choice) <= most)


@pytest.mark.parametrize("limit", [{"words": 1}, {"edits": 5}])
def test_a_number_of_words_or_characters_is_limit_enough(limit):
    result = mmadv.attack(
        lambda texts: [[float("good" in one), float("movie" in one) + 0.5] for one in texts],
        ["not good film"], [0], "text.beam", preset="none", candidates=TABLE, entities=True, **limit,
    )  # fmt: skip
    assert result.adv[0] in ("not fine film", "not good movie")
    assert TextModality().space(preset="strict", words=9, candidates=TABLE, encoder=letters).eps == 0.15
    assert TextModality().space(preset="none", candidates=TABLE).eps == float("inf")


@pytest.mark.parametrize("text", ["good film", "a good film"])
def test_characters_edited(text):
    region = TextSpace(TABLE, editable=EVERY, edits=9).around(Texts.of([text]))
    repaired = text.startswith("a ")  # a good, an excellent: one more
    for choice, edited in (((1, 0), 4), ((2, 0), 9 + repaired), ((0, 1), 5), ((1, 1), 9)):
        adv = Texts(torch.tensor([choice]), region.x.number, region.x.book)
        assert bool(region.feasible(adv)) == (edited <= 9)
        assert float(region.space.measures(region.x, adv)["edits"]) == edited


def letters(texts):
    return torch.tensor(
        [[float(text.lower().count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
    )


def test_similarity_is_to_the_original_and_asked_for_winners_only():
    asked = []

    def encoder(texts):
        asked.extend(texts)
        return letters(texts)

    words = {f"w{letter}" * 3: [f"w{letter}" * 3 + "x" * k for k in (1, 2, 3)] for letter in "abcdef"}
    text = " ".join(words)

    def victim(texts):
        score = torch.tensor([float(one.count("x")) for one in texts])
        return torch.stack([score, torch.full_like(score, 8.5)], 1)

    for least in (0.5, 0.9, 0.97, 0.999):
        asked.clear()
        space = {"preset": "none", "eps": 1.0, "candidates": Table(words), "stop_words": True, "entities": True}
        for attack in ("text.greedy", "text.beam", "text.pwws", "text.genetic", "text.suite"):
            result = mmadv.attack(victim, [text], [1], attack, similarity=least, encoder=encoder, **space)
            cosine = torch.cosine_similarity(*letters([text, result.adv[0]]), dim=0)
            if result.success[0]:
                assert cosine >= least - 1e-6
            else:
                assert least > 0.9
        result = mmadv.attack(victim, [text], [1], "text.greedy", similarity=least, encoder=encoder, **space)
    asked.clear()
    mmadv.attack(victim, [text], [1], "text.greedy", similarity=0.9, encoder=encoder, **space)
    assert len(asked) <= 12  # of 25 texts that the victim read


@pytest.mark.parametrize(
    "attack", ["pwws", "greedy", "saliency", "firstorder", "beam", "genetic", "swarm", "exhaustive", "suite"]
)
@pytest.mark.parametrize("limit", [{"similarity": 0.9, "encoder": letters}, {"edits": 4}])
def test_where_the_strongest_substitutes_lie_outside_the_others_are_searched(attack, limit):
    words = ["abc", "abd", "abe", "abf", "abg", "abh"]
    near, far = [word + "y" for word in words], [word + "zzzzzz" for word in words]

    class Lead(nn.Module):
        def forward(self, total):
            return torch.cat([total, torch.full_like(total, 3.5)], 1)

    weight = torch.tensor([0.0] * 6 + [1.0] * 6 + [3.0] * 6).unsqueeze(1)
    victim = Bag([*words, *near, *far], weight, Lead())
    table = Table({word: [strong, weak] for word, strong, weak in zip(words, far, near, strict=True)})
    space = {"preset": "none", "eps": 1.0, "candidates": table, "stop_words": True, "entities": True}
    result = mmadv.attack(victim, [" ".join(words)], [1], f"text.{attack}", modality="text", **space, **limit)
    # Four of the weak ones, which are as many as may be.
    assert result.success.all()
    assert sum(word in near for word in result.adv[0].split()) == 4


@pytest.mark.parametrize("attack", ["pwws", "greedy", "beam", "genetic", "swarm", "exhaustive", "suite"])
def test_where_every_substitute_has_too_many_characters_a_text_is_robust(attack):
    """A search is told that such a text is none; it has not gone astray."""
    victim = lambda texts: [[0.5, float(one.count("good"))] for one in texts]  # noqa: E731
    space = {"preset": "none", "eps": 1.0, "candidates": "characters", "modality": "text"}
    texts = ["a good and good film"] * 3
    for edits, status in ((1, "robust"), (2, "fooled")):
        result = mmadv.attack(victim, texts, [1] * 3, f"text.{attack}", edits=edits, **space)
        assert set(result.status) == {status}
        assert not result.alarms
        assert f"edits {edits}" in result.threat


def test_fingerprints_tell_spaces_apart(monkeypatch):
    class Encoder:
        def __init__(self, told):
            self.fingerprint = lambda: told

        def __call__(self, texts):
            return letters(texts)

    def space(**words):
        return TextModality().space(**{"preset": "none", "eps": 0.5, "candidates": TABLE, **words}).fingerprint()

    every = [
        {}, {"eps": 0.4}, {"words": 3}, {"edits": 3}, {"articles": False}, {"markup": True}, {"entities": True},
        {"candidates": Table({"good": ["fine"]})}, {"candidates": "characters"}, {"candidates": "wordnet"},
        {"similarity": 0.8, "encoder": Encoder("one")}, {"similarity": 0.8, "encoder": Encoder("two")},
        {"similarity": 0.9, "encoder": Encoder("one")}, {"similarity": 0.9, "encoder": letters},
        {"similarity": 0.9, "encoder": lambda texts: letters(texts) + 1},
        {"similarity": 0.9, "encoder": lambda texts: letters(texts) * 2},
    ]  # fmt: skip
    found = [space(**words) for words in every]
    assert len(set(found)) == len(every)
    assert [space(**words) for words in every] == found
    monkeypatch.setattr(lexicon, "_wordnet_digest", lambda folder: "another")
    assert [space(**words) != one for words, one in zip(every, found, strict=True)].count(True) == 1


def test_an_infeasible_success_is_none():
    result = mmadv.attack(
        lambda texts: torch.tensor([[float("good" in one), 0.5] for one in texts]),
        ["a good one"], [0], "text.exhaustive", preset="none", eps=1.0, candidates=TABLE, entities=True,
        similarity=1.0, encoder=letters,
    )  # fmt: skip
    assert [status.value for status in result.status] == ["robust"]
    assert not result.summary().alarms
    assert result.adv[0] == "a good one"


def test_packed_examples_come_back_and_strangers_are_infeasible():
    kind, space = TextModality(), TextSpace(TABLE, editable=EVERY)
    region = space.around(Texts.of([("a premise", "A good film"), ("", "not good")]))
    adv = Texts(torch.tensor([[2, 1], [0, 1]]), region.x.number, region.x.book)
    packed = [kind.pack(adv[row : row + 1]) for row in range(2)]
    back = kind.unpack(packed)
    assert back.strings() == adv.strings() == [("a premise", "An excellent movie"), ("", "not fine")]
    assert region.feasible(back).tolist() == [True, True]
    assert [kind.pack(back[row : row + 1]).tolist() for row in range(2)] == [one.tolist() for one in packed]
    other = TextSpace(Table({"good": ["bad"], "film": ["movie"]}), editable=EVERY).around(region.x)
    assert other.feasible(back).tolist() == [False, False]
    assert region.feasible(kind.unpack(packed[::-1])).tolist() == [False, False]
    assert described(adv[:1])["substitutions"][1]["span"] == [2, 6]


def test_any_point_of_a_lattice_comes_back_as_it_was_found():
    pick = random.Random(0)
    words = {"a": ["one", "an"], "an": ["a", "some"], "good": ["fine", "excellent", "honest"], "odd": ["good", "étude"]}
    kind, repaired = TextModality(), 0
    for articles in (True, False):
        texts = [" ".join(pick.choices([*words, "A", "An", "GOOD"], k=pick.randint(1, 9))) for _ in range(60)]
        region = TextSpace(Table(words), editable=EVERY, articles=articles).around(Texts.of(texts))
        sizes = region.size.clamp_min(1).tolist()
        choice = torch.tensor([[pick.randrange(size) for size in row] for row in sizes])
        adv = Texts(choice, region.x.number, region.x.book)
        back = kind.unpack([kind.pack(adv[row : row + 1]) for row in range(len(adv))])
        assert list(back) == list(adv)
        assert bool(region.feasible(back).all())
        for row in range(len(adv)):
            assert back.changes(row) == adv.changes(row)
            counted = [one for one in adv.changes(row) if one.source != "article"]
            assert len(counted) == int((choice[row] != 0).sum())
            repaired += len(adv.changes(row)) - len(counted)
    assert repaired > 10


def test_a_stored_text_that_its_substitutions_do_not_make_is_refused():
    kind, region = TextModality(), TextSpace(TABLE, editable=EVERY).around(Texts.of(["a good film"]))
    packed = bytes(kind.pack(Texts(torch.tensor([[2, 0]]), region.x.number, region.x.book)).tolist())
    altered = packed.replace(b'"adversarial": "an excellent', b'"adversarial": "a excellent')
    with pytest.raises(RunError, match="don't make the stored text"):
        kind.unpack([torch.tensor(list(altered), dtype=torch.uint8)])


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ("one text", "x is one string"),
        ([1, 2], "a int stands where a text is expected"),
        ([["a", "b", "c"]], "a list stands where a text is expected"),
        ([["good", "film"]], "a list stands where a text is expected"),
        ([("good", 1)], "a tuple stands where a text is expected"),
        (["good film", ("a film", "good")], "(?s)texts and pairs of texts stand in one batch.*row 1"),
        ([("a film", "good"), "good film"], "(?s)texts and pairs of texts stand in one batch.*row 1"),
        ({"good film": 0}, "x is a dict"),
        ({"good film"}, "x is a set"),
        (numpy.array([["good", "film"]]), "x is a ndarray"),
        (7, "x is a int"),
        (["\ud800"], "lone surrogate"),
    ],
)
def test_inputs_that_are_no_texts(x, said):
    with pytest.raises(InputError, match=said):
        mmadv.attack(letters, x, [0], "text.pwws", preset="none", eps=1.0, candidates=TABLE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"eps": -0.1}, "eps is -0.1"),
        ({"eps": 10}, "eps is 10"),
        ({"eps": True}, "eps is True"),
        ({"words": -1}, "words is -1"),
        ({"words": True}, "words is True"),
        ({"stop_words": "no"}, "stop_words is 'no'"),
        ({"edits": 1.5}, "edits is 1.5"),
        ({"similarity": 2.0, "encoder": letters}, "similarity is 2.0"),
        ({"similarity": "0.8", "encoder": letters}, "similarity is '0.8'"),
        ({"preset": "strct"}, "strict"),
        ({"preset": ["strict"]}, "unknown preset"),
        ({"encoder": 3}, "no similarity is asked for"),
        ({"preset": "loose", "similarity": -1, "encoder": letters}, "no similarity is asked for"),
        ({"similarity": 0.5, "encoder": 3}, "encoder is a int"),
        ({"candidates": "wordnett"}, "wordnet"),
        ({"candidates": 3}, "candidates is a int"),
        ({"candidates": "no_such_package:thing"}, "cannot be imported"),
        ({"candidates": "a b:c"}, "cannot be imported"),
        ({"candidates": "math:pi"}, "candidates is a float"),
        ({"candidates": "os:getpid"}, "candidates is a int"),
        ({"candidates": "mmadv_text.candidates.table:Table"}, "candidates is a type"),
        ({"similarity": 0.5, "encoder": "math:pi"}, "encoder is a float"),
        ({"similarity": 0.5, "encoder": "mmadv_text.words:Words"}, "encoder is a type"),
    ],
)
def test_limits_that_are_none(words, said):
    with pytest.raises(ParameterError, match=said):
        TextModality().space(**{"preset": "none", "candidates": TABLE, **words})


@pytest.mark.parametrize("named", ["source", "maker", "Maker"])
def test_what_is_named_may_be_the_thing_itself_or_make_it(monkeypatch, named):
    own = types.ModuleType("own_candidates")
    own.source, own.maker, own.encoder = TABLE, lambda: TABLE, letters
    own.Maker = type("Maker", (Table,), {"__init__": lambda self: Table.__init__(self, {"good": ["fine"]})})
    monkeypatch.setitem(sys.modules, "own_candidates", own)
    space = TextModality().space(
        preset="none", candidates=f"own_candidates:{named}", similarity=0.5, encoder="own_candidates:encoder"
    )
    assert space.around(Texts.of(["good"])).x.book[0].options[0][0].text == "fine"
    assert space.similarity.encoder is letters


def test_what_is_named_is_made_once_for_each_cache(monkeypatch, tmp_path):
    one = TextModality().space(preset="none", candidates="wordnet").candidates
    assert TextModality().space(preset="none", candidates="wordnet").candidates is one
    monkeypatch.setenv("MMADV_CACHE", str(tmp_path))
    assert TextModality().space(preset="none", candidates="wordnet").candidates is not one


def test_an_empty_batch_may_have_an_empty_list_of_labels():
    result = mmadv.attack(letters, [], [], "text.pwws", preset="none", eps=1.0, candidates=TABLE)
    assert result.status == []


class Told(torch.nn.Module):
    """Answers the same to every text."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.tokenizer = answer, Vocabulary(["good"])
        self.embedding = torch.nn.Embedding(3, 1)
        self.eval()

    def forward(self, ids):
        return self.answer.expand(len(ids), -1) + 0 * self.embedding(ids).sum(1)


@pytest.mark.parametrize("replacements", [{"good": "fine"}, {"good": [3]}])
def test_a_table_holds_lists_of_texts(replacements):
    with pytest.raises(ParameterError, match="the replacements of 'good' are"):
        Table(replacements)


def test_errors_of_a_victims_own_reach_who_wrote_it():
    def victim(texts):
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        mmadv.attack(victim, ["good film"], [0], "text.pwws", preset="none", eps=1.0, candidates=TABLE, entities=True)


def test_a_source_that_answers_for_other_texts():
    class Short(Table):
        def __call__(self, texts):
            return super().__call__(texts)[1:]

    class Nothing(Table):
        def __call__(self, texts):
            return None

    class Strings(Table):
        def __call__(self, texts):
            return [[["fine"] for _ in text.words] for text in texts]

    for source, said in (
        (Short({"good": ["fine"]}), "gave 1 texts .* about 2 texts"),
        (Nothing({}), "gave a NoneType"),
        (Strings({}), "a candidate for 'good' of table is 'fine'"),
        (Table({"good": ["fine"]}, "article"), "source is called article"),
    ):
        with pytest.raises(InputError, match=said):
            TextSpace(source, editable=EVERY).around(Texts.of(["good", "good film"]))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"text": ["a", "b"], "label": 1}], "the column 'text' holds list, no texts"),
        ([{"text": 3, "label": 1}], "the column 'text' holds int64, no texts"),
        ([{"text": "a", "label": [1]}], "a list stands in column 'label'"),
        ([{"text": "a", "label": 1}, {"text": "b", "label": 0.5}], "'0.5' lies between classes"),
        ([{"label": 1}], "no column is called 'text'"),
    ],
)
def test_files_that_hold_something_else(tmp_path, rows, said):
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        TextModality().source(path=str(path))


@pytest.mark.parametrize(
    ("labels", "classes", "wanted"),
    [
        (["1.0", "0.0"], None, [1, 0]),
        (["1", "3"], None, [1, 3]),
        (["²", "1"], None, "'²' is no class number"),
        (["good", "bad"], None, "classes: .bad, good., in the order of the model's outputs"),
        (["bad", "1.0"], ["good", "bad"], [1, 1]),
        (["²"], ["good", "bad"], "'²' is none of the model's classes"),
        (["-1"], ["good", "bad"], "'-1' is none of the model's classes"),
    ],
)
def test_labels_of_a_file(tmp_path, labels, classes, wanted):
    path = tmp_path / "data.csv"
    path.write_text("text,label\n" + "".join(f"a,{label}\n" for label in labels), encoding="utf-8")
    if isinstance(wanted, str):
        with pytest.raises(InputError, match=wanted):
            TextModality().source(path=str(path), classes=classes)
    else:
        assert TextModality().source(path=str(path), classes=classes).take(0, 9).y.tolist() == wanted


@pytest.mark.parametrize(
    ("victim", "options", "said"),
    [
        (lambda texts: torch.zeros(len(texts) + 1, 2), {}, "answered shape"),
        (lambda texts: [[0.7, 0.7]] * len(texts), {"output": "probabilities"}, "sum to 1.4"),
        (lambda texts: [[1.5, -0.5]] * len(texts), {"output": "probabilities"}, "sum to 1"),
        (lambda texts: [[-0.1, -0.1]] * len(texts), {"output": "log_probabilities"}, "log probabilities sum to 1.8"),
        (Told(torch.tensor([0.7, 0.7])), {"output": "probabilities"}, "sum to 1.4"),
        (lambda texts: None, {}, "a NoneType, can't be read as numbers"),
        (lambda texts: [[0.5, 0.5], [1.0]], {}, "a list of list, can't be read"),
        (lambda texts: {"logits": [[0.0, 1.0]]}, {}, "a dict, can't be read"),
        (lambda texts: [{"label": "good", "score": 0.5} for _ in texts], {}, "a list of dict, can't be read"),
        (lambda texts: ["good" for _ in texts], {"output": "label"}, "a list of str, can't be read"),
        (lambda texts: "good", {}, "a str, can't be read"),
        (lambda texts: [0.7 for _ in texts], {"output": "label"}, "no whole numbers"),
        (torch.nn.Linear(2, 2).eval(), {}, "no tokenizer"),
    ],
)
def test_victims_that_answer_otherwise_than_declared(victim, options, said):
    with pytest.raises(TargetError, match=said):
        mmadv.attack(
            victim, ["good film"], [0], "text.pwws", preset="none", eps=1.0, candidates=TABLE, entities=True, **options
        )


def test_a_label_that_the_model_lacks():
    with pytest.raises(InputError, match="label 5 is out of range"):
        mmadv.attack(
            lambda texts: [[0.0, 1.0]] * len(texts),
            ["good"],
            [5],
            "text.pwws",
            preset="none",
            eps=1.0,
            candidates=TABLE,
            entities=True,
        )


def test_decisions_alone_are_enough_for_exhaustive_search():
    victim = lambda texts: [int("good" not in one) for one in texts]  # noqa: E731
    space = {"preset": "none", "eps": 1.0, "candidates": TABLE, "entities": True}
    result = mmadv.attack(victim, ["a good film"], [0], "text.exhaustive", output="label", **space)
    assert result.adv[0] == "a fine film"
    with pytest.raises(mmadv.MmadvError, match="score access"):
        mmadv.attack(victim, ["a good film"], [0], "text.greedy", output="label", **space)


def test_a_lattice_too_large_is_refused_before_the_first_query():
    asked = []
    with pytest.raises(ParameterError, match=r"(?s)more than 200,000 points.*row 1"):
        mmadv.attack(
            lambda texts: asked.append(texts) or [[0.0, 1.0]] * len(texts),
            ["good", "good film " * 6], [1, 1], "text.exhaustive", preset="none", eps=1.0, candidates=TABLE, entities=True,
        )  # fmt: skip


def test_points_are_counted_up_to_the_limit_only():
    def lattice(slots):
        return Lattice(Words.of("x " * slots), tuple(range(slots)), ((Candidate("y", ""), Candidate("z", "")),) * slots)

    for slots, limit in itertools.product(range(6), range(7)):
        points = sum(0 < sum(map(bool, point)) <= limit for point in itertools.product(range(3), repeat=slots))
        assert volume(lattice(slots), limit, 10**6) == points
        assert (volume(lattice(slots), limit, 20) > 20) == (points > 20)
    start = time.process_time()
    assert volume(lattice(20_000), 20_000, 1000) > 1000
    assert time.process_time() - start < 1


TERMS = """
title: terms
campaigns:
  - name: one
    modality: text
    target: {factory: "own_terms:Half"}
    data: {factory: "own_terms:data"}
    threat: {eps: [0.3, 0.6], candidates: "own_terms:table", preset: none, similarity: -0.5, encoder: "own_terms:letters",
      words: 2, edits: 9, stop_words: true, entities: true}
    attacks: [text.greedy, text.exhaustive]
"""


class Half(StringsTarget):
    """Is fooled by one word, and reads nine characters."""

    def __init__(self):
        super().__init__(lambda texts: [[3.0, 5.0 * ("fine" in text)] for text in texts])

    def seen(self, texts):
        return [(0, 9, max(len(text) - 9, 0)) for text in texts]


def test_what_texts_are_attacked_under_stands_in_every_record_and_beside_the_number(tmp_path, monkeypatch):
    texts = ["good film good film", "film film", "nothing here", "a a", "film story film film"]
    own = types.ModuleType("own_terms")
    own.Half, own.letters, own.table = Half, letters, TABLE
    own.data = lambda: MemorySource("texts", Texts.of(texts), torch.zeros(5, dtype=torch.int64))
    monkeypatch.setitem(sys.modules, "own_terms", own)
    (tmp_path / "spec.yaml").write_text(TERMS)
    done = CliRunner().invoke(cli.app, ["audit", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "nothing may be changed of 3 at eps 0.3, 2 at eps 0.6" in done.output
    audit = Audit.of_folder(tmp_path / "run", default_host())
    records = [record for unit in audit.units() for record in audit.records(audit.place(unit))]
    assert {record["status"] for record in records} == {"fooled", "robust"}
    for record in records:
        terms = {name: record["measures"][name] for name in ("words limit", "edits limit", "similarity threshold")}
        assert list(terms.values()) == [2, 9, -0.5]
    first = [record["measures"] for record in records[:5]]
    assert [one["candidates"] for one in first] == [4, 4, 0, 0, 2]
    assert [one.get("untouchable") for one in first] == [None, 1, 1, 1, None]
    assert [one.get("unseen characters") for one in first] == [10, None, 3, None, 11]
    (campaign,) = json.loads((tmp_path / "run" / "summary.json").read_text())["campaigns"]
    assert [point["untouchable"] for point in campaign["worst"]] == [3, 2]
    assert [(alarm["code"], alarm["trust"]) for alarm in campaign["alarms"]] == [("untouchable_examples", "suspect")]
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert (
        "candidates 2 on average, words limit 2, edits limit 9, similarity threshold -0.5, unseen characters" in report
    )
    assert "nothing may be changed, and that count as robust: 3 at ε = 0.3, 2 at ε = 0.6" in report
    space = {"preset": "none", "candidates": TABLE, "stop_words": True, "entities": True}
    said = mmadv.attack(Half(), texts, [0] * 5, "text.greedy", modality="text", eps=0.6, **space).summary()
    assert "untouchable    2 of 5, of which nothing may be changed" in str(said)
    assert [alarm.code for alarm in said.alarms] == ["untouchable_examples"]
    nothing = mmadv.attack(Half(), texts, [0] * 5, "text.greedy", modality="text", eps=0.0, **space).summary()
    assert not nothing.alarms, "that nothing may be changed was asked for"


@pytest.mark.parametrize(("limits", "fixed"), [({"edits": 3}, True), ({"edits": 4}, False), ({"words": 0}, True)])
def test_texts_that_no_limit_lets_be_touched(limits, fixed):
    region = TextSpace(TABLE, editable=EVERY, **limits).around(Texts.of(["good"]))
    assert region.terms()["untouchable"].isnan().tolist() == [not fixed]


def test_wrong_thresholds_do_not_reach_the_region():
    check = Similarity(letters, 0.5)
    assert check.of([]).shape == (0,)
    with pytest.raises(TargetError, match="one embedding for each text"):
        Similarity(lambda texts: torch.zeros(1, 2), 0.5).of([("a", "b"), ("c", "d")])


@pytest.mark.parametrize(("vector", "said"), [([0.0, 0.0], "has no direction"), ([float("nan"), 1.0], "is not finite")])
def test_embeddings_that_no_similarity_can_be_told_from(vector, said):
    check = Similarity(lambda texts: torch.tensor([vector if "fine" in text else [1.0, 2.0] for text in texts]), 0.5)
    assert check.of([("good", "well"), ("fine", "fine")]).tolist() == pytest.approx([1.0, 1.0])
    for ask in (check.of, check.near):
        with pytest.raises(TargetError, match=f"(?s){said}.*'fine"):
            ask([("good", "well"), ("good", "fine film")])


def test_budgets_hold_and_success_never_falls_with_them():
    kit = TextKit()
    stage = kit.crowd({})
    names = ["pwws", "greedy", "saliency", "beam", "firstorder", "genetic", "swarm", "exhaustive", "suite"]
    for name in names:
        trial = Trial(Case(f"text.{name}", kit.settings()[0]), kit)
        found = []
        for budget in (1, 10, 100, 1000):
            for part in (stage, alone(stage, 0)):
                counting = Counting(part.victim)
                result = trial.run(part._replace(victim=counting), 2 * stage.radius, queries=budget)
                assert counting.forwards - result.checks <= budget * len(part.y), (name, budget)
                if part is stage:
                    found.append(int(result.success.sum()))
        assert found == sorted(found), name
        assert found[0] == 0 < found[-1], name
