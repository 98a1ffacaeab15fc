"""A user's own data: tables, and folders with one subfolder for each class. Nothing that they hold is run.

Tables are CSV, TSV, JSON, JSON lines and Parquet, read by `datasets` without network, scripts or a cache that stays. A row that
can't be used, such as a file that is broken, too large or leads out of the data's folder, is left out and said to be
(`Table.skipped`). What would make every number wrong is an error: a missing column, a label that the victim does not have.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmadv.errors import AssetError, InputError, ParameterError, nearest

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
FILES = ("file_name", "filename", "file", "path")
USUAL: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "sentence", "review", "content", "document"),
    "label": ("label", "labels", "class", "category", "target"),
    "image": ("image", "img", *FILES),
    "audio": ("audio", *FILES),
    "transcript": ("transcript", "transcription", "sentence", "text"),
}
"""What columns are usually called; the first is taken where it is there, another one where it is the only one."""
LARGEST = 8 * 2**30
"""Bytes of a table in memory; a larger one is refused before it is read."""
WHOLE = re.compile(r"-?[0-9]{1,9}(?:\.0+)?")
"""A class number, as a table may spell it that has had gaps: 1.0."""
SHARE = re.compile(r"[-+]?[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]+)?")


class SkippedWarning(UserWarning):
    """Rows of the data were left out."""


@dataclass(frozen=True)
class Skipped:
    """A row that is left out.

    Args:
        key: of the row, as in records.
        why: it can't be used.
    """

    key: str
    why: str

    def __str__(self) -> str:
        return f"{self.key}: {self.why}"


class Table:
    """The rows of a file, or of a folder with one subfolder for each class.

    Args:
        path: a file of `TABLES`; a folder that holds one called `metadata`, whose names of files are relative to it; or a folder
            whose subfolders are called after the classes of the samples in them.
        role: what the samples in a folder are, such as `image`; folders are refused if not given.
        suffixes: that they have.

    Attributes:
        rows: a `datasets.Dataset` in memory, pictures and recordings undecoded. Of a folder: columns `role` and `label`, the classes
            taking turns, so that the first n rows are of all classes.
        skipped: rows, and files of a folder, that are left out.

    Raises:
        AssetError: no such file or folder, or nothing in it.
        InputError: a file that can't be read as what it is called, is packed, or would not fit into memory.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "reviews.csv").write_text("review,stars\\n<b>good</b>,1\\nNA,0\\n")
        >>> table = Table(folder / "reviews.csv")
        >>> table.texts(table.column("text")), table.labels(table.column("label", "stars"))
        (['<b>good</b>', 'NA'], ['1', '0'])
    """

    def __init__(self, path: str | Path, *, role: str = "", suffixes: Collection[str] = ()) -> None:
        if not isinstance(path, (str, Path)) or not str(path):
            raise ParameterError(f"path is {path!r}", where="data", fix="give a file or a folder")
        self.path, self.skipped = Path(path), list[Skipped]()
        self._files: str | None = None
        if self.path.is_dir():
            about = [self.path / f"metadata{suffix}" for suffix in TABLES if (self.path / f"metadata{suffix}").exists()]
            if len(about) > 1:
                raise InputError(
                    f"{about[0].name} and {about[1].name} both describe the folder", where=str(path), fix="keep one"
                )
            if not about and not role:
                raise AssetError("it is a folder", where=str(path), fix=f"give a table: {', '.join(TABLES)}")
            self.root = self.path
            self.rows: Any = _read(about[0]) if about else self._of_folder(role, suffixes)
        elif self.path.is_file():
            self.root, self.rows = self.path.parent, _read(self.path)
        else:
            raise AssetError(
                "there is no such file or folder",
                where=str(path),
                fix=f"give a table ({', '.join(TABLES)}), or a folder with one subfolder for each class",
            )
        if not len(self.rows):
            why = f": {self.skipped[0]}" if self.skipped else ""
            raise AssetError(f"the data are empty{why}", where=str(path), fix="name data with at least one example")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return list(self.rows.column_names)

    def has(self, role: str) -> bool:
        """Whether the column of a role would be found without its name."""
        return role in self.columns or sum(name in self.columns for name in USUAL[role]) == 1

    def column(self, role: str, given: str | None = None) -> str:
        """The name of the column of a role.

        Args:
            role: a key of `USUAL`.
            given: by the user; a usual one if not given.

        Raises:
            InputError: no such column, or several that it may be; the columns found are listed.
        """
        columns = self.columns
        if given is not None:
            if given not in columns:
                raise InputError(
                    f"there is no column {given!r}",
                    where=f"{self.path}, {role}_column",
                    fix=nearest(str(given), columns),
                )
            return given
        usual = [name for name in USUAL[role] if name in columns]
        if role in usual or len(usual) == 1:
            return usual[0]
        what = f"{' and '.join(map(repr, usual))} may each be the {role}" if usual else f"no column is called {role!r}"
        raise InputError(what, where=str(self.path), fix=f"give {role}_column: one of {', '.join(map(repr, columns))}")

    def texts(self, column: str) -> list[str | None]:
        """A column of texts; None where there is none.

        Raises:
            InputError: it holds something else.
        """
        kind = str(getattr(self.rows.features[column], "dtype", "list"))
        if kind not in ("string", "large_string", "null"):
            raise InputError(
                f"the column {column!r} holds {kind}, no texts", where=str(self.path), fix="name a column of strings"
            )
        return self._values(column)

    def labels(self, column: str) -> list[str | None]:
        """A column of labels as they are spelt; None where there is none. Names that the table itself has for numbers are used.

        Raises:
            InputError: it holds something else.
        """
        feature = self.rows.features[column]
        own = getattr(feature, "names", None)
        values = self._values(column)
        if type(feature).__name__ == "Json":  # numbers beside texts
            values = [None if value is None else json.loads(value) for value in values]
        if own is not None:
            return [own[value] if value is not None and 0 <= value < len(own) else _spelt(value) for value in values]
        found = []
        for row, value in enumerate(values):
            if not isinstance(value, (str, int, float, type(None))):
                raise InputError(
                    f"a {type(value).__name__} stands in column {column!r}",
                    where=self.where(row),
                    fix="write a class's number or name",
                )
            if isinstance(value, float) and value == value and not value.is_integer():
                raise _between(str(value), self.where(row))
            found.append(_spelt(value))
        return found

    def classed(
        self, given: str | None, classes: Sequence[str] | None, target: Any
    ) -> tuple[list[int | None], Sequence[str] | None]:
        """The class number of every row, None where it has no label, and the names of the classes if they are known.

        Args:
            given: the name of the column, as the user says.
            classes: names of the classes in the victim's order, as the user says.
            target: the victim, which may tell them itself.

        Raises:
            InputError: no such column, or a label that the victim does not have.
            ParameterError: classes that are no list of the victim's.
        """
        column = self.column("label", given)
        spelt = self.labels(column)
        names, stated = class_names(classes, target, f"{self.path}, classes")
        known = [label for label in spelt if label is not None]
        numbers = iter(matched(known, names, where=f"{self.path}, column {column!r}", stated=stated))
        return [None if label is None else next(numbers) for label in spelt], names

    def sample(self, row: int, column: str) -> Path | bytes:
        """The file that a cell names, or what of it the table itself holds.

        Raises:
            InputError: the cell is empty, or names no plain file in the data's folder; links are followed to see.
        """
        value = self._cell(row, column)
        if isinstance(value, dict):  # as `datasets` stores pictures and recordings
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes) and value:
            return value
        if not isinstance(value, str) or not value:
            raise InputError(f"it names no file in column {column!r}", where=self.where(row), fix="name one")
        return inside(self.root, value)

    def where(self, row: int) -> str:
        """A row's place for errors."""
        return f"{self.path}, row {row + 1}"

    def keyed_by(self, column: str) -> None:
        """Take a column's names of files for keys, where they are each one's own."""
        self._files = column

    def key(self, row: int) -> str:
        """The name of a row in records, the same in every run."""
        return self._keys[row]

    @cached_property
    def _keys(self) -> list[str]:
        numbered = [f"{self.path.name}:{number}" for number in range(1, len(self) + 1)]
        if self._files is None:
            return numbered
        names = self._names(self._files)
        times = Counter(names)
        return [
            number if not name else name if times[name] == 1 else f"{name}#{row}"
            for row, (name, number) in enumerate(zip(names, numbered, strict=True), 1)
        ]

    def sift(self, check: Callable[[int], object], limit: int | None = None) -> list[int]:
        """Numbers of the first `limit` rows that can be used, or of all; the others are noted in `skipped`.

        Args:
            check: given a row's number, raises an `InputError` if it can't be used.
            limit: how many are wanted.

        Raises:
            InputError: none can be used.
        """
        found: list[int] = []
        for row in range(len(self)):
            if len(found) == limit:
                break
            try:
                check(row)
            except InputError as error:
                why = re.sub(r" at 0x[0-9a-f]+", "", error.what)  # where an object lies is another place in each run
                self.skipped.append(Skipped(shown(self.key(row)), shown(why)))
            else:
                found.append(row)
        if not found:
            raise InputError(
                f"no row can be used; the first: {self.skipped[-len(self)].why}",
                where=f"{self.path}, {shown(self.key(0))}",
                fix="mend the data; a row that can't be used is left out, and here that is every one",
            )
        return found

    def _values(self, column: str) -> list[Any]:
        return list(self.rows.data.column(column).to_pylist())

    def _names(self, column: str) -> list[str]:
        """What the cells call their files; nothing where they hold the samples themselves without a name."""
        import pyarrow as pa
        import pyarrow.compute as pc

        cells = self.rows.data.column(column)
        if pa.types.is_struct(cells.type) and cells.type.get_field_index("path") >= 0:
            cells = pc.struct_field(cells, "path")
        return [name if isinstance(name, str) else "" for name in cells.to_pylist()]

    def _cell(self, row: int, column: str) -> Any:
        return self.rows.data.column(column)[row].as_py()

    def _of_folder(self, role: str, suffixes: Collection[str]) -> Any:
        """A folder's samples, with the first folder on the way to each for its label."""
        from datasets import Dataset

        found: dict[str, list[str]] = {}
        for entry in sorted(self.path.rglob("*")):  # which follows no links to folders
            name = entry.relative_to(self.path)
            if any(part.startswith(".") for part in name.parts) or (entry.is_dir() and not entry.is_symlink()):
                continue
            why = ""
            if entry.is_dir():
                why = "a link to a folder, which is not followed"
            elif entry.suffix.lower() not in suffixes:
                why = f"no {role} file: {', '.join(sorted(suffixes))} are read"
            elif len(name.parts) < 2:
                why = "in no class's folder"
            elif not _encodes(str(name)):
                why = "its name is not UTF-8"
            if why:
                self.skipped.append(Skipped(shown(name.as_posix()), why))
            else:
                found.setdefault(name.parts[0], []).append(name.as_posix())
        turns = [(turn, label, name) for label, names in found.items() for turn, name in enumerate(names)]
        turns.sort()
        return Dataset.from_dict({role: [name for *_, name in turns], "label": [label for _, label, _ in turns]})


