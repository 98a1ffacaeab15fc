"""Waveform space: which perturbations of a recording are allowed, each over its own valid samples alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

import torch
from torch import Tensor

from mmadv import BallRegion, BallSpace, Noise, norms
from mmadv.errors import InputError, ParameterError, nearest
from mmadv.rows import like, settled, shared
from mmadv_audio import masking, quality
from mmadv_audio.constraints import Band
from mmadv_audio.waves import Waves

HAIR = 10 ** (-0.01 / 20)
"""A frame counts as masked up to 0.01 dB above the threshold, which rounding can make of one that is masked exactly."""
TURNS = 12
"""Between box, threshold and band, before what is left over is scaled away."""
RELAXATION = 1.9
"""How far each turn goes towards the box: almost twice the way, which needs far fewer turns than just to its border."""
MARGIN = 0.05
"""Of a perturbation's largest sample that is kept from the ends of the box while a band is imposed."""
LOUDEST = 10.0
"""Times the signal: what is louder is no limit, but a number of dB that was meant."""
NORMS = ("linf", "l2", "snr", "masking")


@dataclass
class WaveRegion:
    """Around waveforms: within a ball, within [−1, 1], within a band, and nothing after their ends.

    Args:
        x: clean.
        eps: (A,) radii in the threat model's unit.
        unit: (A,) what the radius is a multiple of: the norm of the signal for `snr`, 1 otherwise.
        ball: Linf or L2, on the samples; in float64 for L2, whose sums then don't depend on how far a batch is padded.
        threshold: of masking, where that is the norm.
        norm: `linf`, `l2`, `snr` or `masking`.
        band: frequencies that may be touched, or None.
    """

    x: Waves
    eps: Tensor
    unit: Tensor
    ball: BallRegion
    threshold: masking.Threshold | None
    norm: str = shared()
    band: Band | None = shared()  # noqa: RUF009 (it is a field)

    def within(self, radius: Tensor) -> WaveRegion:
        """The same region with other radii (A,), in the threat model's unit."""
        if self.threshold is not None:
            return dataclasses.replace(self, eps=radius)
        eps = (radius * self.unit).to(self.ball.eps)
        space = BallSpace(self.ball.norm, low=-1.0, high=1.0)
        ball = space.around(self.ball.x, eps) if self.ball.norm == "linf" else dataclasses.replace(self.ball, eps=eps)
        return dataclasses.replace(self, eps=radius, ball=ball)

    def valid(self, samples: Tensor) -> Tensor:
        """Which of samples (A, T) or (A, K, T) are no padding, broadcastable to them."""
        valid = self.x.valid
        return valid.unsqueeze(1) if samples.dim() > valid.dim() else valid

    def like(self, samples: Tensor) -> Waves:
        """Samples (A, T) or (A, K, T) as waveforms of these rows' lengths, nothing after their ends."""
        length = self.x.length
        if samples.dim() > self.x.samples.dim():
            length = length.unsqueeze(1).expand(samples.shape[:2])
        return Waves(samples * self.valid(samples), length, self.x.rate)

    def delta(self, adv: Waves) -> Tensor:
        """adv − x, of the shape of adv's samples."""
        x = self.x.samples
        return adv.samples - (x.unsqueeze(1) if adv.samples.dim() > x.dim() else x)

    def project(self, adv: Waves) -> Waves:
        samples = self.ball.project((adv.samples * self.valid(adv.samples)).to(self.ball.x.dtype))
        return self._narrowed(adv.with_samples(samples.to(adv.samples.dtype)))

    def climb_(self, adv: Waves, grad: Tensor, share: float | Tensor) -> Waves:
        """One projected step of steepest ascent, `share` · ε long; may use `grad`'s memory, never `adv`'s."""
        grad = grad.mul_(self.valid(grad)).to(self.ball.x.dtype)
        if self.threshold is not None:
            step = masking.steepest(grad, self.threshold) * like(self.eps * share, grad)
            return self.project(adv.with_samples(adv.samples + step.to(adv.samples.dtype)))
        if self.band is not None:
            grad = self.band.kept(self.like(grad)).samples
        samples = self.ball.climb_(adv.samples.to(grad.dtype), grad, share)
        return self._narrowed(adv.with_samples(samples.to(adv.samples.dtype)))

    def _narrowed(self, adv: Waves) -> Waves:
        """Into the band and under the masking threshold; what is there already stays as it is.

        Box, band and threshold are convex and hold 0, so that scaling a perturbation down leaves none of them. That is
        the last step, after some in turns between the sets, which leave little to scale away.
        """
        if self.band is None and self.threshold is None:
            return adv
        inside = self.feasible(adv)
        if settled(inside):
            return adv
        delta, x = self.delta(adv), self.x.samples
        x = x.unsqueeze(1) if delta.dim() > x.dim() else x
        aim = (self.eps - self._slack()).clamp_min(0)  # adding it to x rounds, which quiet bins feel
        for _ in range(1 if self.band is None else TURNS):
            if self.threshold is not None:
                delta = masking.below(delta, self.threshold, aim)
            if self.band is not None:
                delta = self.band.kept(self.like(self._clipped(delta, x))).samples
        room = torch.where(delta > 0, 1 - x, 1 + x)
        delta = delta.clamp(-1 - x, 1 - x) if self.band is None else delta * _most(room, delta.abs())
        if self.threshold is not None:
            ratio = masking.peak_ratio(delta, self.threshold)
            aim = aim if ratio.dim() == 1 else aim.unsqueeze(1)
            delta = delta * like((aim / ratio.clamp_min(torch.finfo(ratio.dtype).tiny)).clamp_max(1), delta)
        else:
            wide = delta.to(self.ball.x.dtype)
            size = norms.distance(wide, self.ball.norm)
            delta = (wide * like((self.ball.radius(size) / size.clamp_min(1e-30)).clamp_max(1), wide)).to(delta.dtype)
        return adv.with_samples(torch.where(like(inside, delta), adv.samples, (x + delta).clamp(-1, 1)))

    def _clipped(self, delta: Tensor, x: Tensor) -> Tensor:
        """Perturbations towards a little inside of box and Linf ball: at a sample of exactly ±1, not even a ripple of the band has room."""
        margin = MARGIN * delta.abs().amax(-1, keepdim=True)
        low, high = margin - 1 - x, 1 - margin - x
        if self.norm == "linf":
            low, high = low.clamp_min(-like(self.eps, low)), high.clamp_max(like(self.eps, high))
        clipped = torch.clamp(delta, torch.minimum(low, high), torch.maximum(low, high))
        return delta + RELAXATION * (clipped - delta)

    def jitter(self, noise: Noise, candidates: int | None = None) -> Waves:
        """Feasible starts: uniform in the Linf ball, else on random rays with uniform radius."""
        x = self.x.samples if candidates is None else self.x.samples.unsqueeze(1)

        def drawn(values: Callable[..., Tensor], *shape: int) -> Tensor:
            # The axis of candidates last, so that draws don't depend on how far a batch is padded.
            if candidates is None:
                return values(shape, x.dtype)
            return values((*shape, candidates), x.dtype).movedim(-1, 1)

        if self.norm == "linf":
            step = drawn(noise.uniform, x.shape[-1]).mul_(2).sub_(1)
            return self.project(self.like(x + step * like(self.eps, step)))
        step = drawn(noise.normal, x.shape[-1])
        step = step * self.valid(step)
        if self.threshold is not None:
            step = masking.steepest(step, self.threshold) * like(self.eps, step)
        else:
            step = norms.unit(step.to(self.ball.x.dtype), "l2") * like(self.ball.eps, step)
        return self.project(self.like(x + (step * like(drawn(noise.uniform), step)).to(x.dtype)))

    def distance(self, adv: Waves) -> Tensor:
        adv = self._fitted(adv)
        if self.threshold is not None:
            return masking.peak_ratio(self.delta(adv), self.threshold)
        size = self.ball.distance(adv.samples.to(self.ball.x.dtype)).to(adv.samples.dtype)
        return size / (self.unit if size.dim() == 1 else self.unit.unsqueeze(1))

    def feasible(self, adv: Waves) -> Tensor:
        if not adv.samples.shape[-1]:
            return torch.ones(adv.samples.shape[:-1], dtype=torch.bool, device=adv.samples.device)
        longest = self.x.samples.shape[-1]
        inside = (adv.samples[..., longest:] == 0).all(-1)
        adv = self._fitted(adv)
        samples, valid = adv.samples, self.valid(adv.samples)
        inside &= (samples.amin(-1) >= -1) & (samples.amax(-1) <= 1)  # NaN fails both
        inside &= ((samples == 0) | valid).all(-1)
        if self.band is not None:
            inside &= self.band.inside(self.like(self.delta(adv)))
        distance, limit = self.distance(adv), self.eps + self._slack()
        return inside & (distance <= (limit if distance.dim() == 1 else limit.unsqueeze(1)))

    def _fitted(self, adv: Waves) -> Waves:
        """Rows padded as far as the clean ones are: those of a run that are read one by one may be padded otherwise."""
        more = self.x.samples.shape[-1] - adv.samples.shape[-1]
        return adv if not more else adv.with_samples(torch.nn.functional.pad(adv.samples, (0, more)))

    def _slack(self) -> Tensor:
        """(A,) how far rounding alone can carry `x + δ` out, in the threat model's unit."""
        samples = self.x.samples
        if self.threshold is not None:
            return masking.rounding(samples, self.threshold)
        if not samples.shape[-1]:
            return torch.zeros_like(self.eps)
        largest = (samples.abs().amax(-1) + self.eps * self.unit).clamp_max(1)
        entries = 1.0 if self.norm == "linf" else self.x.length.sqrt()
        return torch.finfo(samples.dtype).eps * largest * entries / self.unit

    def judging(self) -> WaveRegion:
        return self


