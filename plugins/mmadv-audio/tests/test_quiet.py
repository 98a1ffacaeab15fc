"""Where a perturbation must find room: quiet stretches, narrow bands, full scale, and what rows are beside others."""

import importlib.util
import json
import sys
import warnings

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load, save

import mmadv
from mmadv import Noise
from mmadv.errors import InputError, ParameterError
from mmadv_audio import Waves, channels, masking, quality
from mmadv_audio.attacks.universal import Universal
from mmadv_audio.constraints import Band
from mmadv_audio.figures import example
from mmadv_audio.modality import Audio
from mmadv_audio.section import _cells, _mean_errors
from mmadv_audio.source import AudioSource
from mmadv_audio.space import WaveSpace
from mmadv_audio.transcripts import normalised

RATE = 16_000


def spoken(count: int, seed: int = 0) -> torch.Tensor:
    """Harmonics in syllables over a little hiss."""
    draw = np.random.default_rng(seed)
    time = np.arange(count) / RATE
    voiced = sum(np.sin(2 * np.pi * 130 * k * time + k) / k for k in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * 3 * time), 0, None)
    return torch.from_numpy(0.1 * voiced * syllables + 3e-4 * draw.standard_normal(count)).float()


def with_pause() -> Waves:
    """Speech, a second of digital silence, speech; and a shorter row without."""
    return Waves.of([torch.cat([spoken(24_000), torch.zeros(16_000), spoken(20_000, 1)]), spoken(30_000, 2)], RATE)


def drawn(x: Waves, seed: int = 0) -> torch.Tensor:
    return torch.randn(x.samples.shape, generator=torch.Generator().manual_seed(seed))


# --- masking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["climb", "project"])
def test_a_quiet_stretch_leaves_loud_frames_their_room(how):
    x = with_pause()
    region = WaveSpace("masking", 1.0).around(x)
    wide = region.like(x.samples + 0.01 * drawn(x))
    adv = region.climb_(x, drawn(x), 1.0) if how == "climb" else region.project(wide)
    threshold = masking.threshold(x)
    ratios = masking.frame_ratios(adv.samples - x.samples, threshold)
    assert region.feasible(adv).all()
    for row, valid in zip(ratios, threshold.valid, strict=True):
        assert row[valid].max() <= 1 + 1e-4
        # Scaled as a whole, recordings as these keep a median of .01 to .03.
        assert row[valid].median() > 0.1
    assert torch.equal(region.project(adv).samples, adv.samples)


def test_frames_are_turned_down_each_by_itself():
    x = with_pause()
    threshold = masking.threshold(x)
    delta = masking.below(1e-4 * drawn(x) * x.valid, threshold, torch.ones(2))
    loud = delta.clone()
    loud[0, 30_000:32_000] += 1e-3
    found = masking.turned_down(loud, threshold, torch.ones(2))
    assert torch.equal(found[1], masking.turned_down(delta, threshold, torch.ones(2))[1])
    far = slice(0, 30_000 - masking.WINDOW * 2)
    assert torch.allclose(found[0, far], delta[0, far], atol=1e-9)
    assert (masking.frame_ratios(found, threshold)[0] < 2).all()
    assert (masking.frame_ratios(loud, threshold)[0] > 10).any()


def test_masking_projections_do_not_see_other_rows():
    x = with_pause()
    whole = WaveSpace("masking", 1.0, Band(300, 3400)).around(x)
    wide = whole.like(x.samples + 0.003 * drawn(x))
    alone = Waves.of([x[1]], RATE)
    one = WaveSpace("masking", 1.0, Band(300, 3400)).around(alone)
    own = one.project(one.like(alone.samples + 0.003 * drawn(x)[1:, : len(x[1])]))
    assert torch.allclose(whole.project(wide)[1], own[0], rtol=0, atol=1e-7)


