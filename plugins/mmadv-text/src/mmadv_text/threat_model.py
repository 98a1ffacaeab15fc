"""Threat models by name. Their thresholds are choices, stated in every record, not fits to human judgement."""

from __future__ import annotations

from mmadv import Access, ThreatModel
from mmadv_text.modality import TextModality


def strict() -> ThreatModel:
    """At most 15 % of the words, similarity to the original of at least 0.9."""
    return ThreatModel(TextModality().space(preset="strict"), access=Access.SCORE)


def loose() -> ThreatModel:
    """At most 40 % of the words, similarity to the original of at least 0.7."""
    return ThreatModel(TextModality().space(preset="loose"), access=Access.SCORE)
