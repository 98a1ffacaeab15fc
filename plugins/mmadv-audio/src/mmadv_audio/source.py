"""Labelled recordings from a manifest, CSV, TSV or JSON lines, or from a folder with one subfolder for each class."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mmadv import Examples, rows
from mmadv.errors import AssetError, InputError, ParameterError, nearest
from mmadv_audio.channels import read_file, resampled
from mmadv_audio.transcripts import labels_of

SUFFIXES = {".wav", ".flac", ".ogg", ".mp3"}


class AudioSource:
    """Recordings, read when they are asked for.

    Args:
        name: for records.
        files: one for each example.
        labels: of the examples: transcripts, or names of classes among `classes`.
        rate: samples a second that recordings are resampled to.
        classes: names in the victim's order; labels are transcripts if not given.
    """

    def __init__(
        self, name: str, files: Sequence[Path], labels: Sequence[str], rate: int, classes: Sequence[str] | None = None
    ) -> None:
        self.name, self.rate, self.labels = name, rate, classes
        self._files, self._said = files, labels

    def __len__(self) -> int:
        return len(self._files)

    def take(self, start: int, stop: int) -> Examples:
        files, said = self._files[start:stop], list(self._said[start:stop])
        x = rows.join([resampled(read_file(file), self.rate) for file in files])
        y = labels_of(said) if self.labels is None else torch.tensor([self.labels.index(one) for one in said])
        return Examples(x, y, [f"{file.parent.name}/{file.name}" for file in files])


def source(
    *,
    folder: str | None = None,
    manifest: str | None = None,
    audio: str = "audio",
    text: str = "text",
    rate: int = 16_000,
    classes: Sequence[str] | None = None,
) -> AudioSource:
    """The source that a spec's words describe.

    Args:
        folder: with one subfolder of recordings for each class; or
        manifest: a CSV, TSV or JSON lines file.
        audio: its column of file names, relative to the manifest.
        text: its column of transcripts, or of class names if `classes` is given.
        rate: samples a second that recordings are resampled to.
        classes: names in the victim's order.

    Raises:
        AssetError: no such folder or file, or no recordings in it.
        InputError: a row without a file or a text, or a file that leads out of the manifest's folder.
    """
    if (folder is None) == (manifest is None):
        raise ParameterError("there is not exactly one of folder and manifest", where="data", fix="give one of them")
    if folder is not None:
        return _of_folder(Path(folder), rate, classes)
    path = Path(str(manifest))
    if not path.is_file():
        raise AssetError("there is no such file", where=str(path), fix="give a CSV, TSV or JSON lines manifest")
    root = path.parent.resolve()
    files, said = [], []
    for number, row in enumerate(_rows(path), 1):
        for column in (audio, text):
            if not row.get(column):
                raise InputError(
                    f"there is no {column!r}", where=f"{path.name}, row {number}", fix=nearest(column, [*row])
                )
        file = path.parent / str(row[audio])
        if not file.resolve().is_relative_to(root):
            raise InputError(
                f"{row[audio]} leads out of the manifest's folder", where=f"{path.name}, row {number}", fix="move it in"
            )
        files.append(file)
        said.append(str(row[text]))
    return _checked(AudioSource(path.stem, files, said, rate, classes), path)


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in file if line.strip()]
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def _of_folder(folder: Path, rate: int, classes: Sequence[str] | None) -> AudioSource:
    if not folder.is_dir():
        raise AssetError(
            "there is no such folder", where=str(folder), fix="give a folder of one subfolder for each class"
        )
    names = list(classes or sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    root = folder.resolve()
    found = [
        (file, name)
        for name in names
        for file in sorted((folder / name).glob("*"))
        if file.suffix.lower() in SUFFIXES and file.resolve().is_relative_to(root)
    ]
    return _checked(AudioSource(folder.name, [f for f, _ in found], [n for _, n in found], rate, names), folder)


def _checked(found: AudioSource, path: Path) -> AudioSource:
    if not len(found):
        raise AssetError("no recordings were found", where=str(path), fix=f"use {', '.join(sorted(SUFFIXES))} files")
    for said in found._said:
        if found.labels is not None and said not in found.labels:
            raise InputError(f"{said!r} is no class", where=str(path), fix=nearest(said, list(found.labels)))
    return found
