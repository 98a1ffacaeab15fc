"""A recogniser of spoken digit strings, trained with CTC on synthetic speech, and recorded digits to judge it by.

No pretrained CTC model comes from a package registry, so this one is trained by a seeded recipe, in a minute, and cached:
a linear layer over Whisper's frozen encoder, on strings that Flite speaks in four voices and many speeds and pitches. The
digits that it is judged and attacked on were recorded.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import Tensor, nn

from mmadv import MemorySource, assets
from mmadv_audio.channels import read_file, resampled
from mmadv_audio.demo import PROMPT_FILES, PROMPTS, RATE, whisper_tiny
from mmadv_audio.features import LogMel
from mmadv_audio.recognisers import CTCTarget
from mmadv_audio.synthesis import VOICES, flite
from mmadv_audio.transcripts import labels_of
from mmadv_audio.waves import Waves
from mmadv_audio.whisper import windowed

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SYMBOLS = ("", *WORDS)
"""The blank, and a symbol for each word."""
WINDOW = 4.0
"""Seconds that it hears."""
STRINGS = 700
EPOCHS = 36
NOISE = 0.3
"""Added to the encoder's answers, of a deviation of 1.2: less, or fewer epochs, and a tenth of the recorded words is heard wrong."""


class DigitRecogniser(nn.Module):
    """Whisper tiny.en's encoder and a linear layer; samples (B, T) at 16 kHz, lengths (B,) to scores (B, frames, V).

    A frame each 20 ms of the window; those after a waveform's end say nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        model, _ = whisper_tiny()
        self.features = LogMel(WINDOW)
        self.encoder = windowed(model.get_submodule("model.encoder"), self.features.frames // 2).requires_grad_(False)
        self.head = nn.Linear(model.config.d_model, len(SYMBOLS))
        self.eval()

    def forward(self, samples: Tensor, lengths: Tensor) -> Tensor:
        return self.head(self.encoded(Waves(samples, lengths, RATE)))

    def encoded(self, x: Waves) -> Tensor:
        """(B, frames, D)"""
        return self.encoder(self.features(x)).last_hidden_state


def frames_of(lengths: Tensor) -> Tensor:
    """(B,) frames that waveforms of lengths (B,) reach into.

    Example:
        >>> frames_of(torch.tensor([320, 321]))
        tensor([1, 2])
    """
    return (lengths + 319) // 320


def recogniser() -> CTCTarget:
    """The digit recogniser, trained if the cache does not hold it.

    Raises:
        AssetError: Whisper or Flite can't be had here.
    """
    recipe: dict[str, object] = {
        "model": "DigitRecogniser",
        "version": 5,
        "strings": STRINGS,
        "epochs": EPOCHS,
        "noise": NOISE,
    }
    model = DigitRecogniser()
    model.head.load_state_dict(assets.trained("digit_recogniser", recipe, lambda: _train(model)))
    return CTCTarget(model, vocabulary=list(SYMBOLS), frames=frames_of, name="digit recogniser")


def _train(model: DigitRecogniser) -> dict[str, Tensor]:
    """Weights of the head."""
    draw = np.random.default_rng(1)
    said = [(_worn(wave, draw), digits) for wave, digits in zip(*_spoken(STRINGS), strict=True)]
    said = [(wave, digits) for wave, digits in said if len(wave) <= WINDOW * RATE]
    x = Waves.of([wave for wave, _ in said], RATE)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        head = nn.Linear(model.head.in_features, len(SYMBOLS))
        with torch.no_grad():
            encoded = torch.cat([model.encoded(x[start : start + 16]) for start in range(0, len(x), 16)])
        frames, batches = frames_of(x.length), len(x) // 32
        optimiser = torch.optim.AdamW(head.parameters(), weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=EPOCHS * batches)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(x))[: 32 * batches].split(32):
                states = encoded[rows] + NOISE * torch.randn(encoded[rows].shape)
                spelled = [[1 + digit for digit in said[row][1]] for row in rows.tolist()]
                wanted = torch.tensor([symbol for one in spelled for symbol in one])
                sizes = torch.tensor([len(one) for one in spelled])
                scores = head(states).log_softmax(-1).transpose(0, 1)
                loss = nn.functional.ctc_loss(scores, wanted, frames[rows], sizes)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        return head.state_dict()


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
            voice = VOICES[int(draw.integers(0, len(VOICES)))]
            stretch, pitch = draw.uniform(0.75, 1.4), {"slt": 170}.get(voice, 110) * draw.uniform(0.8, 1.35)
            jobs.append(workers.submit(say, text, voice, stretch, pitch))
            strings.append(digits)
        waves = [job.result() for job in jobs]
    return waves, strings


def strings(count: int = 40, seed: int = 0) -> MemorySource:
    """Recorded digits of one voice (CC BY-SA 3.0), one to four with short gaps: the ten digits alone first.

    Args:
        count: of strings.
        seed: of which digits they are.
    """
    folder = assets.unpacked("debian", "asterisk-core-sounds-en-wav", files=PROMPT_FILES) / PROMPTS / "digits"
    recorded = [resampled(read_file(folder / f"{digit}.wav"), RATE)[0] for digit in range(10)]
    draw = np.random.default_rng(seed)
    waves, texts = [], []
    for number in range(count):
        digits = [number] if number < 10 else draw.integers(0, 10, int(draw.integers(2, 5))).tolist()
        gap = torch.zeros(int(draw.integers(800, 1600)))
        waves.append(torch.cat([part for digit in digits for part in (recorded[digit], gap)]).clamp(-1, 1))
        texts.append(" ".join(WORDS[digit] for digit in digits))
    keys = [f"{index:03d} {text}" for index, text in enumerate(texts)]
    return MemorySource("recorded digits", Waves.of(waves, RATE), labels_of(texts), keys)
