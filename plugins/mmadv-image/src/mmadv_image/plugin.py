"""What the image plugin registers. Importing this module is cheap: torch waits for the factories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmadv import hookimpl
from mmadv.hookspecs import AttackSpec, ConstraintSpec, ModalitySpec, ThreatModelSpec

if TYPE_CHECKING:
    from mmadv import TargetClaim

_ATTACKS = (
    ("noise", "RandomNoise", "random noise of the whole radius, the baseline to beat", ""),
    ("fgsm", "FGSM", "one step along the sign of the gradient", "arXiv 1412.6572"),
    ("pgd", "PGD", "iterated steepest ascent with restarts and cycle stop; Linf, L2, L1", "arXiv 1706.06083"),
    ("mifgsm", "MIFGSM", "iterated steepest ascent with momentum", "arXiv 1710.06081"),
    ("apgd", "APGD", "PGD that sets its own steps; losses ce, dlr, dlr_targeted", "arXiv 2003.01690"),
    ("square", "Square", "random search by squares, from scores alone; Linf, L2", "arXiv 1912.00049"),
    ("cw", "CW", "minimum-norm L2 by penalty", "arXiv 1608.04644"),
    ("ddn", "DDN", "minimum-norm L2 by decoupled direction and norm", "arXiv 1811.09600"),
    ("suite", "Suite", "APGD with two losses and Square, each on what still stands; Linf, L2", "arXiv 2003.01690"),
)


@hookimpl
def mmadv_modalities() -> Iterable[ModalitySpec]:
    yield ModalitySpec(name="image", summary="pixels in [0, 1]", factory="mmadv_image.modality:Images")


@hookimpl
def mmadv_attacks() -> Iterable[AttackSpec]:
    for name, cls, summary, paper in _ATTACKS:
        home = "mmadv.search" if name in ("noise", "fgsm", "pgd") else "mmadv_image.attacks"
        yield AttackSpec(name=name, summary=summary, modality="image", paper=paper, factory=f"{home}.{name}:{cls}")


@hookimpl
def mmadv_constraints() -> Iterable[ConstraintSpec]:
    yield ConstraintSpec(
        name="ball",
        summary="Linf, L2 or L1 ball of pixel values, inside [0, 1]",
        modality="image",
        factory="mmadv_image.constraints:PixelBall",
    )


@hookimpl
def mmadv_threat_models() -> Iterable[ThreatModelSpec]:
    for name, summary, paper in (
        ("cifar_linf", "Linf 8/255", "arXiv 2010.09670"),
        ("cifar_l2", "L2 0.5", "arXiv 2010.09670"),
        ("imagenet_linf", "Linf 4/255", "arXiv 2010.09670"),
        ("mnist_linf", "Linf 0.3", "arXiv 1706.06083"),
    ):
        yield ThreatModelSpec(
            name=name, summary=summary, modality="image", paper=paper, factory=f"mmadv_image.threat_model:{name}"
        )


@hookimpl
def mmadv_adapt_target(victim: object, modality: str) -> TargetClaim | None:
    from mmadv_image.target import claim

    return claim(victim, modality)
