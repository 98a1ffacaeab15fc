"""Searches against exhaustive search, and against plain re-writings of their papers, text by text."""

import itertools
import math
import random
from dataclasses import dataclass, replace

import pytest
import torch

import mmadv
from mmadv.search.relay import Member, Relay
from mmadv_text.attacks.beam import Beam
from mmadv_text.attacks.exhaustive import Exhaustive
from mmadv_text.attacks.greedy import Greedy
from mmadv_text.attacks.swarm import Swarm
from mmadv_text.candidates.table import Table
from mmadv_text.kit import TextKit

random.seed(0)
WORDS = [f"{a}{b}{c}" for a in "bdg" for b in "aeiou" for c in "klmn"]
SYNONYMS = {word: random.sample(WORDS, random.randint(1, 3)) for word in WORDS[:40]}
SYNONYMS = {word: sorted(set(options) - {word}) for word, options in SYNONYMS.items()}
WEIGHT = {word: random.uniform(-1, 1) for word in WORDS}
PAIR = {pair: random.uniform(-0.6, 0.6) for pair in itertools.permutations(WORDS[:30], 2)}
TEXTS = [" ".join(random.choices(WORDS[:45], k=random.randint(2, 7))) for _ in range(60)]
SPACE = {"preset": "none", "eps": 1.0, "candidates": Table(SYNONYMS), "stop_words": True, "entities": True}


def score(text):
    """A bag of words and of neighbouring pairs, so that substitutions interact."""
    words = text.split()
    return sum(WEIGHT.get(word, 0.0) for word in words) + sum(PAIR.get(pair, 0.0) for pair in itertools.pairwise(words))


class Victim:
    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked += texts
        return torch.tensor([[-score(text), score(text)] for text in texts])


LABELS = [int(score(text) > 0) for text in TEXTS]


def attacked(name, **words):
    return mmadv.attack(Victim(), TEXTS, LABELS, f"text.{name}", **SPACE, **words)


def replaced(one, other):
    return sum(a != b for a, b in zip(one.split(), other.split(), strict=True))


@pytest.fixture(scope="module")
def optimum():
    """For each text the least number of words whose replacement fools, or None; by plain enumeration."""
    found = []
    for text, label in zip(TEXTS, LABELS, strict=True):
        options = [[word, *SYNONYMS.get(word, [])] for word in text.split()]
        flips = (
            replaced(text, " ".join(point))
            for point in itertools.product(*options)
            if int(score(" ".join(point)) > 0) != label
        )
        found.append(min(flips, default=None))
    return found


def test_exhaustive_search_finds_the_optimum(optimum):
    result = attacked("exhaustive")
    for row, least in enumerate(optimum):
        assert bool(result.success[row]) == (least is not None)
        if least is not None:
            assert replaced(TEXTS[row], result.adv[row]) == least
    assert sum(least is not None for least in optimum) >= 25
    assert len({least for least in optimum if least}) >= 2


@pytest.mark.parametrize("name", ["beam", "suite"])
def test_beam_and_suite_miss_no_flip_and_use_the_fewest_words(name, optimum):
    result = attacked(name)
    for row, least in enumerate(optimum):
        assert bool(result.success[row]) == (least is not None)
        if least is not None:
            assert replaced(TEXTS[row], result.adv[row]) == least


@pytest.mark.parametrize(
    ("name", "most_missed", "most_extra"), [("pwws", 1, 1), ("greedy", 1, 6), ("genetic", 0, 2), ("swarm", 1, 1)]
)
def test_no_search_beats_the_optimum_or_falls_far_behind(name, most_missed, most_extra, optimum):
    result = attacked(name)
    missed = extra = 0
    for row, least in enumerate(optimum):
        if result.success[row]:
            assert least is not None
            assert replaced(TEXTS[row], result.adv[row]) >= least
            extra += replaced(TEXTS[row], result.adv[row]) - least
        missed += least is not None and not bool(result.success[row])
    assert missed <= most_missed  # of 54
    assert extra <= most_extra  # beside 71


def test_a_swarm_moves_to_its_bests_as_often_as_its_recurrence_says():
    @dataclass(frozen=True, kw_only=True)
    class Placed(Swarm):
        steps = 1

        def init(self, oracle):
            state = super().init(oracle)
            return replace(state, own=torch.ones_like(state.own), velocity=torch.zeros_like(state.velocity))

        def step(self, state, oracle):
            state = super().step(state, oracle)
            moved.append(state.particles)
            return state

    moved, words = [], WORDS[:8]
    table = Table({word: [word + "x"] for word in words})
    space = SPACE | {"candidates": table}
    mmadv.attack(
        lambda texts: [[1.0, 0.0]] * len(texts), [" ".join(words)], [0], Placed(particles=500), modality="text", **space
    )
    taken = 1 / (1 + math.exp(-(1 - 0.8) * (3 + 3)))
    assert float(moved[0].double().mean()) == pytest.approx(1 - (1 - 0.8 * taken) * (1 - 0.2 * taken), abs=0.04)


