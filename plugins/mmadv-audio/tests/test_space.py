"""Waveform space against slow float64 judgements, and what users do wrong."""

import json

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mmadv
from mmadv import Noise
from mmadv.errors import InputError, MmadvError, ParameterError
from mmadv_audio import Waves, channels, masking
from mmadv_audio.attacks.universal import fitted, laid, led
from mmadv_audio.constraints import Band
from mmadv_audio.goals import WordErrors
from mmadv_audio.modality import Audio
from mmadv_audio.source import AudioSource
from mmadv_audio.space import WaveSpace
from mmadv_audio.transcripts import label_of, labels_of, normalised, text_of, word_error_rate

RATE = 16_000


def speech(seed: int = 0, lengths: tuple[int, ...] = (3000, 4517, 8000)) -> Waves:
    """Harmonics under a slow envelope over a floor of noise, as voiced speech is."""
    generator = np.random.default_rng(seed)
    waves = []
    for length in lengths:
        time = np.arange(length) / RATE
        tones = sum(np.sin(2 * np.pi * 130 * k * time + k) / k for k in range(1, 20))
        wave = tones * (0.1 + 0.9 * np.sin(2 * np.pi * 3 * time) ** 2) + 0.01 * generator.standard_normal(length)
        waves.append(torch.from_numpy(0.2 * wave / np.abs(wave).max()).float())
    return Waves.of(waves, RATE)


def decibels(x: Waves, adv: Waves, row: int) -> float:
    """SNR over the valid samples of one row, in float64."""
    clean, other = x[row].double().numpy(), adv[row].double().numpy()
    return 10 * np.log10((clean**2).sum() / ((other - clean) ** 2).sum())


@pytest.mark.parametrize("wanted", [40.0, 25.0, 10.0])
def test_an_snr_is_exact_for_every_length_of_a_mixed_batch(wanted):
    x = speech()
    region = Audio().space(snr=wanted).around(x)
    adv = region.climb_(x, torch.randn(x.samples.shape, generator=torch.Generator().manual_seed(0)), 1.0)
    for row in range(len(x)):
        assert abs(decibels(x, adv, row) - wanted) < 0.01
    assert region.feasible(adv).all()
    assert (adv.samples[~x.valid] == 0).all()


@settings(max_examples=30, deadline=None)
@given(
    norm=st.sampled_from(["linf", "l2", "snr"]),
    eps=st.floats(1e-4, 0.5),
    size=st.sampled_from([1e-4, 0.03, 1.0, 30.0]),
    seed=st.integers(0, 99),
    band=st.sampled_from([None, Band(300, 3400)]),
)
def test_projection_lands_feasible_is_idempotent_and_leaves_feasible_points_alone(norm, eps, size, seed, band):
    x = speech(seed)
    region = WaveSpace(norm, eps, band).around(x)
    noise = size * torch.randn(x.samples.shape, generator=torch.Generator().manual_seed(seed))
    adv = region.project(region.like(x.samples + noise))
    assert region.feasible(adv).all()
    assert torch.equal(region.project(adv).samples, adv.samples) or (
        (region.project(adv).samples - adv.samples).abs().max() < 1e-6
    )
    for row in range(len(x)):
        delta = (adv[row].double() - x[row].double()).numpy()
        far = {"linf": np.abs(delta).max(), "l2": np.sqrt((delta**2).sum())}
        far["snr"] = far["l2"] / np.sqrt((x[row].double().numpy() ** 2).sum())
        assert far[norm] <= eps * (1 + 1e-4) + 1e-5
        assert np.abs(adv[row].numpy()).max() <= 1
        if band is not None:
            spectrum = np.abs(np.fft.rfft(delta)) ** 2
            hertz = np.fft.rfftfreq(len(delta), 1 / RATE)
            outside = spectrum[(hertz < 300) | (hertz > 3400)].sum()
            assert outside <= 1e-4 * spectrum.sum() + len(delta) ** 2 * 1e-12
    assert torch.equal(region.project(x).samples, x.samples)


@pytest.mark.parametrize("norm", ["linf", "l2", "snr", "masking"])
def test_a_row_is_the_same_in_any_batch(norm):
    x = speech()
    grad = torch.randn(x.samples.shape, generator=torch.Generator().manual_seed(1))
    whole = WaveSpace(norm, 0.05 if norm != "masking" else 1.0).around(x)
    start = whole.jitter(Noise(0, torch.arange(3)))
    moved = whole.climb_(start, grad.clone(), 0.3)
    for row in range(3):
        part = Waves.of([x[row]], RATE)
        alone = WaveSpace(norm, 0.05 if norm != "masking" else 1.0).around(part)
        own = alone.jitter(Noise(0, torch.tensor([row])))
        assert torch.allclose(own[0], start[row], rtol=0, atol=0 if norm != "masking" else 1e-7)
        again = alone.climb_(own, grad[row : row + 1, : len(x[row])].clone(), 0.3)
        assert torch.allclose(again[0], moved[row], rtol=0, atol=0 if norm != "masking" else 1e-6)


