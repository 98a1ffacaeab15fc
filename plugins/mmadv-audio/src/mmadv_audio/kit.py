"""What the law checks need of waveforms: the core's small victims on the first samples of recordings of different lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmadv.testing import Kit, victims
from mmadv.testing.kit import Words
from mmadv.testing.victims import Stage
from mmadv_audio.waves import Waves

RATE = 16_000


class Heard(nn.Module):
    """A victim of inputs in [0, 1] on the first samples of a waveform in [−1, 1].

    Args:
        victim: of (B, n).
        samples: n.
    """

    def __init__(self, victim: nn.Module, samples: int) -> None:
        super().__init__()
        self.victim, self.samples = victim, samples
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.victim((x[:, : self.samples] + 1) / 2)


@dataclass(frozen=True)
class AudioKit(Kit):
    """Victims, recordings of different lengths, and independent judgements of them.

    Args:
        shape: (n,), how many samples the victims listen to; others only count towards the signal.
        norms: to try each attack in.
        levels: steps of the stored artefact over [−1, 1).

    Example:
        >>> AudioKit().duel({"norm": "snr"}).x
        Waves(6 waveforms at 16000 Hz, the longest of 0.01 s)
    """

    shape: tuple[int, ...] = (60,)
    norms: tuple[str, ...] = ("linf", "l2", "snr")
    levels: int | None = 65_536

    def duel(self, words: Words) -> Stage:
        return self._heard(victims.duel(_ball(words), self.rows, self.shape), words)

    def crowd(self, words: Words) -> Stage:
        return self._heard(victims.crowd(_ball(words), self.rows + 2, self.shape), words)

    def corners(self, words: Words) -> Stage:
        return self._heard(victims.corners(_ball(words), self.rows, self.shape), words)

    def _heard(self, stage: Stage, words: Words) -> Stage:
        """A stage on waveforms of different lengths and of one L2 norm, so that one SNR is one distance."""
        core = 2 * stage.x - 1
        energy = core.double().square().sum(1)
        norm = float(energy.max()) + 1
        waves = []
        for row, part in enumerate(core):
            tail = torch.zeros(64 + 3 * (row % 3))  # some alike: each length is a call of the victim
            tail[:] = float(((norm - energy[row]) / len(tail)).sqrt())
            waves.append(torch.cat([part, tail]))
        unit = norm**0.5 if words["norm"] == "snr" else 1.0
        return Stage(Heard(stage.victim, self.shape[0]), Waves.of(waves, RATE), stage.y, 2 * stage.radius / unit)

    def distance(self, adv: Any, x: Any, words: Words) -> Tensor:
        found = []
        for row in range(len(x)):
            clean, other = (one[row].detach().double().numpy() for one in (x, adv))
            delta = np.abs(other - clean)
            size = delta.max() if words["norm"] == "linf" else np.sqrt((delta * delta).sum())
            found.append(size / np.sqrt((clean * clean).sum()) if words["norm"] == "snr" else size)
        return torch.tensor(found, dtype=torch.float64)

    def rounding(self, words: Words) -> float:
        longest = self.shape[0] + 64 + 3 * (self.rows + 2)
        return 2 * 2.0**-23 * (1.0 if words["norm"] == "linf" else longest**0.5)

    def inside(self, adv: Any) -> Tensor:
        samples = adv.samples.detach().double().numpy()
        silent = np.arange(samples.shape[1]) >= adv.length.numpy()[:, None]
        return torch.from_numpy((np.abs(samples) <= 1).all(1) & ((samples == 0) | ~silent).all(1))

    def stored(self, adv: Any) -> Any:
        levels = np.clip(np.rint(adv.samples.double().numpy() * 32768), -32768, 32767) / 32768
        return adv.with_samples(torch.from_numpy(levels).to(adv.samples.dtype))

    def answers(self, victim: nn.Module, x: Any) -> Tensor:
        with torch.no_grad():
            return victim(x.samples)

    def brittle(self, victim: nn.Module, x: Any) -> nn.Module:
        heard: Any = victim
        clean = (x.samples[:, : heard.samples] + 1) / 2
        return Heard(victims.Brittle(heard.victim, clean), heard.samples)

    def differs(self, one: Any, other: Any) -> Tensor:
        pairs = zip(one, other, strict=True)
        return torch.tensor([len(a) != len(b) or bool((a != b).any()) for a, b in pairs], dtype=torch.bool)

    def single_step(self, stage: Stage, radius: float, words: Words) -> Tensor:
        unit = float(stage.x[0].double().square().sum().sqrt()) if words["norm"] == "snr" else 1.0
        inner = Stage(stage.victim.victim, (stage.x.samples[:, : self.shape[0]] + 1) / 2, stage.y, stage.radius)
        return super().single_step(inner, radius * unit / 2, {"norm": _ball(words)})


class Faint(nn.Module):
    """Hears a quiet tone beside a loud one: class 0 while its amplitude lies above a threshold, class 1 below.

    Args:
        frequency: of the quiet tone, in turns a sample.
        samples: that are listened to.
        threshold: of its amplitude.
    """

    def __init__(self, frequency: float, samples: int, threshold: float) -> None:
        super().__init__()
        turns = 2 * torch.pi * frequency * torch.arange(samples)
        self.register_buffer("wave", torch.stack([turns.cos(), turns.sin()]) * (2 / samples))
        self.samples, self.threshold = samples, threshold
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        parts = [(x[:, : self.samples] * part).sum(1) for part in self.get_buffer("wave")]
        lead = 40 * ((parts[0].square() + parts[1].square()).sqrt() - self.threshold)
        return torch.stack([lead, -lead, *(torch.full_like(lead, -16.0 - n) for n in range(3))], 1)


@dataclass(frozen=True)
class FaintKit(AudioKit):
    """For attacks that know nothing but the signal: what is quietest in it is all that the victim listens to.

    Example:
        >>> FaintKit().settings()
        [{'norm': 'l2'}, {'norm': 'snr'}]
    """

    norms: tuple[str, ...] = ("l2", "snr")
    shape: tuple[int, ...] = (400,)

    def duel(self, words: Words) -> Stage:
        return self._tones(words, [0.02] * self.rows)

    def crowd(self, words: Words) -> Stage:
        return self._tones(words, [0.012 + 0.004 * row for row in range(self.rows + 2)])

    def corners(self, words: Words) -> Stage:
        return self._tones(words, [0.02] * self.rows, loud=0.98)

    def _tones(self, words: Words, quiet: list[float], loud: float = 0.5) -> Stage:
        """Rows with a loud tone and a quiet one, both of whole periods; the radius is what takes the median row below half of 0.02."""
        time = torch.arange(self.shape[0])
        waves = [
            loud * torch.cos(2 * torch.pi * 0.05 * time) + one * torch.cos(2 * torch.pi * 0.2 * time) for one in quiet
        ]
        x = Waves.of(waves, RATE)
        needed = (torch.tensor(quiet).double() - 0.01).median() * (self.shape[0] / 2) ** 0.5
        signal = x.samples.double().square().sum(1).sqrt().median()
        radius = float(needed / (signal if words["norm"] == "snr" else 1.0))
        return Stage(Faint(0.2, self.shape[0], 0.01), x, torch.zeros(len(x), dtype=torch.int64), radius)

    def brittle(self, victim: nn.Module, x: Any) -> nn.Module:
        return victims.Brittle(victim, x.samples)


@dataclass(frozen=True)
class OneWayKit(AudioKit):
    """For perturbations that are the same for all recordings: every row of a stage is fooled in the same direction.

    Example:
        >>> OneWayKit().duel({"norm": "l2"}).y.unique().tolist()
        [0]
    """

    def duel(self, words: Words) -> Stage:
        whole = super().duel(words)
        return self._first(whole)

    def crowd(self, words: Words) -> Stage:
        return self._first(super().duel(words))

    def corners(self, words: Words) -> Stage:
        return super().corners(words)

    def _first(self, stage: Stage) -> Stage:
        kept = (stage.y == 0).nonzero()[:, 0]
        waves = [stage.x[int(row)] for row in kept]
        return stage._replace(x=Waves.of(waves, RATE), y=stage.y[kept])


def _ball(words: Words) -> str:
    return "l2" if words["norm"] == "snr" else words["norm"]