def strings(values: Any) -> list[str] | None:
    """The strings of a list, a tuple or an array of nothing else; None of anything else, nothing among it.

    Example:
        >>> import numpy as np
        >>> strings(np.array(["yes", "no"])), strings(["yes", 1]), strings("yes")
        (['yes', 'no'], None, None)
    """
    listed = values.tolist() if getattr(getattr(values, "dtype", None), "kind", "") in ("U", "O", "T") else values
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
        return None
    return list(listed) if all(isinstance(one, str) for one in listed) else None


def inside(root: Path, name: str) -> Path:
    """The plain file called `name` in a folder.

    Args:
        root: the folder.
        name: relative to it.

    Raises:
        InputError: it leads out of the folder, itself or through a link, or there is no such file.

    Example:
        >>> inside(Path("."), "../../etc/passwd")
        Traceback (most recent call last):
        mmadv.errors.InputError: '../../etc/passwd' leads out of the data's folder
          where: .
          fix:   move the file in
    """
    try:
        path = root / name
        real = path.resolve()
        within = real.is_relative_to(root.resolve())
        plain = within and real.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL, a name too long, links in a circle
        raise InputError(
            f"{shown(name)!r} can't be a file: {shown(getattr(error, 'strerror', None) or str(error))}",
            where=str(root),
            fix="mend its name",
        ) from error
    if not within:
        raise InputError(f"{shown(name)!r} leads out of the data's folder", where=str(root), fix="move the file in")
    if not plain:
        raise InputError(f"there is no file {shown(name)!r}", where=str(root), fix="mend its name")
    return path