class Quiet(torch.nn.Module):
    """Two classes by whether there is more of one frequency than of another.

    Args:
        other: the second frequency, in Hz.
        lead: of the first class.
    """

    def __init__(self, other: float = 900, lead: float = 2e-5) -> None:
        super().__init__()
        self.other, self.lead = other, lead
        self.eval()

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        time = torch.arange(samples.shape[1]) / RATE
        tones = [(samples * torch.sin(2 * torch.pi * hz * time)).mean(1) for hz in (700, self.other)]
        return 1e3 * torch.stack([tones[0] + self.lead, tones[1]], 1)


def test_the_imperceptible_attack_ends_under_the_threshold():
    x = with_pause()
    y = Quiet()(x.samples).argmax(1)
    result = mmadv.attack(Quiet(), x, y, "audio.imperceptible", norm="masking", eps=1.0, steps=60)
    assert result.success.all()
    assert WaveSpace("masking", 1.0).measures(x, result.adv)["masked frames"].eq(1).all()
    assert (result.distance < 0.2).all()  # PGD stops at .6 and more


class Loudness(torch.nn.Module):
    """Class 1 where the mean square is above .1."""

    def forward(self, samples):
        level = samples.square().mean(1)
        return torch.stack([0.1 - level, level - 0.1], 1)


@pytest.mark.parametrize("words", [{"steps": 60}, {"steps": 200, "lr": 1e-5}])
def test_the_imperceptible_attack_goes_on_where_what_is_unheard_is_not_enough(words):
    """With so small a first rate nothing is known from stage 1."""
    x = Waves.of([torch.full((3000,), 0.33), torch.full((4000,), 0.35)], rate=16_000)
    ours = mmadv.attack(Loudness().eval(), x, [1, 1], "audio.imperceptible", norm="masking", eps=40.0, **words)
    other = mmadv.attack(Loudness().eval(), x, [1, 1], "audio.cw", norm="masking", eps=40.0, steps=60)
    assert ours.success.all()
    assert (ours.distance > 1).all()
    assert (ours.distance < other.distance).all()


def test_the_masking_term_makes_successes_less_audible():
    x = with_pause()
    victim, threshold = Quiet(3900, 2e-3), masking.threshold(x)
    audible = []
    for alpha in (0.0, 0.5):
        words = {"norm": "snr", "eps": 0.5, "steps": 60, "alpha": alpha}
        result = mmadv.attack(victim, x, [0, 0], "audio.imperceptible", **words)
        assert result.success.all()
        audible.append(masking.excess(result.adv.samples - x.samples, threshold))
    assert (audible[1] < 0.9 * audible[0]).all()


# --- bands -----------------------------------------------------------------------------------------


def clipped() -> Waves:
    """A sine of which a quarter lies at exactly ±1, and one with a single such sample."""
    time = torch.arange(8000) / RATE
    sine = torch.sin(2 * torch.pi * 100 * time)
    single = 0.3 * sine
    single[100] = 1.0
    return Waves.of([(sine / 0.9).clamp(-1, 1), single], RATE)


@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", 0.01), ("linf", 2.0), ("l2", 1.0), ("snr", 0.05), ("masking", 10.0)]
)
def test_a_band_leaves_room_beside_samples_at_full_scale(norm, eps):
    x = clipped()
    region = WaveSpace(norm, eps, Band(300, 3400)).around(x)
    adv = region.project(region.like(x.samples + 0.1 * drawn(x)))
    moved = region.climb_(x, drawn(x, 1), 1.0)
    for found in (adv, moved):
        assert region.feasible(found).all()
        assert torch.equal(region.project(found).samples, found.samples)
        delta = found.samples - x.samples
        spectrum = torch.fft.rfft(delta.double()).abs().square()
        hertz = torch.fft.rfftfreq(8000, 1 / RATE)
        outside = spectrum[:, (hertz < 300) | (hertz > 3400)].sum(1)
        assert (outside <= 1e-4 * spectrum.sum(1) + 8000**2 * 1e-12).all()
    if norm == "linf":
        assert (region.distance(adv) > min(0.05, 0.9 * eps)).all()
    else:  # a quarter at full scale, a band and a threshold together leave next to nothing
        assert (region.distance(adv) > 0.3 * eps)[1 if norm == "masking" else 0 :].all()


