"""Sources: where labelled examples come from, each with a key and a hash that records can be traced by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mmadv import rows


@dataclass(frozen=True)
class Examples:
    """Some examples of a source.

    Args:
        x: B clean rows.
        y: (B,) int64.
        keys: B names, unique in the source.
    """

    x: Any
    y: Tensor
    keys: list[str]

    @property
    def ids(self) -> Tensor:
        """(B,) int64 that noise is keyed by, from the keys alone."""
        return torch.tensor(
            [int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little", signed=True) for key in self.keys],
            dtype=torch.int64,
        )


class Source(Protocol):
    """Labelled examples in a fixed order.

    Attributes:
        name: for records and reports.
        labels: names of the classes, if they are known.
    """

    name: str
    labels: Sequence[str] | None

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def take(self, start: int, stop: int) -> Examples:
        """Examples `start` to `stop`, read when asked for."""
        ...


@dataclass(frozen=True)
class MemorySource:
    """Examples that are in memory already.

    Args:
        name: for records.
        x: N clean rows.
        y: (N,) int64.
        keys: N names; their numbers if not given.
        labels: names of the classes.

    Example:
        >>> MemorySource("two", torch.zeros(2, 1, 1, 1), torch.tensor([0, 1])).take(1, 2).keys
        ['two/1']
    """

    name: str
    x: Any
    y: Tensor
    keys: Sequence[str] = ()
    labels: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, start: int, stop: int) -> Examples:
        stop = min(stop, len(self))
        keys = list(self.keys[start:stop]) if self.keys else [f"{self.name}/{index}" for index in range(start, stop)]
        return Examples(rows.take(self.x, slice(start, stop)), self.y[start:stop], keys)


def digest(row: Any) -> str:
    """SHA-256 of one row's dtype, shape and bytes.

    Example:
        >>> digest(torch.zeros(2))[:8] == digest(torch.zeros(2, dtype=torch.float64))[:8]
        False
    """
    found = hashlib.sha256()
    for leaf in rows.leaves(row):
        found.update(f"{leaf.dtype}{tuple(leaf.shape)}".encode())
        found.update(leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
