"""A user's own recordings and recogniser: manifests, folders, Parquet, what is left out of them, and the command line."""

from __future__ import annotations

import json
import shutil

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from transformers import WhisperFeatureExtractor
from typer.testing import CliRunner

import mmadv
from mmadv import cli
from mmadv.audit import Audit
from mmadv.data import SkippedWarning
from mmadv.errors import InputError, MmadvError, ParameterError
from mmadv.host import default_host
from mmadv.verify import verify
from mmadv_audio import channels, demo
from mmadv_audio.source import AudioSource
from mmadv_audio.transcripts import label_of, text_of
from mmadv_audio.waves import Waves

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
COUNT = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Whisper tiny.en, saved as a user's would be."""
    folder, (whisper, tokenizer) = tmp_path_factory.mktemp("models") / "whisper", demo.whisper_tiny()
    whisper.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def prompts():
    return demo.prompts().take(0, COUNT)


@pytest.fixture
def said(tmp_path, prompts):
    """A manifest of a user's beside its recordings."""
    lines = []
    for number, (wave, label) in enumerate(zip(prompts.x, prompts.y.tolist(), strict=True)):
        (tmp_path / "data" / "clips").mkdir(parents=True, exist_ok=True)
        channels.write_wav(Waves.of([wave], demo.RATE), tmp_path / "data" / "clips" / f"{number}.wav")
        lines.append({"clip": f"clips/{number}.wav", "words": text_of(label).upper() + "!", "speaker": 7})
    manifest = tmp_path / "data" / "said.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    return manifest


def mmadv_cli(*args):
    """The command line in this process; what it raises is raised."""
    done = CliRunner().invoke(cli.app, [str(arg) for arg in args], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_own_recogniser_and_manifest_from_the_command_line(model, said, prompts, tmp_path):
    with said.open("a") as file:
        for line in (
            {"clip": "../../../../etc/passwd", "words": "a"},
            {"clip": "clips/missing.wav", "words": "a"},
            {"clip": "clips/0.wav", "words": "word " * 200},
        ):
            file.write("\n" + json.dumps(line))
    told = mmadv_cli(
        "attack", "audio.kenansville", "--model", model, "--data", said, "--audio-column", "clip", "--transcript-column", "words",
        "--target", "seconds=10", "--target", "most=40", "-t", "norm=snr", "--eps", "-10 dB", "-t", "wer=0.5", "--out", tmp_path / "run",
    )  # fmt: skip
    assert "3 left out of the data" in told
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())["campaigns"][0]
    assert summary["examples"] == COUNT
    assert [one["key"] for one in summary["skipped"]] == [
        "../../../../etc/passwd",
        "clips/missing.wav",
        "clips/0.wav#6",
    ]
    assert "the victim writes 40 at most" in summary["skipped"][2]["why"]
    assert summary["clean"]["hits"] >= 2
    audit = Audit.of_folder(tmp_path / "run", default_host())
    audit.facts()
    found = [record for unit in audit.units() for record in audit.records(audit.place(unit))]
    assert [record["key"] for record in found] == ["clips/0.wav#1", "clips/1.wav", "clips/2.wav"]
    assert [record["y"] for record in found] == prompts.y.tolist()
    assert list(verify(Audit.of_folder(tmp_path / "run", default_host()))) == []


def test_a_manifest_and_parquet_are_the_same_data(said, prompts, tmp_path):
    words = {"audio_column": "clip", "transcript_column": "words"}
    manifest = AudioSource(said, **words).take(0, 9)
    assert manifest.y.tolist() == prompts.y.tolist()
    rows = [
        {
            "clip": {"bytes": (said.parent / "clips" / f"{number}.wav").read_bytes(), "path": f"{number}.wav"},
            "words": text_of(label),
        }
        for number, label in enumerate(prompts.y.tolist())
    ]
    features = datasets.Features({"clip": datasets.Audio(), "words": datasets.Value("string")})
    pq.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), tmp_path / "said.parquet")
    held = AudioSource(tmp_path / "said.parquet", **words).take(0, 9)
    assert torch.equal(held.x.samples, manifest.x.samples)
    assert held.y.tolist() == manifest.y.tolist()
    assert held.keys == ["0.wav", "1.wav", "2.wav"]


class Loud(torch.nn.Module):
    """Class 1 is loud."""

    def forward(self, samples):
        level = samples.square().mean(1)
        return torch.stack([0.01 - level, level - 0.01], 1)


@pytest.fixture
def commands(tmp_path):
    folder = tmp_path / "commands"
    for name, size in (("quiet", 0.01), ("loud", 0.5)):
        (folder / name).mkdir(parents=True)
        for number in range(2):
            wave = size * np.sin(np.arange(800 + 80 * number) / 5)
            soundfile.write(folder / name / f"{number}.wav", wave, 8000, subtype="PCM_16")
    return folder


def test_a_folder_of_classes_at_the_victims_own_rate(commands):
    options = {"attack": "audio.pgd", "norm": "linf", "eps": 0.3, "steps": 5}
    result = mmadv.attack(Loud().eval(), data=commands, classes=["quiet", "loud"], rate=8000, **options)
    assert result.keys == ("loud/0.wav", "quiet/0.wav", "loud/1.wav", "quiet/1.wav")
    assert result.y.tolist() == [1, 0, 1, 0]
    assert result.adv.rate == 8000
    assert "already_wrong" not in result.status
    with pytest.raises(InputError, match=r"(?s)'loud' is no class number.*classes: .loud, quiet."):
        mmadv.attack(Loud().eval(), data=commands, **options)


