"""The demo's real models on real recordings: that they work, and that attacks on them are what they seem."""

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

import mmadv
from mmadv_audio import Waves, channels, demo, digits, masking
from mmadv_audio.attacks.kenansville import removed
from mmadv_audio.features import LogMel, Standardised
from mmadv_audio.transcripts import label_of, text_of, word_error_rate


@pytest.fixture(scope="module")
def prompts():
    return demo.prompts()


@pytest.fixture(scope="module")
def whisper():
    target = demo.recogniser(10)
    target.batch_size = 8
    return target


def error_rate(target, source, count):
    said = target.texts(source.x[:count])
    return np.mean([word_error_rate(text_of(int(y)), text) for y, text in zip(source.y[:count], said, strict=True)])


def test_whisper_writes_down_what_was_said(prompts, whisper):
    assert error_rate(whisper, prompts, 24) < 0.15
    assert error_rate(whisper, demo.sentences(), 5) < 0.2


def test_whisper_decodes_as_transformers_generate_does(prompts):
    """At the model's own 30 s, on recordings and their real features."""
    target = demo.recogniser(30)
    x = prompts.x[:4]
    extractor = WhisperFeatureExtractor(feature_size=80)
    features = extractor([wave.numpy() for wave in x], sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        theirs = target.module.generate(
            features, attention_mask=torch.ones(features.shape[::2], dtype=torch.int64), max_new_tokens=39
        )
    texts = target.tokenizer.batch_decode(theirs, skip_special_tokens=True)
    assert target.texts(x) == [text.strip() for text in texts]


def test_features_equal_the_extractors_on_recordings_of_different_lengths(prompts):
    x = Waves.joined([prompts.x[:3], demo.sentences().x[:2]])
    waves = [wave.numpy() for wave in x]
    theirs = WhisperFeatureExtractor(feature_size=80)(waves, sampling_rate=16_000, return_tensors="pt").input_features
    assert (LogMel(30.0, 80)(x) - theirs).abs().max() < 1e-5
    ours = Standardised()(x)
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    for row, wave in enumerate(waves):
        alone = extractor(wave, sampling_rate=16_000, return_tensors="pt").input_values[0]
        assert (ours[row] - alone).abs().max() < 1e-5


def test_kenansville_hits_its_ratio_on_recordings(prompts):
    x = prompts.x[:8]
    for wanted in (40, 20, 5):
        adv = removed(x, torch.full((8,), 10 ** (-wanted / 20)))
        for row in range(8):
            clean, noise = x[row].double(), (adv[row] - x[row]).double()
            ratio = 10 * torch.log10(clean.square().sum() / noise.square().sum())
            assert abs(float(ratio) - wanted) < 0.05


def test_whisper_falls_at_25_db_and_still_does_from_the_file(prompts, whisper, tmp_path):
    x, y = prompts.x[:6], prompts.y[:6]
    result = mmadv.attack(whisper, x, y, "audio.pgd", snr=25, wer=0.5, steps=8)
    attacked = [status != "already_wrong" for status in result.status]
    assert sum(attacked) >= 4
    assert result.success.sum() >= sum(attacked) - 1
    for row in result.success.nonzero()[:, 0].tolist():
        clean, adv = x[row].double(), result.adv[row].double()
        assert 10 * torch.log10(clean.square().sum() / (adv - clean).square().sum()) > 25 - 0.01
        soundfile.write(tmp_path / "a.wav", channels.to_int16(result.adv[row]).numpy(), 16_000, subtype="PCM_16")
        heard = whisper.texts(channels.read_file(tmp_path / "a.wav"))[0]
        assert (word_error_rate(text_of(int(y[row])), heard) >= 0.5) == bool(result.stored_success[row])
    assert result.queries.max() <= 10


def test_whisper_writes_a_chosen_phrase(prompts, whisper):
    x, y = prompts.x[:1], prompts.y[:1]
    result = mmadv.attack(whisper, x, y, "audio.cw", norm="snr", targets="open the front door", steps=40, lr=2e-3)
    assert result.success.all()
    heard = whisper.texts(Waves.of([result.adv[0]], 16_000))[0]
    assert label_of(heard) == label_of("open the front door")


def test_what_is_masked_is_masked_by_measure(prompts, whisper):
    x, y = prompts.x[:2], prompts.y[:2]
    result = mmadv.attack(whisper, x, y, "audio.pgd", norm="masking", eps=1.0, wer=0.5, steps=6)
    delta = result.adv.samples - x.samples
    threshold = masking.threshold(x)
    assert (masking.peak_ratio(delta, threshold) <= 1.05).all()
    assert (masking.share_masked(delta * 0.95, threshold) >= 0.95).all()


def test_the_detector_hears_speech_and_not_silence_and_has_gradients_on_zeros():
    target, source = demo.speech_detector(), demo.speech(12)
    assert (target(source.x).argmax(1) == 1).all()
    silence = Waves.of([torch.zeros(16_000)], 16_000)
    assert target(silence).argmax(1).item() == 0
    samples = silence.samples.clone().requires_grad_()
    (grad,) = torch.autograd.grad(target(silence.with_samples(samples))[:, 1].sum(), samples)
    assert torch.isfinite(grad).all()
    assert grad.abs().max() > 0


def test_speech_is_hidden_from_the_detector():
    source = demo.speech(4)
    result = mmadv.attack(demo.speech_detector(), source.x, source.y, "audio.pgd", snr=15, steps=20)
    assert result.success.sum() >= 3


@pytest.fixture(scope="module")
def digit_strings():
    return digits.recogniser(), digits.strings(40)


def test_digits_that_were_recorded_are_heard_by_what_learned_from_synthetic_ones(digit_strings):
    target, source = digit_strings
    assert error_rate(target, source, 40) < 0.1
    alone = target.texts(source.x[11:12])
    assert target.texts(source.x[:12])[11:] == alone


def test_the_digit_recogniser_falls_to_words_that_were_never_said(digit_strings):
    target, source = digit_strings
    x, y = source.x[10:14], source.y[10:14]
    result = mmadv.attack(target, x, y, "audio.pgd", snr=20, targets="nine one one", steps=20)
    assert result.success.sum() >= 3
    for row in result.success.nonzero()[:, 0].tolist():
        assert target.texts(Waves.of([result.adv[row]], 16_000)) == ["nine one one"]
    noise = mmadv.attack(target, x, y, "audio.noise", snr=20, targets="nine one one", steps=5)
    assert not noise.success.any()


def test_the_digit_recogniser_is_told_what_it_cannot_say(digit_strings):
    target, source = digit_strings
    with pytest.raises(mmadv.MmadvError, match="no 'brown', 'jackal', 'quick' in its vocabulary"):
        mmadv.attack(target, source.x, source.y, "audio.pgd", snr=25, targets="quick brown jackal")
    with pytest.raises(mmadv.MmadvError, match=r"needs \d+ frames"):
        mmadv.attack(target, source.x, source.y, "audio.pgd", snr=25, targets=" ".join(["seven"] * 200))
