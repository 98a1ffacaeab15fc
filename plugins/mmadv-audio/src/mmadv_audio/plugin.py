"""What the audio plugin registers. Importing this module is cheap: torch waits for the factories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmadv import hookimpl
from mmadv.hookspecs import AttackSpec, ConstraintSpec, GoalSpec, ModalitySpec, SectionSpec, ThreatModelSpec

if TYPE_CHECKING:
    from mmadv import TargetClaim

_ATTACKS = (
    ("noise", "RandomNoise", "random noise of the whole radius, the baseline to beat", ""),
    ("fgsm", "FGSM", "one step along the steepest ascent of the loss", "arXiv 1412.6572"),
    ("pgd", "PGD", "iterated steepest ascent; Linf, L2, SNR, masking", "arXiv 1706.06083"),
    ("cw", "CW", "minimum-norm search for a transcript inside a shrinking ball", "arXiv 1801.01944"),
    ("imperceptible", "Imperceptible", "two stages: found, then moved under the masking threshold", "arXiv 1903.10346"),
    ("kenansville", "Kenansville", "the quietest parts of the spectrum removed, without a look at the model", "arXiv 1910.05262"),
    ("nes", "NES", "gradients estimated from scores alone", "arXiv 1911.01840"),
    ("universal", "Universal", "one perturbation or one prefix for all recordings, fitted beforehand", "arXiv 1905.03828"),
)  # fmt: skip


@hookimpl
def mmadv_modalities() -> Iterable[ModalitySpec]:
    yield ModalitySpec(name="audio", summary="waveforms in [-1, 1]", factory="mmadv_audio.modality:Audio")


@hookimpl
def mmadv_attacks() -> Iterable[AttackSpec]:
    for name, cls, summary, paper in _ATTACKS:
        home = "mmadv.search" if name in ("noise", "fgsm", "pgd") else "mmadv_audio.attacks"
        yield AttackSpec(name=name, summary=summary, modality="audio", paper=paper, factory=f"{home}.{name}:{cls}")


@hookimpl
def mmadv_constraints() -> Iterable[ConstraintSpec]:
    for name, summary, factory in (
        ("ball", "Linf, L2, SNR or masking ball over valid samples, inside [-1, 1]", "space:WaveSpace"),
        ("band", "frequencies that a perturbation may have", "constraints:Band"),
    ):
        yield ConstraintSpec(name=name, summary=summary, modality="audio", factory=f"mmadv_audio.{factory}")


@hookimpl
def mmadv_goals() -> Iterable[GoalSpec]:
    yield GoalSpec(name="wer", summary="a word error rate of at least so much", factory="mmadv_audio.goals:WordErrors")


@hookimpl
def mmadv_threat_models() -> Iterable[ThreatModelSpec]:
    for name, summary, paper in (
        ("asr_25db", "every second word wrong at 25 dB SNR", "arXiv 2203.16536"),
        ("asr_inaudible", "every second word wrong below the masking threshold", "arXiv 1903.10346"),
        ("speaker_linf", "Linf .002", "arXiv 1911.01840"),
    ):
        yield ThreatModelSpec(
            name=name, summary=summary, modality="audio", paper=paper, factory=f"mmadv_audio.threat_model:{name}"
        )


@hookimpl
def mmadv_report_sections() -> Iterable[SectionSpec]:
    yield SectionSpec(name="audio", summary="word errors, loudness and survival", factory="mmadv_audio.section:section")


@hookimpl
def mmadv_adapt_target(victim: object, modality: str) -> TargetClaim | None:
    if modality != "audio":
        return None
    from mmadv_audio.target import claim

    return claim(victim, modality)
