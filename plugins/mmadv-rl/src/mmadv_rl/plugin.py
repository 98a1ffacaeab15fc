"""What the RL plugin registers. Importing this module is cheap: torch waits for the factories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmadv import hookimpl
from mmadv.hookspecs import AttackSpec, ConstraintSpec, GoalSpec, ModalitySpec, SectionSpec, ThreatModelSpec

if TYPE_CHECKING:
    from mmadv import TargetClaim

_ATTACKS = (
    ("random", "Random", "uniform noise, the baseline", ""),
    ("fgsm", "FGSM", "one step away from the policy's own action", "arXiv 1702.02284"),
    ("pgd", "PGD", "iterated, away from the own action or towards a certain one", "arXiv 1702.02284"),
    ("mad", "MAD", "maximal action difference", "arXiv 2003.08938"),
    ("waves", "Waves", "from one end of the actions to the other, at the beat of what is steered", ""),
    ("critic", "Critic", "observations that the critic holds worthless", "arXiv 1712.03632"),
    ("robust_sarsa", "RobustSarsa", "descent of a learned value of the policy's actions", "arXiv 2003.08938"),
    ("director", "Director", "descent of the value that actions have for the attacker", "arXiv 2106.05087"),
    ("learned", "Learned", "an agent that is trained against the policy", "arXiv 2101.08452"),
    ("timed", "Timed", "PGD where the policy prefers one action clearly", "arXiv 1703.06748"),
    ("suite", "Suite", "all of them, the worst return of each episode", ""),
)


@hookimpl
def mmadv_modalities() -> Iterable[ModalitySpec]:
    yield ModalitySpec(name="rl", summary="observations of an agent that plays", factory="mmadv_rl.modality:RL")


@hookimpl
def mmadv_attacks() -> Iterable[AttackSpec]:
    for name, cls, summary, paper in _ATTACKS:
        yield AttackSpec(
            name=name, summary=summary, modality="rl", paper=paper, factory=f"mmadv_rl.attacks.{name}:{cls}"
        )


@hookimpl
def mmadv_constraints() -> Iterable[ConstraintSpec]:
    for name, summary, factory in (
        ("ball", "Linf, L2 or L1 ball in units of each dimension, inside the environment's box", "space:ObsSpace"),
        ("turns", "how often an episode may be touched", "constraints:Turns"),
    ):
        yield ConstraintSpec(name=name, summary=summary, modality="rl", factory=f"mmadv_rl.{factory}")


@hookimpl
def mmadv_goals() -> Iterable[GoalSpec]:
    yield GoalSpec(name="below", summary="a return below the one asked for", factory="mmadv_rl.goals:Falls")


@hookimpl
def mmadv_threat_models() -> Iterable[ThreatModelSpec]:
    for name, summary, paper in (
        ("cartpole_std", "Linf .2 standard deviations of each dimension, every step", "arXiv 2003.08938"),
        ("hopper_policy", "Linf .075 in the policy's normalised space, every step", "arXiv 2003.08938"),
        ("frames", "Linf 1 of 255, every step", "arXiv 1702.02284"),
    ):
        yield ThreatModelSpec(
            name=name, summary=summary, modality="rl", paper=paper, factory=f"mmadv_rl.threat_model:{name}"
        )


@hookimpl
def mmadv_report_sections() -> Iterable[SectionSpec]:
    yield SectionSpec(name="rl", summary="returns against radius and turns", factory="mmadv_rl.section:section")


@hookimpl
def mmadv_adapt_target(victim: object, modality: str) -> TargetClaim | None:
    if modality != "rl":
        return None
    from mmadv_rl.target import claim

    return claim(victim, modality)
