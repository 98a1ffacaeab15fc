"""Noise is keyed by seed, example and draw, is uniform, and leaves the global generators alone."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from mmadv import Noise

IDS = torch.tensor([5, -(2**63), 2**63 - 1, 0, -1, 17])


def noise(ids=IDS, seed=3):
    return Noise(seed, ids)


@pytest.mark.parametrize("kind", ["uniform", "normal", "signs", "integers"])
def test_a_row_draws_the_same_in_any_batch(kind):
    def draws(ids):
        stream = noise(ids)
        shape = (3, 7) if kind != "integers" else (5,)
        draw = (lambda: stream.integers(10, shape)) if kind == "integers" else lambda: getattr(stream, kind)(shape)
        return torch.stack([draw() for _ in range(3)], 1)

    whole = draws(IDS)
    for index in ([0], [3], [5, 4, 3, 2, 1, 0], [1, 4]):
        assert torch.equal(draws(IDS[index]), whole[index])


def test_a_longer_draw_begins_like_a_shorter_one_and_draws_differ():
    assert torch.equal(noise().uniform((9,))[:, :4], noise().uniform((4,)))
    stream = noise()
    assert not torch.equal(stream.uniform((4,)), stream.uniform((4,)))
    assert stream.draws == 2


def test_seeds_examples_and_draws_are_unrelated():
    length = 4000
    rows = []
    for seed in (0, 1, 2**63, -1):
        stream = Noise(seed, torch.tensor([0, 1, 2, 3]))
        rows += [stream.uniform((length,), torch.float64) for _ in range(3)]
    table = torch.cat(rows)
    correlation = torch.corrcoef(table) - torch.eye(len(table), dtype=torch.float64)
    assert correlation.abs().max() < 5 / length**0.5
    shifted = torch.corrcoef(torch.stack([table[0, :-1], table[0, 1:]]))[0, 1]
    assert shifted.abs() < 5 / length**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_uniform_is_uniform_on_the_open_interval(dtype):
    draws = Noise(0, torch.arange(50)).uniform((4000,), dtype)
    assert draws.dtype == dtype
    if dtype != torch.bfloat16:  # whose rounding reaches 1
        assert draws.min() > 0
        assert draws.max() < 1
        assert stats.kstest(draws.double().flatten().numpy(), "uniform").pvalue > 1e-3


def test_normal_signs_and_integers_have_their_distributions():
    stream = Noise(1, torch.arange(20))
    assert stats.kstest(stream.normal((5000,)).flatten().double().numpy(), "norm").pvalue > 1e-3
    signs = stream.signs((5000,))
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 5 / signs.numel() ** 0.5
    counts = torch.bincount(stream.integers(7, (5000,)).flatten(), minlength=7)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert (stream.integers(torch.arange(1, 21)) < torch.arange(1, 21)).all()


def test_the_global_generator_is_not_touched():
    before = torch.get_rng_state()
    stream = noise()
    stream.normal((3,)), stream.uniform((3,)), stream.integers(4), stream.signs(())
    assert torch.equal(before, torch.get_rng_state())