def test_a_band_without_frequencies_is_refused():
    short, long = Waves.of([torch.ones(3), torch.ones(800)], RATE), Waves.of([torch.ones(800)], RATE)
    with pytest.raises(InputError, match="1 of 2 waveforms have no frequency from 300 to 3400 Hz"):
        WaveSpace("linf", 0.1, Band(300, 3400)).around(short)
    with pytest.raises(InputError, match="no frequency from 9000"):
        WaveSpace("linf", 0.1, Band(9000, 12_000)).around(long)
    with pytest.raises(InputError, match="no frequency from 101"):
        WaveSpace("linf", 0.1, Band(101, 102)).around(long)
    assert len(WaveSpace("linf", 0.1, Band(100, 102)).around(long).x) == 1
    for odd in ([300], 300, ["300", "3400"], [300, 400, 500]):
        with pytest.raises(ParameterError, match="the band is"):
            Audio().space(band=odd)


# --- rows and their paddings ------------------------------------------------------------------------


def test_rows_read_from_disk_are_judged_whatever_they_are_padded_to():
    x = Waves.of([spoken(9000), spoken(3000, 1), spoken(5000, 2)], RATE)
    for norm in ("linf", "l2", "snr", "masking"):
        region = WaveSpace(norm, 0.5).around(x)
        adv = region.climb_(x, drawn(x), 1.0)
        kind = Audio()
        some = torch.tensor([1, 2])
        packed = [kind.pack(Waves.of([adv[row]], RATE)) for row in some.tolist()]
        again = kind.unpack([load(save({"x": one}))["x"] for one in packed])
        part = WaveSpace(norm, 0.5).around(Waves(x.samples[some], x.length[some], RATE))
        assert again.samples.shape[1] == 5000
        assert part.feasible(again).all()
        assert torch.allclose(part.distance(again), region.distance(adv)[some], rtol=1e-4)
        noisy = Waves(torch.nn.functional.pad(again.samples, (0, 6000), value=0.1), again.length, RATE)
        assert not part.feasible(noisy).any()


def test_a_packed_rate_is_exact_in_every_dtype():
    for kind in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        for rate in (8000, 44_100, 192_000):
            row = Waves.of([torch.tensor([0.5, -0.25], dtype=kind)], rate)
            back = Audio().unpack([Audio().pack(row)])
            assert (back.rate, back[0].tolist()) == (rate, [0.5, -0.25])


@pytest.mark.parametrize("norm", ["linf", "masking"])
def test_nes_does_not_see_other_rows(norm):
    x = with_pause()
    y = Quiet()(x.samples).argmax(1)
    words = {"norm": norm, "eps": 1.0 if norm == "masking" else 1e-4, "samples": 4, "steps": 3, "early_stop": False}
    both = mmadv.attack(Quiet(), x, y, "audio.nes", **words)
    for row in range(2):
        alone = mmadv.attack(Quiet(), Waves.of([x[row]], RATE), y[row : row + 1], "audio.nes", ids=[row], **words)
        assert torch.allclose(alone.adv[0], both.adv[row], rtol=0, atol=0 if norm == "linf" else 1e-7)


def test_starts_at_the_same_id_are_the_same():
    x = with_pause()
    region = WaveSpace("masking", 1.0).around(x)
    first, again = (region.jitter(Noise(0, torch.tensor([4, 5]))) for _ in range(2))
    assert torch.equal(first.samples, again.samples)
    assert not torch.equal(first.samples, region.jitter(Noise(0, torch.tensor([6, 7]))).samples)


# --- figures ---------------------------------------------------------------------------------------


def test_rounding_is_measured_at_the_recordings_own_level():
    x = Waves.of([1e-4 * spoken(8000)], RATE)
    region = Audio().space(snr=40).around(x)
    adv = region.climb_(x, drawn(x), 1.0)
    assert region.feasible(adv).all()
    louder = x.with_samples(x.samples + 1.001 * (adv.samples - x.samples))
    assert not region.feasible(louder).any()