@pytest.mark.parametrize("scale", [2.0**-7, 2.0**7])
def test_genetic_search_does_not_depend_on_the_scale_of_logits(scale):
    once = attacked("genetic")
    other = mmadv.attack(lambda texts: scale * Victim()(texts), TEXTS, LABELS, "text.genetic", **SPACE)
    assert list(other.adv) == list(once.adv)
    assert torch.equal(other.queries, once.queries)


@pytest.mark.parametrize("queries", [10, 40, 150, 400, 1500])
def test_a_suite_is_no_weaker_than_its_members_under_any_budget(queries):
    draw = random.Random(1)
    table = {f"{first}{second}o": draw.randint(1, 6) for first in "bdfghklmnp" for second in "aeiou"}
    worth = {word + "x" * k: draw.gauss(0, 1) for word, count in table.items() for k in range(count + 1)}
    space = SPACE | {
        "candidates": Table({word: [word + "x" * k for k in range(1, n + 1)] for word, n in table.items()})
    }

    def victim(texts):
        lead = torch.tensor([sum(worth[word] for word in text.split()) for text in texts])
        return torch.stack([lead, -lead], 1)

    texts = [" ".join(draw.choices(list(table), k=14)) for _ in range(40)]
    labels = victim(texts).argmax(1)
    found = {
        name: int(mmadv.attack(victim, texts, labels, f"text.{name}", queries=queries, **space).success.sum())
        for name in ("greedy", "beam", "suite")
    }
    assert found["suite"] >= max(found.values()) - 1


def test_members_of_a_relay_send_what_they_are_granted():
    class Two(Relay):
        access = mmadv.Access.SCORE

        def members(self, oracle):
            return members

    def run(**words):
        return mmadv.attack(Victim(), TEXTS[:20], LABELS[:20], Two(), modality="text", **SPACE, **words)

    members = (Member(Beam(), queries=5),)
    assert 5 < int(run().queries.max()) <= 6  # the clean text among them
    assert 15 < int(run(eot=3).queries.max()) <= 18
    # What a final member ends, no other gets; and who does not enter sends nothing.
    whole = mmadv.attack(Victim(), TEXTS[:20], LABELS[:20], "text.exhaustive", **SPACE)
    members = (Member(Exhaustive(), final=True), Member(Greedy(), enters=lambda oracle: oracle.region.limit > 0))
    assert torch.equal(run().queries, whole.queries)
    members = (Member(Beam(), enters=lambda oracle: oracle.region.limit < 0),)
    assert int(run().queries.max()) == 1


def wrong(text, label):
    return 1 / (1 + math.exp(2 * score(text) * (1 if label else -1)))


def greedy_by_hand(text, label, left_out):
    """Word importance ranking as in TextAttack's GreedyWordSwapWIR, one text at a time."""
    words = text.split()
    asked = [text]

    def ask(one):
        asked.append(one)
        return wrong(one, label)

    open_ = [place for place, word in enumerate(words) if SYNONYMS.get(word)]
    without = {}
    for place in open_:
        probe = words[:place] + ([] if left_out else ["[UNK]"]) + words[place + 1 :]
        without[place] = ask(" ".join(probe))
    order = sorted(open_, key=lambda place: -without[place])
    now, best = list(words), wrong(text, label)
    for place in order:
        options = [[*now[:place], other, *now[place + 1 :]] for other in SYNONYMS[words[place]]]
        scores = [ask(" ".join(option)) for option in options]
        if max(scores) > best:
            best, now = max(scores), options[scores.index(max(scores))]
            if best > 0.5:
                return " ".join(now), len(asked), True
    return text, len(asked), False


@pytest.mark.parametrize("ranking", ["delete", "unk"])
def test_greedy_is_the_plain_search_text_by_text(ranking):
    result = attacked("greedy", ranking=ranking)
    for row, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True)):
        final, queries, fooled = greedy_by_hand(text, label, ranking == "delete")
        assert bool(result.success[row]) == fooled
        assert int(result.queries[row]) == queries
        if fooled:
            assert result.adv[row] == final