@dataclass(frozen=True)
class WaveSpace:
    """Waveforms in [−1, 1], perturbed inside a ball over their valid samples.

    Args:
        norm: `linf` and `l2` of sample values; `snr`, the L2 norm as a share of the signal's own, so that 25 dB is
            10^(−25/20) = 0.0562; `masking`, the largest ratio of amplitudes between perturbation and masking threshold over
            all bins of all frames (arXiv 1903.10346), so that 1 is just inaudible to the model of hearing.
        eps: the radius.
        band: (low, high) in Hz; the perturbation has no other frequencies.

    Raises:
        ParameterError: an unknown norm, a negative or NaN ε, a band that is none.

    Example:
        >>> x = Waves.of([torch.tensor([0.6, -0.8]), torch.tensor([0.3, 0.4, 0.0])], rate=8000)
        >>> region = WaveSpace("snr", 0.1).around(x)
        >>> adv = region.project(x.with_samples(x.samples + 1.0))
        >>> [round(value, 4) for value in region.distance(adv).tolist()]
        [0.1, 0.1]
    """

    norm: str
    eps: float = float("inf")
    band: Band | None = None

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ParameterError(f"unknown norm {self.norm!r}", where="norm", fix=nearest(str(self.norm), NORMS))
        if not isinstance(self.eps, Real) or not self.eps >= 0:
            raise ParameterError(
                f"eps is {self.eps!r}",
                where="eps",
                fix="give a number of at least 0; an SNR of 25 dB is 10 ** (-25 / 20)",
            )
        object.__setattr__(self, "eps", float(self.eps))  # NumPy's numbers too
        if self.norm == "snr" and LOUDEST < self.eps < float("inf"):
            raise ParameterError(
                f"eps is {self.eps:g}, noise {20 * math.log10(self.eps):.0f} dB louder than the signal",
                where="eps",
                fix="eps is a ratio of amplitudes; for 25 dB give snr=25, or eps: -25 dB in a spec",
            )

    def around(self, x: Waves) -> WaveRegion:
        """The region around waveforms.

        Raises:
            InputError: samples outside [−1, 1] or NaN; silence, where the limit is relative to the signal or to what it masks; a
            recording that has no frequency in the band.
        """
        samples = x.samples
        if self.band is not None:
            self.band.check(x)
        if self.norm in ("linf", "l2"):
            BallSpace(self.norm, self.eps, low=-1.0, high=1.0).refuse_all(
                samples, "levels of int16 are divided by 32768"
            )
        limits = torch.full((len(x),), float(self.eps), dtype=samples.dtype, device=samples.device)
        kind = "linf" if self.norm in ("linf", "masking") else "l2"
        wide = samples if kind == "linf" else samples.double()
        unit = torch.ones_like(limits)
        if self.norm == "snr":
            unit = norms.distance(wide, "l2").to(samples.dtype)
            _refuse_silence(unit == 0, "of which no share can be taken")
        radii = (limits * unit).to(wide) if self.norm != "masking" else torch.full_like(limits, float("inf"))
        ball = BallSpace(kind, low=-1.0, high=1.0).around(wide, radii)
        threshold = masking.threshold(x) if self.norm == "masking" else None
        if threshold is not None:
            _refuse_silence(threshold.peak <= masking.SILENCE, "which hides nothing")
        return WaveRegion(x, limits, unit, ball, threshold, self.norm, self.band)

    def relaxed(self) -> Self:
        return dataclasses.replace(self, eps=float("inf"))

    def measures(self, x: Waves, adv: Waves) -> dict[str, Tensor]:
        """SNR in dB, the largest change of a sample, the share of masked frames, dB over the masking threshold, and what `quality` judges.

        NaN stands for what is not defined, such as the SNR of silence.
        """
        delta = (adv.samples - x.samples).double()
        signal, noise = (part.square().sum(-1) for part in (x.samples.double(), delta))
        found = {
            "SNR dB": torch.where(signal > 0, 10 * torch.log10(signal / noise.clamp_min(1e-30)), float("nan")),
            "linf": norms.distance(delta, "linf"),
        }
        threshold, delta = masking.threshold(x), delta.to(x.samples.dtype)
        found["masked frames"] = masking.share_masked(delta * HAIR, threshold)
        ratio = masking.peak_ratio(delta, threshold)
        found["dB over masking"] = 20 * torch.log10(ratio.clamp_min(1e-12))
        return {name: values.float() for name, values in {**found, **quality.judged(x, adv)}.items()}


def _most(room: Tensor, size: Tensor) -> Tensor:
    """(…, 1) the largest factor of at most 1 that keeps `size` (…, T) within `room` (…, T)."""
    over = size > room
    factor = torch.where(over, room / size.clamp_min(torch.finfo(size.dtype).tiny), torch.ones_like(size))
    return factor.amin(-1, keepdim=True)


def _refuse_silence(silent: Tensor, so: str) -> None:
    """Refuse rows where nothing could be changed, which must not pass for robust."""
    if bool(silent.any()):
        raise InputError(
            f"{int(silent.sum())} of {len(silent)} waveforms are silence, {so}",
            where=f"row {int(silent.nonzero()[0, 0])}",
            fix="leave them out, or limit the perturbation by norm='linf'",
        )


def checked(x: Any) -> Waves:
    """Waveforms of what a user passed.

    Raises:
        InputError: a bare array, whose sample rate nobody knows; rows that `Waves.check` refuses.
    """
    if not isinstance(x, Waves):
        raise InputError(
            f"x is a {type(x).__name__}, and its sample rate is unknown",
            where="x",
            fix="pass mmadv_audio.Waves.of(waveforms, rate=16000)",
        )
    return x.check()
