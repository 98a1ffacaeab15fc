"""What the foolbox plugin registers. Importing this module is cheap: foolbox and torch wait for the factories."""

from __future__ import annotations

from collections.abc import Iterable

from mmadv import hookimpl
from mmadv.hookspecs import AttackSpec, SectionSpec

ATTACKS = (
    ("fgsm", "FGSM", "one step of steepest ascent; Linf, L2, L1", "arXiv 1412.6572"),
    ("bim", "BIM", "basic iterative method; Linf, L2, L1", "arXiv 1607.02533"),
    ("pgd", "PGD", "projected gradient descent from a random start; Linf, L2, L1", "arXiv 1706.06083"),
    ("adam_pgd", "AdamPGD", "PGD with Adam's steps; Linf, L2, L1", "arXiv 1706.06083, 1412.6980"),
    ("mifgsm", "MIFGSM", "iterated ascent with momentum; Linf, L2, L1", "arXiv 1710.06081"),
    ("sparse_l1", "SparseL1", "L1 descent along the largest entries of the gradient", "arXiv 1904.13000"),
    ("vat", "VirtualAdversarial", "L2, along the direction that changes the output most", "arXiv 1507.00677"),
    ("gaussian_noise", "GaussianNoise", "the best of repeated Gaussian noise; L2", "arXiv 1707.04131"),
    ("uniform_noise", "UniformNoise", "the best of repeated uniform noise; Linf, L2", "arXiv 1707.04131"),
    ("deepfool", "DeepFool", "minimum-norm by linearised boundaries; Linf, L2", "arXiv 1511.04599"),
    ("cw", "CarliniWagner", "minimum-norm L2 by penalty", "arXiv 1608.04644"),
    ("ead", "EAD", "minimum-norm L1 by elastic net", "arXiv 1709.04114"),
    ("ddn", "DDN", "minimum-norm L2 by decoupled direction and norm", "arXiv 1811.09600"),
    ("fmn", "FMN", "fast minimum norm; Linf, L2, L1", "arXiv 2102.12827"),
    ("newtonfool", "NewtonFool", "minimum-norm L2 by Newton steps on the class's probability", "doi 10.1145/3134600.3134635"),
    ("boundary", "Boundary", "minimum-norm L2 by a walk on the boundary, from labels alone", "arXiv 1712.04248"),
    ("hopskipjump", "HopSkipJump", "minimum-norm by boundary gradients, from labels alone; Linf, L2", "arXiv 1904.02144"),
    ("salt_and_pepper", "SaltAndPepper", "the least salt and pepper that fools; L2", "arXiv 1707.04131"),
    ("blended_noise", "BlendedNoise", "the least share of uniform noise that fools; Linf, L2, L1", "arXiv 1707.04131"),
)  # fmt: skip


@hookimpl
def mmadv_attacks() -> Iterable[AttackSpec]:
    for name, cls, summary, paper in ATTACKS:
        yield AttackSpec(
            name=name, summary=summary, modality="image", paper=paper, factory=f"mmadv_foolbox.attacks:{cls}"
        )


@hookimpl
def mmadv_report_sections() -> Iterable[SectionSpec]:
    yield SectionSpec(
        name="corrected",
        summary="which of foolbox's own answers were corrected",
        factory="mmadv_foolbox.section:section",
    )