def matched(given: Sequence[str], names: Sequence[str] | None, *, where: str, stated: bool = False) -> list[int]:
    """Class numbers of labels, which are numbers or names.

    Args:
        given: as they are spelt.
        names: of the victim's classes in its order; None where it tells none.
        where: the labels stand, for errors.
        stated: the user gave the names, so that a number among them is a name.

    Raises:
        InputError: a label that the victim doesn't have, names for a victim that has none, or numbers that may be either.

    Example:
        >>> matched(["positive", "Negative"], ["NEGATIVE", "POSITIVE"], where="reviews.csv")
        [1, 0]
        >>> matched(["1", "0.0"], None, where="reviews.csv")
        [1, 0]
    """
    different = list(dict.fromkeys(given))
    if names is None:
        for label in different:
            if WHOLE.fullmatch(label) and not label.startswith("-"):
                continue
            if SHARE.fullmatch(label):
                raise _between(label, where)
            raise InputError(
                f"the label {label!r} is no class number, and the model doesn't say what its classes are called",
                where=where,
                fix=f"give classes: [{', '.join(sorted(different)[:20])}], in the order of the model's outputs, or label by number",
            )
        return [int(float(label)) for label in given]
    exact = {name: number for number, name in enumerate(names)}
    folded = {name.casefold(): number for number, name in enumerate(names)}
    alike = folded if len(folded) == len(exact) == len(names) else {}
    by_name = {label: exact.get(label, alike.get(label.casefold())) for label in different}
    by_number = {label: _within(label, len(names)) for label in different}
    odd = [label for label in different if by_name[label] is None and by_number[label] is None]
    if odd:
        if SHARE.fullmatch(odd[0]) and not WHOLE.fullmatch(odd[0]):
            raise _between(odd[0], where)
        listed = ", ".join(map(repr, names[:30])) + (", …" if len(names) > 30 else "")
        raise InputError(
            f"the label {odd[0]!r} is none of the model's classes" + (f" ({len(odd)} such labels)" if odd[1:] else ""),
            where=where,
            fix=f"the model has {listed}, or 0 to {len(names) - 1}; or give classes: […], the data's names in the model's order",
        )
    unnamed = any(number is None for number in by_name.values())
    unnumbered = any(number is None for number in by_number.values())
    if not stated and not unnamed and not unnumbered and by_name != by_number:
        label = next(label for label in different if by_name[label] != by_number[label])
        raise InputError(
            f"the label {label!r} is the name of class {by_name[label]} and the number of another",
            where=where,
            fix="give classes: […] in the model's order; labels are then names",
        )
    first, second = (by_number, by_name) if unnamed and not unnumbered else (by_name, by_number)
    number = {label: first[label] if first[label] is not None else second[label] for label in different}
    return [int(number[label] or 0) for label in given]