def test_under_masking_every_bin_of_every_frame_is_under_the_threshold():
    x = speech()
    region = WaveSpace("masking", 1.0).around(x)
    adv = region.climb_(x, torch.randn(x.samples.shape, generator=torch.Generator().manual_seed(0)), 1.0)
    threshold = masking.threshold(x)
    delta = adv.samples - x.samples
    assert delta.abs().amax(1).gt(1e-5).all()
    assert (masking.peak_ratio(delta, threshold) <= 1 + 1e-4).all()
    assert (region.distance(adv) > 0.5).all()
    assert WaveSpace("masking", 1.0).measures(x, adv)["masked frames"].min() > 0.95


def test_transcripts_are_labels():
    assert normalised("It's  ’TWAS… 3 o'clock -- ''") == "it's 'twas 3 o'clock"
    labels = labels_of(["Open the door!", "open the door", "shut it"])
    assert labels[0] == labels[1] != labels[2]
    assert text_of(int(labels[2])) == "shut it"
    assert word_error_rate("", "") == 0
    assert word_error_rate("", "two words") == 2
    assert word_error_rate("a b", "c d e f") == 2.0
    goal = WordErrors(1.0)
    assert goal(labels_of(["a b", ""]), labels_of(["a b", "a b"])).score.tolist() == [0.0, 1.0]
    with pytest.raises(InputError, match="is no transcript"):
        goal(torch.tensor([3]), torch.tensor([4]))


def test_files_come_back_as_they_were_written(tmp_path):
    x = speech()
    for row in range(len(x)):
        one = Waves.of([x[row]], RATE)
        back = channels.read_file(channels.write_wav(one, tmp_path / "one.wav"))
        assert torch.equal(back.samples, channels.int16(one).samples)
        assert back.rate == RATE
    loud = Waves.of([torch.tensor([1.0, -1.0])], RATE)
    assert channels.read_file(channels.write_wav(loud, tmp_path / "two.wav"))[0].tolist() == [32767 / 32768, -1.0]


def test_channels_are_aligned_and_of_the_same_length():
    x = speech(lengths=(9000, 16_000))
    found = channels.every(x)
    assert {"FLAC", "8 kHz"} <= set(found)
    for name, back in found.items():
        assert torch.equal(back.length, x.length)
        for row in range(len(x)):
            match = torch.corrcoef(torch.stack([x[row], back[row]]))[0, 1]
            assert match > 0.9, name
    assert decibels(x, found["FLAC"], 0) > 60


BAD = {
    "array": ({"x": torch.zeros(2, 100)}, InputError, "sample rate is unknown"),
    "norm": ({"norm": "l1"}, ParameterError, "unknown norm"),
    "snr and eps": ({"snr": 20, "eps": 0.1}, ParameterError, "snr is given beside"),
    "no eps": ({"eps": float("inf")}, ParameterError, "eps is missing"),
    "eps in levels": ({"eps": 300}, ParameterError, "it limits nothing"),
    "eps beyond all": ({"norm": "l2", "eps": 2000}, ParameterError, "it limits nothing"),
    "lr in words": ({"attack": "audio.cw", "lr": "a"}, ParameterError, "lr is 'a'"),
    "half a patience": ({"attack": "audio.cw", "patience": 1.5}, ParameterError, "patience 1.5"),
    "band": ({"band": [4000, 300]}, ParameterError, "the band is"),
    "silence": ({"x": Waves.of([torch.zeros(200)], RATE), "y": [0], "snr": 20, "eps": None}, InputError, "silence"),
    "NaN": ({"x": Waves.of([torch.full((200,), float("nan"))], RATE), "y": [0]}, InputError, "hold NaN"),
    "clipping": ({"x": Waves.of([torch.full((200,), 1.5)], RATE), "y": [0]}, InputError, "leave"),
    "names": ({"x": Waves.of([torch.zeros(200)], RATE), "y": ["yes"]}, InputError, "what its classes are called"),
    "wer and targets": ({"wer": 0.5, "targets": 1}, ParameterError, "wer is given beside"),
    "wer of nothing": ({"wer": 0.0}, ParameterError, "wer is 0.0"),
}


@pytest.mark.parametrize(("words", "kind", "what"), BAD.values(), ids=BAD)
def test_bad_input_is_a_typed_error(words, kind, what):
    stage = Audio().kit.crowd({"norm": "linf"})
    given = {"x": stage.x, "y": stage.y, "attack": "audio.pgd", "norm": "linf", "eps": 0.1, **words}
    if given["eps"] is None:
        del given["eps"]
        del given["norm"]
    with pytest.raises(kind, match=what) as error:
        mmadv.attack(stage.victim, **given)
    assert error.value.fix


