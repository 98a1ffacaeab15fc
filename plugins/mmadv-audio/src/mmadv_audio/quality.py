"""What a listener makes of a changed recording, by measures whose libraries are optional: they are left out where those are missing."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from mmadv_audio.waves import Waves

STOI_SECONDS = 0.4
FEW_FRAMES = "Not enough STFT frames"
"""How pystoi's warning begins where too few frames are no silence."""
PESQ_SECONDS = 0.25
PESQ_MODES = {8_000: "nb", 16_000: "wb"}
"""Sample rates that PESQ is defined at: narrow and wide band."""

Measure = Callable[[Tensor, Tensor, int], float]


def judged(x: Waves, adv: Waves) -> dict[str, Tensor]:
    """STOI and PESQ (A,) of changed recordings against clean ones, of those whose library is installed.

    NaN stands for what is not defined: both for silence, STOI for less than 0.4 s, PESQ for less than 0.25 s and for sample rates
    other than 8 and 16 kHz.
    """
    known = {"STOI": _stoi(), "PESQ": _pesq()}
    return {
        name: torch.tensor([measure(*pair, x.rate) for pair in zip(x, adv, strict=True)])
        for name, measure in known.items()
        if measure is not None
    }


def _stoi() -> Measure | None:
    """Short-time objective intelligibility (doi:10.1109/TASL.2011.2114881), 0 to 1."""
    try:
        from pystoi import stoi
    except ImportError:
        return None

    def measure(clean: Tensor, noisy: Tensor, rate: int) -> float:
        if len(clean) <= STOI_SECONDS * rate or not clean.any():
            return float("nan")
        with warnings.catch_warnings():
            warnings.filterwarnings("error", FEW_FRAMES, RuntimeWarning)  # where it would answer 1e-5
            try:
                return float(stoi(clean.double().cpu().numpy(), noisy.double().cpu().numpy(), rate))
            except RuntimeWarning:
                return float("nan")

    return measure


def _pesq() -> Measure | None:
    """Perceptual evaluation of speech quality (ITU-T P.862, and P.862.2 at 16 kHz), about 1 to 4.6."""
    try:
        from pesq import PesqError, pesq
    except ImportError:
        return None

    def measure(clean: Tensor, noisy: Tensor, rate: int) -> float:
        if rate not in PESQ_MODES or len(clean) < PESQ_SECONDS * rate:
            return float("nan")
        pair = (one.float().cpu().numpy() for one in (clean, noisy))
        try:
            return float(pesq(rate, *pair, PESQ_MODES[rate]))
        except PesqError:  # it finds no utterance, or can't line the two up
            return float("nan")

    return measure
