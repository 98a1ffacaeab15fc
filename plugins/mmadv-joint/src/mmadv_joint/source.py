"""Labelled inputs of several parts from a safetensors file."""

from __future__ import annotations

from pathlib import Path

from mmadv import MemorySource
from mmadv.errors import AssetError, InputError
from mmadv_joint.space import checked


def source(file: Path, labels: str = "y") -> MemorySource:
    """Examples whose parts are the tensors of a file.

    Args:
        file: safetensors, with a tensor (N, …) for each part and whole numbers (N,) for the labels.
        labels: the name of the latter.

    Raises:
        AssetError: no such file, or one that can't be read.
        InputError: no labels, or parts that don't fit each other or them.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise AssetError(
            f"the examples cannot be read: {error}", where=str(file), fix="give a safetensors file"
        ) from error
    y = tensors.pop(labels, None)
    if y is None or y.is_floating_point() or y.dim() != 1:
        found = "there are no labels" if y is None else f"the labels have dtype {y.dtype} and shape {tuple(y.shape)}"
        raise InputError(f"{found}: {labels!r}", where=str(file), fix="store whole numbers (N,) under that name")
    x = checked(tensors)
    if len(x) != len(y):
        raise InputError(
            f"there are {len(x)} inputs and {len(y)} labels", where=str(file), fix="store one label for each input"
        )
    return MemorySource(file.stem, x, y.long())
