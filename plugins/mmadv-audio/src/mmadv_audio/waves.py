"""Waveforms of different lengths as rows."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, overload

import torch
from torch import Tensor

from mmadv.errors import InputError
from mmadv.rows import shared

FASTEST = 768_000
"""Samples a second, at most."""


@dataclass(eq=False, repr=False)
class Waves:
    """Rows of mono waveforms in [−1, 1], zero after their ends; to people a sequence of 1-D tensors.

    Args:
        samples: (A, T) or (A, K, T), T that of the longest.
        length: (A,) or (A, K) int64, how many samples are valid.
        rate: samples a second.

    Example:
        >>> waves = Waves.of([torch.zeros(3), torch.ones(5)], rate=16_000)
        >>> waves.samples.shape, waves.length.tolist(), waves[1].tolist()
        (torch.Size([2, 5]), [3, 5], [1.0, 1.0, 1.0, 1.0, 1.0])
    """

    samples: Tensor
    length: Tensor
    rate: int = shared()

    @classmethod
    def of(cls, waves: Sequence[Any], rate: int) -> Waves:
        """Waveforms one by one.

        Args:
            waves: 1-D floating arrays or tensors.
            rate: samples a second.

        Raises:
            InputError: whole numbers, several channels, an empty waveform, no plausible sample rate.
        """
        _plausible(rate)
        if isinstance(waves, (str, bytes)) or not hasattr(waves, "__iter__"):
            raise InputError(
                f"the waveforms are a {type(waves).__name__}", where="x", fix="give a list of 1-D floating arrays"
            )
        found = [_checked(wave, row) for row, wave in enumerate(waves)]
        kind = functools.reduce(torch.promote_types, [wave.dtype for wave in found]) if found else torch.float32
        samples = torch.zeros(len(found), max(map(len, found), default=0), dtype=kind)
        for row, wave in enumerate(found):
            samples[row, : len(wave)] = wave
        return cls(samples, torch.tensor([len(wave) for wave in found], dtype=torch.int64), int(rate))

    @classmethod
    def joined(cls, parts: Sequence[Waves]) -> Waves:
        """Waveforms of several batches one after another.

        Raises:
            InputError: they differ in their sample rate.
        """
        rates = {part.rate for part in parts}
        if len(rates) > 1:
            raise InputError(
                f"waveforms differ in their sample rates: {sorted(rates)}", where="rate", fix="resample them to one"
            )
        longest = max(part.samples.shape[-1] for part in parts)
        samples = [torch.nn.functional.pad(part.samples, (0, longest - part.samples.shape[-1])) for part in parts]
        return cls(torch.cat(samples), torch.cat([part.length for part in parts]), rates.pop())

    def check(self) -> Waves:
        """These rows, seen to be what the class promises; `of` makes none that aren't.

        Raises:
            InputError: samples that are no floats, lengths that aren't theirs, something after a row's end, or no plausible rate.
        """
        fix = "make them with Waves.of([one, another, …], rate=…)"
        samples, length = self.samples, self.length
        whole = not length.is_floating_point() and length.dtype != torch.bool
        if samples.dim() != 2 or not samples.is_floating_point() or length.shape != samples.shape[:1] or not whole:
            raise InputError(
                f"waveforms have shape {tuple(samples.shape)}, dtype {samples.dtype} and lengths {tuple(length.shape)} of {length.dtype}",
                where="x",
                fix=fix,
            )
        _plausible(self.rate)
        odd = (length < 1) | (length > samples.shape[1]) | ((samples != 0) & ~self.valid).any(1)
        if bool(odd.any()):
            row = int(odd.nonzero()[0, 0])
            raise InputError(
                f"a waveform of length {int(length[row])} does not fit {samples.shape[1]} samples that end in silence",
                where=f"x, row {row}",
                fix=fix,
            )
        return self

    def with_samples(self, samples: Tensor) -> Waves:
        """The same rows with other samples."""
        return replace(self, samples=samples)

    @property
    def valid(self) -> Tensor:
        """(A, T) or (A, K, T) bool, which samples are no padding."""
        return torch.arange(self.samples.shape[-1], device=self.samples.device) < self.length.unsqueeze(-1)

    @property
    def seconds(self) -> Tensor:
        """(A,) or (A, K) durations."""
        return self.length / self.rate

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> Waves: ...

    def __getitem__(self, index: int | slice) -> Tensor | Waves:
        if isinstance(index, slice):
            return Waves(self.samples[index], self.length[index], self.rate)
        return self.samples[index, : int(self.length[index])]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        longest = float(self.seconds.max()) if len(self) else 0.0
        return f"Waves({len(self)} waveforms at {self.rate} Hz, the longest of {longest:.2f} s)"


def _plausible(rate: Any) -> None:
    """Refuse what is no sample rate."""
    if isinstance(rate, bool) or not isinstance(rate, Integral) or not 1_000 <= int(rate) <= FASTEST:
        raise InputError(f"the sample rate is {rate!r}", where="rate", fix="give samples a second, such as 16000")


def _checked(wave: Any, row: int) -> Tensor:
    """One waveform as a tensor; values are judged by the space."""
    where = f"x, row {row}"
    try:
        samples = torch.as_tensor(wave)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"a waveform is a {type(wave).__name__} that can't be read as samples: {error}",
            where=where,
            fix="give 1-D floating arrays in [-1, 1]; np.ascontiguousarray for reversed ones",
        ) from error
    if samples.dim() == 2 and 1 in samples.shape:
        samples = samples.reshape(-1)
    if samples.dim() != 1:
        channels = min(samples.shape) if samples.dim() == 2 else None
        raise InputError(
            f"a waveform has shape {tuple(samples.shape)}",
            where=where,
            fix="give one channel; average them, or choose one"
            if channels and channels <= 16
            else "give 1-D waveforms, a list of them for different lengths",
        )
    if not samples.is_floating_point():
        raise InputError(
            f"a waveform has dtype {samples.dtype}",
            where=where,
            fix="scale it to [-1, 1]: x.astype('float32') / 32768 for int16",
        )
    if not len(samples):
        raise InputError("a waveform is empty", where=where, fix="leave it out")
    return samples
