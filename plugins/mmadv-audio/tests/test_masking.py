"""The psychoacoustic model against its formulas, and what is built on it; Kenansville's share of the signal."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmadv_audio import Waves, masking
from mmadv_audio.attacks.kenansville import removed

_SPEC = importlib.util.spec_from_file_location("masking_reference", Path(__file__).with_name("masking_reference.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
reference = importlib.util.module_from_spec(_SPEC)
sys.modules["masking_reference"] = reference
_SPEC.loader.exec_module(reference)

RATE = 16_000


def spoken(count, seed, rate=RATE):
    """Harmonics of a gliding pitch under formants, in syllables, with hiss and a noise floor."""
    draw = np.random.default_rng(seed)
    time = np.arange(count) / rate
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * time + seed)) / rate
    voiced = sum(np.sin(k * phase) / k * (1 + np.sin(2 * np.pi * 0.2 * k * time + k)) for k in range(1, 30))
    syllables = np.clip(np.sin(2 * np.pi * 3 * time + seed), 0, None)
    hiss = 0.02 * draw.standard_normal(count) * np.clip(np.sin(2 * np.pi * 4 * time), 0, None)
    return torch.from_numpy(0.05 * voiced * syllables + hiss + 1e-4 * draw.standard_normal(count))


def mixed(dtype=torch.float64, rate=RATE):
    lengths = (30_001, 2_048, 700, 2_049, 12_288)
    return Waves.of([spoken(count, seed, rate).to(dtype) for seed, count in enumerate(lengths)], rate)


def noise(waves, scale=1e-3, seed=0):
    drawn = torch.randn(waves.samples.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return scale * drawn.to(waves.samples.dtype) * waves.valid


def test_check_values():
    hz = torch.tensor([100.0, 1000, 3300, 4000, 8000], dtype=torch.float64)
    assert masking.bark(hz)[[0, 1, 3, 4]].tolist() == pytest.approx([0.9867, 8.5105, 17.2589, 21.2753], abs=5e-5)
    assert masking.hearing_threshold(hz)[[1, 2, 0]].tolist() == pytest.approx([-8.631, -16.981, 10.953], abs=5e-4)
    assert torch.isfinite(masking.hearing_threshold(torch.linspace(0, 384_000, 1025))).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_masker_near_a_louder_one_goes(dtype):
    hz = torch.arange(1025, dtype=dtype) * RATE / 2048
    candidates = torch.zeros(1, 1025, dtype=torch.bool)
    power = torch.zeros(1, 1025, dtype=dtype)
    candidates[0, [128, 134, 512]] = True
    power[0, [128, 134, 512]] = torch.tensor([1e7, 1e6, 1e5], dtype=dtype)
    bins, levels = masking.loudest(power, candidates, masking.bark(hz))
    assert bins[levels.isfinite()].tolist() == [128, 512]
    assert levels[levels.isfinite()].tolist() == pytest.approx([70, 50])
    # What is ruled out rules nothing out itself: of a falling chain, every second stays.
    bark = masking.bark(hz)
    chain = [400, *(int((bark >= bark[400] + step).nonzero()[0]) for step in (0.3, 0.6, 0.9))]
    power, candidates = torch.zeros_like(power), torch.zeros_like(candidates)
    power[0, chain] = torch.tensor([1e4, 1e3, 1e2, 1e1], dtype=dtype)
    candidates[0, chain] = True
    bins, levels = masking.loudest(power, candidates, bark)
    assert bins[levels.isfinite()].tolist() == chain[::2]


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_maskers_lie_apart_and_are_those_of_the_formulas(rate):
    hz = torch.arange(1025, dtype=torch.float64) * rate / 2048
    z, quiet = masking.bark(hz), masking.hearing_threshold(hz)
    draw = torch.Generator().manual_seed(0)
    noisy = torch.rand(40, 1025, generator=draw, dtype=torch.float64) * 60 + 20
    levels = torch.from_numpy(reference.psd(spoken(20_000, 3, rate).numpy()))
    levels = torch.cat([levels - levels.max() + 96, noisy])
    bins, found = masking.maskers(10 ** (levels / 10), z, 10 ** (quiet / 10))
    for frame, level in enumerate(levels.numpy()):
        kept = bins[frame][found[frame].isfinite()].sort().values
        expected, heights = reference.maskers(level, z.numpy(), quiet.numpy())
        assert kept.tolist() == expected.tolist()
        assert found[frame][bins[frame].argsort()][-len(kept) :].isfinite().all() or len(kept) < found.shape[1]
        assert sorted(found[frame][found[frame].isfinite()].tolist()) == pytest.approx(sorted(heights))
        if len(kept) > 1:
            assert float(z[kept].diff().min()) >= masking.GAP


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_a_batch_equals_the_formulas_frame_by_frame(rate):
    waves = mixed(rate=rate)
    found = masking.threshold(waves)
    for row, wave in enumerate(waves):
        power, peak = reference.threshold(wave.numpy(), rate)
        own = found.valid[row]
        assert own.sum() == power.shape[1]
        assert float(found.peak[row]) == pytest.approx(peak, rel=1e-9)
        np.testing.assert_allclose(found.power[row][:, own].numpy(), power, rtol=1e-9)
        paper, loudest = reference.threshold(wave.numpy(), rate, ends=False)  # the frames of arXiv 1903.10346
        if row in (0, 4):  # in shorter ones, no frame of the paper's need hold the loudest bin
            assert loudest == peak
            np.testing.assert_allclose(power[:, 3 : 3 + paper.shape[1]], paper, rtol=1e-9)
    single = masking.threshold(mixed(torch.float32, rate))
    ratio = single.power.double() / found.power
    assert float((ratio[ratio.isfinite()].log10().abs() * 10).quantile(0.999)) < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_know_nothing_of_each_other(dtype):
    waves = mixed(dtype)
    delta = noise(waves)
    together, ratio = masking.threshold(waves), torch.full((len(waves),), 1.5, dtype=dtype)
    lands, step = masking.below(delta, together, ratio), masking.steepest(delta, together)
    for row, wave in enumerate(waves):
        alone, own = masking.threshold(Waves.of([wave], RATE)), delta[row : row + 1, : len(wave)]
        frames = alone.power.shape[-1]
        assert torch.equal(alone.power[0], together.power[row, :, :frames])
        assert torch.equal(alone.peak[0], together.peak[row])
        assert not together.valid[row, frames:].any()
        assert torch.equal(masking.peak_ratio(own, alone)[0], masking.peak_ratio(delta, together)[row])
        assert torch.equal(masking.share_masked(own, alone)[0], masking.share_masked(delta, together)[row])
        assert float(masking.excess(own, alone)[0]) == pytest.approx(
            float(masking.excess(delta, together)[row]), rel=1e-6
        )
        assert torch.equal(masking.below(own, alone, ratio[:1])[0], lands[row, : len(wave)])
        assert torch.equal(masking.steepest(own, alone)[0], step[row, : len(wave)])


def test_candidates_are_measured_beside_their_row():
    waves = mixed()
    limit, ratio = masking.threshold(waves), torch.ones(len(waves), dtype=torch.float64)
    deltas = torch.stack([noise(waves, seed=seed) for seed in range(3)], 1)
    for function in (masking.excess, masking.share_masked, masking.peak_ratio, masking.steepest):
        many = function(deltas, limit)
        assert torch.allclose(many[:, 2], function(deltas[:, 2], limit), rtol=1e-12, atol=0)
    many = masking.below(deltas, limit, ratio)
    assert torch.allclose(many[:, 1], masking.below(deltas[:, 1], limit, ratio), rtol=1e-9, atol=1e-18)


def test_an_utterance_taken_as_perturbation_has_its_own_spectrum():
    waves = mixed()
    limit = masking.threshold(waves)
    found = masking.relative(waves.samples, limit)
    for row, wave in enumerate(waves):
        expected = reference.psd(wave.numpy()).T
        own = 10 * found[row][:, limit.valid[row]].clamp_min(1e-300).log10().numpy()
        expected = 96 - expected.max() + expected
        np.testing.assert_allclose(own.clip(expected.min()), expected, atol=1e-6)  # the floor is the threshold's alone
        assert own.max() == pytest.approx(96)
    assert (masking.peak_ratio(waves.samples, limit) > 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("wanted", [0.0, 1.0, 3.0])
def test_below_lands_and_stays(dtype, wanted):
    waves = mixed(dtype)
    limit, ratio = masking.threshold(waves), torch.full((len(waves),), wanted, dtype=dtype)
    delta = noise(waves, 0.01)
    found = masking.below(delta, limit, ratio)
    assert (masking.peak_ratio(found, limit) <= ratio).all()
    assert (found[~waves.valid] == 0).all()
    assert torch.equal(masking.below(found, limit, ratio), found)
    if wanted:
        outside = masking.peak_ratio(delta, limit) > ratio
        assert outside[0]
        assert (masking.peak_ratio(found, limit)[outside] > 0.99 * wanted).all()
        shrunk = delta * (ratio / masking.peak_ratio(delta, limit)).unsqueeze(1)
        far = masking.peak_ratio(delta, limit) > 4 * ratio
        assert far[0]
        assert (found.square().sum(1) > shrunk.square().sum(1))[far].all()  # clipping keeps more than scaling alone
    few = ratio.index_fill(0, torch.tensor([1, 3]), float("inf"))
    assert torch.equal(masking.below(delta, limit, few)[[1, 3]], delta[[1, 3]])
    if wanted == 1:
        assert (masking.share_masked(found, limit) == 1).all()
        assert (masking.excess(found, limit) == 0).all()


def test_a_step_is_as_loud_as_the_threshold():
    waves = mixed()
    limit = masking.threshold(waves)
    gradient = noise(waves)
    gradient[2] = 0
    step = masking.steepest(gradient, limit)
    assert masking.peak_ratio(step, limit).tolist() == pytest.approx([1, 1, 0, 1, 1])
    assert ((step * gradient).sum(1) >= 0).all()
    assert (step[~waves.valid] == 0).all()


def test_gradient_of_the_excess():
    waves = Waves.of([spoken(3_000, 1), spoken(2_100, 2)], RATE)
    limit = masking.threshold(waves)
    delta = noise(waves, 0.01).requires_grad_()
    gradient = torch.autograd.grad(masking.excess(delta, limit).sum(), delta)[0]
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        direction = torch.randn(delta.shape, generator=generator, dtype=torch.float64) * waves.valid
        ahead, behind = (masking.excess(delta.detach() + sign * 1e-8 * direction, limit).sum() for sign in (1, -1))
        assert float((ahead - behind) / 2e-8) == pytest.approx(float((gradient * direction).sum()), rel=1e-5)
    zero = torch.zeros_like(delta).requires_grad_()
    assert torch.equal(torch.autograd.grad(masking.excess(zero, limit).sum(), zero)[0], torch.zeros_like(delta))


def test_a_click_is_heard_wherever_it_is():
    waves = mixed()
    limit, ratio = masking.threshold(waves), torch.ones(len(waves), dtype=torch.float64)
    for place in (lambda length: 0 * length, lambda length: length // 2, lambda length: length - 1):
        delta = torch.zeros_like(waves.samples).scatter_(1, place(waves.length).unsqueeze(1), 0.5)
        heard = (masking.frame_ratios(delta, limit) > 1).sum(1)
        assert (heard >= 3).all()  # of four frames, the first begins with a sample of no weight
        assert (masking.peak_ratio(masking.below(delta, limit, ratio), limit) <= 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_silence_hides_nothing(dtype):
    waves = Waves.of([torch.zeros(5_000, dtype=dtype), torch.ones(1, dtype=dtype), spoken(5_000, 0).to(dtype)], RATE)
    limit = masking.threshold(waves)
    assert (limit.power > 0).all()
    assert not limit.power.isnan().any()
    delta = noise(waves, 1e-4)
    assert masking.peak_ratio(delta, limit)[0] > 1e3
    found = masking.below(delta, limit, torch.ones(3, dtype=dtype))
    assert found.isfinite().all()
    assert (masking.peak_ratio(found, limit) <= 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("snr", [10, 25, 40])
def test_kenansville_removes_what_it_may(dtype, snr):
    lengths = (16_000, 15_999, 4_001, 16_000, 2, 1, 50)
    waves = Waves.of(
        [spoken(count, seed).to(dtype) for seed, count in enumerate(lengths)] + [torch.zeros(9, dtype=dtype)], RATE
    )
    nsr = torch.full((len(waves),), 10 ** (-snr / 20), dtype=torch.float64)
    nsr[3] = 0.5
    found = removed(waves, nsr)
    gone = (waves.samples.double() - found.samples.double()).norm(dim=1)
    signal = waves.samples.double().norm(dim=1)
    assert (gone <= nsr * signal).all()
    assert (found.samples[~waves.valid] == 0).all()
    ratio = 20 * torch.log10(gone / (nsr * signal))[:-1]
    assert float(ratio.abs().max()) < 0.05
    # Nothing louder goes while something quieter stays.
    before, after = (torch.fft.rfft(one[0]).abs().square() for one in (waves, found))
    before[1:-1] *= 2
    dropped = after * 2 < before * 1e-3
    assert before[dropped].max() <= before[~dropped].min() * (1 + 1e-6)
    for row in (1, 4):
        alone = removed(Waves.of([waves[row]], RATE), nsr[row : row + 1])
        assert torch.allclose(alone[0], found[row], rtol=0, atol=4 * torch.finfo(dtype).eps)
