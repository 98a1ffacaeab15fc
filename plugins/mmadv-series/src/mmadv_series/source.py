"""Labelled series: CSV files in a folder or named by a table, or a file of the UCR and UEA archives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from mmadv import Examples, MemorySource
from mmadv.data import Table, class_names, matched, shown
from mmadv.errors import AssetError, InputError, ParameterError

LARGEST = 64 * 2**20
"""Bytes; a larger series is refused before it is read."""


class SeriesSource:
    """Series in CSV files, a column for each channel and a line for each step, read once when the source is opened, to see that
    they can be, and again when they are asked for.

    Args:
        path: a folder with one subfolder for each class, a folder with a `metadata` table, or a table.
        series_column: of a table: names of files relative to its folder; `series` if not given.
        label_column: class numbers, or names that the victim or `classes` has; of a folder its subfolders.
        classes: names of the classes in the victim's order, where it doesn't tell them itself or the data have others.
        target: the victim.
        limit: how many examples are wanted.

    Attributes:
        skipped: series that are left out: no numbers, with gaps, not there, or outside of the folder.

    Raises:
        AssetError: no such folder or table, or nothing in it.
        InputError: a missing column, a label that is none of the classes, series of different channels or steps.
        ParameterError: classes that are no list of the victim's.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        series_column: str | None = None,
        label_column: str | None = None,
        classes: Sequence[str] | None = None,
        target: Any = None,
        limit: int | None = None,
    ) -> None:
        self._table = table = Table(path, role="series", suffixes={".csv"})
        self._column = table.column("series", series_column or "series")
        table.keyed_by(self._column)
        labels, names = table.classed(label_column, classes, target)
        shapes: dict[int, tuple[int, ...]] = {}

        def check(row: int) -> None:
            if labels[row] is None:
                raise InputError("it has no label", where=table.where(row), fix="write one")
            shapes[row] = tuple(read_csv(table.sample(row, self._column)).shape)

        self._rows = table.sift(check, limit)
        first = shapes[self._rows[0]]
        for row, shape in shapes.items():
            if shape != first:
                raise InputError(
                    f"series differ in channels and steps: {first} and {shape}",
                    where=f"{table.path}: {table.key(self._rows[0])} and {table.key(row)}",
                    fix="cut or resample them to one length, with the same channels",
                )
        self.name, self.skipped = table.path.name, tuple(table.skipped)
        self.labels: Sequence[str] | None = names
        self._y = torch.tensor([labels[row] for row in self._rows], dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, start: int, stop: int) -> Examples:
        rows = self._rows[start:stop]
        series = torch.stack([read_csv(self._table.sample(row, self._column)) for row in rows])
        return Examples(series, self._y[start:stop], [self._table.key(row) for row in rows])


def read_csv(content: Path | bytes) -> Tensor:
    """A series (C, T), float32, of a file with a column for each channel.

    Args:
        content: a file, or what is in it.

    Raises:
        InputError: it can't be read as numbers, is empty or too large, or holds NaN or inf.

    Example:
        >>> read_csv(b"1,10\\n2,20\\n3,30\\n")
        tensor([[ 1.,  2.,  3.],
                [10., 20., 30.]])
    """
    where = str(content) if isinstance(content, Path) else "the table's own bytes"
    fix = "give numbers alone, without a header, the same count in each line"
    try:
        if isinstance(content, Path) and (size := content.stat().st_size) > LARGEST:
            raise InputError(f"the file has {size:,} bytes", where=where, fix=f"cut the series below {LARGEST:,} bytes")
        data = content.read_bytes() if isinstance(content, Path) else content
        lines = [line for line in data.decode("utf-8-sig").splitlines() if line.strip()]
        values = np.loadtxt(lines, delimiter=",", ndmin=2, comments=None) if lines else np.empty((0, 0))
    except (ValueError, OSError) as error:
        raise InputError(f"the series can't be read: {shown(str(error))}", where=where, fix=fix) from error
    if not values.size:
        raise InputError("the file is empty", where=where, fix=fix)
    series = torch.from_numpy(values.T.copy()).to(torch.float32)
    if not bool(torch.isfinite(series).all()):
        step = int((~torch.isfinite(series)).any(0).nonzero()[0, 0])
        raise InputError(
            "the series holds NaN or inf, or a value beyond float32",
            where=f"{where}, step {step + 1}",
            fix="fill the gaps, or leave the series out",
        )
    return series


def read_ts(file: Path, *, classes: Sequence[str] | None = None, target: Any = None) -> MemorySource:
    """Labelled series of equal length from a `.ts` file: a line each, channels parted by colons, the class last.

    Args:
        file: of the UCR and UEA archives' format.
        classes: names of the classes in the victim's order; the victim's own, or else those of the file's header, if not given.
        target: the victim.

    Raises:
        AssetError: no such file.
        InputError: no such file's content, series of different lengths, gaps, or a class that the header doesn't name or the
            victim doesn't have.
        ParameterError: classes that are no list of the victim's.
    """

    def refuse(what: str, line: int) -> NoReturn:
        raise InputError(what, where=f"{file}:{line}", fix="give a .ts file of labelled series of equal length")

    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise AssetError(
            f"the file can't be read: {error.strerror}", where=str(file), fix="give the path of a .ts file"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"the file is no text: {error}", where=str(file), fix="save it in UTF-8") from error
    own: list[str] = []
    series: list[np.ndarray] = []
    labels: list[str] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or line.startswith(("#", "%")):
            continue
        if line.startswith("@"):
            if words[0].lower() == "@classlabel" and words[1:2] == ["true"]:
                own = words[2:]
            continue
        *channels, label = map(str.strip, line.split(":"))
        if label not in own:
            refuse(f"the class {shown(label, 40)!r} is none of @classLabel: {', '.join(own) or 'none'}", number)
        try:
            values = np.array([[float(value) for value in channel.split(",")] for channel in channels])
        except ValueError as error:
            refuse(f"channels can't be read as numbers, or differ in length: {shown(str(error))}", number)
        if not values.size or not (np.abs(values) <= np.finfo(np.float32).max).all():  # written so that NaN fails it
            refuse("the series is empty or holds NaN or inf, or a value beyond float32", number)
        if series and values.shape != series[0].shape:
            refuse(f"series differ in channels and steps: {series[0].shape} and {values.shape}", number)
        series.append(values)
        labels.append(label)
    if not series:
        refuse("there are no series", len(lines))
    names, stated = class_names(classes, target, f"{file}, classes")
    y = matched(labels, own if names is None else names, where=str(file), stated=stated or names is None)
    x = torch.from_numpy(np.stack(series)).to(torch.float32)
    return MemorySource(file.stem, x, torch.tensor(y), labels=own if names is None else names)


def source(
    *,
    path: str | Path,
    series_column: str | None = None,
    label_column: str | None = None,
    classes: Sequence[str] | None = None,
    target: Any = None,
    limit: int | None = None,
) -> SeriesSource | MemorySource:
    """The source that a user's words describe: `read_ts` of a `.ts` file, a `SeriesSource` of all else.

    Raises:
        ParameterError: a column beside a `.ts` file, which has none.
    """
    if Path(path).suffix.lower() != ".ts":
        return SeriesSource(
            path, series_column=series_column, label_column=label_column, classes=classes, target=target, limit=limit
        )
    for word, value in (("series_column", series_column), ("label_column", label_column)):
        if value is not None:
            raise ParameterError(f"{word} is given beside a .ts file", where=word, fix="leave it out")
    return read_ts(Path(path), classes=classes, target=target)
