"""Rows are taken, put and joined whatever container they stand in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from mmadv import rows
from mmadv.rows import shared


@dataclass
class Part:
    values: torch.Tensor
    table: torch.Tensor = shared()  # noqa: RUF009
    name: str = "part"


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    masks: dict[str, Any]
    step: int = 0
    scalar: torch.Tensor | None = None


def whole(start=0, length=4):
    base = torch.arange(start, start + length)
    part = Part(base.float(), torch.zeros(9, 9))
    return Whole((part,), {"mask": base % 2 == 0, "none": None, "list": [base * 10]}, 7, torch.tensor(5))


def same(one, other):
    assert type(one) is type(other)
    pairs = list(zip(rows.leaves(one), rows.leaves(other), strict=True))
    assert pairs
    assert all(torch.equal(a, b) for a, b in pairs)


def test_take_keeps_what_belongs_to_all_rows():
    found = rows.take(whole(), torch.tensor([2, 0]))
    assert found.parts[0].values.tolist() == [2.0, 0.0]
    assert found.masks["list"][0].tolist() == [20, 0]
    assert found.parts[0].table.shape == (9, 9)
    assert (found.step, found.scalar.item(), found.parts[0].name, found.masks["none"]) == (7, 5, "part", None)
    assert rows.count(found) == 2


def test_a_slice_is_a_view_and_join_undoes_it():
    original = whole()
    first, second = rows.take(original, slice(0, 1)), rows.take(original, slice(1, 4))
    assert first.parts[0].values.data_ptr() == original.parts[0].values.data_ptr()
    same(rows.join([first, second]), original)


def test_put_writes_in_place():
    original = whole()
    rows.put_(original, torch.tensor([3, 1]), whole(start=50, length=2))
    assert original.parts[0].values.tolist() == [0.0, 51.0, 2.0, 50.0]
    assert original.masks["mask"].tolist() == [True, False, True, True]


def test_written_in_place_or_not():
    original = whole()
    assert rows.written(original, torch.tensor([0]), whole(start=9, length=1)) is original
    replacement = whole(start=3)
    assert rows.written(original, slice(None), replacement) is replacement


def test_where_and_put_where_agree():
    mask = torch.tensor([True, False, False, True])
    chosen = rows.where(mask, whole(start=100), whole())
    assert chosen.parts[0].values.tolist() == [100.0, 1.0, 2.0, 103.0]
    same(rows.put_where_(whole(), mask, whole(start=100)), chosen)


def test_fold_repeat_and_choose():
    candidates = torch.arange(12).reshape(2, 3, 2)
    assert torch.equal(rows.fold({"x": candidates})["x"], candidates.reshape(6, 2))
    assert rows.repeated(torch.tensor([1, 2]), 2).tolist() == [1, 1, 2, 2]
    once = torch.tensor([1])
    assert rows.repeated(once, 1) is once
    assert rows.chosen(candidates, torch.tensor([2, 0])).tolist() == [[4, 5], [6, 7]]
    assert rows.like(torch.ones(2, 3), candidates).shape == (2, 3, 1)


def test_affected_rows():
    assert rows.affected(torch.tensor([False, False])) is None
    assert rows.affected(torch.tensor([True, True])) == slice(None)
    assert rows.affected(torch.tensor([False, True])).tolist() == [1]
    assert rows.settled(torch.tensor([True, True]))
    assert not rows.settled(torch.tensor([True, False]))
    odd = torch.tensor([float("inf"), -float("inf"), float("nan")])
    assert all(not rows.all_finite(torch.tensor([[0.0, 1.0], [2.0, value]])) for value in odd)
    assert not rows.all_finite(odd[:2])
    assert rows.all_finite(torch.zeros(0, 2))


def test_detached_rows_are_plain():
    with torch.inference_mode():
        inference = torch.rand(2, 3)
    for tensor in (inference, torch.rand(2, 3, requires_grad=True), torch.rand(3, 2).T, torch.rand(2, 3).bfloat16()):
        found = rows.detached({"x": tensor}, torch.device("cpu"))["x"]
        assert not found.is_inference()
        assert not found.requires_grad
        assert found.is_contiguous()
        assert found.dtype == torch.float32
        assert torch.equal(found, tensor.detach().float())
    assert rows.detached(torch.zeros(2, dtype=torch.float64), torch.device("cpu")).dtype == torch.float64
    assert rows.detached(torch.tensor([1, 2]), torch.device("cpu")).dtype == torch.int64


def test_copies_share_no_memory():
    original = whole()
    copy = rows.copied(original)
    same(copy, original)
    assert copy.parts[0].values.data_ptr() != original.parts[0].values.data_ptr()
    same(rows.moved(original, torch.device("cpu")), original)


def test_rows_of_different_lengths_are_no_rows():
    with pytest.raises(ValueError, match=r"one common length, got \[2, 3\]"):
        rows.count((torch.zeros(2), torch.zeros(3)))
    with pytest.raises(ValueError, match="no tensor with a row axis"):
        rows.count({"step": 3})
