"""Attacks on series against optima that are known, and SimBA against its own rule, asked by asked."""

import math
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

import mmadv
from mmadv.catalog import Catalog
from mmadv.host import default_host
from mmadv.testing.victims import Counting
from mmadv_series.attacks.simba import cosine
from mmadv_series.figures import CHANNELS, POINTS, example
from mmadv_series.kit import BAND, UNIT, SeriesKit, cosines
from mmadv_series.space import SeriesSpace

SETTINGS = [{"norm": "linf", "unit": UNIT}, {"norm": "l2", "unit": UNIT}, {"norm": "l2", "unit": UNIT, "band": BAND}]


@pytest.mark.parametrize("words", SETTINGS, ids=lambda words: "-".join(map(str, words.values())))
@pytest.mark.parametrize(
    ("name", "own"), [("fgsm", {}), ("pgd", {}), ("pgd", {"loss": "margin", "restarts": 3}), ("pgd", {"loss": "dlr"})]
)
def test_the_least_radius_is_enough_and_less_is_not(name, own, words):
    """A linear victim, channels in units that differ eightfold: the dual norm gives the nearest adversarial exactly."""
    victim, x, y, radius = SeriesKit(rows=16).duel(words)
    reached, missed = (
        mmadv.attack(victim, x, y, f"series.{name}", modality="series", eps=share * radius, **words, **own)
        for share in (1.01, 0.99)
    )
    assert reached.success.all()
    assert not missed.success.any()


@pytest.mark.parametrize("words", SETTINGS, ids=lambda words: "-".join(map(str, words.values())))
def test_noise_and_simba_stay_above_the_optimum_and_simba_comes_near_to_it(words):
    victim, x, y, radius = SeriesKit(rows=16).duel(words)
    for name in ("noise", "simba"):
        assert not mmadv.attack(victim, x, y, f"series.{name}", eps=0.99 * radius, **words).success.any()
    assert mmadv.attack(victim, x, y, "series.simba", eps=2 * radius, **words).success.all()


def margin(victim, x, y):
    """(B,) how far the best wrong class is ahead."""
    with torch.no_grad():
        logits = victim(x)
    own = logits.gather(1, y.unsqueeze(1)).squeeze(1)
    return logits.scatter(1, y.unsqueeze(1), -math.inf).amax(1) - own


@pytest.mark.parametrize("words", SETTINGS, ids=lambda words: "-".join(map(str, words.values())))
def test_simba_counts_its_queries_and_never_ends_worse_than_it_began(words):
    victim, x, y, radius = SeriesKit().crowd(words)
    counting = Counting(victim)
    result = mmadv.attack(
        counting, x, y, "series.simba", eps=0.05 * radius, steps=70, early_stop=False, access="score", **words
    )
    assert not result.success.any()
    assert counting.forwards == int(result.queries.sum()) + result.checks
    assert counting.backwards == 0
    gained = margin(victim, result.adv, y) - margin(victim, x, y)
    assert (gained >= 0).all()
    assert (gained > 0).any()


