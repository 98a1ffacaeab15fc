"""Series, their ball in units of each channel and their band, against float64 and scipy."""

import math
import re

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmadv import Noise
from mmadv.errors import InputError, ParameterError
from mmadv_series.constraints import Band
from mmadv_series.modality import Series
from mmadv_series.space import SeriesSpace, checked, roughness, units


@settings(deadline=None, max_examples=60)
@given(
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.floats(1e-3, 5.0),
    channels=st.integers(1, 4),
    length=st.integers(1, 40),
    share=st.sampled_from([None, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 1000),
)
def test_projections_land_inside_stay_there_and_leave_what_is_inside(norm, eps, channels, length, share, seed):
    generator = torch.Generator().manual_seed(seed)
    units = [0.25 * 2.0**number for number in range(channels)]
    space = Series().space(norm=norm, eps=eps, unit=units, band=share)
    x = 10 * torch.randn(3, channels, length, generator=generator)
    region = space.around(x)
    wild = x + 4 * eps * torch.randn(x.shape, generator=generator)
    adv = region.project(wild)
    assert bool(region.feasible(adv).all())
    delta = (adv.double() - x.double()) / torch.tensor(units, dtype=torch.float64).unsqueeze(1)
    size = delta.abs().flatten(1).amax(1) if norm == "linf" else delta.square().flatten(1).sum(1).sqrt()
    assert bool((size <= eps * (1 + 1e-5) + 1e-4).all())
    if share is not None:
        spectrum = scipy.fft.dct((adv.double() - x.double()).numpy(), axis=-1, norm="ortho")
        outside = np.abs(spectrum[..., int(np.ceil(share * length)) :])
        assert outside.size == 0 or outside.max() < 1e-4
    assert torch.allclose(region.project(adv), adv, atol=1e-5)
    assert torch.equal(region.project(x), x)
    started = region.jitter(Noise(0, torch.arange(3)))
    assert bool(region.feasible(started).all())


@pytest.mark.parametrize("length", [1, 2, 7, 24, 150])
@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 1.0])
def test_a_band_is_that_of_scipy(length, share):
    delta = torch.randn(3, 2, length, generator=torch.Generator().manual_seed(length), dtype=torch.float64)
    spectrum = scipy.fft.dct(delta.numpy(), axis=-1, norm="ortho")
    spectrum[..., int(np.ceil(share * length)) :] = 0
    assert np.allclose(Band(share).kept(delta).numpy(), scipy.fft.idct(spectrum, axis=-1, norm="ortho"), atol=1e-12)


def test_a_band_holds_the_share_of_cosines_that_is_asked_for():
    for percent in range(1, 101):
        for length in (1, 24, 25, 50, 100, 150):
            assert Band(percent / 100).count(length) == -(-percent * length // 100)
    assert Band(1e-12).count(100) == 1


def test_many_channels_are_not_told_one_by_one():
    series, x = Series(), torch.zeros(1, 40, 3)
    assert series.scale(series.space(unit=[0.5] * 40), 0.1, x) == "0.1 × the units given"
    assert series.scale(series.space(norm="l2", unit=[0.5] * 40), 0.1, x) == "0.1 × the units given, L2 norm"


def test_the_first_step_climbs_as_far_as_a_linear_victim_lets_it():
    """In units, the steepest step of length ε changes w · x by ε · ‖unit · w‖ of the dual norm."""
    w = torch.randn(1, 2, 30, generator=torch.Generator().manual_seed(0))
    unit = torch.tensor([0.5, 3.0]).unsqueeze(1)
    x = torch.zeros(1, 2, 30)
    for norm, dual in (("linf", (w * unit).abs().sum()), ("l2", (w * unit).square().sum().sqrt())):
        region = Series().space(norm=norm, eps=0.3, unit=[0.5, 3.0]).around(x)
        adv = region.climb_(x, w.clone(), 1.0)
        assert float((w * adv).sum()) == pytest.approx(0.3 * float(dual), rel=1e-5)
    slow = Series().space(norm="l2", eps=0.3, unit=[0.5, 3.0], band=0.2).around(x)
    best = Band(0.2).kept(w * unit).square().sum().sqrt()
    assert float((w * slow.climb_(x, w.clone(), 1.0)).sum()) == pytest.approx(0.3 * float(best), rel=1e-4)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"norm": "l1"}, "unknown norm 'l1'"),
        ({"eps": -0.1}, "eps"),
        ({"eps": float("nan")}, "eps"),
        ({"unit": 0}, "unit is"),
        ({"unit": [1.0, -1.0]}, "unit is"),
        ({"unit": []}, "unit is"),
        ({"unit": ["wide"]}, "unit is"),
        ({"band": 0}, "band is 0"),
        ({"band": 1.5}, "band is 1.5"),
        ({"band": True}, "band is True"),
    ],
)
def test_words_that_mean_nothing_are_refused_with_the_fix(words, match):
    with pytest.raises(ParameterError, match=match) as caught:
        Series().space(**words)
    assert caught.value.where
    assert caught.value.fix


def test_inputs_that_are_no_series_are_refused_with_the_fix():
    for x, match in (
        (torch.zeros(5), r"one series becomes one by x\[None, None\]"),
        (torch.zeros(5, 20), r"of one channel they become one by x\[:, None\]"),
        (torch.zeros(5, 1, 20, dtype=torch.int64), r"x\.float"),
    ):
        with pytest.raises(InputError) as caught:
            checked(x)
        assert re.search(match, caught.value.fix)
    holed = torch.zeros(4, 1, 9)
    holed[2, 0, 3] = float("nan")
    with pytest.raises(InputError, match="1 of 4 series hold NaN") as caught:
        SeriesSpace("linf", 0.1).around(holed)
    assert caught.value.where == "row 2"
    assert Series().space(unit="12").unit == (12.0,)  # one number, as a command line gives it
    with pytest.raises(ParameterError, match="unit has 2 numbers, and the series 3 channels"):
        SeriesSpace("linf", 0.1, unit=(1.0, 2.0)).around(torch.zeros(1, 3, 5))


def test_units_are_standard_deviations_and_a_channel_that_never_changes_has_none():
    x = torch.randn(9, 3, 50, generator=torch.Generator().manual_seed(0)) * torch.tensor([[0.1], [1.0], [30.0]])
    expected = [np.std(x[:, channel].double().numpy(), ddof=1) for channel in range(3)]
    assert units(x) == pytest.approx(expected, rel=1e-3)
    x[:, 1] = 0.1  # whose mean in float64 is another number
    with pytest.raises(InputError, match="1 of 3 channels never change") as caught:
        units(x)
    assert caught.value.where == "channel 1"
    assert caught.value.fix
    x[4, 2, 7] = float("inf")
    with pytest.raises(InputError, match="NaN or inf"):
        units(x)
    with pytest.raises(InputError, match="2 of 2 channels never change"):
        units(torch.zeros(0, 2, 5))


def test_a_flat_series_has_no_roughness_of_its_own_to_compare_with():
    x = torch.tensor([[[1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0]], [[0.0, 1.0, 0.0]]])
    same, rougher, twice = roughness(
        x, torch.tensor([[[1.0, 1.0, 1.0]], [[1.0, 2.0, 1.0]], [[0.0, 2.0, 0.0]]])
    ).tolist()
    assert (same, twice) == (1.0, 2.0)
    assert math.isnan(rougher)
