"""What recognisers see of a waveform, differentiable and in batches: Whisper's log-mel, wav2vec2's samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmadv.errors import InputError, ParameterError
from mmadv_audio.waves import Waves


def mel_filters(mels: int, size: int, rate: int, top: float) -> Tensor:
    """Slaney's triangular filters, each of unit area.

    Args:
        mels: how many.
        size: samples of the Fourier transform.
        rate: samples a second.
        top: the last filter's upper edge in Hz.

    Returns:
        (mels, size // 2 + 1) float64.

    Example:
        >>> mel_filters(80, 400, 16_000, 8_000.0).shape
        torch.Size([80, 201])
    """
    # Linear below 1 kHz, where a mel is 200/3 Hz; above, 27 mels make a factor of 6.4.
    bend = 27 / math.log(6.4)
    highest = 3 * top / 200 if top < 1_000 else 15 + bend * math.log(top / 1_000)
    mel = torch.linspace(0, highest, mels + 2, dtype=torch.float64)
    edges = torch.where(mel < 15, mel * 200 / 3, 1_000 * torch.exp((mel - 15) / bend))
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = torch.linspace(0, rate / 2, size // 2 + 1, dtype=torch.float64)
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    return torch.minimum(rising, falling).clamp_min(0) * 2 / (high - low)


class LogMel(nn.Module):
    """Whisper's features: the log10 mel powers of the waveform, padded with silence to the model's window.

    They are no lower than 8 below each utterance's highest, then (x + 4) / 4.

    Args:
        seconds: the window, a multiple of 0.01 s.
        mels: filters, 80 or 128.
        rate: samples a second.

    Raises:
        ParameterError: a window that is no whole number of frames.

    Example:
        >>> LogMel(seconds=1.0)(Waves.of([torch.zeros(800)], rate=16_000)).shape
        torch.Size([1, 80, 100])
    """

    size, hop = 400, 160

    def __init__(self, seconds: float = 30.0, mels: int = 80, rate: int = 16_000) -> None:
        super().__init__()
        self.seconds, self.rate = seconds, rate
        self.frames = round(seconds * rate / self.hop)
        if self.frames < 2 or abs(self.frames * self.hop - seconds * rate) > 1e-3:
            raise ParameterError(
                f"seconds is {seconds:g}", where="seconds", fix=f"give a multiple of {self.hop / rate:g} s, such as 30"
            )
        self.register_buffer("filters", mel_filters(mels, self.size, rate, 8_000.0), persistent=False)

    def forward(self, x: Waves) -> Tensor:
        """(B, mels, frames) features in the samples' dtype.

        Raises:
            InputError: a waveform that is longer than the window.
        """
        most = self.frames * self.hop
        refuse_longer(x, most)
        samples = x.samples.masked_fill(~x.valid, 0.0)[:, :most]
        samples = nn.functional.pad(samples, (0, most - samples.shape[1]))
        # Made in the samples' own dtype, as the extractor's is: one rounded from float64 moves quiet bands by 1e-5.
        window = torch.hann_window(self.size, dtype=samples.dtype, device=samples.device)
        spectrum = torch.stft(samples, self.size, self.hop, window=window, return_complex=True)
        # Squares of the parts, not of the modulus: its gradient at 0 would depend on how it is defined there.
        power = torch.view_as_real(spectrum[..., :-1]).square().sum(-1)
        level = (self.get_buffer("filters").to(samples) @ power).clamp_min(1e-10).log10()
        return (torch.maximum(level, level.amax((-2, -1), keepdim=True) - 8) + 4) / 4

    def extra_repr(self) -> str:
        return f"seconds={self.seconds:g}, mels={len(self.get_buffer('filters'))}, rate={self.rate}"


class Standardised(nn.Module):
    """Waveforms of mean 0 and variance 1 over their valid samples, 0 after their ends, as wav2vec2 takes them.

    Example:
        >>> Standardised()(Waves.of([torch.tensor([0.0, 1.0]), torch.zeros(3)], rate=16_000)).samples
        tensor([[-1.0000,  1.0000,  0.0000],
                [ 0.0000,  0.0000,  0.0000]])
    """

    def forward(self, x: Waves) -> Waves:
        valid, count = x.valid, x.length.unsqueeze(-1).to(x.samples)
        mean = x.samples.masked_fill(~valid, 0.0).sum(-1, keepdim=True) / count
        centred = (x.samples - mean).masked_fill(~valid, 0.0)
        variance = centred.square().sum(-1, keepdim=True) / count
        return x.with_samples(centred / (variance + 1e-7).sqrt())


def refuse_longer(x: Waves, most: int) -> None:
    """See that waveforms have at most `most` samples.

    Raises:
        InputError: one is longer.
    """
    if x.samples.shape[-1] <= most or not bool((x.length > most).any()):
        return
    row = int((x.length > most).nonzero()[0, 0])
    raise InputError(
        f"a waveform lasts {int(x.length[row]) / x.rate:.2f} s, and the victim's window {most / x.rate:g} s",
        where=f"x, row {row}",
        fix="cut it into shorter utterances, or widen the window with seconds=… where the model has more",
    )
