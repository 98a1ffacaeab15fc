"""A user's own tables and folders: the same rows of every format, what is left out, and what is refused (laws 7 and 12)."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmadv import data
from mmadv.data import Table, class_names, inside, matched, shown
from mmadv.errors import AssetError, InputError, MmadvError, ParameterError

ROWS = [("a <b>good</b> film, really", "1"), ("NA", "0"), ('  "so"\nand so  ', "1"), ("日本", "0")]
TEXTS, LABELS = [list(column) for column in zip(*ROWS, strict=True)]


def written(path: Path) -> Path:
    """The rows in the format that the file's name tells."""
    records = [{"text": text, "label": int(label)} for text, label in ROWS]
    suffix = path.suffix
    if suffix in (".csv", ".tsv"):
        sign = "," if suffix == ".csv" else "\t"
        lines = [
            sign.join(["text", "label"]),
            *('"' + text.replace('"', '""') + f'"{sign}{label}' for text, label in ROWS),
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        whole = json.dumps(records, ensure_ascii=False)
        lines = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
        path.write_text(whole if suffix == ".json" else lines, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", data.TABLES)
def test_every_format_holds_the_same_rows(tmp_path, suffix):
    table = Table(written(tmp_path / f"reviews{suffix}"))
    assert (table.texts(table.column("text")), table.labels(table.column("label"))) == (TEXTS, LABELS)
    assert [table.key(row) for row in range(2)] == [f"reviews{suffix}:1", f"reviews{suffix}:2"]
    assert table.skipped == []


@pytest.mark.parametrize("name", ["a[1]*?.csv", "x::http:__example.org.csv", "REVIEWS.CSV", "with space.csv"])
def test_a_file_may_be_called_what_it_likes(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + written(tmp_path / "plain.csv").read_bytes())  # as spreadsheets save UTF-8
    assert Table(path).texts("text") == TEXTS


def test_cells_stay_as_they_are_written(tmp_path):
    cells = ["01", "1e3", "null", "nan", "", " a ", "True", "=cmd()", "1,5"]
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f'"{cell}",0\n' for cell in cells))
    assert Table(tmp_path / "t.csv").texts("text") == cells


CODE = """
import socket, sys

def refused(*_, **__):
    raise AssertionError("the network was asked")

socket.socket.connect = socket.getaddrinfo = refused
from mmadv.data import Table
for path in sys.argv[1:]:
    print(len(Table(path)))
"""


def test_reading_asks_no_network_and_leaves_nothing_behind(tmp_path):
    files = [written(tmp_path / f"reviews{suffix}") for suffix in data.TABLES]
    home, passing = tmp_path / "home", tmp_path / "passing"
    home.mkdir()
    passing.mkdir()
    own = {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "TMPDIR": str(passing),
        "XDG_CACHE_HOME": str(home / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, files)], env={**os.environ, **own}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["4"] * len(files), done.stderr
    assert done.stderr == ""
    assert [path for place in (home, passing) for path in place.rglob("*") if path.is_file()] == []


def test_columns_are_named_guessed_or_asked_for(tmp_path):
    def table(*names):
        (tmp_path / "t.csv").write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
        return Table(tmp_path / "t.csv")

    assert table("review", "stars").column("text") == "review"
    assert table("text", "review").column("text") == "text"
    assert table("review", "stars").column("label", "stars") == "stars"
    assert table("file_name", "label").column("image") == "file_name"
    for names, role, given, what, fix in (
        (("review", "stars"), "label", None, "no column is called 'label'", "label_column: one of 'review', 'stars'"),
        (("review", "sentence"), "text", None, "'sentence' and 'review' may each be the text", "'review', 'sentence'"),
        (
            ("review", "stars"),
            "label",
            "star",
            "there is no column 'star'",
            "did you mean 'stars'? known: review, stars",
        ),
        (("Text", "label"), "text", None, "no column is called 'text'", "one of 'Text', 'label'"),
    ):
        with pytest.raises(InputError, match=what) as caught:
            table(*names).column(role, given)
        assert fix in caught.value.fix
        assert "t.csv" in caught.value.where