def pwws_by_hand(text, label):
    """The paper's PWWS, one text at a time."""
    words = text.split()
    open_ = [place for place, word in enumerate(words) if SYNONYMS.get(word)]
    if not open_:
        return None
    base = wrong(text, label)
    saliency, best = {}, {}
    for place in open_:
        saliency[place] = wrong(" ".join([*words[:place], "[UNK]", *words[place + 1 :]]), label) - base
        options = [" ".join([*words[:place], other, *words[place + 1 :]]) for other in SYNONYMS[words[place]]]
        gains = [wrong(option, label) - base for option in options]
        if max(gains) + base > 0.5:  # fooled on the way
            return "one word"
        best[place] = (max(gains), SYNONYMS[words[place]][gains.index(max(gains))])
    total = sum(math.exp(value) for value in saliency.values())
    order = sorted(open_, key=lambda place: -math.exp(saliency[place]) / total * best[place][0])
    now = list(words)
    for place in order:
        now[place] = best[place][1]
        if wrong(" ".join(now), label) > 0.5:
            return " ".join(now)
    return None


def test_pwws_is_the_papers_text_by_text():
    result = attacked("pwws")
    several = 0
    for row, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True)):
        final = pwws_by_hand(text, label)
        if final == "one word":
            assert bool(result.success[row])
            assert replaced(text, result.adv[row]) == 1
        elif final is None:
            assert not bool(result.success[row])
        else:
            several += 1
            assert result.adv[row] == final
    assert several >= 5


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e6])
@pytest.mark.parametrize("attack", [{"attack": "text.pwws"}, {"attack": "text.greedy", "ranking": "pwws"}])
def test_pwws_order_does_not_depend_on_how_sure_the_victim_is(attack, scale):
    worth = {"ab": 0.1, "ac": 0.2, "bb": 0.1, "bc": 2.0, "cb": -1.0, "db": -1.5}
    table = Table({"da": ["db"], "ca": ["cb"], "aa": ["ab", "ac"], "ba": ["bb", "bc"]})

    def victim(texts):
        lead = torch.tensor([[2.1 - sum(worth.get(word, 0.0) for word in text.split())] for text in texts]).double()
        return scale * torch.cat([lead, 0 * lead], 1)

    # Two words fool, each by its second option; the words that stand first do harm.
    space = {"preset": "none", "candidates": table, "stop_words": True, "entities": True}
    result = mmadv.attack(victim, ["da ca aa ba xa"], [0], **attack, eps=0.4, **space)
    assert result.adv[0] == "da ca ac bc xa"
    assert bool(result.success[0])


@pytest.mark.parametrize("name", ["pwws", "greedy", "beam", "genetic", "swarm", "exhaustive", "suite"])
def test_an_outside_count_agrees_and_nothing_is_asked_twice(name):
    victim = Victim()
    result = mmadv.attack(victim, TEXTS[:20], LABELS[:20], f"text.{name}", **SPACE)
    asked = victim.asked
    assert len(asked) == result.forwards + result.checks
    assert int(result.queries.sum()) <= result.forwards
    own = asked[
        6 : len(asked) - int(result.success.sum())
    ]  # without the look for chance and the judging of what was stored
    assert len(own) <= len(set(own)) * 1.25  # twins among texts apart


@pytest.mark.parametrize("eot", [1, 4, 20])
def test_a_suite_that_pays_several_passes_a_candidate_still_searches_all_of_a_small_lattice(eot):
    options = {word: [f"{first}e" for first in "dfghk"][:3] for word in ("ca", "da", "fa", "ga", "ha")}
    wanted = " ".join(found[-1] for found in options.values())

    def victim(texts):
        return [[5.0 * (text == wanted), 1.0] for text in texts]

    result = mmadv.attack(
        victim, ["ca da fa ga ha"], [1], "text.suite", candidates=Table(options), preset="none", eps=1.0, eot=eot,
        stop_words=True, entities=True, digits=True, quoted=True,
    )  # fmt: skip
    assert result.success.all()


@pytest.mark.parametrize("attack", ["text.saliency", "text.firstorder"])
def test_gradients_of_several_passes_are_added_up(attack):
    stage = TextKit().crowd({})
    words = TextKit().settings()[0]
    once = mmadv.attack(stage.victim, stage.x, stage.y, attack, modality="text", eps=stage.radius, **words)
    several = mmadv.attack(stage.victim, stage.x, stage.y, attack, modality="text", eps=stage.radius, eot=3, **words)
    assert several.status == once.status
    assert list(several.adv) == list(once.adv)