def class_names(classes: Sequence[str] | None, target: Any, where: str) -> tuple[Sequence[str] | None, bool]:
    """The names of a victim's classes: as the user says, or as it says itself; and whether the user said so.

    Raises:
        ParameterError: no list of names, each once, or not as many as the victim has classes.
    """
    own: Sequence[str] | None = getattr(target, "labels", None)
    if classes is None:
        return own, False
    if isinstance(classes, str) or not isinstance(classes, Sequence) or not classes:
        raise ParameterError(f"classes is {classes!r}", where=where, fix=f"give a list: [{classes}]")
    names = [_spelt(name) or "" for name in classes]
    if len(set(names)) < len(names) or (own is not None and len(own) != len(names)):
        counted = f"{len(set(names))} different names" + (
            "" if own is None else f", and the model has {len(own)} classes"
        )
        raise ParameterError(
            f"classes has {len(names)} entries, {counted}",
            where=where,
            fix="name each of the model's classes once, in its order",
        )
    return names, True


def shown(text: str, most: int = 200) -> str:
    """A text from the data as it may be printed: without control characters, and cut.

    Example:
        >>> shown("a\\x1b[31mb")
        'a�[31mb'
    """
    plain = "".join(sign if sign.isprintable() else "�" for sign in text[: most + 1])
    return plain if len(plain) <= most else f"{plain[:most]}…"


def _spelt(value: Any) -> str | None:
    """A label as a text: whole numbers without a point, truth as 1."""
    if value is None or value != value:
        return None
    if isinstance(value, (bool, float)):
        value = int(value)
    return str(value).strip() or None


def _within(label: str, count: int) -> int | None:
    number = int(float(label)) if WHOLE.fullmatch(label) else -1
    return number if 0 <= number < count else None


def _between(label: str, where: str) -> InputError:
    return InputError(f"the label {label!r} lies between classes", where=where, fix="write whole numbers, or names")


