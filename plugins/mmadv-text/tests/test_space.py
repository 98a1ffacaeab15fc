"""Text space: what may change, what stays byte for byte, and what a text may hold."""

import itertools

import pytest
import torch

import mmadv
from mmadv.errors import InputError, ParameterError, TargetError
from mmadv.testing import Case, Trial
from mmadv_text.candidates import Candidate
from mmadv_text.candidates.table import Table
from mmadv_text.constraints import Editable, Similarity
from mmadv_text.kit import TextKit
from mmadv_text.modality import TextModality, described
from mmadv_text.space import TextSpace
from mmadv_text.texts import DELETED, UNKNOWN, Lattice, Texts
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
        lambda texts: torch.tensor([[float(one.count("good")), 7999.5] for one in texts]),
        [text], [0], "text.greedy", ranking="random", steps=3, preset="none", eps=1.0, candidates=TABLE, entities=True, stop_words=True,
    )  # fmt: skip
    assert result.status[0].value in ("fooled", "robust")
    assert len(result.adv[0]) < 105_000


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
    ("limits", "most"), [({"eps": 0.5}, 2), ({"eps": 0.49}, 1), ({"eps": 1.0, "words": 1}, 1), ({"eps": 0.0}, 0)]
)
def test_share_and_number_of_words(limits, most):
    region = TextSpace(TABLE, editable=EVERY, **limits).around(Texts.of(["good film good film"]))
    assert region.limit.tolist() == [most]
    for choice in itertools.product(range(2), repeat=4):
        adv = Texts(torch.tensor([choice]), region.x.number, region.x.book)
        assert bool(region.feasible(adv)) == (sum(choice) <= most)


def test_characters_edited():
    region = TextSpace(TABLE, editable=EVERY, edits=4).around(Texts.of(["good film"]))
    for choice, edited in (((1, 0), 4), ((2, 0), 9), ((0, 1), 5), ((1, 1), 9)):
        adv = Texts(torch.tensor([choice]), region.x.number, region.x.book)
        assert bool(region.feasible(adv)) == (edited <= 4)
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


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ("one text", "x is one string"),
        ([1, 2], "a int stands where a text is expected"),
        ([["a", "b", "c"]], "a list stands where a text is expected"),
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
        ({"words": -1}, "words is -1"),
        ({"edits": 1.5}, "edits is 1.5"),
        ({"similarity": 2.0, "encoder": letters}, "similarity is 2.0"),
        ({"preset": "strct"}, "strict"),
        ({"candidates": "wordnett"}, "wordnet"),
        ({"candidates": 3}, "candidates is a int"),
        ({"candidates": "no_such_package:thing"}, "cannot be imported"),
    ],
)
def test_limits_that_are_none(words, said):
    with pytest.raises(ParameterError, match=said):
        TextModality().space(**{"preset": "none", "candidates": TABLE, **words})


@pytest.mark.parametrize(
    ("victim", "options", "said"),
    [
        (lambda texts: torch.zeros(len(texts) + 1, 2), {}, "answered shape"),
        (lambda texts: [[0.7, 0.7]] * len(texts), {"output": "probabilities"}, "sum to 1.4"),
        (lambda texts: [[1.5, -0.5]] * len(texts), {"output": "probabilities"}, "sum to 1"),
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
    with pytest.raises(ParameterError, match=r"(?s)531,440 points.*row 1"):
        mmadv.attack(
            lambda texts: asked.append(texts) or [[0.0, 1.0]] * len(texts),
            ["good", "good film " * 6], [1, 1], "text.exhaustive", preset="none", eps=1.0, candidates=TABLE, entities=True,
        )  # fmt: skip


def test_wrong_thresholds_do_not_reach_the_region():
    check = Similarity(letters, 0.5)
    assert check.of([]).shape == (0,)
    with pytest.raises(TargetError, match="one embedding for each text"):
        Similarity(lambda texts: torch.zeros(1, 2), 0.5).of([("a", "b"), ("c", "d")])


def test_budgets_hold_and_success_never_falls_with_them():
    kit = TextKit()
    stage = kit.crowd({})
    names = ["pwws", "greedy", "saliency", "beam", "firstorder", "genetic", "swarm", "suite"]
    for name in names:
        trial = Trial(Case(f"text.{name}", kit.settings()[0]), kit)
        found = []
        for budget in (1, 10, 100, 1000):
            result = trial.run(stage, 2 * stage.radius, queries=budget)
            assert int(result.queries.max()) <= budget
            found.append(int(result.success.sum()))
        assert found == sorted(found), name
