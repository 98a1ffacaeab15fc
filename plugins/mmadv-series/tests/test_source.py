"""A user's own series: folders and archive files, and what is wrong with some of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmadv.errors import AssetError, InputError, ParameterError
from mmadv_series.modality import Series

TS = """#a comment
@problemName two
@classLabel true up down
@data
1,2,3:0,0,0:up
3,2,1:1,1,1:down
"""


def test_a_folder_of_files_is_read_in_order_with_its_classes(tmp_path):
    for label, sign in (("up", 1), ("down", -1)):
        (tmp_path / label).mkdir()
        for number in range(2):
            rows = sign * np.arange(6).reshape(3, 2) + number
            np.savetxt(tmp_path / label / f"{number}.csv", rows, delimiter=",")
    found = Series().source(path=tmp_path, classes=["up", "down"]).take(0, 4)
    assert found.keys == ["down/0.csv", "up/0.csv", "down/1.csv", "up/1.csv"]  # classes take turns
    assert found.y.tolist() == [1, 0, 1, 0]
    assert torch.equal(found.x[1], torch.tensor([[0.0, 2, 4], [1, 3, 5]]))
    victim = SimpleNamespace(labels=["Up", "Down"])
    assert Series().source(path=tmp_path, target=victim).take(0, 4).y.tolist() == [1, 0, 1, 0]
    with pytest.raises(InputError, match="the model doesn't say what its classes are called"):
        Series().source(path=tmp_path)
    with pytest.raises(InputError, match="the label 'up' is none of the model's classes"):
        Series().source(path=tmp_path, classes=["down", "level"])
    table = tmp_path / "all.csv"
    table.write_text("file,direction\nup/1.csv,1\ndown/0.csv,0\n")
    named = Series().source(path=table, series_column="file", label_column="direction", limit=1)
    assert named.take(0, 9).keys == ["up/1.csv"]
    assert torch.equal(named.take(0, 9).x[0], found.x[3])
    with pytest.raises(InputError, match="there is no column 'series'") as caught:
        Series().source(path=table, label_column="direction")
    assert "series_column" in caught.value.where


def test_a_file_of_the_archive_is_read(tmp_path):
    (tmp_path / "two.ts").write_text(TS)
    found = Series().source(path=tmp_path / "two.ts").take(0, 2)
    assert found.x.tolist() == [[[1, 2, 3], [0, 0, 0]], [[3, 2, 1], [1, 1, 1]]]
    assert found.y.tolist() == [0, 1]
    for words in ({"classes": ["down", "up"]}, {"target": SimpleNamespace(labels=["DOWN", "UP"])}):
        assert Series().source(path=tmp_path / "two.ts", **words).take(0, 2).y.tolist() == [1, 0]
    with pytest.raises(InputError, match="the label 'up' is none of the model's classes"):
        Series().source(path=tmp_path / "two.ts", target=SimpleNamespace(labels=["left", "right"]))
    with pytest.raises(ParameterError, match="label_column is given beside"):
        Series().source(path=tmp_path / "two.ts", label_column="class")


def test_what_is_written_is_read_again_with_six_digits(tmp_path):
    row = torch.randn(1, 3, 20, generator=torch.Generator().manual_seed(0)) * 1e3
    again = Series().read(Series().write(row, tmp_path / "one"))
    assert torch.equal(again, Series().stored(row))
    assert torch.allclose(again, row, rtol=1e-5)
    assert not torch.equal(again, row)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (TS.replace(":down", ":sideways"), "the class 'sideways' is none of @classLabel: up, down"),
        (TS.replace("3,2,1:", "3,2:"), "can't be read as numbers, or differ in length"),
        (TS.replace("3,2,1:1,1,1", "3,2:1,1"), "series differ in channels and steps"),
        (TS.replace("1,2,3", "1,?,3"), "can't be read as numbers"),
        (TS.replace("1,2,3", "1,NaN,3"), "holds NaN or inf"),
        (TS.replace("1,2,3", "1,-1e39,3"), "beyond float32"),
        (TS.replace("1,2,3:0,0,0:", ""), "empty"),
        ("@classLabel true up down\n@data\n", "there are no series"),
        ("", "there are no series"),
    ],
)
def test_files_that_are_none_are_refused_with_their_line(tmp_path, text, match):
    file = tmp_path / "bad.ts"
    file.write_text(text)
    with pytest.raises(InputError, match=match) as caught:
        Series().source(path=file)
    assert str(file) in caught.value.where
    assert caught.value.fix


def test_what_is_not_there_is_an_error_with_the_fix(tmp_path):
    for name, match in (("none", "there is no such file or folder"), ("none.ts", "the file can't be read")):
        with pytest.raises(AssetError, match=match) as caught:
            Series().source(path=tmp_path / name)
        assert name in caught.value.where
        assert caught.value.fix
    with pytest.raises(AssetError, match="the data are empty"):
        Series().source(path=tmp_path)
    (tmp_path / "bytes.ts").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="the file is no text"):
        Series().source(path=tmp_path / "bytes.ts")


BROKEN = {
    "header.csv": (b"time,value\n1,2\n", "could not convert string 'time'"),
    "ragged.csv": (b"1,2\n3\n", "the series can't be read"),
    "gap.csv": (b"1,2\nnan,4\n", "holds NaN or inf"),
    "hole.csv": (b"1,2\n,4\n", "could not convert string ''"),
    "large.csv": (b"1,2\n3,4e39\n", "beyond float32"),
    "empty.csv": (b"\n", "the file is empty"),
    "bytes.csv": (b"\xff\xfe1", "the series can't be read"),
    "notes.txt": (b"1,2\n3,4\n", "no series file"),
}


def test_files_that_can_not_be_used_are_left_out_and_said_to_be(tmp_path):
    folder = tmp_path / "data" / "0"
    folder.mkdir(parents=True)
    (folder / "good.csv").write_text("1,2\n3,4\n")
    for name, (content, _) in BROKEN.items():
        (folder / name).write_bytes(content)
    (tmp_path / "outside.csv").write_text("1,2\n3,4\n")
    (folder / "link.csv").symlink_to(tmp_path / "outside.csv")
    source = Series().source(path=tmp_path / "data")
    assert source.take(0, 99).keys == ["0/good.csv"]
    why = {one.key.removeprefix("0/"): one.why for one in source.skipped}
    assert set(why) == {*BROKEN, "link.csv"}
    assert all(match in why[name] for name, (_, match) in BROKEN.items())
    assert "leads out of the data's folder" in why["link.csv"]
    (folder / "good.csv").unlink()
    with pytest.raises(InputError, match="no row can be used; the first: "):
        Series().source(path=tmp_path / "data")


@pytest.mark.parametrize("other", ["1,2\n", "1,2\n3,4\n5,6\n", "1\n3\n"])
def test_series_of_different_lengths_or_channels_are_refused_by_name(tmp_path, other):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "a.csv").write_text("1,2\n3,4\n")
    (tmp_path / "0" / "b.csv").write_text(other)
    with pytest.raises(InputError, match="series differ in channels and steps") as caught:
        Series().source(path=tmp_path)
    assert caught.value.where.endswith("0/a.csv and 0/b.csv")
    assert "one length" in caught.value.fix
