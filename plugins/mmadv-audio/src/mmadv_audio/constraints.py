"""Constraints on waveforms beside the ball: a band of frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmadv.errors import InputError, ParameterError
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

    @classmethod
    def of(cls, ends: Any) -> Band:
        """The band of a user's [low, high]."""
        numbers = isinstance(ends, (list, tuple)) and all(
            isinstance(end, (int, float)) and not isinstance(end, bool) for end in ends
        )
        if not numbers or len(ends) != 2:
            raise ParameterError(
                f"the band is {ends!r}", where="band", fix="give [low, high] in Hz, such as [300, 3400]"
            )
        return cls(*ends)

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise ParameterError(
                f"the band is {self.low} to {self.high} Hz", where="band", fix="give [low, high] in Hz, low < high"
            )

    def check(self, waves: Waves) -> None:
        """Whether each waveform (A, T) has a frequency that may be touched.

        Raises:
            InputError: one is too short for the band, or its sample rate too low; nothing could be changed, which must not pass for robust.
        """
        step = waves.rate / waves.length.double()
        first = (self.low / step).ceil()
        usable = (first * step <= self.high) & (first <= waves.length // 2)
        if not bool(usable.all()):
            row = int((~usable).nonzero()[0, 0])
            raise InputError(
                f"{int((~usable).sum())} of {len(usable)} waveforms have no frequency from {self.low:g} to {self.high:g} Hz",
                where=f"row {row}: {int(waves.length[row])} samples at {waves.rate} Hz",
                fix=f"give a band below {waves.rate / 2:g} Hz that is wider than {float(step[row]):.3g} Hz",
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
