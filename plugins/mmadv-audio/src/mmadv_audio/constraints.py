"""Constraints on waveforms beside the ball: a band of frequencies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmadv.errors import ParameterError
from mmadv_audio.waves import Waves

LEAK = 1e-6
"""Root mean square outside of a band that is none: a thirtieth of a 16-bit step, and more than rounding of samples leaves."""


@dataclass(frozen=True)
class Band:
    """Frequencies that a perturbation may have.

    Args:
        low: in Hz.
        high: in Hz.

    Raises:
        ParameterError: not 0 ≤ low < high.

    Example:
        >>> time = torch.arange(800) / 8000
        >>> tones = Waves.of([torch.sin(6.2832 * 100 * time) + torch.sin(6.2832 * 1000 * time)], 8000)
        >>> kept = Band(500, 2000).kept(tones)
        >>> bool((kept.samples - torch.sin(6.2832 * 1000 * time)).abs().max() < 1e-3)
        True
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise ParameterError(
                f"the band is {self.low} to {self.high} Hz", where="band", fix="give [low, high] in Hz, low < high"
            )

    def kept(self, delta: Waves) -> Waves:
        """What of perturbations (A, T) or (A, K, T) lies in the band; each is transformed at its own length."""
        samples = torch.zeros_like(delta.samples)
        length = delta.length
        for count in length.unique().tolist():
            rows = length == count
            spectrum = torch.fft.rfft(delta.samples[rows][:, :count].double())
            hertz = torch.fft.rfftfreq(count, 1 / delta.rate, device=samples.device)
            spectrum = spectrum * ((hertz >= self.low) & (hertz <= self.high))
            part = samples[rows]
            part[:, :count] = torch.fft.irfft(spectrum, count).to(samples.dtype)
            samples[rows] = part
        return delta.with_samples(samples)

    def inside(self, delta: Waves) -> Tensor:
        """(A,) or (A, K) bool: whether no more than rounding lies outside of the band."""
        outside = (delta.samples - self.kept(delta).samples).double().square().sum(-1)
        return (outside / delta.length.clamp_min(1)).sqrt() <= LEAK
