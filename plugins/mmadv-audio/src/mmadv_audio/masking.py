"""What a listener cannot hear beside an utterance: the psychoacoustic model of Qin et al. (arXiv 1903.10346), batched.

Everything is linear power on a scale where the loudest bin of an utterance is 96 dB. An utterance of T samples has
⌈T / 512⌉ + 3 frames, all that any of its samples lies in: zeros precede its start and follow its end. The paper's own
frames, which begin with the first sample, are among them, from the fourth on; by those alone the first sample would
weigh nothing and the last ones next to nothing, and a click there would not be heard. No frame sees more of another
row than its padding, and frames after a row's end don't count.

Samples are (A, T), or (A, K, T) for K candidates of each row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mmadv.rows import like, settled
from mmadv_audio.waves import Waves

WINDOW = 2048
HOP = 512
BINS = WINDOW // 2 + 1
SCALE = 8 / 3 / WINDOW**2
"""Of |STFT|²; √(8/3) makes up for the Hann window."""
FULL = 10**9.6
"""The loudest bin of an utterance."""
SILENCE = 1e-20
"""The least power that is told from none, −200 dB."""
NEPER = math.log(10) / 10
"""Natural logarithm of the power of 1 dB."""
GAP = 0.5
"""Bark between two maskers, at least."""
FRAMES = 512
"""Of which maskers are sorted out at once."""
HALF = WINDOW // 4 + 1
"""Of the bins, which few maskers reach from the other half."""
ENTRIES = 1 << 17
"""Of maskers × bins that are held at once."""
ROUNDS = 3
"""Of clipping magnitudes, and of turning frames down, before what is left over is scaled away."""
LEAD = WINDOW - HOP
"""Zeros before an utterance, so that its first sample lies in as many frames as any other."""
OVERLAP = 3 / 8 * WINDOW / HOP
"""The sum of the squares of all windows that a sample lies in."""
REACH = 2 * (WINDOW // HOP) - 1
"""Frames that share samples with one, with it in their midst."""


@dataclass
class Threshold:
    """Rows: what may be added to utterances without being heard.

    Args:
        power: (A, F, N), inf in frames after an utterance's end.
        peak: (A,) the largest power of each utterance before it is brought to 96 dB.
        length: (A,) valid samples.
    """

    power: Tensor
    peak: Tensor
    length: Tensor

    @property
    def valid(self) -> Tensor:
        """(A, N) bool, which frames are an utterance's own."""
        return _own(self.length, self.power.shape[-1])


def bark(hz: Tensor) -> Tensor:
    """Frequencies on the scale of the ear.

    Example:
        >>> bark(torch.tensor([100.0, 1000.0]))
        tensor([0.9867, 8.5105])
    """
    return 13 * torch.atan(0.00076 * hz) + 3.5 * torch.atan((hz / 7500).square())


def hearing_threshold(hz: Tensor) -> Tensor:
    """Level in dB of the softest audible tone; outside of 20 Hz to 20 kHz, where the formula has no meaning, that of the nearer end.

    Example:
        >>> hearing_threshold(torch.tensor([1000.0, 3300.0]))
        tensor([ -8.6309, -16.9809])
    """
    khz = hz.clamp(20, 20_000) / 1000
    return 3.64 * khz**-0.8 - 6.5 * torch.exp(-0.6 * (khz - 3.3).square()) + 0.001 * khz**4 - 12


def spectrum(samples: Tensor) -> Tensor:
    """Short-time Fourier transform with a periodic Hann window; (…, T) to complex (…, F, N).

    Example:
        >>> spectrum(torch.zeros(2, 2049)).shape
        torch.Size([2, 1025, 8])
    """
    framed = _framed(samples) * _window(samples)
    if not len(framed):  # some FFT libraries refuse a batch of nothing
        return framed[..., :BINS].mT + 0j
    return torch.fft.rfft(framed).mT


