"""Ways that a waveform takes before it is heard: files and sample rates, each written and read again."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmadv.errors import InputError, ParameterError
from mmadv_audio.waves import Waves

LONGEST = 3600.0
"""Seconds; a longer file is refused before it is decoded."""
MOST = 192_000 * 1800
"""Samples, likewise."""

FORMATS: Mapping[str, tuple[str, str]] = {
    "FLAC": ("FLAC", "PCM_16"),
    "OGG": ("OGG", "VORBIS"),
    "MP3": ("MP3", "MPEG_LAYER_III"),
}
"""Codecs by name, as libsndfile calls them."""
CUT = re.compile(r"(?:data|SSND) : (\d+) \(should be (\d+)\)")
"""What libsndfile says of a file that ends before its sound does: it reads what is there."""
STREAMED = 0x7FFF_0000
"""Lengths from here on were written by who didn't know how long the sound would be."""
LOSSY = {"VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"}


def int16(waves: Waves) -> Waves:
    """What a 16-bit WAV file keeps of waveforms.

    Example:
        >>> int16(Waves.of([torch.tensor([0.1, 1.0])], 8000))[0].tolist()
        [0.100006103515625, 0.999969482421875]
    """
    return waves.with_samples(to_int16(waves.samples).to(waves.samples.dtype) / 32768)


def to_int16(samples: Tensor) -> Tensor:
    """Samples as int16, rounded to the nearest level."""
    return samples.mul(32768).round_().clamp_(-32768, 32767).to(torch.int16)


def write_wav(row: Waves, path: Path) -> Path:
    """One waveform as a 16-bit WAV file; returns the file."""
    import soundfile

    soundfile.write(path, to_int16(row[0]).cpu().numpy(), row.rate, subtype="PCM_16")
    return path


def read_file(content: Path | bytes) -> Waves:
    """One waveform of a mono audio file.

    Args:
        content: the file, or what is in it.

    Raises:
        InputError: it can't be read, is empty, was cut short, has several channels or is longer than an hour.
    """
    import soundfile

    held = content if isinstance(content, bytes) else None
    path = str(content) if held is None else "the table's own bytes"
    try:
        about = soundfile.info(path if held is None else io.BytesIO(held))
        if about.channels != 1:
            raise InputError(f"the file has {about.channels} channels", where=path, fix="mix it down to one channel")
        if about.duration > LONGEST or about.frames > MOST:
            raise InputError(f"the file is {about.duration:.0f} s long", where=path, fix="cut it into utterances")
        if (said := CUT.search(about.extra_info)) and int(said[1]) < STREAMED:
            raise InputError(
                f"the file was cut short: it holds {said[2]} of {said[1]} bytes of sound",
                where=path,
                fix="copy it again, or write what is left as a file of its own",
            )
        levels, rate = soundfile.read(
            path if held is None else io.BytesIO(held), dtype="int16" if about.subtype == "PCM_16" else "float32"
        )
        if about.subtype in LOSSY:
            levels = np.clip(levels, -1, 1)  # what was full scale before coding can come back a little above it
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise InputError(f"the file cannot be read: {error}", where=path, fix="remove or replace the file") from error
    if not len(levels):
        raise InputError("the file holds no samples", where=path, fix="remove or replace the file")
    samples = torch.from_numpy(levels).float()
    return Waves.of([samples / 32768 if levels.dtype == np.int16 else samples], rate)


def resampled(waves: Waves, rate: int) -> Waves:
    """Waveforms at another sample rate, by SciPy's polyphase filter (Kaiser window).

    Raises:
        ParameterError: no sample rate.

    Example:
        >>> resampled(Waves.of([torch.zeros(8000)], 8000), 16_000).length.tolist()
        [16000]
    """
    from scipy.signal import resample_poly

    if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
        raise ParameterError(f"rate is {rate!r}", where="rate", fix="give samples a second, such as 16000")
    if rate == waves.rate:
        return waves
    common = math.gcd(rate, waves.rate)
    up, down = rate // common, waves.rate // common
    device, kind = waves.samples.device, waves.samples.dtype
    # Between the samples of a loud recording its waveform can go beyond ±1, and files hold no more than that.
    most = max(1.0, float(waves.samples.abs().amax())) if waves.samples.numel() else 1.0
    found = [
        torch.from_numpy(resample_poly(one.double().cpu().numpy(), up, down)).to(device, kind).clamp(-most, most)
        for one in waves
    ]
    done = Waves.of(found, rate)
    return Waves(done.samples.to(device), done.length.to(device), rate)


def telephone(waves: Waves, rate: int = 8000) -> Waves:
    """What is left after a stretch at a lower sample rate, in 16 bits."""
    return _cut(resampled(int16(resampled(waves, rate)), waves.rate), waves)


def coded(waves: Waves, codec: str) -> Waves:
    """Waveforms written by a codec of `FORMATS` and read again, a codec's delay taken away.

    Raises:
        InputError: a sample rate that the codec does not have.
    """
    import soundfile

    container, subtype = FORMATS[codec]
    found = []
    for wave in waves:
        buffer, samples = io.BytesIO(), wave.float().cpu().numpy()
        try:
            with soundfile.SoundFile(buffer, "w", waves.rate, 1, format=container, subtype=subtype) as file:
                for start in range(0, len(samples), waves.rate):  # at once, libsndfile's Vorbis overflows its stack
                    file.write(samples[start : start + waves.rate])
        except soundfile.LibsndfileError as error:
            raise InputError(
                f"{codec} cannot code {waves.rate} samples a second: {error}", where="rate", fix="resample before"
            ) from error
        buffer.seek(0)
        back, _ = soundfile.read(buffer, dtype="float32")
        found.append(_aligned(torch.from_numpy(back), wave.cpu()))
    return _cut(Waves.of(found, waves.rate), waves)


def every(waves: Waves) -> dict[str, Waves]:
    """What comes of waveforms on each way that libsndfile knows here and that has their sample rate."""
    import soundfile

    offered = soundfile.available_formats()
    found = {}
    for name, (container, _) in FORMATS.items():
        if container in offered:
            with contextlib.suppress(InputError):
                found[name] = coded(waves, name)
    return {**found, **({"8 kHz": telephone(waves)} if waves.rate > 8000 else {})}


def _aligned(back: Tensor, wave: Tensor, most: int = 2400) -> Tensor:
    """`back` without the delay that a codec put before it: where it fits `wave` best."""
    if len(back) == len(wave):
        return back
    size = len(back) + len(wave)
    match = torch.fft.irfft(torch.fft.rfft(back.double(), size) * torch.fft.rfft(wave.double(), size).conj(), size)
    return back[int(match[: min(most, len(back))].argmax()) :]


def _cut(found: Waves, like: Waves) -> Waves:
    """Waveforms cut or filled up with silence to the lengths of others."""
    longest = like.samples.shape[-1]
    samples = torch.nn.functional.pad(found.samples, (0, max(0, longest - found.samples.shape[-1])))[:, :longest]
    samples = samples.to(like.samples) * like.valid
    return Waves(samples.clamp(-1, 1), like.length, like.rate)