def _encodes(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- reading tables ---------------------------------------------------------------------------------


def _read(path: Path) -> Any:
    """The rows of a table.

    Raises:
        AssetError: no format that is read.
        InputError: a file that is none of its format, is packed or too large.
    """
    import datasets
    import pyarrow as pa
    from datasets.utils.extract import Extractor

    suffix = path.suffix.lower()
    if suffix not in TABLES:
        raise AssetError(
            f"{suffix or 'a file without a suffix'} is not read", where=str(path), fix=f"give {', '.join(TABLES)}"
        )
    unreadable = (
        datasets.exceptions.DatasetsError, pa.ArrowException, csv.Error, OSError, ValueError, TypeError, KeyError, ImportError,
        RecursionError, StopIteration,
    )  # fmt: skip
    if not path.stat().st_size:
        raise AssetError("the file is empty", where=str(path), fix="name data with at least one example")
    try:
        # `datasets` unpacks whatever looks packed, a bomb too.
        packed = Extractor.infer_extractor_format(path)
        size = _memory(path) if suffix == ".parquet" else path.stat().st_size
        if packed or size > LARGEST:
            what = f"the file is packed ({packed})" if packed else f"the table takes {size / 2**30:.0f} GiB of memory"
            raise InputError(what, where=str(path), fix="unpack it" if packed else "split it, or name fewer columns")
        with tempfile.TemporaryDirectory(prefix="mmadv-") as cache, _quiet():
            file = Path(cache, f"table{suffix}")  # whose name is no pattern and no address to `datasets`
            try:
                file.symlink_to(path.resolve())
            except OSError:
                shutil.copyfile(path, file)
            words: dict[str, Any] = {"cache_dir": cache, "keep_in_memory": True}
            if suffix == ".parquet":
                rows = datasets.Dataset.from_parquet(str(file), **words)
            elif suffix in (".csv", ".tsv"):
                separator = "\t" if suffix == ".tsv" else ","
                header, count = _header(path, separator)
                if not count:
                    raise AssetError("the data are empty", where=str(path), fix="name data with at least one example")
                # All cells stay as they are written: a review may well be "NA", and a label "01".
                strings = datasets.Features({name: datasets.Value("string") for name in header})
                own = {"sep": separator, "features": strings, "na_filter": False, "encoding": "utf-8-sig"}
                rows = datasets.Dataset.from_csv(str(file), **own, **words)
                if len(rows) != count:
                    raise ValueError(f"it has {count} rows by one reading and {len(rows)} by another")
            else:
                rows = datasets.Dataset.from_json(str(file), **words)
            rows.data.validate(full=True)  # Arrow takes any bytes for text until they are looked at
            if not all(_encodes(str(name)) for name in rows.column_names):
                raise ValueError("the name of a column is no text")
    except unreadable as error:
        cause = error.__cause__ or error
        raise InputError(
            f"the file can't be read: {shown(str(cause)) or type(cause).__name__}",
            where=str(path),
            fix="save it in UTF-8: a table with a header, or one JSON object a line with the same keys in each",
        ) from error
    for name, feature in rows.features.items():
        if getattr(feature, "decode", False):
            rows = rows.cast_column(name, type(feature)(decode=False))
    return rows


def _memory(path: Path) -> int:
    """Bytes that a Parquet file says it takes unpacked."""
    import pyarrow.parquet as pq

    about = pq.read_metadata(path)
    return sum(max(about.row_group(group).total_byte_size, 0) for group in range(about.num_row_groups))


def _header(path: Path, separator: str) -> tuple[list[str], int]:
    """The columns of a CSV file and how many rows it has.

    Raises:
        InputError: a row with more or fewer cells, which a lenient reader would take for something else.
    """
    with path.open(encoding="utf-8-sig", newline="") as lines, _long_cells():
        reader = csv.reader(lines, delimiter=separator, strict=True)
        header, count = next(reader, []), 0
        if len(set(header)) < max(1, len(header)) or not all(header):
            raise InputError(
                f"the header is {shown(str(header))}",
                where=str(path),
                fix="give each column a name of its own in the first line",
            )
        for cells in reader:
            count += bool(cells)
            if cells and len(cells) != len(header):
                raise InputError(
                    f"a row has {len(cells)} cells, and the header {len(header)}",
                    where=f"{path}:{reader.line_num}",
                    fix='put cells that hold the separator in "quotes"',
                )
    return header, count


@contextmanager
def _long_cells() -> Iterator[None]:
    """The `csv` module without its limit of 131,072 characters a cell, which is one of all its users."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


@contextmanager
def _quiet() -> Iterator[None]:
    """`datasets` without its bars and logs, which tell a user of ours nothing."""
    import datasets

    level, silent = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if not silent:
            datasets.enable_progress_bars()