def test_measures_say_nothing_where_nothing_is_defined():
    x = Waves.of([spoken(16_000), spoken(300), torch.zeros(16_000)], RATE)
    adv = x.with_samples(x.samples + 0.01 * drawn(x) * x.valid)
    found = WaveSpace("linf", 1.0).measures(x, adv)
    noise = (adv[0].double() - x[0].double()).square().sum()
    assert found["SNR dB"][0].item() == pytest.approx(
        10 * float(torch.log10(x[0].double().square().sum() / noise)), abs=1e-4
    )
    assert found["SNR dB"].isnan().tolist() == [False, False, True]
    assert found["STOI"].isnan().tolist() == [False, True, True]
    assert 0.2 < found["STOI"][0] < 1


def test_only_what_stoi_itself_warns_of_takes_its_figure_away(monkeypatch):
    import pystoi

    own = pystoi.stoi

    def warned(*given):
        warnings.warn("NumPy has news", DeprecationWarning, stacklevel=1)
        return own(*given)

    monkeypatch.setattr(pystoi, "stoi", warned)
    x = Waves.of([spoken(16_000), torch.cat([spoken(2_000), torch.zeros(14_000)])], RATE)
    with pytest.warns(DeprecationWarning, match="NumPy has news"):
        found = quality.judged(x, x.with_samples(x.samples + 0.01 * drawn(x) * x.valid))["STOI"]
    assert found.isnan().tolist() == [False, True]


def test_pesq_is_worse_for_louder_noise_and_left_out_where_its_library_is():
    x = Waves.of([spoken(16_000), spoken(3_000), torch.zeros(16_000)], RATE)
    soft, loud = (x.with_samples(x.samples + size * drawn(x) * x.valid) for size in (0.001, 0.05))
    found = quality.judged(x, soft)
    assert ("PESQ" in found) == (importlib.util.find_spec("pesq") is not None)
    if "PESQ" in found:
        assert found["PESQ"].isnan().tolist() == [False, True, True]
        assert 4.7 > found["PESQ"][0] > quality.judged(x, loud)["PESQ"][0] > 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pesq", None)
        patch.setitem(sys.modules, "pystoi", None)
        assert quality.judged(x, soft) == {}


def test_silence_survives_what_takes_a_share_of_it():
    x = Waves.of([torch.zeros(500), spoken(500)], RATE)
    y = [1, 1]

    class Loud(torch.nn.Module):
        def forward(self, samples):
            level = samples.square().mean(1)
            return torch.stack([level - 0.1, 0.1 - level], 1)

    result = mmadv.attack(Loud().eval(), x, y, "audio.kenansville", norm="l2", eps=0.1)
    assert [str(status) for status in result.status] == ["robust", "robust"]
    assert torch.equal(result.adv[0], x[0])
    shown = example(x[:1], result.adv[:1], ("a", "b"))
    assert (shown.count("data:image/png;base64,"), shown.count("data:audio/flac;base64,")) == (3, 3)
    assert "difference, played ×\u00a01<" in shown


def test_error_rates_of_a_section_are_means_of_all_but_failures():
    records = [
        {"key": "a", "eps": 0.1, "status": "robust", "score": 0.2, "clean_score": 0.0},
        {"key": "b", "eps": 0.1, "status": "fooled", "score": 1.0, "clean_score": 0.1},
        {"key": "c", "eps": 0.1, "status": "already_wrong", "score": 9.0, "clean_score": 0.6},
        {"key": "d", "eps": 0.1, "status": "error", "score": None, "clean_score": None},
        # What was reached within less is within reach.
        {"key": "a", "eps": 0.2, "status": "robust", "score": 0.0, "clean_score": 0.0},
        {"key": "b", "eps": 0.2, "status": "fooled", "score": 1.6, "clean_score": 0.1},
    ]
    assert _mean_errors(records, [0.2, 0.1]) == ["90 %", "60 %"]
    measures = [{"SNR dB": snr, "survives MP3": float(snr > 20)} for snr in (10.0, 30.0, 40.0)]
    said = [["abcd", "abcd", heard] for heard in ("abcd", "abce", "wxyz")]
    found = [{"measures": one, "stored_success": at > 0, "said": said[at]} for at, one in enumerate(measures)]
    cells = _cells(found, ["survives MP3"])
    assert cells[0] == "30.0"
    assert cells[1:5] == ["–", "–", "–", "–"]
    assert cells[5] == "25%"
    assert cells[6:] == ["67 %", "67 %"]


