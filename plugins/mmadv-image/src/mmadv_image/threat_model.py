"""Threat models with the field's usual figures."""

from __future__ import annotations

from mmadv import ThreatModel
from mmadv_image.space import PixelSpace


def cifar_linf() -> ThreatModel:
    """Linf 8/255, RobustBench's for CIFAR-10 (arXiv 2010.09670)."""
    return ThreatModel(PixelSpace("linf", 8 / 255))


def cifar_l2() -> ThreatModel:
    """L2 0.5, RobustBench's for CIFAR-10 (arXiv 2010.09670)."""
    return ThreatModel(PixelSpace("l2", 0.5))


def imagenet_linf() -> ThreatModel:
    """Linf 4/255, RobustBench's for ImageNet (arXiv 2010.09670)."""
    return ThreatModel(PixelSpace("linf", 4 / 255))


def mnist_linf() -> ThreatModel:
    """Linf 0.3, the MNIST challenge's (arXiv 1706.06083)."""
    return ThreatModel(PixelSpace("linf", 0.3))
