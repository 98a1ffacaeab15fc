"""Kenansville: what is quietest in a recording is removed (Abdullah et al., arXiv 1910.05262, the DFT attack).

    sort the bins of the one-sided power spectrum, inner bins counted twice
    remove the smallest whose power together is at most 10^(−SNR/10) of the whole

It needs no model. The next bin is removed in part, so that the threat model's ratio is used up exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle
from mmadv.errors import ParameterError
from mmadv_audio.waves import Waves


@dataclass(frozen=True, kw_only=True)
class Kenansville(Attack):
    """One query about the recording without its quietest parts.

    Example:
        >>> Kenansville().single_step
        True
    """

    access: ClassVar[Access] = Access.DECISION
    single_step: ClassVar[bool] = True

    def check(self, oracle: Oracle) -> None:
        if oracle.region.norm not in ("l2", "snr"):
            raise ParameterError(
                f"Kenansville takes away a share of the signal's power, and the norm is {oracle.region.norm}",
                where="norm",
                fix="use norm='snr' or 'l2'",
            )

    def init(self, oracle: Oracle) -> Waves:
        region = oracle.region
        signal = region.x.samples.double().square().sum(-1).sqrt()
        # Of silence there is no share: nothing is left out of it.
        limit = torch.where(signal > 0, (region.eps * region.unit).double() / signal, 0.0)
        return region.project(removed(region.x, limit))

    def step(self, state: Waves, oracle: Oracle) -> Waves:
        oracle.evaluate(state)
        return state


def removed(waves: Waves, ratio: Tensor) -> Waves:
    """Waveforms (A, T) without their quietest parts, each transformed at its own length.

    Args:
        waves: to be attacked.
        ratio: (A,) norm of what may go, by that of the signal; 10^(−SNR/20).

    Example:
        >>> time = torch.arange(8000) / 8000
        >>> tones = torch.sin(6.2832 * 100 * time) + 0.01 * torch.sin(6.2832 * 1000 * time)
        >>> left = removed(Waves.of([tones], 8000), torch.tensor([0.01]))
        >>> bool((left.samples - torch.sin(6.2832 * 100 * time)).abs().max() < 1e-3)
        True
    """
    samples = waves.samples.clone()
    # What rounding the result can add stays within the ratio.
    ratio = (ratio.double() * (1 - 1e-12) - torch.finfo(samples.dtype).eps).clamp_min(0)
    for count in waves.length.unique().tolist():
        rows = (waves.length == count).nonzero()[:, 0]
        spectrum = torch.fft.rfft(waves.samples[rows, :count].double())
        power = spectrum.abs().square()
        power[:, 1 : (count + 1) // 2] *= 2  # all but 0 Hz and, for an even length, half the rate stand for two bins
        order = power.argsort(dim=-1, stable=True)
        running = power.gather(-1, order).cumsum(-1)
        most = ratio[rows].square().unsqueeze(-1) * running[:, -1:]
        each = power.gather(-1, order)
        # How much of each bin's power may go: all of it, none, or what is left for the first that does not fit.
        share = ((most - running + each) / each.clamp_min(torch.finfo(each.dtype).tiny)).clamp(0, 1)
        gone = torch.empty_like(share).scatter_(-1, order, share.sqrt())
        part = waves.samples[rows, :count].double() - torch.fft.irfft(spectrum * gone, count)
        samples[rows, :count] = part.to(samples.dtype)
    return waves.with_samples(samples)
