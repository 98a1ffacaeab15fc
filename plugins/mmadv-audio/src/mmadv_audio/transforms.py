"""The way from a loudspeaker to a microphone, for expectations over it inside an attack."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager

import scipy.fft
import torch
from torch import Tensor, nn

from mmadv import Noise
from mmadv.errors import ParameterError
from mmadv_audio.waves import Waves


def rooms(
    count: int,
    rate: int,
    seed: int = 0,
    *,
    reverberation: tuple[float, float] = (0.1, 0.6),
    direct: tuple[float, float] = (0.0, 10.0),
) -> Tensor:
    """Synthetic rooms: a direct path at once, and noise that decays exponentially.

    Args:
        count: R, how many.
        rate: samples a second.
        seed: of their own generator; the same seed gives the same rooms.
        reverberation: seconds in which the noise falls by 60 dB, drawn evenly from low to high.
        direct: dB of the direct path over all the noise, drawn evenly from low to high.

    Returns:
        (R, L) float32 impulse responses of unit energy, L that of the longest reverberation.

    Raises:
        ParameterError: no rooms, or a range that is none.

    Example:
        >>> rooms(3, 16_000, seed=1, reverberation=(0.1, 0.2)).shape
        torch.Size([3, 3200])
    """
    low, high = _range("reverberation", reverberation)
    if count < 1 or low <= 0:
        raise ParameterError(
            f"count is {count} and reverberation {reverberation}",
            where="rooms",
            fix="give at least one room, and seconds above 0",
        )
    generator = torch.Generator().manual_seed(seed)
    decay = low + (high - low) * torch.rand(count, 1, generator=generator, dtype=torch.float64)
    first, last = _range("direct", direct)
    ratio = first + (last - first) * torch.rand(count, 1, generator=generator, dtype=torch.float64)
    time = torch.arange(max(2, math.ceil(high * rate)), dtype=torch.float64) / rate
    tail = torch.randn(count, len(time), generator=generator, dtype=torch.float64) * 10 ** (-3 * time / decay)
    tail[:, 0] = 0
    tail = tail / torch.linalg.vector_norm(tail, dim=1, keepdim=True) * 10 ** (-ratio / 20)
    tail[:, 0] = 1
    return (tail / torch.linalg.vector_norm(tail, dim=1, keepdim=True)).float()


class Played(nn.Module):
    """Waveforms as a microphone hears them: in a room, at another level, in noise, drawn anew for every row and pass.

    The engine gives it a stream of draws for each row (`drawing`), so that what a row sounds like depends on no other; called by
    itself it draws from torch's global generator. What sounds after a waveform's end is cut.

    Args:
        impulses: (R, L) impulse responses as of `rooms`, one of which is drawn for each row; none if not given.
        gain_db: level, drawn evenly from low to high.
        snr_db: white noise at a ratio drawn evenly from low to high, to the waveform as it is heard; none if not given.

    Raises:
        ParameterError: impulse responses that are no (R, L), or a range that is none.

    Example:
        >>> played = Played(rooms(4, 16_000), gain_db=(-3, 3), snr_db=(20, 30))
        >>> played(Waves.of([torch.ones(500)], rate=16_000)).samples.shape
        torch.Size([1, 500])
    """

    def __init__(
        self,
        impulses: Tensor | None = None,
        gain_db: tuple[float, float] = (0.0, 0.0),
        snr_db: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        if impulses is not None and (
            not isinstance(impulses, Tensor)
            or impulses.dim() != 2
            or not impulses.numel()
            or not bool(impulses.isfinite().all())
        ):
            raise ParameterError(
                f"the rooms are a {type(impulses).__name__} of shape {tuple(getattr(impulses, 'shape', ()))}, or not finite",
                where="impulses",
                fix="give finite impulse responses (R, L), such as those of rooms(…)",
            )
        self.gain_db = _range("gain_db", gain_db)
        self.snr_db = None if snr_db is None else _range("snr_db", snr_db)
        self.register_buffer("impulses", impulses, persistent=False)
        self._noise: Noise | None = None

    @contextmanager
    def drawing(self, noise: Noise) -> Iterator[None]:
        """While open, all is drawn from `noise`, a stream for each row."""
        self._noise = noise
        try:
            yield
        finally:
            self._noise = None

    def forward(self, x: Waves) -> Waves:
        """The same rows as they are heard."""
        samples, valid, count = x.samples.masked_fill(~x.valid, 0.0), x.valid, len(x.samples)

        noise = self._noise
        if noise is None:
            noise = Noise(int(torch.randint(1 << 62, ())), torch.arange(count, device=samples.device))

        def drawn(low: float, high: float) -> Tensor:
            return low + (high - low) * noise.uniform((1,), samples.dtype)

        if self.impulses is not None and count:  # some FFT libraries refuse a batch of nothing
            impulses = self.get_buffer("impulses")
            size = scipy.fft.next_fast_len(samples.shape[1] + impulses.shape[1] - 1, real=True)
            drawn_rooms = impulses[noise.integers(len(impulses))]
            # In float64, and so the sums below, which leaves no trace of how far a batch is padded.
            spectrum = torch.fft.rfft(samples.double(), size) * torch.fft.rfft(drawn_rooms.double(), size)
            samples = torch.fft.irfft(spectrum, size)[:, : x.samples.shape[1]].to(samples).masked_fill(~valid, 0.0)
        samples = samples * 10 ** (drawn(*self.gain_db) / 20)
        if self.snr_db is not None:
            hiss = noise.normal(samples.shape[1:], samples.dtype).masked_fill(~valid, 0.0)
            power, own = (part.double().square().sum(1, keepdim=True) for part in (samples, hiss))
            least = torch.finfo(samples.dtype).tiny
            level = (power / own.clamp_min(least)).clamp_min(least).sqrt().to(samples)
            samples = samples + hiss * level * 10 ** (-drawn(*self.snr_db) / 20)
        return x.with_samples(samples)

    def extra_repr(self) -> str:
        digest = "none"
        if self.impulses is not None:
            values = self.get_buffer("impulses").detach().cpu().double().contiguous().numpy()
            digest = f"{tuple(values.shape)}:{hashlib.sha256(values.tobytes()).hexdigest()[:16]}"
        return f"impulses={digest}, gain_db={self.gain_db}, snr_db={self.snr_db}"


def _range(name: str, given: tuple[float, float]) -> tuple[float, float]:
    """`given` itself, as floats.

    Raises:
        ParameterError: no (low, high).
    """
    try:
        low, high = (float(value) for value in given)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ParameterError(f"{name} is {given!r}", where=name, fix="give (low, high) with low <= high")
    return low, high
