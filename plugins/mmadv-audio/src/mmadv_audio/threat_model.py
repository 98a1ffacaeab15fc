"""Threat models with the field's usual figures."""

from __future__ import annotations

from mmadv import ThreatModel
from mmadv_audio.goals import WordErrors
from mmadv_audio.space import WaveSpace


def asr_25db() -> ThreatModel:
    """Every second word wrong at an SNR of 25 dB; wav2vec2-class models fall at 30 to 40 dB (arXiv 2203.16536)."""
    return ThreatModel(WaveSpace("snr", 10 ** (-25 / 20)), goal=WordErrors(0.5))


def asr_inaudible() -> ThreatModel:
    """Every second word wrong by what is masked in every bin of every frame (arXiv 1903.10346)."""
    return ThreatModel(WaveSpace("masking", 1.0), goal=WordErrors(0.5))


def speaker_linf() -> ThreatModel:
    """Linf .002, FAKEBOB's for speaker recognition (arXiv 1911.01840)."""
    return ThreatModel(WaveSpace("linf", 0.002))