@pytest.mark.parametrize(
    ("wave", "what"),
    [
        (np.zeros(10, np.int16), "dtype torch.int16"),
        (np.zeros((2, 4000), np.float32), "shape"),
        (np.zeros(0, np.float32), "is empty"),
    ],
)
def test_waveforms_that_are_none(wave, what):
    with pytest.raises(InputError, match=what):
        Waves.of([wave], RATE)
    for rate in (None, 16_000.0, 0, True):
        with pytest.raises(InputError, match="sample rate"):
            Waves.of([np.zeros(3, np.float32)], rate)


def test_numbers_of_numpy_are_numbers():
    assert Audio().space(snr=np.int64(20)) == Audio().space(snr=20) == WaveSpace("snr", np.float64(0.1))
    assert WaveSpace("linf", np.float32(0.5)).eps == 0.5
    waves = Waves.of([torch.tensor([1 / 3]).bfloat16(), torch.tensor([1 / 3]).double()], np.int64(RATE))
    assert type(waves.rate) is int
    assert waves[1][0] == torch.tensor(1 / 3).double()  # no row is rounded to another's dtype
    with pytest.raises(ParameterError, match="eps is nan"):
        Audio().space(snr=float("nan"))


def test_dc_one_sample_and_full_scale_are_handled():
    x = Waves.of([torch.full((500,), 0.3), torch.tensor([0.5]), torch.ones(300)], RATE)
    for norm in ("linf", "l2", "snr", "masking"):
        region = WaveSpace(norm, 0.1).around(x)
        adv = region.project(region.like(x.samples + 1))
        assert region.feasible(adv).all()


def test_a_manifest_is_read_and_its_mistakes_are_told(tmp_path):
    x = speech()
    for row in range(3):
        channels.write_wav(Waves.of([x[row]], RATE), tmp_path / f"{row}.wav")
    lines = [{"audio": f"{row}.wav", "text": said} for row, said in enumerate(["one two", "three", "four"])]
    manifest = tmp_path / "said.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    found = AudioSource(manifest)
    examples = found.take(1, 3)
    assert len(found) == 3
    assert [text_of(int(label)) for label in examples.y] == ["three", "four"]
    assert examples.x.length.tolist() == [4517, 8000]
    assert AudioSource(manifest, rate=8000).take(0, 1).x.length.tolist() == [1500]

    def refused(text: str, what: str) -> None:
        manifest.write_text(text)
        with pytest.raises(MmadvError, match=what):
            AudioSource(manifest).take(0, 1)

    refused('{"audio": "0.wav"}', "transcripts or labels")
    refused('{"audio": "../../etc/x.wav", "text": "a"}', "leads out")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    refused('{"audio": "broken.wav", "text": "a"}', "cannot be read")
    (tmp_path / "empty.wav").write_bytes(b"")
    refused('{"audio": "empty.wav", "text": "a"}', "cannot be read")
    soundfile.write(tmp_path / "stereo.wav", np.zeros((100, 2)), RATE)
    refused('{"audio": "stereo.wav", "text": "a"}', "2 channels")
    refused("", "the file is empty")


def test_one_perturbation_is_fitted_to_many_and_fools_others():
    stage = Audio().kit.duel({"norm": "linf"})
    kept = (stage.y == 0).nonzero()[:, 0].tolist()
    x, y = Waves.of([stage.x[row] for row in kept], RATE), stage.y[kept]
    space = WaveSpace("linf", 1.1 * stage.radius)
    from mmadv_audio.target import AudioTarget

    problem = mmadv.Problem(AudioTarget(stage.victim), mmadv.ThreatModel(space), x[:2], y[:2], torch.arange(2))
    delta, ledger = fitted(problem, samples=60, eps=space.eps, repeat=False, steps=30)
    assert delta.shape == (60,)
    assert delta.abs().max() <= space.eps * (1 + 1e-5)
    assert ledger.gradients.sum() > 0
    held = space.around(x[2:])
    assert (stage.victim(laid(held, delta, False).samples).argmax(1) != y[2:]).all()
    result = mmadv.attack(
        stage.victim, x[2:], y[2:], "audio.universal", norm="linf", eps=space.eps, perturbation=delta, repeat=False
    )
    assert result.success.all()
    assert result.queries.tolist() == [2] * len(y[2:])


def test_a_prefix_stands_in_silence_before_the_speech():
    x = led(speech(), 0.1)
    assert (x.samples[:, :1600] == 0).all()
    assert x.length.tolist() == [4600, 6117, 9600]
    region = WaveSpace("linf", 0.1).around(x)
    adv = laid(region, torch.full((1600,), 0.05), repeat=False)
    delta = adv.samples - x.samples
    assert (delta[:, :1600] == 0.05).all()
    assert (delta[:, 1600:] == 0).all()


def test_ratios_in_decibels_can_be_written_in_a_spec():
    from mmadv.spec import number

    assert number("-25 dB") == 10 ** (-25 / 20)
    assert label_of("x") > 2**40  # never a class number
