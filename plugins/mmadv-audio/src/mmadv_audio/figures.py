"""What a report shows of a recording: players and spectrograms of clean, adversarial and difference, and what was heard."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from mmadv_audio.channels import to_int16
from mmadv_audio.waves import Waves

LONGEST = 12.0
"""Seconds that are shown."""
WIDTH, HEIGHT = 360, 110
RANGE = 70.0
"""dB from the loudest of the clean spectrogram to what is drawn darkest."""


def example(x: Waves, adv: Waves, caption: tuple[str, str]) -> str:
    """HTML of three figures.

    Args:
        x: clean, one row.
        adv: adversarial.
        caption: what is right, and what was heard.
    """
    most = int(LONGEST * x.rate)
    clean, other = x[0][:most].cpu().float(), adv[0][:most].cpu().float()
    delta = other - clean
    peak = float(delta.abs().max())
    gain = 0.5 / peak if peak else 1.0
    loudest = float(_power(clean).max())
    cut = "" if len(x[0]) <= most else f" (the first {LONGEST:g} s)"
    shown = (
        (clean, clean, f"clean: {caption[0]}{cut}"),
        (other, other, f"adversarial: {caption[1]}"),
        (delta, delta * gain, f"difference, played ×\u00a0{gain:.0f}"),
    )
    figure = Markup(
        '<figure><img alt="spectrogram, {}" src="{}" width="{}" height="{}"><br>'
        '<audio controls preload="none" src="{}"></audio><figcaption>{}</figcaption></figure>'
    )
    return str(
        Markup("").join(
            figure.format(text, spectrogram(drawn, loudest), WIDTH, HEIGHT, player(played, x.rate), text)
            for drawn, played, text in shown
        )
    )


def player(wave: Tensor, rate: int) -> str:
    """A waveform (T,) as 16-bit FLAC in a data URI."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, to_int16(wave).numpy(), rate, format="FLAC", subtype="PCM_16")
    return "data:audio/flac;base64," + base64.b64encode(buffer.getvalue()).decode()


def spectrogram(wave: Tensor, loudest: float) -> str:
    """Levels of a waveform (T,) over time and frequency as a PNG in a data URI, brightest at the power `loudest`."""
    from PIL import Image

    level = 10 * torch.log10(_power(wave) / max(loudest, 1e-12) + 1e-12)
    shade = ((level + RANGE) / RANGE).clamp(0, 1).flip(0)
    shade = torch.nn.functional.interpolate(shade[None, None], size=(HEIGHT, WIDTH), mode="area")[0, 0]
    # Dark blue over red to pale yellow, lightness rising evenly.
    red, green, blue = 1.5 * shade, 1.6 * shade**2 - 0.35 * shade, 0.35 * (np.pi * shade).sin() + 0.75 * shade**4 + 0.1
    pixels = (255 * torch.stack([red, green, blue], -1).clamp(0, 1)).to(torch.uint8).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).quantize(48).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _power(wave: Tensor) -> Tensor:
    """(bins, frames) of a short-time spectrum."""
    wave = torch.nn.functional.pad(wave, (0, max(0, 512 - len(wave))))
    spectrum = torch.stft(wave, 512, 128, window=torch.hann_window(512), center=False, return_complex=True)
    return spectrum.abs().square()
