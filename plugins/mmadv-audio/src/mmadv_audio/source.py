"""Labelled recordings from a manifest, CSV, TSV or JSON lines, or from a folder with one subfolder for each class."""

from __future__ import annotations

import csv
import io
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
        root: folder that the files' names in records are relative to.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[Path],
        labels: Sequence[str],
        rate: int,
        classes: Sequence[str] | None = None,
        *,
        root: Path,
    ) -> None:
        self.name, self.rate, self.labels, self._root = name, rate, classes, root
        self._files, self._said = files, labels

    def __len__(self) -> int:
        return len(self._files)

    def take(self, start: int, stop: int) -> Examples:
        files, said = self._files[start:stop], list(self._said[start:stop])
        x = rows.join([resampled(read_file(file), self.rate) for file in files])
        y = labels_of(said) if self.labels is None else torch.tensor([self.labels.index(one) for one in said])
        return Examples(x, y, [file.relative_to(self._root).as_posix() for file in files])


def source(
    *,
    folder: str | None = None,
    manifest: str | None = None,
    audio: str | None = None,
    text: str | None = None,
    rate: int = 16_000,
    classes: Sequence[str] | None = None,
) -> AudioSource:
    """The source that a spec's words describe.

    Args:
        folder: with one subfolder of recordings for each class; or
        manifest: a CSV, TSV or JSON lines file.
        audio: its column of file names, relative to the manifest; `audio` if not given.
        text: its column of transcripts, or of class names if `classes` is given; `text` if not given.
        rate: samples a second that recordings are resampled to.
        classes: names in the victim's order.

    Raises:
        AssetError: no such folder or file, or no recordings in it.
        InputError: a row without a file or a text, or a file that leads out of the manifest's folder.
        ParameterError: no sample rate, or not exactly one of folder and manifest; a column's name beside a folder.
    """
    if isinstance(classes, str):
        raise ParameterError(f"classes is {classes!r}", where="data.classes", fix=f"give a list: [{classes}]")
    if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1000:
        raise ParameterError(f"rate is {rate!r}", where="data.rate", fix="give samples a second, such as 16000")
    if (folder is None) == (manifest is None):
        raise ParameterError("there is not exactly one of folder and manifest", where="data", fix="give one of them")
    if folder is not None:
        if audio is not None or text is not None:
            raise ParameterError(
                "audio and text name columns of a manifest", where="data", fix="leave them out beside folder"
            )
        return _of_folder(Path(folder), rate, classes)
    audio, text, path = audio or "audio", text or "text", Path(str(manifest))
    if not path.is_file():
        raise AssetError("there is no such file", where=str(path), fix="give a CSV, TSV or JSON lines manifest")
    root = path.parent.resolve()
    files, said = [], []
    for number, row in enumerate(_rows(path), 1):
        for column in (audio, text):
            if row.get(column) is None or (column == audio and not row[column]):
                raise InputError(
                    f"there is no {column!r}", where=f"{path.name}, row {number}", fix=nearest(column, [*row])
                )
        file = path.parent / str(row[audio])
        if not file.resolve().is_relative_to(root):
            raise InputError(
                f"{row[audio]} leads out of the manifest's folder", where=f"{path.name}, row {number}", fix="move it in"
            )
        if not file.is_file():
            raise InputError(f"there is no file {row[audio]}", where=f"{path.name}, row {number}", fix="mend its name")
        files.append(file)
        said.append(str(row[text]))
    return _checked(AudioSource(path.stem, files, said, rate, classes, root=path.parent), path)


def _rows(path: Path) -> list[dict[str, Any]]:
    """A manifest's rows.

    Raises:
        InputError: it is no text in UTF-8, or a line of it no JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".jsonl":
            return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ","))
        found = [(number, json.loads(line)) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise InputError(
            f"the manifest cannot be read: {error}",
            where=str(path),
            fix="write it in UTF-8: CSV or TSV with a header, or one JSON object a line in a .jsonl file",
        ) from error
    for number, row in found:
        if not isinstance(row, dict):
            raise InputError(
                f"a line holds a {type(row).__name__}",
                where=f"{path}, line {number}",
                fix='write one JSON object a line, such as {"audio": "a.wav", "text": "open the door"}',
            )
    return [row for _, row in found]


def _of_folder(folder: Path, rate: int, classes: Sequence[str] | None) -> AudioSource:
    if not folder.is_dir():
        raise AssetError(
            "there is no such folder", where=str(folder), fix="give a folder of one subfolder for each class"
        )
    for name in classes or ():
        if not (folder / name).is_dir():
            there = [entry.name for entry in folder.iterdir() if entry.is_dir()]
            raise AssetError(f"there is no subfolder {name!r}", where=str(folder), fix=nearest(name, there))
    names = list(classes or sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    root = folder.resolve()
    found = [
        (file, name)
        for name in names
        for file in sorted((folder / name).glob("*"))
        if file.suffix.lower() in SUFFIXES and file.resolve().is_relative_to(root)
    ]
    files, labels = [file for file, _ in found], [name for _, name in found]
    return _checked(AudioSource(folder.name, files, labels, rate, names, root=folder), folder)


def _checked(found: AudioSource, path: Path) -> AudioSource:
    if not len(found):
        raise AssetError("no recordings were found", where=str(path), fix=f"use {', '.join(sorted(SUFFIXES))} files")
    for said in found._said:
        if found.labels is not None and said not in found.labels:
            raise InputError(f"{said!r} is no class", where=str(path), fix=nearest(said, list(found.labels)))
    return found