# --- files -----------------------------------------------------------------------------------------


def test_a_long_recording_passes_every_channel():
    x = Waves.of([0.1 * spoken(RATE * 200)], RATE)
    back = channels.coded(x, "OGG")
    assert torch.corrcoef(torch.stack([x[0], back[0]]))[0, 1] > 0.9


def test_a_codec_without_a_sample_rate_is_left_out():
    odd = Waves.of([0.1 * spoken(4000)], 13_000)
    assert "MP3" not in channels.every(odd)
    assert "FLAC" in channels.every(odd)
    with pytest.raises(InputError, match="MP3 cannot code 13000"):
        channels.coded(odd, "MP3")


def test_full_scale_survives_resampling(tmp_path):
    square = np.sign(np.sin(2 * np.pi * 300 * np.arange(8000) / 8000)).astype(np.float32) * 0.99
    soundfile.write(tmp_path / "square.wav", square, 8000, subtype="PCM_16")
    (tmp_path / "said.jsonl").write_text('{"audio": "square.wav", "text": "a"}\n')
    examples = AudioSource(tmp_path / "said.jsonl").take(0, 1)
    assert examples.x.samples.abs().max() <= 1
    WaveSpace("linf", 0.1).around(examples.x)
    soundfile.write(tmp_path / "loud.wav", 1.5 * square, RATE, subtype="FLOAT")
    assert channels.read_file(tmp_path / "loud.wav").samples.abs().max() > 1.4  # that is for its owner to mend
    soundfile.write(tmp_path / "square.mp3", square, RATE)
    assert channels.read_file(tmp_path / "square.mp3").samples.abs().max() <= 1


def test_records_of_a_manifest_are_told_apart(tmp_path):
    lines = []
    for name in ("a", "b"):
        (tmp_path / name / "clips").mkdir(parents=True)
        soundfile.write(tmp_path / name / "clips" / "0.wav", np.full(100, 0.1), RATE)
        lines.append(json.dumps({"audio": f"{name}/clips/0.wav", "text": ""}))
    (tmp_path / "said.jsonl").write_text("\n".join(lines))
    examples = AudioSource(tmp_path / "said.jsonl").take(0, 2)
    assert examples.keys == ["a/clips/0.wav", "b/clips/0.wav"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"{not json", "can't be read"),
        (b"[1, 2]", "no column is called 'audio'"),
        (b"\xff\xfe\x00", "can't be read"),
        (b'{"audio": "nope.wav", "text": "a"}', "no file 'nope.wav'"),
    ],
)
def test_manifests_that_are_none(tmp_path, text, what):
    (tmp_path / "said.jsonl").write_bytes(text)
    with pytest.raises(InputError, match=what):
        AudioSource(tmp_path / "said.jsonl")


def test_words_of_a_source_that_nothing_uses(tmp_path):
    (tmp_path / "yes").mkdir()
    soundfile.write(tmp_path / "yes" / "1.wav", np.full(100, 0.1), RATE)
    for classes, wanted in ((["yes", "no"], 0), (["no", "yes"], 1)):
        assert AudioSource(tmp_path, classes=classes).take(0, 9).y.tolist() == [wanted]
    for words, what in (
        ({"audio_column": "file"}, "no column 'file'"),
        ({"transcript_column": "text", "label_column": "label"}, "transcripts are given beside labels"),
        ({"classes": "yes"}, "classes is 'yes'"),
        ({"rate": "16k"}, "rate is '16k'"),
    ):
        with pytest.raises((InputError, ParameterError), match=what):
            AudioSource(tmp_path, **words)
    with pytest.raises(InputError, match="'yes' is none of the model's classes"):
        AudioSource(tmp_path, classes=["yess", "no"])
    with pytest.raises(InputError, match="the model doesn't say what its classes are called"):
        AudioSource(tmp_path)


