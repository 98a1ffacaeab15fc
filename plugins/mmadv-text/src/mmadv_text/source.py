"""Labelled texts from CSV, TSV and JSON-lines files."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mmadv import Examples
from mmadv.errors import AssetError, InputError, nearest
from mmadv_text.space import checked
from mmadv_text.texts import Text

WHOLE = re.compile(r"-?[0-9]{1,9}(?:\.0+)?")
"""A class number, as a table may spell it that has had gaps: 1.0."""
SHARE = re.compile(r"[-+]?[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]+)?")


class TextSource:
    """Texts and labels of a file with named columns.

    Args:
        file: `.csv`, `.tsv` or `.jsonl`, UTF-8, with a header or keys.
        text: the column of texts.
        label: the column of labels: class numbers, or names of `classes`.
        pair: a column of first parts, for pairs of texts.
        classes: names of the classes in the victim's order; if not given, the labels are numbers, or names in sorted order.

    Raises:
        AssetError: no such file.
        InputError: a missing column, a text that is none, a label that is none of the classes, a broken line.
    """

    def __init__(
        self, file: Path, *, text: str, label: str, pair: str | None = None, classes: Sequence[str] | None = None
    ) -> None:
        self.name = file.name
        rows = _rows(file)
        for column in filter(None, (text, label, pair)):
            for number, row in rows:
                if row.get(column) is None:
                    raise InputError(
                        f"there is no column {column!r}", where=f"{file}:{number}", fix=nearest(column, row)
                    )
                # JSON holds lists and numbers too, whose spelling in Python is nobody's text.
                if not isinstance(row[column], (str, int, float) if column == label else str):
                    raise InputError(
                        f"a {type(row[column]).__name__} stands in column {column!r}",
                        where=f"{file}:{number}",
                        fix="write a class's number or name" if column == label else "write a string",
                    )
        self._texts: list[Text] = [row[text] if pair is None else (row[pair], row[text]) for _, row in rows]
        given = [str(row[label]).strip() for _, row in rows]
        numbers = classes is None and all(map(WHOLE.fullmatch, given))
        self.labels: Sequence[str] | None = None if numbers else list(classes or sorted(set(given)))
        known = {name: at for at, name in enumerate(self.labels or ())}
        self._y = []
        for (number, _), name in zip(rows, given, strict=True):
            at = int(float(name)) if WHOLE.fullmatch(name) else -1
            if classes is None and SHARE.fullmatch(name) and not WHOLE.fullmatch(name):
                raise InputError(
                    f"the label {name!r} lies between classes",
                    where=f"{file}:{number}",
                    fix="write whole numbers, or names",
                )
            if not numbers and name not in known and not 0 <= at < len(known):
                raise InputError(
                    f"the label {name!r} is none of the classes", where=f"{file}:{number}", fix=nearest(name, known)
                )
            self._y.append(known.get(name, at))
        self._keys = [f"{file.name}:{number}" for number, _ in rows]

    def __len__(self) -> int:
        return len(self._y)

    def take(self, start: int, stop: int) -> Examples:
        part = slice(start, min(stop, len(self)))
        return Examples(checked(self._texts[part]), torch.tensor(self._y[part], dtype=torch.int64), self._keys[part])


def _rows(file: Path) -> list[tuple[int, dict[str, Any]]]:
    """(line, columns) of every row."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            if file.suffix == ".jsonl":
                return [(number, _object(line, file, number)) for number, line in enumerate(lines, 1) if line.strip()]
            reader = csv.DictReader(lines, delimiter="\t" if file.suffix == ".tsv" else ",")
            return [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise AssetError(
            f"the file cannot be read: {error.strerror}", where=str(file), fix="give a CSV, TSV or JSONL file"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"the file is malformed: {error}", where=str(file), fix="save it as UTF-8 CSV") from error


def _object(line: str, file: Path, number: int) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"the line is not JSON: {error.msg}", where=f"{file}:{number}", fix="mend the line") from error
    if not isinstance(found, dict):
        raise InputError("the line is not a JSON object", where=f"{file}:{number}", fix='write {"text": …, "label": …}')
    return found


def source(
    *,
    file: str | None = None,
    folder: str | None = None,
    text: str = "text",
    label: str = "label",
    pair: str | None = None,
    classes: Sequence[str] | None = None,
) -> TextSource:
    """The source that a spec's words describe; `folder` is what the command line calls a file without knowing better."""
    if (file is None) == (folder is None):
        raise InputError("no file is given", where="data", fix="give file: a CSV, TSV or JSONL file")
    return TextSource(Path(str(file or folder)), text=text, label=label, pair=pair, classes=classes)