@pytest.mark.parametrize("words", SETTINGS, ids=lambda words: "-".join(map(str, words.values())))
def test_simba_asks_about_the_other_way_only_where_the_first_did_not_help(words):
    """What a single row's victim was asked, replayed: each step is one question, or two where the first was no better."""
    victim, x, y, radius = SeriesKit().crowd(words)
    x, y = x[:1].double(), y[:1]  # so that steps stand out of rounding
    units = torch.tensor(UNIT, dtype=torch.float64).unsqueeze(1)
    count = round(x.shape[2] * words.get("band", 1.0))
    steps, lr, eps, seen = 40, 0.02, 0.05 * radius, []  # 40 such steps stay inside, and nothing is projected

    def answers(rows):
        assert len(rows) == 1  # never about none
        seen.append(rows.clone())
        with torch.no_grad():
            return victim(rows)

    result = mmadv.attack(
        answers, x, y, "series.simba", modality="series", eps=eps, lr=lr, steps=steps, early_stop=False, **words
    )
    asked = seen[-int(result.queries[0]) :]
    assert len(seen) == len(asked) + result.checks
    at, scores = x, [float(margin(victim, one, y)) for one in asked]
    assert torch.equal(asked[0], at)
    best, done, place = scores[0], 0, 1
    waves = set()
    while place < len(asked):
        delta = (asked[place] - at) / units
        (channel,) = delta[0].abs().amax(1).gt(1e-6 * eps).nonzero().flatten().tolist()
        found = (cosines(count, x.shape[2]).double() @ delta[0, channel]).abs()
        assert float(found.square().sum()) == pytest.approx(float(found.amax()) ** 2, rel=1e-5)
        if done < count * len(UNIT):
            wave = (channel, int(found.argmax()))
            assert wave not in waves  # each vector of the basis once before any of them again
            waves.add(wave)
        helped = scores[place] > best
        if not helped and place + 1 < len(asked):
            other = (asked[place + 1] - at) / units
            assert torch.allclose(other, -delta, atol=1e-6 * eps)
            place += 1
            helped = scores[place] > best
        if helped:
            at, best = asked[place], scores[place]
        done, place = done + 1, place + 1
    assert done == steps
    assert torch.equal(result.adv, at)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_vectors_of_simba_are_the_cosines(norm):
    length = 1000
    region = SeriesSpace(norm, 1.0).around(torch.zeros(length, 1, length))
    mine = cosine(torch.arange(length), region)[:, 0].double()
    steps = torch.arange(length, dtype=torch.float64) + 0.5
    true = torch.cos(math.pi / length * torch.arange(length, dtype=torch.float64).unsqueeze(1) * steps)
    size = true.abs().amax(1, keepdim=True) if norm == "linf" else true.square().sum(1, keepdim=True).sqrt()
    assert torch.allclose(mine, true / size, atol=1e-6)


def test_all_that_is_registered_is_there():
    catalog = Catalog(default_host())
    assert {"series.noise", "series.fgsm", "series.pgd", "series.simba"} <= set(catalog.attacks("series"))
    ball, band = (catalog.constraint(f"series.{name}").resolve() for name in ("ball", "band"))
    assert (ball("linf", 0.1).eps, band(0.5).share) == (0.1, 0.5)
    for name in ("ucr_linf", "ucr_smooth"):
        assert catalog.threat_model(f"series.{name}").resolve()().space.eps == 0.1
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    x = torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(0))
    threat = catalog.threat_model("series.ucr_smooth").resolve()()
    region = threat.space.around(x)
    kept = mmadv.attack(module, x, module(x).argmax(1), "series.pgd", modality="series", eps=0.1, band=0.25)
    assert region.feasible(kept.adv).all()


def test_figures_are_escaped_free_of_scripts_and_as_large_as_they_need_to_be():
    x = torch.randn(CHANNELS + 2, 5 * POINTS, generator=torch.Generator().manual_seed(0))
    adv = x.clone()
    adv[1:-1] += 0.1
    html = example(x, adv, ('<script>alert("1")</script>', "a & b"))
    tree = ElementTree.fromstring(f"<div>{html}</div>")
    assert {one.tag for one in tree.iter()} == {"div", "figure", "svg", "polyline", "figcaption"}
    assert '<script>alert("1")</script>' in tree.findall(".//figcaption")[0].text
    assert "(channels 1, 2, 3 of 5)" in tree.findall(".//figcaption")[0].text
    lines = tree.findall(".//polyline")
    assert len(lines) == 3 * CHANNELS  # clean over adversarial, and the difference
    for line in lines:
        points = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
        assert len(points) == POINTS
        assert all(math.isfinite(value) for pair in points for value in pair)
    assert all(tree.findall(".//svg")[0].get(name) for name in ("viewBox", "aria-label", "role"))
    same = ElementTree.fromstring(f"<div>{example(x, x, ('a', 'a'))}</div>")  # nothing is changed: no division by zero
    assert "nan" not in ElementTree.tostring(same, encoding="unicode")
