"""A small recogniser of spoken digit strings, trained on synthetic speech, and recorded digits to judge it by.

No pretrained CTC model comes from a package registry, so this one is trained by a seeded recipe, in minutes, on strings
that Flite speaks in four voices and many speeds and pitches, and cached. The digits that it is judged and attacked on were
recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import Tensor, nn

from mmadv import MemorySource, assets
from mmadv_audio.channels import read_file, resampled
from mmadv_audio.demo import PROMPT_FILES, PROMPTS, RATE
from mmadv_audio.recognisers import CTCTarget
from mmadv_audio.synthesis import VOICES, flite
from mmadv_audio.transcripts import labels_of
from mmadv_audio.waves import Waves

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SYMBOLS = ("", "|", *sorted(set("".join(WORDS))))
"""The blank, the space between words, and letters."""
STRINGS = 1800


class DigitRecogniser(nn.Module):
    """Convolutions over a log-mel spectrogram; samples (B, T) at 16 kHz to scores (B, frames, V), a frame each 20 ms.

    It hears what a telephone lets through, 250 to 3,300 Hz, down to 35 dB below the loudest.

    Args:
        width: channels.
    """

    def __init__(self, width: int = 144) -> None:
        super().__init__()
        self.register_buffer("mel", _mel(40, 512, 250.0, 3300.0))
        self.inner = nn.Sequential(
            nn.Conv1d(40, width, 5, stride=2, padding=2), nn.BatchNorm1d(width), nn.ReLU(),
            *(_Block(width, dilation) for dilation in (1, 2, 4, 1, 2, 4)),
            nn.Conv1d(width, len(SYMBOLS), 1),
        )  # fmt: skip
        self.eval()

    def features(self, samples: Tensor) -> Tensor:
        """(B, 40, frames) in natural logarithms, at 10 ms."""
        window = torch.hann_window(400, dtype=samples.dtype, device=samples.device)
        spectrum = torch.stft(samples, 512, 160, 400, window, center=True, pad_mode="constant", return_complex=True)
        power = torch.view_as_real(spectrum).square().sum(-1)
        level = (self.get_buffer("mel").to(power) @ power + 1e-8).log()
        level = torch.maximum(
            level, level.amax((1, 2), keepdim=True) - 8
        )  # digital silence is no quieter than a line's
        return level - level.mean(-1, keepdim=True)

    def forward(self, samples: Tensor) -> Tensor:
        return self.inner(self.features(samples)).transpose(1, 2)


class _Block(nn.Module):
    """A residual block of one dilated convolution."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation), nn.BatchNorm1d(width), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def _mel(bands: int, size: int, low: float, high: float) -> Tensor:
    """Triangles (bands, bins) evenly spaced on O'Shaughnessy's mel scale."""
    edges = np.array([low, high])
    first, last = 2595 * np.log10(1 + edges / 700)
    mels = np.linspace(float(first), float(last), bands + 2)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    bins = np.arange(size // 2 + 1) * RATE / size
    rise = (bins - hertz[:-2, None]) / (hertz[1:-1] - hertz[:-2])[:, None]
    fall = (hertz[2:, None] - bins) / (hertz[2:] - hertz[1:-1])[:, None]
    return torch.from_numpy(np.clip(np.minimum(rise, fall), 0, None)).float()


def recogniser() -> CTCTarget:
    """The digit recogniser, trained if the cache does not hold it.

    Raises:
        AssetError: Flite can't be had here.
    """
    recipe: dict[str, object] = {"model": "DigitRecogniser", "version": 4, "strings": STRINGS, "epochs": EPOCHS}
    model = DigitRecogniser()
    model.load_state_dict(assets.trained("digit_recogniser", recipe, _train))
    return CTCTarget(model.eval(), vocabulary=list(SYMBOLS), name="digit recogniser")


EPOCHS = 12


def _train() -> dict[str, Tensor]:
    waves, strings = _spoken(STRINGS)
    draw = np.random.default_rng(1)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = DigitRecogniser().train()
        batches = len(waves) // 24
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=EPOCHS * batches, pct_start=0.2)
        for _ in range(EPOCHS):
            order = draw.permutation(len(waves))
            for start in range(0, batches * 24, 24):
                rows = order[start : start + 24]
                loss = _loss(model, [_worn(waves[row], draw) for row in rows], [strings[row] for row in rows], draw)
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimiser.step()
                schedule.step()
        return model.eval().state_dict()