def power(samples: Tensor, peak: Tensor) -> Tensor:
    """Power of samples (A, …, T) on the scale where `peak` (A,) is 96 dB; (A, …, F, N)."""
    spectra = spectrum(samples)
    return _squares(spectra) * like(FULL * SCALE / peak, spectra)


@torch.no_grad()
def threshold(waves: Waves) -> Threshold:
    """The masking threshold of utterances (A, T).

    Of the strict local maxima of a frame's spectrum whose level, summed over three bins, can be heard, the loudest masks
    first and rules out all others within 0.5 Bark, then the loudest of those left, and so on. No threshold is above
    the utterance's own peak, which concerns ultrasound alone. Silence masks nothing and is nothing to hide in: its
    peak is −200 dB.

    Example:
        >>> tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)
        >>> found = threshold(Waves.of([tone, tone[:2048]], rate=16_000))
        >>> found.power.shape, found.valid.sum(-1).tolist()
        (torch.Size([2, 1025, 35]), [35, 7])
    """
    samples = waves.samples
    framed, window = _framed(samples), _window(samples)
    valid = _own(waves.length, framed.shape[1])
    row, frame = valid.nonzero(as_tuple=True)
    hz = torch.arange(BINS, device=samples.device, dtype=samples.dtype) * (waves.rate / WINDOW)
    z, quiet = bark(hz), torch.exp(NEPER * hearing_threshold(hz))
    parts = torch.arange(len(row), device=samples.device).split(FRAMES) if len(row) else ()
    levels = samples.new_empty(len(row), BINS)
    for part in parts:
        spectra = torch.fft.rfft(framed[row[part], frame[part]].mul_(window))
        torch.clamp(_squares(spectra).mul_(SCALE), min=SILENCE, out=levels[part[0] : part[-1] + 1])
    peak = samples.new_full((len(samples),), SILENCE).scatter_reduce_(0, row, levels.amax(1), "amax")
    found = samples.new_full((*framed.shape[:2], BINS), float("inf"))
    for part in parts:
        scaled = levels[part] * (FULL / peak[row[part]]).unsqueeze(1)
        found[row[part], frame[part]] = _masked(*maskers(scaled, z, quiet), z, quiet).clamp_max_(FULL)
    return Threshold(found.mT, peak, waves.length)


def maskers(levels: Tensor, z: Tensor, quiet: Tensor) -> tuple[Tensor, Tensor]:
    """The maskers of frames, the loudest first.

    Args:
        levels: (n, F) power of bins.
        z: (F,) in Bark, rising.
        quiet: (F,) power of the softest audible tones.

    Returns:
        Bins (n, M) and levels (n, M) in dB; −inf where a frame has fewer than M.
    """
    middle = levels[:, 1:-1]
    heard = levels[:, :-2] + middle + levels[:, 2:]
    apart = (middle > levels[:, :-2]) & (middle > levels[:, 2:]) & (heard > quiet[1:-1])
    return loudest(heard, apart, z[1:-1], 1)