# --- words and rows of users ------------------------------------------------------------------------


def test_letters_keep_their_marks():
    assert normalised("Cafe\u0301") == normalised("Caf\u00e9") == "caf\u00e9"
    assert normalised("नमस्ते, दुनिया!") == "नमस्ते दुनिया"
    assert normalised("\ufb01sh_and_chips") == "fish and chips"


def test_silence_is_refused_where_nothing_could_be_changed():
    x = Waves.of([spoken(500), torch.zeros(500)], RATE)
    for words, what in (
        ({"norm": "masking", "eps": 1.0}, "which hides nothing"),
        ({"snr": 20}, "no share can be taken"),
    ):
        with pytest.raises(InputError, match=f"1 of 2 waveforms are silence, .*{what}") as caught:
            mmadv.attack(Quiet(), x, [0, 0], "audio.pgd", steps=1, **words)
        assert caught.value.where == "row 1"


def test_ways_start_from_what_was_written_and_read():
    x = Waves.of([0.3 / 32768 * torch.ones(800)], RATE)  # less than half a step: a file holds nothing of it
    assert channels.telephone(Waves.of([0.1 * spoken(8000)], RATE)).samples.any()
    assert not channels.telephone(x).samples.any()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({"snr": -1e6}, "louder than the signal"),
        ({"norm": "linf", "snr": 15}, "beside norm or eps"),
        ({"snr": "15"}, "snr is '15'"),
        ({"norm": "snr", "eps": 25}, "28 dB louder"),
    ],
)
def test_words_of_a_space_that_contradict(words, what):
    with pytest.raises(ParameterError, match=what):
        Audio().space(**words)


@pytest.mark.parametrize(
    "odd",
    [
        Waves(torch.ones(2, 5), torch.tensor([5, 3]), RATE),
        Waves(torch.ones(2, 5), torch.tensor([5, 6]), RATE),
        Waves(torch.zeros(2, 5), torch.tensor([5, 0]), RATE),
        Waves(torch.ones(2, 5), torch.tensor([5]), RATE),
        Waves(torch.ones(2, 5, dtype=torch.int16), torch.tensor([5, 5]), RATE),
        Waves(torch.ones(2, 5), torch.tensor([5.0, 5.0]), RATE),
        Waves(torch.ones(2, 5), torch.tensor([5, 5]), None),
    ],
)
def test_rows_that_users_put_together_are_checked(odd):
    with pytest.raises(InputError, match=r"Waves\.of|the sample rate is None"):
        Audio().inputs(odd)


@pytest.mark.parametrize("given", [None, "wave", 3])
def test_what_is_no_list_of_waveforms(given):
    with pytest.raises(InputError, match="list of 1-D"):
        Waves.of(given, RATE)
    with pytest.raises(InputError, match="can't be read as samples"):
        Waves.of([np.ones(4, np.float32)[::-1], "a"], RATE)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (torch.zeros(2, 3), "shape"),
        (torch.zeros(0), "shape"),
        (torch.full((4,), float("nan")), "not finite"),
        (torch.zeros(4, dtype=torch.int16), "dtype"),
        (Waves.of([torch.zeros(4)], 8000), "8000 samples a second"),
    ],
)
def test_a_universal_perturbation_is_checked(given, what):
    x = Waves.of([spoken(500)], RATE)
    with pytest.raises(ParameterError, match=what):
        mmadv.attack(Quiet(), x, [0], Universal(perturbation=given), modality="audio", norm="linf", eps=0.1)


def test_labels_given_inside_inference_mode():
    x = Waves.of([spoken(500)], RATE)
    with torch.inference_mode():
        result = mmadv.attack(Quiet(), x, [0], "audio.pgd", norm="linf", eps=0.1, steps=2)
    assert len(result.status) == 1