def _loss(model: DigitRecogniser, waves: Sequence[Tensor], strings: Sequence[Sequence[int]], draw: Any) -> Tensor:
    # One by one, as it is asked later: the loudest moment must be a recording's own.
    each = [model.features(wave.unsqueeze(0))[0].T for wave in waves]
    features = nn.utils.rnn.pad_sequence(each, batch_first=True).transpose(1, 2).contiguous()
    turns = torch.arange(features.shape[1]) / features.shape[1] * torch.pi
    for row in features:
        # Microphones and lines favour some frequencies: a smooth curve of some dB, over a floor of another height.
        curve = torch.stack([float(draw.normal(0, 0.2)) * torch.cos(k * turns) for k in (1, 2, 3)]).sum(0)
        row.add_(curve.unsqueeze(1)).clamp_min_(float(draw.uniform(0.0, 0.4)))
        # Bands and moments are blanked out, so that none is relied on alone (arXiv 1904.08779).
        for axis, widest in ((0, 6), (1, 8)):
            width = int(draw.integers(0, widest))
            row.narrow(axis, int(draw.integers(0, row.shape[axis] - width)), width).zero_()
    scores = model.inner(features).permute(2, 0, 1).log_softmax(-1)
    texts = ["|".join(WORDS[digit] for digit in digits) for digits in strings]
    wanted = torch.tensor([SYMBOLS.index(letter) for text in texts for letter in text])
    sizes = torch.tensor([len(text) for text in texts])
    frames = torch.tensor([(len(one) + 1) // 2 for one in each])
    return nn.functional.ctc_loss(scores, wanted, frames, sizes)


def _worn(wave: Tensor, draw: Any) -> Tensor:
    """A recording as it may come over a line: another speed, a tilted spectrum, an echo, noise, a gain, silence around it."""
    samples = wave.numpy().astype(np.float64)
    speed = int(draw.integers(85, 119))
    samples = resample_poly(samples, 100, speed)
    tilt = draw.uniform(-0.7, 0.9)
    samples = samples - tilt * np.concatenate([[0.0], samples[:-1]])
    echo = int(draw.integers(40, 900))
    if len(samples) > echo:
        samples[echo:] += draw.uniform(0, 0.35) * samples[:-echo]
    samples = np.pad(samples, tuple(int(size) for size in draw.integers(200, 4000, 2)))
    loud = np.sqrt(np.mean(samples**2)) + 1e-9
    samples = samples + loud * 10 ** (-draw.uniform(8, 45) / 20) * draw.standard_normal(len(samples))
    return torch.from_numpy(samples * draw.uniform(0.03, 0.2) / loud).float().clamp(-1, 1)


def _spoken(count: int) -> tuple[list[Tensor], list[list[int]]]:
    """Digit strings as Flite says them in several voices, speeds and pitches, at 16 kHz."""
    draw = np.random.default_rng(0)
    waves, strings = [], []
    with flite() as say, ThreadPoolExecutor() as workers:
        jobs = []
        for _ in range(count):
            digits = draw.integers(0, 10, int(draw.integers(1, 6))).tolist()
            apart = [", ", " ", "; "][int(draw.integers(0, 3))]
            text = apart.join(WORDS[digit] for digit in digits)
            voice = VOICES[min(3, int(draw.integers(0, 6)) // 2 if draw.integers(0, 2) else 0)]
            stretch, pitch = draw.uniform(0.75, 1.5), {"slt": 170}.get(voice, 110) * draw.uniform(0.8, 1.35)
            jobs.append(workers.submit(say, text, voice, stretch, pitch))
            strings.append(digits)
        waves = [job.result() for job in jobs]
    return waves, strings


def strings(count: int = 40, seed: int = 0) -> MemorySource:
    """Recorded digits of one voice (CC BY-SA 3.0), one to five with short gaps: the ten digits alone first.

    Args:
        count: of strings.
        seed: of which digits they are.
    """
    folder = assets.unpacked("debian", "asterisk-core-sounds-en-wav", files=PROMPT_FILES) / PROMPTS / "digits"
    recorded = [resampled(read_file(folder / f"{digit}.wav"), RATE)[0] for digit in range(10)]
    draw = np.random.default_rng(seed)
    waves, texts = [], []
    for number in range(count):
        digits = [number] if number < 10 else draw.integers(0, 10, int(draw.integers(2, 6))).tolist()
        gap = torch.zeros(int(draw.integers(800, 2400)))
        waves.append(torch.cat([part for digit in digits for part in (recorded[digit], gap)]).clamp(-1, 1))
        texts.append(" ".join(WORDS[digit] for digit in digits))
    keys = [f"{index:03d} {text}" for index, text in enumerate(texts)]
    return MemorySource("recorded digits", Waves.of(waves, RATE), labels_of(texts), keys)
