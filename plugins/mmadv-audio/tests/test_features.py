"""Features held equal to `transformers`' own extractors, and their gradients to finite differences."""

import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from mmadv.errors import InputError, ParameterError
from mmadv_audio.features import LogMel, Standardised, mel_filters
from mmadv_audio.transforms import Played, rooms
from mmadv_audio.waves import Waves


def tones(count, seed):
    """A sum of tones with noise and an offset: speech enough for features."""
    noise = torch.randn(count, generator=torch.Generator().manual_seed(seed))
    time = torch.arange(count) / 16_000
    pitch = 110 * 2 ** (seed % 5)
    return 0.3 * torch.sin(2 * torch.pi * pitch * time) * torch.hann_window(count) + 0.01 * noise + 0.02


@pytest.fixture(scope="module")
def waveforms():
    """1-D float32 waveforms at 16 kHz, of different lengths."""
    return [tones(count, seed) for seed, count in enumerate([401, 16_000, 23_457, 7_999, 79_999])]


@pytest.mark.parametrize("mels", [80, 128])
def test_mel_filters_are_those_of_transformers(mels):
    theirs = torch.from_numpy(mel_filter_bank(201, mels, 0.0, 8_000.0, 16_000, norm="slaney", mel_scale="slaney")).T
    assert torch.allclose(mel_filters(mels, 400, 16_000, 8_000.0), theirs, atol=1e-12)


@pytest.mark.parametrize(("mels", "seconds"), [(80, 30), (128, 30), (80, 5)])
def test_log_mel_equals_the_extractor(waveforms, mels, seconds):
    extractor = WhisperFeatureExtractor(feature_size=mels, chunk_length=seconds)
    found = [wave[: seconds * 16_000] for wave in waveforms]
    answer = extractor([wave.numpy() for wave in found], sampling_rate=16_000, return_tensors="pt")
    ours = LogMel(seconds, mels)(Waves.of(found, rate=16_000))
    assert ours.shape == answer["input_features"].shape
    assert torch.allclose(ours, answer["input_features"], atol=1e-5, rtol=0)


def test_standardised_equals_the_extractor(waveforms):
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    answer = extractor([wave.numpy() for wave in waveforms], sampling_rate=16_000, return_tensors="pt", padding=True)
    ours = Standardised()(Waves.of(waveforms, rate=16_000))
    assert torch.allclose(ours.samples, answer["input_values"], atol=1e-5, rtol=0)
    assert torch.equal(ours.valid, answer["attention_mask"].bool())


@pytest.mark.parametrize(
    "features", [LogMel(0.2), Standardised(), Played(rooms(2, 16_000, 1, reverberation=(0.01, 0.02)))]
)
def test_gradients_are_those_of_finite_differences(waveforms, features):
    x = Waves.of(
        [wave[3_000 : 3_000 + size].double() for wave, size in zip(waveforms[1:3], (1_500, 2_100), strict=True)], 16_000
    )

    def value(samples):
        torch.manual_seed(0)
        found = features(x.with_samples(samples))
        found = getattr(found, "samples", found)
        return (found * torch.cos(torch.arange(found.numel(), dtype=found.dtype)).reshape(found.shape)).sum(
            (1, *range(2, found.dim()))
        )

    leaf = x.samples.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(leaf).sum(), leaf)
    assert not gradient.masked_select(~x.valid).any()
    step = torch.randn(leaf.shape, generator=torch.Generator().manual_seed(3), dtype=leaf.dtype) * x.valid
    slope = (value(x.samples + 1e-7 * step) - value(x.samples - 1e-7 * step)) / 2e-7
    assert torch.allclose((gradient * step).sum(1), slope, rtol=1e-4)


def test_rows_do_not_depend_on_their_batch(waveforms):
    batch = Waves.of(waveforms, rate=16_000)
    alone = [Waves.of([wave], rate=16_000) for wave in waveforms]
    assert torch.allclose(LogMel()(batch), torch.cat([LogMel()(one) for one in alone]), atol=1e-6)
    for row, one in enumerate(alone):
        assert torch.allclose(Standardised()(batch)[row], Standardised()(one)[0], atol=1e-6)


def test_silence_has_finite_features_and_gradients():
    silence = Waves.of([torch.zeros(4_000), torch.full((3_000,), 0.5)], rate=16_000)
    for features in (LogMel(1.0), Standardised()):
        leaf = silence.samples.clone().requires_grad_()
        found = features(silence.with_samples(leaf))
        found = getattr(found, "samples", found)
        found.sum().backward()
        assert found.isfinite().all()
        assert leaf.grad.isfinite().all()


def test_longer_audio_than_the_window_is_refused():
    with pytest.raises(InputError, match=r"lasts 1\.25 s"):
        LogMel(1.0)(Waves.of([torch.zeros(100), torch.zeros(20_000)], rate=16_000))
    with pytest.raises(ParameterError, match="seconds"):
        LogMel(0.123)


def test_played_keeps_the_length_and_meets_its_ratio(waveforms):
    x = Waves.of(waveforms, rate=16_000)
    played = Played(None, snr_db=(20, 20))
    torch.manual_seed(1)
    noise = played(x).samples - x.samples
    ratio = 10 * (x.samples.square().sum(1) / noise.square().sum(1)).log10()
    assert torch.allclose(ratio, torch.full_like(ratio, 20), atol=1e-3)
    assert not noise.masked_select(~x.valid).any()
    louder = Played(gain_db=(6, 6))(x)
    assert torch.allclose(louder.samples, x.samples * 10**0.3)


def test_played_convolves_with_a_drawn_room_and_draws_anew(waveforms):
    x = Waves.of(waveforms[:3], rate=16_000)
    one = rooms(1, 16_000, seed=4, reverberation=(0.02, 0.03))
    heard = Played(one)(x)
    for row, wave in enumerate(x):
        full = torch.nn.functional.conv1d(wave.reshape(1, 1, -1), one.flip(1).unsqueeze(0), padding=one.shape[1] - 1)
        assert torch.allclose(heard[row], full[0, 0, : len(wave)], atol=1e-5)
    played = Played(rooms(8, 16_000), gain_db=(-3, 3), snr_db=(10, 20))
    torch.manual_seed(0)
    first, second = played(x).samples, played(x).samples
    torch.manual_seed(0)
    assert torch.equal(played(x).samples, first)
    assert not torch.equal(first, second)
    assert torch.equal(rooms(3, 16_000, 5), rooms(3, 16_000, 5))
    assert repr(played) != repr(Played(rooms(8, 16_000, 1), gain_db=(-3, 3), snr_db=(10, 20)))
    with pytest.raises(ParameterError, match="gain_db"):
        Played(gain_db=(3, -3))