def loudest(heard: Tensor, apart: Tensor, z: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
    """Candidates that no louder kept one is near to: of equals, the lower.

    Each round keeps the loudest that is left of every frame, and as those kept lie 0.5 Bark apart, their number is
    bounded by the range of z. Rounds look at candidates alone, a fifth of all bins.

    Args:
        heard: (n, F) power.
        apart: (n, F) bool, the candidates.
        z: (F,) in Bark, rising.
        first: the number of the first bin.

    Returns:
        Bins (n, M) and levels (n, M) in dB; −inf where a frame has fewer than M.

    Example:
        >>> z = bark(torch.arange(1025) * 7.8125)
        >>> candidates, power = torch.zeros(1, 1025, dtype=torch.bool), torch.zeros(1, 1025)
        >>> candidates[0, [128, 134, 512]] = True
        >>> power[0, [128, 134, 512]] = torch.tensor([1e7, 1e6, 1e5])
        >>> bins, levels = loudest(power, candidates, z)
        >>> bins[levels.isfinite()].tolist()
        [128, 512]
    """
    count = apart.sum(-1)
    frame, position = apart.nonzero(as_tuple=True)
    place = torch.arange(len(frame), device=z.device) - (count.cumsum(0) - count)[frame]
    width = max(1, int(count.max())) if len(count) else 1
    left = heard.new_zeros(len(heard), width)
    left[frame, place] = heard[frame, position]
    bins = torch.zeros(left.shape, dtype=torch.int64, device=z.device)
    bins[frame, place] = position
    barks = z[bins]
    kept, levels, apart_by = [], [], torch.empty_like(barks)
    for _ in range(int(float(z[-1] - z[0]) / GAP) + 1):
        level, index = left.max(-1, keepdim=True)
        kept.append(index)
        levels.append(level)
        if settled(level == 0):
            break
        left.mul_(torch.sub(barks, barks.gather(1, index), out=apart_by).abs_().ge_(GAP))
    return bins.gather(1, torch.cat(kept, 1)) + first, torch.cat(levels, 1).log10_().mul_(10)


def _masked(bins: Tensor, levels: Tensor, z: Tensor, quiet: Tensor) -> Tensor:
    """(n, F) power that maskers and the threshold of hearing hide together."""
    frame, place = levels.isfinite().nonzero(as_tuple=True)
    level, barks = levels[frame, place], z[bins[frame, place]]
    rise, fall = 27 * NEPER, NEPER * (0.37 * (level - 40).clamp_min_(0) - 27)
    hidden = NEPER * (level - 6.025 - 0.275 * barks)
    above, below = hidden - fall * barks, hidden - rise * barks
    # Less than a quarter of the last digit of what is heard in silence changes no sum: that is as far as a masker reaches.
    least = math.log(float(quiet.min()) * torch.finfo(quiet.dtype).eps / 8)
    room = (hidden - least).clamp_min_(0)
    first, last = barks - room / rise, barks - room / fall
    halves, size = [], ENTRIES // HALF
    spreads, belows = levels.new_empty(2, size * HALF)  # written again and again: new memory costs more than sums
    for part, hum in zip(z.split(HALF), quiet.split(HALF), strict=True):
        found = hum.repeat(len(levels), 1)
        reaching = ((first <= part[-1]) & (last >= part[0])).nonzero()[:, 0]
        for some in reaching.split(size):
            spread, lower = (memory[: len(some) * len(part)].view(-1, len(part)) for memory in (spreads, belows))
            # The slope above a masker is negative for all levels below 113 dB, so that the smaller line is the right one.
            torch.mul(fall[some, None], part, out=spread).add_(above[some, None])
            torch.minimum(spread, torch.add(rise * part, below[some, None], out=lower), out=spread)
            # Denormal numbers would double the time.
            found.index_add_(0, frame[some], spread.clamp_min_(least).exp_())
        halves.append(found)
    return torch.cat(halves, 1)


def relative(delta: Tensor, threshold: Threshold) -> Tensor:
    """Power of perturbations (A, …, T) on the scale of their utterances; (A, …, F, N)."""
    return power(delta, threshold.peak)


def excess(delta: Tensor, threshold: Threshold) -> Tensor:
    """Power above the threshold, the mean over the bins of an utterance's own frames: the paper's loss. (A, …)

    Example:
        >>> noise = torch.randn(1, 4096, generator=torch.Generator().manual_seed(0))
        >>> limit = threshold(Waves.of([noise[0] / 5], rate=16_000))
        >>> bool(excess(noise, limit) > 1e5), excess(1e-7 * noise, limit)
        (True, tensor([0.]))
    """
    over = torch.relu(relative(delta, threshold) - _beside(threshold.power, delta)).sum(-2)
    count = like(BINS * threshold.valid.sum(-1), over[..., 0])
    return (over.double().sum(-1) / count).to(over.dtype)  # float64: no trace of how far a batch is padded


def share_masked(delta: Tensor, threshold: Threshold) -> Tensor:
    """The share of an utterance's frames in which no bin is above the threshold. (A, …)"""
    masked = frame_ratios(delta, threshold) <= 1
    valid = _beside(threshold.valid, delta)
    return (masked & valid).sum(-1).to(delta.dtype) / valid.sum(-1)


def peak_ratio(delta: Tensor, threshold: Threshold) -> Tensor:
    """The largest ratio of amplitudes between perturbation and threshold over all bins; 1 is just inaudible. (A, …)"""
    return frame_ratios(delta, threshold).amax(-1)


def frame_ratios(delta: Tensor, threshold: Threshold) -> Tensor:
    """`peak_ratio` of each frame; 0 in frames after an utterance's end. (A, …, N)"""
    return (relative(delta, threshold) / _beside(threshold.power, delta)).amax(-2).sqrt()


def rounding(samples: Tensor, threshold: Threshold) -> Tensor:
    """The `peak_ratio` (A,) that rounding `x + δ` to the samples' dtype can have: four deviations of its noise in the quietest bin."""
    if not samples.shape[-1]:
        return torch.zeros_like(threshold.peak)
    step = torch.finfo(samples.dtype).eps * samples.abs().amax(-1)
    noise = (step.square() / 12) * (3 / 8 * WINDOW * SCALE) * FULL / threshold.peak
    return 4 * (noise / threshold.power.amin((-2, -1))).sqrt()


@torch.no_grad()
def below(delta: Tensor, threshold: Threshold, ratio: Tensor) -> Tensor:
    """A perturbation near δ with a `peak_ratio` of at most `ratio`; what is there already stays as it is.

    Magnitudes are clipped and the waveform nearest to the outcome is taken, a few times over. Frames that are still too
    loud are then turned down, each by itself, and only what that leaves over is scaled away as a whole.

    Args:
        delta: (A, …, T).
        threshold: of the utterances.
        ratio: (A,)

    Returns:
        (A, …, T), nothing after an utterance's end.

    Example:
        >>> noise = torch.randn(1, 4096, generator=torch.Generator().manual_seed(0))
        >>> limit = threshold(Waves.of([noise[0] / 5], rate=16_000))
        >>> bool(peak_ratio(below(noise, limit, torch.tensor([2.0])), limit) <= 2)
        True
    """
    ratio = ratio.to(delta.dtype)
    most = like(ratio, delta[..., 0])
    inside = peak_ratio(delta, threshold) <= most
    if settled(inside):
        return delta
    tiny = torch.finfo(delta.dtype).tiny
    limit = _beside(_amplitude(threshold) * like(ratio, threshold.power), delta)
    found = delta
    for _ in range(ROUNDS):
        spectra = spectrum(found)
        found = _resynthesis(spectra * (limit / spectra.abs().clamp_min_(tiny)).clamp_max_(1), threshold, delta)
    found = turned_down(found, threshold, ratio)
    for margin in (1e-6, 1e-4, 0.5):  # rounding can lift a bin far below the loudest; a half is free of it
        size = peak_ratio(found, threshold)
        factor = (most / size.clamp_min(tiny)) * (1 - margin) if margin < 0.5 else torch.full_like(size, margin)
        found = found * torch.where(size >= most, factor, 1.0).unsqueeze(-1)
    return torch.where(inside.unsqueeze(-1), delta, found)


@torch.no_grad()
def steepest(grad: Tensor, threshold: Threshold) -> Tensor:
    """A step with a `peak_ratio` of 1 along the gradient, about as loud as the threshold lets each bin of each frame be.

    Args:
        grad: (A, …, T).
        threshold: of the utterances.

    Returns:
        (A, …, T), zero where the gradient of a row is.
    """
    tiny = torch.finfo(grad.dtype).tiny
    spectra = spectrum(grad / grad.abs().amax(-1, keepdim=True).clamp_min(tiny))
    limit = _beside(_amplitude(threshold), grad)
    valid = _beside(threshold.valid, grad).unsqueeze(-2)
    spectra = spectra / spectra.abs().clamp_min_(tiny) * torch.where(valid, limit, 0.0)
    step = _resynthesis(spectra, threshold, grad)
    step = turned_down(step, threshold, torch.ones_like(threshold.peak))
    return step / peak_ratio(step, threshold).clamp_min_(tiny).unsqueeze(-1)


@torch.no_grad()
def turned_down(delta: Tensor, threshold: Threshold, ratio: Tensor) -> Tensor:
    """A perturbation whose loud frames are turned down to about `ratio`, so that no quiet stretch silences the others.

    A sample's gain is the mean of those of the frames that it lies in, and no frame is turned down less than one that it
    overlaps. Gains change over a window's length, which leaks a little between bins: hence some rounds, and "about".

    Args:
        delta: (A, …, T).
        threshold: of the utterances.
        ratio: (A,)
    """
    most = like(ratio, delta[..., 0]).unsqueeze(-1)
    weight = _window(delta).square() / OVERLAP
    for _ in range(ROUNDS):
        ratios = frame_ratios(delta, threshold)
        gain = (most / ratios.clamp_min(torch.finfo(delta.dtype).tiny)).clamp_max(1)
        least = -torch.nn.functional.max_pool1d(-gain.flatten(0, -2), REACH, 1, REACH // 2).reshape(gain.shape)
        delta = delta * _added(least.unsqueeze(-1) * weight, delta.shape[-1])
    return delta


def _resynthesis(spectra: Tensor, threshold: Threshold, delta: Tensor) -> Tensor:
    """The waveforms (A, …, T) whose spectra come nearest to (A, …, F, N) in an utterance's own frames."""
    frames = torch.fft.irfft(spectra.mT, WINDOW) * (_window(delta) / OVERLAP)
    count = delta.shape[-1]
    ended = torch.arange(count, device=delta.device) >= _beside(threshold.length.unsqueeze(-1), delta)
    return _added(frames, count).masked_fill(ended, 0.0)


def _added(frames: Tensor, count: int) -> Tensor:
    """Frames (…, N, W) added where they overlap; the `count` samples (…, T) of an utterance."""
    blocks = frames.unflatten(-1, (-1, HOP))
    many = blocks.shape[-2]
    total = frames.new_zeros(*frames.shape[:-2], frames.shape[-2] + many - 1, HOP)
    for shift in range(many):
        total[..., shift : shift + frames.shape[-2], :] += blocks[..., shift, :]
    return total.flatten(-2)[..., LEAD : LEAD + count]


def _amplitude(threshold: Threshold) -> Tensor:
    """(A, F, N) the largest magnitudes of a spectrum that aren't heard."""
    return (threshold.power * like(threshold.peak / (FULL * SCALE), threshold.power)).sqrt()


def _beside(per_row: Tensor, delta: Tensor) -> Tensor:
    """Values (A, …) of rows beside δ (A, T) or (A, K, T)."""
    return per_row.unsqueeze(1) if delta.dim() == 3 else per_row


def _own(length: Tensor, frames: int) -> Tensor:
    """(A, N) bool, which frames belong to waveforms of `length` (A,)."""
    count = (length + HOP - 1) // HOP + LEAD // HOP
    return torch.arange(frames, device=length.device) < count.unsqueeze(-1)


def _framed(samples: Tensor) -> Tensor:
    """Samples (…, T) in frames (…, N, W) that share memory."""
    after = LEAD + -samples.shape[-1] % HOP
    return torch.nn.functional.pad(samples, (LEAD, after)).unfold(-1, WINDOW, HOP)


def _window(samples: Tensor) -> Tensor:
    return torch.hann_window(WINDOW, dtype=samples.dtype, device=samples.device)


def _squares(spectra: Tensor) -> Tensor:
    return spectra.real.square() + spectra.imag.square()
