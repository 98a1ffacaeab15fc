"""What the series plugin registers. Importing this module is cheap: torch waits for the factories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmadv import hookimpl
from mmadv.hookspecs import AttackSpec, ConstraintSpec, ModalitySpec, SectionSpec, ThreatModelSpec

if TYPE_CHECKING:
    from mmadv import TargetClaim

_ATTACKS = (
    ("noise", "RandomNoise", "random noise of the whole radius, the baseline to beat", ""),
    ("fgsm", "FGSM", "one step along the sign of the gradient", "arXiv 1412.6572"),
    ("pgd", "PGD", "iterated steepest ascent with restarts and cycle stop", "arXiv 1706.06083"),
    ("simba", "SimBA", "random steps along cosines, slow ones alone within a band; from scores", "arXiv 1905.07121"),
)


@hookimpl
def mmadv_modalities() -> Iterable[ModalitySpec]:
    yield ModalitySpec(
        name="series", summary="time series, one or more channels", factory="mmadv_series.modality:Series"
    )


@hookimpl
def mmadv_attacks() -> Iterable[AttackSpec]:
    for name, cls, summary, paper in _ATTACKS:
        home = "mmadv.search" if name in ("noise", "fgsm", "pgd") else "mmadv_series.attacks"
        yield AttackSpec(name=name, summary=summary, modality="series", paper=paper, factory=f"{home}.{name}:{cls}")


@hookimpl
def mmadv_constraints() -> Iterable[ConstraintSpec]:
    for name, summary, factory in (
        ("ball", "Linf or L2 ball in units of each channel", "space:SeriesSpace"),
        ("band", "perturbations of slow cosines alone", "constraints:Band"),
    ):
        yield ConstraintSpec(name=name, summary=summary, modality="series", factory=f"mmadv_series.{factory}")


@hookimpl
def mmadv_threat_models() -> Iterable[ThreatModelSpec]:
    for name, summary, paper in (
        ("ucr_linf", "Linf .1 on series of mean 0 and variance 1", "arXiv 1903.07054"),
        ("ucr_smooth", "Linf .1 in the slowest quarter of cosines", "arXiv 1809.08758"),
    ):
        yield ThreatModelSpec(
            name=name, summary=summary, modality="series", paper=paper, factory=f"mmadv_series.threat_model:{name}"
        )


@hookimpl
def mmadv_report_sections() -> Iterable[SectionSpec]:
    yield SectionSpec(
        name="series", summary="how large and how rough perturbations are", factory="mmadv_series.section:section"
    )


@hookimpl
def mmadv_adapt_target(victim: object, modality: str) -> TargetClaim | None:
    if modality != "series":
        return None
    from mmadv_series.target import claim

    return claim(victim)
