"""Rows: tensors, and containers of tensors, that share a leading row axis.

An attack holds its whole state in rows, so that the engine can drop finished rows, split a batch and
put a part back without knowing what the state means. A container is a dataclass, tuple, list or dict
of rows. Zero-dimensional tensors, numbers, strings, functions and None belong to all rows and pass
through; so do dataclass fields declared with `shared()`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

Rows = TypeVar("Rows")


def shared(**options: Any) -> Any:
    """A dataclass field that belongs to all rows, even if it holds a tensor with axes."""
    return dataclasses.field(metadata={"shared": True}, **options)


@cache
def _names(kind: type) -> tuple[str, ...]:
    """The fields of a dataclass that hold rows; of anything else none."""
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    return tuple(field.name for field in fields if not field.metadata.get("shared"))


def _map(function: Callable[..., Any], rows: Any, *others: Any) -> Any:
    if isinstance(rows, Tensor):
        return function(rows, *others) if rows.dim() else rows
    if names := _names(rows.__class__):
        parts = (rows, *others)
        return dataclasses.replace(rows, **{n: _map(function, *[getattr(part, n) for part in parts]) for n in names})
    if isinstance(rows, (tuple, list)):
        return type(rows)(_map(function, *parts) for parts in zip(rows, *others, strict=True))
    if isinstance(rows, dict):
        return {key: _map(function, *(part[key] for part in (rows, *others))) for key in rows}
    return rows


def leaves(rows: Any) -> Iterator[Tensor]:
    """Every tensor with a row axis, in a fixed order."""
    if isinstance(rows, Tensor):
        return iter((rows,) if rows.dim() else ())
    found: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _map(collect, rows)
    return iter(found)


def count(rows: Any) -> int:
    """The length of the row axis.

    Raises:
        ValueError: no tensor with a row axis, or leaves of different lengths.

    Example:
        >>> count({"adv": torch.zeros(3, 2), "step": 7})
        3
    """
    lengths = {len(leaf) for leaf in leaves(rows)}
    if len(lengths) != 1:
        raise ValueError(f"rows need one common length, got {sorted(lengths) or 'no tensor with a row axis'}")
    return lengths.pop()


def take(rows: Rows, index: Tensor | slice) -> Rows:
    """The rows at `index`, in its order.

    Args:
        rows: a tensor (A, …) or a container of such.
        index: int64 (B,) of at least 0, or a slice.

    Returns:
        Rows of the same structure with a leading axis B.

    Example:
        >>> take((torch.tensor([10, 20, 30]), None), torch.tensor([2, 0]))
        (tensor([30, 10]), None)
    """
    if isinstance(index, slice):
        return _map(lambda tensor: tensor[index], rows)
    # Half of the time of indexing; but that also takes an index from another device.
    return _map(lambda one: one.index_select(0, index) if one.device == index.device else one[index], rows)


def put_(rows: Rows, index: Tensor, values: Rows) -> Rows:
    """Write `values` (B, …) at `index` (B,) in place, and return `rows`.

    Example:
        >>> put_(torch.zeros(3), torch.tensor([1]), torch.tensor([5.0]))
        tensor([0., 5., 0.])
    """
    _map(lambda tensor, value: tensor.index_copy_(0, index, value), rows, values)
    return rows


def written(rows: Rows, index: Tensor | slice, values: Rows) -> Rows:
    """Rows with `values` at `index`: in place, or the values themselves where `index` is a slice of everything."""
    return values if isinstance(index, slice) else put_(rows, index, values)


def put_where_(rows: Rows, mask: Tensor, values: Rows) -> Rows:
    """Write the rows of `values` where `mask` (A,) is true, in place, without a host sync.

    Example:
        >>> put_where_(torch.zeros(2, 2), torch.tensor([False, True]), torch.ones(2, 2))
        tensor([[0., 0.],
                [1., 1.]])
    """
    _map(lambda tensor, value: torch.where(like(mask, tensor), value, tensor, out=tensor), rows, values)
    return rows


def where(mask: Tensor, rows: Rows, others: Rows) -> Rows:
    """Rows of `rows` where `mask` (A,) is true, of `others` elsewhere."""
    return _map(lambda tensor, other: torch.where(like(mask, tensor), tensor, other), rows, others)


def join(parts: Sequence[Rows]) -> Rows:
    """Rows one after another.

    Example:
        >>> join([torch.tensor([1]), torch.tensor([2, 3])])
        tensor([1, 2, 3])
    """
    joined = getattr(type(parts[0]), "joined", None)  # of a container whose parts differ in what their rows share
    return joined(parts) if joined else _map(lambda *tensors: torch.cat(tensors), parts[0], *parts[1:])


def like(per_row: Tensor, rows: Tensor) -> Tensor:
    """Per-row values (A,) or (A, K) shaped to broadcast over `rows` (A, …) or (A, K, …).

    Example:
        >>> like(torch.ones(3), torch.zeros(3, 2, 2)).shape
        torch.Size([3, 1, 1])
    """
    return per_row.reshape(per_row.shape + (1,) * (rows.dim() - per_row.dim()))


def affected(mask: Tensor) -> Tensor | slice | None:
    """What to work on when only the rows of `mask` (A,) matter.

    Asking which rows they are is free on the CPU and a host sync on an accelerator, where working on all
    of them costs less. Callers apply `mask` to what they write, so both give the same result.

    Returns:
        int64 indices, a slice of everything, or None for no row at all.
    """
    if mask.device.type != "cpu":
        return slice(None)
    index = mask.nonzero()[:, 0]
    if not len(index):
        return None
    return slice(None) if len(index) == len(mask) else index


def settled(mask: Tensor) -> bool:
    """Whether all of `mask` is true, if asking is free; False on an accelerator, where it is a host sync."""
    return mask.device.type == "cpu" and bool(mask.all())


def all_finite(values: Tensor) -> bool:
    """Whether all of `values` are finite, if asking is free; False where it isn't, or where only their sum is not.

    Example:
        >>> all_finite(torch.tensor([1.0, -2.0])), all_finite(torch.tensor([1.0, float("nan")]))
        (True, False)
    """
    return values.device.type == "cpu" and math.isfinite(float(values.sum()))


def fold(rows: Rows) -> Rows:
    """Rows (A, K, …) as (A·K, …)."""
    return _map(lambda tensor: tensor.flatten(0, 1), rows)


def repeated(rows: Rows, times: int) -> Rows:
    """Each row `times` times in a row, (A·times, …); the rows themselves for one time."""
    return rows if times == 1 else _map(lambda tensor: tensor.repeat_interleave(times, dim=0), rows)


def chosen(rows: Rows, index: Tensor) -> Rows:
    """One of K candidates (A, K, …) for each row, by `index` (A,); (A, …)."""
    return _map(lambda tensor: tensor[torch.arange(len(tensor), device=tensor.device), index], rows)


def expanded(rows: Rows) -> Rows:
    """Rows that only say how they are made from others, as themselves; all others as they are."""
    make = getattr(rows, "expanded", None)
    return rows if make is None else make()


def replaced(rows: Rows, leaf: Tensor) -> Rows:
    """Rows of the same kind with `leaf` in place of their floating tensor."""
    return _map(lambda tensor: leaf if tensor.is_floating_point() else tensor, rows)


def detached(rows: Rows, device: torch.device) -> Rows:
    """Rows on `device`, cut from any graph, outside inference mode, contiguous, and in at least float32."""

    def convert(tensor: Tensor) -> Tensor:
        kind = torch.promote_types(tensor.dtype, torch.float32) if tensor.is_floating_point() else tensor.dtype
        moved = tensor.detach().to(device, kind).contiguous()
        return moved.clone() if moved.is_inference() else moved

    return _map(convert, rows)


def cast(rows: Rows, dtype: torch.dtype) -> Rows:
    """Rows whose floating tensors are of `dtype`."""
    return _map(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor, rows)


def copied(rows: Rows) -> Rows:
    """Rows in memory of their own."""
    return _map(torch.clone, rows)


def moved(rows: Rows, device: torch.device) -> Rows:
    """Rows on `device`."""
    return _map(lambda tensor: tensor.to(device), rows)