def test_hostile_recordings_are_left_out_and_said_to_be(commands, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "secret.wav", np.zeros(800), 8000)
    (commands / "loud" / "link.wav").symlink_to(tmp_path / "secret.wav")
    (commands / "loud" / "page.wav").write_text("<script>alert(1)</script>")
    (commands / "loud" / "cut.flac").write_bytes(b"fLaC" + bytes(30))
    whole = (commands / "loud" / "0.wav").read_bytes()
    (commands / "loud" / "half.wav").write_bytes(whole[: len(whole) // 2])
    soundfile.write(commands / "loud" / "long.flac", np.zeros(900_000, np.int16), 8000)  # silence packs well
    soundfile.write(commands / "loud" / "stereo.wav", np.zeros((100, 2)), 8000)
    (commands / "loud" / "readme.md").write_text("x")
    for name, odd in (("nan", np.nan), ("over", 1.5)):
        soundfile.write(commands / "loud" / f"{name}.wav", np.array([0.1, odd] * 50), 8000, subtype="FLOAT")
    assert (commands / "loud" / "long.flac").stat().st_size < 9000
    monkeypatch.setattr(channels, "LONGEST", 60.0)
    options = {"attack": "audio.fgsm", "norm": "linf", "eps": 0.3, "classes": ["quiet", "loud"], "rate": 8000}
    with pytest.warns(SkippedWarning, match="9 left out of the data"):
        result = mmadv.attack(Loud().eval(), data=commands, **options)
    why = {one.key: one.why for one in result.skipped}
    for name, what in (
        ("link.wav", "leads out"), ("page.wav", "cannot be read"), ("cut.flac", "cannot be read"), ("half.wav", "cut short"), ("long.flac", "112 s long"),
        ("stereo.wav", "2 channels"), ("readme.md", "no audio file"), ("nan.wav", "leave [-1, 1]"), ("over.wav", "leave [-1, 1]"),
    ):  # fmt: skip
        assert what in why[f"loud/{name}"]
    shutil.rmtree(commands / "loud")
    (commands / "loud").mkdir()
    assert mmadv.attack(Loud().eval(), data=commands, **options).keys == ("quiet/0.wav", "quiet/1.wav")


def test_a_wav_that_was_streamed_is_read_to_its_end(tmp_path):
    soundfile.write(tmp_path / "live.wav", np.linspace(-0.5, 0.5, 800), 8000, subtype="PCM_16")
    whole = channels.read_file(tmp_path / "live.wav")
    written = bytearray((tmp_path / "live.wav").read_bytes())
    written[4:8] = written[40:44] = b"\xff" * 4  # as by who writes to a pipe
    (tmp_path / "live.wav").write_bytes(written)
    assert torch.equal(channels.read_file(tmp_path / "live.wav").samples, whole.samples)


def test_silence_is_left_out_where_no_share_of_it_can_be_taken(commands):
    soundfile.write(commands / "quiet" / "silent.wav", np.zeros(800), 8000, subtype="PCM_16")
    words = {"data": commands, "attack": "audio.fgsm", "classes": ["quiet", "loud"], "rate": 8000}
    with pytest.warns(SkippedWarning, match="silent.wav: 1 of 1 waveforms are silence"):
        result = mmadv.attack(Loud().eval(), snr=20, **words)
    assert len(result.keys) == 4
    assert "quiet/silent.wav" in mmadv.attack(Loud().eval(), norm="linf", eps=0.1, **words).keys


def test_transcripts_or_labels_are_not_mistaken_for_each_other(said, commands):
    heard = lambda waves: ["open the door" for _ in waves]  # noqa: E731
    for data, words, what in (
        (said, {"audio_column": "clip"}, "isn't clear whether the data have transcripts or labels"),
        (said, {"audio_column": "clip", "label_column": "words", "transcript_column": "words"}, "beside labels"),
        (said, {"transcript_column": "words"}, "no column is called 'audio'"),
        (said, {"audio_column": "clip", "transcript_column": "speaker"}, "holds int64, no texts"),
        (said, {"audio_column": "clip", "transcript_column": "word"}, "there is no column 'word'"),
        (said, {"audio_column": "clip", "transcript_column": "words", "rate": 10}, "rate is 10"),
        (commands, {"transcript_column": "words"}, "there is no column 'words'"),
    ):
        with pytest.raises((InputError, ParameterError), match=what):
            mmadv.attack(heard, data=data, attack="audio.nes", output="label", norm="linf", eps=0.1, **words)
    lines = [json.loads(line) for line in said.read_text().splitlines()]
    table = said.with_name("said.csv")
    table.write_text("audio,sentence\n" + "".join(f"{line['clip']},{line['words']}\n" for line in lines))
    assert AudioSource(table).take(0, 1).y.tolist() == [label_of(lines[0]["words"])]
    table.write_text("audio,sentence,label\nclips/0.wav,open,1\n")
    with pytest.raises(MmadvError, match="transcripts or labels"):
        AudioSource(table)
