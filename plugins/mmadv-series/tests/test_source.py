"""A user's own series: folders and archive files, and what is wrong with some of them."""

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
    source = Series().source(path=tmp_path, classes=["up", "down"])
    found = source.take(0, 4)
    assert found.keys == ["up/0.csv", "up/1.csv", "down/0.csv", "down/1.csv"]
    assert found.y.tolist() == [0, 0, 1, 1]
    assert torch.equal(found.x[0], torch.tensor([[0.0, 2, 4], [1, 3, 5]]))
    assert Series().source(path=tmp_path).labels == ["down", "up"]


def test_a_file_of_the_archive_is_read(tmp_path):
    (tmp_path / "two.ts").write_text(TS)
    found = Series().source(path=tmp_path / "two.ts").take(0, 2)
    assert found.x.tolist() == [[[1, 2, 3], [0, 0, 0]], [[3, 2, 1], [1, 1, 1]]]
    assert found.y.tolist() == [0, 1]


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


def test_what_is_not_there_or_can_not_be_read_is_an_error_with_the_fix(tmp_path):
    with pytest.raises(AssetError, match="there is no such folder"):
        Series().source(path=tmp_path / "none")
    with pytest.raises(AssetError, match="the file cannot be read"):
        Series().source(path=tmp_path / "none.ts")
    (tmp_path / "up").mkdir()
    with pytest.raises(AssetError, match="no series were found"):
        Series().source(path=tmp_path)
    (tmp_path / "up" / "a.csv").write_text("1,2\n3,4\n")
    (tmp_path / "up" / "b.csv").write_text("1,2\n")
    with pytest.raises(InputError, match="series differ in channels and steps") as caught:
        Series().source(path=tmp_path).take(0, 2)
    assert caught.value.where.endswith("b.csv")
    (tmp_path / "up" / "b.csv").write_text("time,value\n1,2\n")
    with pytest.raises(InputError, match="the series cannot be read"):
        Series().source(path=tmp_path).take(0, 2)
    (tmp_path / "two.ts").write_text(TS)
    with pytest.raises(ParameterError, match="classes is given beside a file"):
        Series().source(path=tmp_path / "two.ts", classes=["up", "down"])
    outside = tmp_path.parent / f"{tmp_path.name}.csv"
    outside.write_text("1,2\n3,4\n")
    (tmp_path / "up" / "b.csv").unlink()
    (tmp_path / "up" / "c.csv").symlink_to(outside)
    assert len(Series().source(path=tmp_path)) == 1
