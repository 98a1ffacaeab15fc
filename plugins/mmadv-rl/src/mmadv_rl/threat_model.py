"""Presets of threat models with the field's usual figures."""

from __future__ import annotations

from mmadv import ThreatModel
from mmadv_rl.space import ObsSpace


def cartpole_std() -> ThreatModel:
    """Linf .2 standard deviations of each dimension, every step (the scale of SA-DQN's CartPole, arXiv 2003.08938)."""
    return ThreatModel(ObsSpace("linf", 0.2, "std"))


def hopper_policy() -> ThreatModel:
    """Linf .075 in the policy's normalised space, every step (arXiv 2003.08938)."""
    return ThreatModel(ObsSpace("linf", 0.075, "policy"))


def frames() -> ThreatModel:
    """Linf 1 of 255 grey levels, every step (arXiv 1702.02284)."""
    return ThreatModel(ObsSpace("linf", 1.0))
