"""Counter-based noise, keyed by (seed, example id, draw).

A row's noise is the same whatever batch it stands in, so that results don't depend on batch size, order
or on which rows were dropped (law 4), and the global generators are never touched (law 3). The counter is
hashed with the finaliser of SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195) in wrapping int64 arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmadv.rows import like, repeated


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def _mix_(z: Tensor) -> Tensor:
    """SplitMix64's finaliser in place; `>>` is arithmetic, so the sign's copies are masked off."""
    z.bitwise_xor_((z >> 30).bitwise_and_((1 << 34) - 1)).mul_(_FIRST)
    z.bitwise_xor_((z >> 27).bitwise_and_((1 << 37) - 1)).mul_(_SECOND)
    return z.bitwise_xor_((z >> 31).bitwise_and_((1 << 33) - 1))


def mixed(values: Tensor) -> Tensor:
    """int64 values hashed by SplitMix64's finaliser, each on its own."""
    return _mix_(values.clone())


def streams(ids: Tensor, times: int) -> Tensor:
    """(A·times,) ids of `times` streams for each of ids (A,), the first of which is its own.

    Example:
        >>> streams(torch.tensor([7, 8]), 2)[::2]
        tensor([7, 8])
    """
    if times == 1:
        return ids
    number = torch.arange(times, device=ids.device).repeat(len(ids))
    ids = repeated(ids, times)
    return torch.where(number == 0, ids, _mix_(mixed(ids) + number))


@dataclass
class Noise:
    """A stream of draws for each row.

    Args:
        seed: of the run.
        ids: int64 (A,), one id for each example.
        draws: draws made so far; all rows of a problem draw in lockstep.

    Example:
        >>> whole = Noise(0, torch.arange(4)).uniform((2,))
        >>> part = Noise(0, torch.tensor([2])).uniform((2,))
        >>> torch.equal(whole[2:3], part)
        True
    """

    seed: int
    ids: Tensor
    draws: int = 0

    def bits(self, shape: Sequence[int]) -> Tensor:
        """Uniform int64 bits, (A, *shape)."""
        key = torch.full_like(self.ids, _signed(self.seed & (2**64 - 1)))
        key = _mix_(_mix_(key).add_(self.ids)).add_(_signed(self.draws * (_GOLDEN & (2**64 - 1)) & (2**64 - 1)))
        self.draws += 1
        counter = torch.arange(math.prod(shape), device=self.ids.device).mul_(_GOLDEN).reshape(tuple(shape))
        return _mix_(like(_mix_(key), counter.unsqueeze(0)) + counter)

    def uniform(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Uniform on the open interval (0, 1), (A, *shape)."""
        digits = 52 if dtype == torch.float64 else 23
        kept = (self.bits(shape) >> (64 - digits)).bitwise_and_((1 << digits) - 1)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        # The half keeps 0 and 1 out, and is exact: one more binary digit than was kept.
        return kept.to(wide).add_(0.5).mul_(2.0**-digits).to(dtype)

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal, (A, *shape), by the inverse of its distribution function."""
        return torch.special.ndtri(self.uniform(shape, dtype))

    def signs(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """−1 or +1 with equal chance, (A, *shape)."""
        return torch.where(self.bits(shape) < 0, -1.0, 1.0).to(dtype)

    def integers(self, bound: int | Tensor, shape: Sequence[int] = ()) -> Tensor:
        """Uniform integers in [0, bound), (A, *shape); `bound` may be per row.

        The bias of scaling 52 bits is below bound·2⁻⁵².
        """
        return (self.uniform(shape, torch.float64) * bound).to(torch.int64)
