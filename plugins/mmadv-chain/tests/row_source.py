"""A source for specs in tests, whose speech was never written down."""

import torch

from mmadv import MemorySource
from mmadv_audio import Waves


def silent():
    return MemorySource("unwritten", Waves.of([torch.full((400,), 0.1)], 16_000), torch.tensor([1]))
