"""Labelled series: a folder with one subfolder of CSV files for each class, or a file of the UCR and UEA archives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from mmadv import Examples, MemorySource
from mmadv.errors import AssetError, InputError, ParameterError


class SeriesSource:
    """Series under `folder/<class>/….csv`, a column for each channel and a line for each step, read when asked for.

    Args:
        folder: with one subfolder for each class, or for each of `classes`.
        classes: names of the classes in the victim's order; the sorted subfolders if not given.

    Raises:
        AssetError: no such folder, or none of its subfolders holds a CSV file.
    """

    def __init__(self, folder: Path, *, classes: Sequence[str] | None = None) -> None:
        if not folder.is_dir():
            raise AssetError(
                "there is no such folder",
                where=str(folder),
                fix="give a folder that holds one subfolder of CSV files for each class",
            )
        self.name = folder.name
        self.labels: Sequence[str] = classes or sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        root = folder.resolve()
        self._files = [
            (file, label)
            for label, name in enumerate(self.labels)
            for file in sorted((folder / name).glob("*.csv"))
            if file.resolve().is_relative_to(root)  # a link may not lead out of the folder that the user named
        ]
        if not self._files:
            raise AssetError(
                "no series were found", where=str(folder), fix="put .csv files into one subfolder for each class"
            )
        self._folder = folder

    def __len__(self) -> int:
        return len(self._files)

    def take(self, start: int, stop: int) -> Examples:
        chosen = self._files[start:stop]
        series = [read_csv(file) for file, _ in chosen]
        for (file, _), one in zip(chosen, series, strict=True):
            if one.shape != series[0].shape:
                raise InputError(
                    f"series differ in channels and steps: {tuple(series[0].shape)} and {tuple(one.shape)}",
                    where=str(file),
                    fix="cut or resample them to one length",
                )
        keys = [str(file.relative_to(self._folder)) for file, _ in chosen]
        return Examples(torch.stack(series), torch.tensor([label for _, label in chosen]), keys)


def read_csv(file: Path) -> Tensor:
    """A series (C, T), float32, of a file with a column for each channel.

    Raises:
        InputError: it can't be read as numbers.
    """
    try:
        values = np.loadtxt(file, delimiter=",", ndmin=2)
    except (ValueError, OSError) as error:
        raise InputError(
            f"the series cannot be read: {error}",
            where=str(file),
            fix="give numbers alone, the same count in each line",
        ) from error
    return torch.from_numpy(values.T.copy()).to(torch.float32)


def read_ts(file: Path) -> MemorySource:
    """Labelled series of equal length from a `.ts` file: a line each, channels parted by colons, the class last.

    Raises:
        AssetError: no such file.
        InputError: no such file's content, series of different lengths, gaps, or a class that the header doesn't name.
    """

    def refuse(what: str, line: int) -> NoReturn:
        raise InputError(what, where=f"{file}:{line}", fix="give a .ts file of labelled series of equal length")

    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise AssetError(
            f"the file cannot be read: {error.strerror}", where=str(file), fix="give the path of a .ts file"
        ) from error
    classes: list[str] = []
    series: list[np.ndarray] = []
    labels: list[int] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or line.startswith(("#", "%")):
            continue
        if line.startswith("@"):
            if words[0].lower() == "@classlabel" and words[1:2] == ["true"]:
                classes = words[2:]
            continue
        *channels, label = line.split(":")
        if label.strip() not in classes:
            refuse(f"the class {label.strip()[:40]!r} is none of @classLabel: {', '.join(classes) or 'none'}", number)
        try:
            values = np.array([[float(value) for value in channel.split(",")] for channel in channels])
        except ValueError as error:
            refuse(f"channels can't be read as numbers, or differ in length: {error}", number)
        if series and values.shape != series[0].shape:
            refuse(f"series differ in channels and steps: {series[0].shape} and {values.shape}", number)
        series.append(values)
        labels.append(classes.index(label.strip()))
    if not series:
        refuse("there are no series", len(lines))
    x = torch.from_numpy(np.stack(series)).to(torch.float32)
    return MemorySource(file.stem, x, torch.tensor(labels), labels=classes)


def source(*, path: str | Path, classes: Sequence[str] | None = None) -> SeriesSource | MemorySource:
    """The source that a user's words describe.

    Args:
        path: a folder with one subfolder of CSV files for each class, or a `.ts` file.
        classes: names of a folder's classes in the victim's order.

    Raises:
        ParameterError: classes beside a file, which names its own.
    """
    if Path(path).suffix != ".ts":
        return SeriesSource(Path(path), classes=classes)
    if classes is not None:
        raise ParameterError(
            "classes is given beside a file", where="classes", fix="leave it out: the file names its own"
        )
    return read_ts(Path(path))
