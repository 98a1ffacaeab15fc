"""What the joint plugin registers. Importing this module is cheap: torch waits for the factories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmadv import hookimpl
from mmadv.hookspecs import AttackSpec, ConstraintSpec, ModalitySpec

if TYPE_CHECKING:
    from mmadv import TargetClaim

_ATTACKS = (
    ("noise", "RandomNoise", "random noise of the whole radius in every part, the baseline to beat", ""),
    ("fgsm", "FGSM", "one step along the steepest ascent of the loss in every part", "arXiv 1412.6572"),
    ("pgd", "PGD", "iterated steepest ascent in all parts at once", "arXiv 1706.06083"),
)


@hookimpl
def mmadv_modalities() -> Iterable[ModalitySpec]:
    yield ModalitySpec(
        name="joint", summary="inputs of several parts, a space for each", factory="mmadv_joint.modality:Parts"
    )


@hookimpl
def mmadv_attacks() -> Iterable[AttackSpec]:
    for name, cls, summary, paper in _ATTACKS:
        yield AttackSpec(
            name=name, summary=summary, modality="joint", paper=paper, factory=f"mmadv.search.{name}:{cls}"
        )


@hookimpl
def mmadv_constraints() -> Iterable[ConstraintSpec]:
    yield ConstraintSpec(
        name="product", summary="a ball for each part", modality="joint", factory="mmadv_joint.space:JointSpace"
    )


@hookimpl
def mmadv_adapt_target(victim: object, modality: str) -> TargetClaim | None:
    if modality != "joint":
        return None
    from mmadv_joint.target import claim

    return claim(victim)