BROKEN = {
    # what stands in a file of that name: what the error says
    "cells.csv": (b"text,label\na, good film,1\n", "a row has 3 cells, and the header 2"),
    "short.csv": (b"text,label\nabc\n", "a row has 1 cells, and the header 2"),
    "twice.csv": (b"text,text\na,b\n", "the header is"),
    "nameless.csv": (b"text,\na,b\n", "the header is"),
    "quote.csv": (b'text,label\n"a"b,1\n', "can't be read"),
    "open.csv": (b'text,label\n"a,1\n', "can't be read"),
    "latin.csv": ("text,label\nth\xe9,1\n".encode("latin-1"), "can't be read: 'utf-8'"),
    "empty.csv": (b"", "the file is empty"),
    "header.csv": (b"text,label\n", "the data are empty"),
    "empty.jsonl": (b"", "the file is empty"),
    "none.jsonl": (b"{nope", "can't be read"),
    "page.json": (b"<html>", "can't be read"),
    "bytes.jsonl": (b'{"text": "\xa4\xee", "label": 1}\n', "can't be read"),
    "name.jsonl": (b'{"te\xaext": "a", "label": 1}\n', "can't be read"),
    "short.parquet": (b"PAR1", "can't be read"),
    "text.parquet": (b"text,label\na,1\n", "can't be read"),
    "packed.csv": (gzip.compress(b"text,label\n" + b"a,1\n" * 10), r"the file is packed \(gzip\)"),
    "packed.jsonl": (gzip.compress(b"{}"), r"the file is packed \(gzip\)"),
    "reviews.xlsx": (b"PK", "'?.xlsx'? is not read"),
    "reviews": (b"text,label\n", "without a suffix is not read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_none_are_refused(tmp_path, name):
    content, what = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MmadvError, match=what) as caught:
        Table(tmp_path / name)
    assert name in caught.value.where
    assert caught.value.fix


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.csv", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("bomb", bytes(100_000_000))
    assert (tmp_path / "bomb.csv").stat().st_size < 200_000
    with pytest.raises(InputError, match="packed"):
        Table(tmp_path / "bomb.csv")
    pq.write_table(
        pa.table({"text": ["a" * 1000] * 100_000, "label": [0] * 100_000}),
        tmp_path / "b.parquet",
        compression="zstd",
        use_dictionary=False,
    )
    monkeypatch.setattr(data, "LARGEST", 2**20)
    assert (tmp_path / "b.parquet").stat().st_size < 2**20
    with pytest.raises(InputError, match="GiB of memory"):
        Table(tmp_path / "b.parquet")


@pytest.mark.parametrize("path", ["", "nowhere.csv", None, 3])
def test_paths_that_are_none(path):
    with pytest.raises((AssetError, ParameterError)):
        Table(path)


def test_special_files_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")  # reading it would wait for ever
    with pytest.raises(AssetError, match="no such file"):
        Table(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="there is no file"):
        inside(tmp_path, "pipe.csv")


# --- folders ----------------------------------------------------------------------------------------


def test_a_folder_gives_its_classes_by_turns_and_says_what_it_leaves_out(tmp_path):
    folder, outside = tmp_path / "pets", tmp_path / "outside"
    for name in ("dog/1.png", "dog/2.png", "dog/old/3.PNG", "cat/1.png", "loose.png", "cat/notes.txt", ".hidden/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    outside.mkdir()
    (outside / "secret.png").write_bytes(b"secret")
    (folder / "cat" / "out.png").symlink_to(outside / "secret.png")
    (folder / "cat" / "same.png").symlink_to(folder / "dog" / "1.png")
    (folder / "linked").symlink_to(outside)
    table = Table(folder, role="image", suffixes={".png"})
    names = [table.rows[row]["image"] for row in range(len(table))]
    assert names == ["cat/1.png", "dog/1.png", "cat/out.png", "dog/2.png", "cat/same.png", "dog/old/3.PNG"]
    assert table.labels("label") == ["cat", "dog"] * 3
    assert {one.key: one.why.split(":")[0] for one in table.skipped} == {
        "loose.png": "in no class's folder",
        "cat/notes.txt": "no image file",
        "linked": "a link to a folder, which is not followed",
    }
    table.keyed_by("image")
    assert table.sift(lambda row: table.sample(row, "image")) == [0, 1, 3, 4, 5]
    assert table.skipped[-1].key == "cat/out.png"
    assert "leads out of the data's folder" in table.skipped[-1].why

    def broken(row):
        if row:
            raise InputError(f"cannot identify image file {object()!r}")

    table.sift(broken)
    assert table.skipped[-1].why == "cannot identify image file <object object>", (
        "no address, which is another each time"
    )


def test_a_folder_may_be_described_by_a_table(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,cat\n")
    table = Table(tmp_path, role="image", suffixes={".png"})
    assert table.sample(0, table.column("image")) == tmp_path / "a.png"
    (tmp_path / "metadata.jsonl").write_text("{}")
    with pytest.raises(InputError, match="both describe"):
        Table(tmp_path, role="image")


def test_a_folder_without_samples(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(AssetError, match=r"the data are empty: notes.txt: no image file"):
        Table(tmp_path, role="image", suffixes={".png"})
    with pytest.raises(AssetError, match="it is a folder"):
        Table(tmp_path)


HOSTILE = ["../../../etc/passwd", "/etc/passwd", "a/../../x", "no\0name", "x" * 5000, "missing.png", ".", "loop"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_files_that_lead_elsewhere_or_nowhere(tmp_path, name):
    (tmp_path / "data").mkdir()
    (tmp_path / "x").write_text("outside")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data" / "loop")
    with pytest.raises(InputError) as caught:
        inside(tmp_path / "data", name)
    assert len(str(caught.value)) < 700
    assert "\0" not in str(caught.value)


def test_names_of_rows_stay_whatever_is_left_out(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x")
    for rows in (["a.wav", "../b.wav", "a.wav", "c.wav", ""], ["a.wav", "a.wav", "a.wav", "c.wav", "a.wav"]):
        (tmp_path / "t.csv").write_text("audio,label\n" + "".join(f"{name},0\n" for name in rows))
        table = Table(tmp_path / "t.csv")
        table.keyed_by("audio")
        kept = table.sift(lambda row, table=table: table.sample(row, "audio"))
        assert [table.key(row) for row in kept][:2] == ["a.wav#1", "a.wav#3" if rows[1] != "a.wav" else "a.wav#2"]
    assert [table.key(row) for row in range(5)] == ["a.wav#1", "a.wav#2", "a.wav#3", "c.wav", "a.wav#5"]


def test_a_limit_looks_no_further_than_it_must():
    folder = Path(tempfile.mkdtemp())
    (folder / "t.csv").write_text("text,label\n" + "a,0\n" * 10)
    table, asked = Table(folder / "t.csv"), []

    def check(row):
        asked.append(row)
        if row == 1:
            raise InputError("odd")

    assert table.sift(check, 3) == [0, 2, 3]
    assert asked == [0, 1, 2, 3]
    with pytest.raises(InputError, match="no row can be used; the first: odd"):
        table.sift(lambda row: check(1))


# --- labels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "names", "wanted"),
    [
        (["0", "2", "1.0"], None, [0, 2, 1]),
        (["pos", "neg"], None, "'pos' is no class number, and the model doesn't say .* classes: .neg, pos."),
        (["²"], None, "'²' is no class number"),
        (["-1"], None, "'-1' is no class number"),
        (["0.5"], None, "'0.5' lies between classes"),
        (["pos", "neg", "pos"], ["neg", "pos"], [1, 0, 1]),
        (["Pos", "NEG"], ["neg", "pos"], [1, 0]),
        (["Pos", "pos"], ["pos", "POS"], "'Pos' is none of the model's classes"),
        (["1", "0", "1.0"], ["neg", "pos"], [1, 0, 1]),
        (["LABEL_1"], ["LABEL_0", "LABEL_1"], [1]),
        (["1", "pos"], ["neg", "pos"], [1, 1]),
        (["2"], ["neg", "pos"], "'2' is none of the model's classes.*'neg', 'pos', or 0 to 1"),
        (["neutral", "other"], ["neg", "pos"], r"'neutral' is none .* \(2 such labels\)"),
        (["0.5"], ["neg", "pos"], "lies between"),
        (["1", "2", "3"], ["1", "2", "3"], [0, 1, 2]),  # 3 can only be a name
        (["0", "1", "2"], ["1", "2", "3"], [0, 1, 2]),  # 0 can only be a number
        (["1", "2"], ["1", "2", "3"], "'1' is the name of class 0 and the number of another"),
        (["3", "1"], [str(digit) for digit in range(10)], [3, 1]),
    ],
)
def test_labels_are_matched_or_refused(given, names, wanted):
    if isinstance(wanted, list):
        assert matched(given, names, where="t.csv") == wanted
        return
    with pytest.raises(InputError, match=f"(?s){wanted}") as caught:
        matched(given, names, where="t.csv")
    assert "t.csv" in caught.value.where
    assert caught.value.fix


def test_names_that_the_user_states_are_names():
    assert matched(["1", "2"], ["1", "2", "3"], where="t.csv", stated=True) == [0, 1]


class Model:
    labels = ("neg", "pos")


@pytest.mark.parametrize("classes", ["neg", 3, [], ["a", "a"], ["a", "b", "c"]])
def test_classes_that_do_not_fit_the_model(classes):
    with pytest.raises(ParameterError, match="classes"):
        class_names(classes, Model(), "t.csv")
    assert class_names(["bad", "good"], Model(), "t.csv") == (["bad", "good"], True)
    assert class_names(None, Model(), "t.csv") == (("neg", "pos"), False)


def test_names_in_the_table_go_before_its_numbers(tmp_path):
    """A data set that counts its classes in another order than the model."""
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["pos", "neg"])})
    rows = datasets.Dataset.from_dict({"text": ["good", "bad", "?"], "label": [0, 1, -1]}, features=features)
    rows.to_parquet(tmp_path / "t.parquet")
    table = Table(tmp_path / "t.parquet")
    assert table.labels("label") == ["pos", "neg", "-1"]
    assert matched(table.labels("label")[:2], Model.labels, where="") == [1, 0]


def test_labels_of_any_dtype(tmp_path):
    for values, wanted in (
        ([1, 0, None], ["1", "0", None]),
        ([1.0, float("nan"), 0.0], ["1", None, "0"]),
        ([True, False], ["1", "0"]),
        ([" pos ", "", None], ["pos", None, None]),
        ([None, None], [None, None]),
    ):
        pq.write_table(pa.table({"label": values}), tmp_path / "t.parquet")
        assert Table(tmp_path / "t.parquet").labels("label") == wanted
    (tmp_path / "t.jsonl").write_text('{"label": 1}\n{"label": "pos"}\n{"label": null}\n')
    assert Table(tmp_path / "t.jsonl").labels("label") == ["1", "pos", None]
    for values, what in (
        ([0.5], "lies between"),
        ([[1]], "a list stands in column 'label'"),
        ([b"1"], "a bytes stands"),
    ):
        pq.write_table(pa.table({"label": values}), tmp_path / "t.parquet")
        with pytest.raises(InputError, match=what) as caught:
            Table(tmp_path / "t.parquet").labels("label")
        assert "row 1" in caught.value.where


def test_what_is_printed_of_data_is_harmless():
    assert shown("a\x1b[2J\u202eb\n") == "a�[2J�b�"
    assert len(shown("x" * 10_000)) == 201
