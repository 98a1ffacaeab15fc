"""Threat models with the field's usual figures."""

from __future__ import annotations

from mmadv import ThreatModel
from mmadv_series.constraints import Band
from mmadv_series.space import SeriesSpace


def ucr_linf() -> ThreatModel:
    """Linf .1, as the first study on the UCR archive, whose series have mean 0 and variance 1 (arXiv 1903.07054)."""
    return ThreatModel(SeriesSpace("linf", 0.1))


def ucr_smooth() -> ThreatModel:
    """The same radius in the slowest quarter of cosines: low-frequency perturbations (arXiv 1809.08758)."""
    return ThreatModel(SeriesSpace("linf", 0.1, band=Band(0.25)))
