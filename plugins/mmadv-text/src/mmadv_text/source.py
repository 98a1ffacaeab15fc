"""Labelled texts from CSV, TSV, JSON, JSON-lines and Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mmadv import Examples
from mmadv.data import Table
from mmadv.errors import InputError
from mmadv_text.space import checked
from mmadv_text.texts import Text

LONGEST = 1_000_000
"""Characters; a longer text is left out."""


class TextSource:
    """Texts and labels of a table.

    Args:
        path: `.csv`, `.tsv`, `.json`, `.jsonl` or `.parquet`, UTF-8, with a header or keys.
        text_column: of texts; a usual name if not given, as of all columns.
        label_column: of labels: class numbers, or names that the victim or `classes` has.
        pair_column: of first parts, for pairs of texts.
        classes: names of the classes in the victim's order, where it doesn't tell them itself or the data have others.
        target: the victim.
        limit: how many examples are wanted.

    Attributes:
        skipped: rows that are left out: without a text or a label, or too long.

    Raises:
        AssetError: no such file.
        InputError: a missing column, one that holds no texts, a label that is none of the classes, a file that can't be read.
        ParameterError: classes that are no list of the victim's.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        text_column: str | None = None,
        label_column: str | None = None,
        pair_column: str | None = None,
        classes: Sequence[str] | None = None,
        target: Any = None,
        limit: int | None = None,
    ) -> None:
        table = Table(path)
        texts = table.texts(table.column("text", text_column))
        firsts = None if pair_column is None else table.texts(table.column("pair", pair_column))
        labels, names = table.classed(label_column, classes, target)

        def check(row: int) -> None:
            parts = [texts[row], *([] if firsts is None else [firsts[row]])]
            for what, missing in (
                ("text", not all((part or "").strip() for part in parts)),
                ("label", labels[row] is None),
            ):
                if missing:
                    raise InputError(f"it has no {what}", where=table.where(row), fix="write one")
            longest = max(len(part or "") for part in parts)
            if longest > LONGEST:
                raise InputError(f"it has {longest:,} characters", where=table.where(row), fix=f"cut it to {LONGEST:,}")
            checked([part or "" for part in parts])

        rows = table.sift(check, limit)
        self.name, self.skipped = table.path.name, tuple(table.skipped)
        self.labels: Sequence[str] | None = names
        chosen = [texts[row] or "" for row in rows]
        self._texts: list[Text] = [*chosen]
        if firsts is not None:
            self._texts = [(firsts[row] or "", text) for row, text in zip(rows, chosen, strict=True)]
        self._y = [labels[row] for row in rows]
        self._keys = [table.key(row) for row in rows]

    def __len__(self) -> int:
        return len(self._y)

    def take(self, start: int, stop: int) -> Examples:
        part = slice(start, min(stop, len(self)))
        return Examples(checked(self._texts[part]), torch.tensor(self._y[part], dtype=torch.int64), self._keys[part])
