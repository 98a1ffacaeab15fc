"""A user's own images and model: folders, tables and Parquet, what is left out of them, and the command line."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import mmadv
from mmadv import cli
from mmadv.audit import Audit
from mmadv.data import SkippedWarning
from mmadv.errors import AssetError, InputError, MmadvError, ParameterError, SpecError, TargetError
from mmadv.host import default_host
from mmadv.spec import parse
from mmadv.verify import verify
from mmadv_image.demo import digits, digits_cnn
from mmadv_image.modality import png
from mmadv_image.source import LARGEST, ImageSource

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
COUNT = 24


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The project's test digits as users keep such things: one folder a class, a table beside files, and one Parquet file."""
    root, some = tmp_path_factory.mktemp("own"), digits().take(0, COUNT)
    rows = []
    for image, label, key in zip(some.x, some.y.tolist(), some.keys, strict=True):
        for file in (root / "folder" / str(label) / f"{key}.png", root / "table" / "pictures" / f"{key}.png"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(image))
        rows.append({"picture": f"pictures/{key}.png", "digit": label})
    lines = [f"{row['picture']},{row['digit']}" for row in rows]
    (root / "table" / "digits.csv").write_text("\n".join(["picture,digit", *lines]) + "\n")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES[::-1])})
    held = [
        {"image": {"bytes": png(image), "path": None}, "label": 9 - label}
        for image, label in zip(some.x, some.y.tolist(), strict=True)
    ]
    datasets.Dataset.from_list(held, features=features).to_parquet(root / "digits.parquet")
    return root


def found(result):
    return sorted(
        (row.sum().item(), status, int(queries))
        for row, status, queries in zip(result.adv, result.status, result.queries, strict=True)
    )


def test_a_folder_a_table_and_parquet_are_the_same_data(own):
    options = {"attack": "image.pgd", "norm": "linf", "eps": 0.1, "steps": 5, "random_start": False}
    folder = mmadv.attack(digits_cnn(), data=own / "folder", **options)
    table = mmadv.attack(
        digits_cnn(), data=str(own / "table" / "digits.csv"), image_column="picture", label_column="digit", **options
    )
    parquet = mmadv.attack(digits_cnn(), data=own / "digits.parquet", classes=NAMES, **options)
    some = digits().take(0, COUNT)
    given = mmadv.attack(digits_cnn(), (some.x * 255).round() / 255, some.y, **options)
    assert given.success.sum() > 3
    assert found(folder) == found(table) == found(parquet) == found(given)
    assert sorted(folder.keys) == sorted(
        f"{label}/{key}.png" for label, key in zip(some.y.tolist(), some.keys, strict=True)
    )
    assert table.keys == tuple(f"pictures/{key}.png" for key in some.keys)
    assert parquet.keys[:2] == ("digits.parquet:1", "digits.parquet:2")
    assert folder.skipped == given.skipped == given.keys == ()


def test_noise_goes_with_a_picture_and_not_with_its_place(own):
    options = {"attack": "image.square", "norm": "linf", "eps": 0.1, "queries": 20}
    whole = mmadv.attack(digits_cnn(), data=own / "folder", **options)
    part = mmadv.attack(digits_cnn(), data=own / "folder", limit=7, **options)
    assert part.keys == whole.keys[:7]
    assert torch.equal(part.adv, whole.adv[:7])


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def enormous(side=10_000):
    """A PNG of 100 megapixels in a few kilobytes."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes((side + 1) * side), 9))
        + chunk(b"IEND", b"")
    )


def talkative():
    """A PNG whose comment unpacks to a gigabyte, were one to read it."""
    small = png(torch.zeros(1, 8, 8))
    comment = zlib.compressobj(9)
    packed = b"".join(comment.compress(bytes(2**20)) for _ in range(256)) + comment.flush()
    return small[:33] + chunk(b"zTXt", b"Comment\0\0" + packed) + small[33:]


def saved(picture, kind):
    buffer = io.BytesIO()
    picture.save(buffer, format=kind)
    return buffer.getvalue()


HOSTILE = {
    "enormous.png": (enormous, "10000 × 10000 pixels"),
    "talkative.png": (talkative, "can't be read"),
    "cut.png": (lambda: png(torch.rand(1, 8, 8))[:60], "can't be read"),
    "empty.png": (lambda: b"", "can't be read"),
    "page.png": (lambda: b"<script>alert(1)</script>", "can't be read"),
    "other.png": (lambda: saved(Image.new("L", (8, 8)), "GIF"), "can't be read"),
    "script.jpg": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "can't be read"),
    "deep.png": (lambda: saved(Image.new("I;16", (8, 8)), "PNG"), "more than 8 bits"),
}


@pytest.fixture
def hostile(own, tmp_path):
    """The folder again, with samples among the good ones that no one would want to open."""
    folder = tmp_path / "digits"
    shutil.copytree(own / "folder", folder)
    for name, (content, _) in HOSTILE.items():
        (folder / "3" / name).write_bytes(content())
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(torch.ones(1, 8, 8)))
    (folder / "1" / "link.png").symlink_to(secret)
    (folder / "1" / "notes.html").write_text("<script>alert(1)</script>")
    return folder


def test_hostile_pictures_are_left_out_and_said_to_be(own, hostile):
    options = {"attack": "image.square", "norm": "linf", "eps": 0.1, "queries": 20}
    with pytest.warns(SkippedWarning, match="10 left out of the data: 1/notes.html: no image file"):
        result = mmadv.attack(digits_cnn(), data=hostile, **options)
    whole = mmadv.attack(digits_cnn(), data=own / "folder", **options)
    why = {one.key: one.why for one in result.skipped}
    assert set(why) == {*(f"3/{name}" for name in HOSTILE), "1/link.png", "1/notes.html"}
    assert all(what in why[f"3/{name}"] for name, (_, what) in HOSTILE.items())
    assert "leads out of the data's folder" in why["1/link.png"]
    order = [result.keys.index(key) for key in whole.keys]
    assert len(result.keys) == COUNT
    assert torch.equal(result.adv[order], whole.adv)
    assert [result.status[at] for at in order] == whole.status


def test_a_table_that_names_what_is_not_its_own(own, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "outside.png").write_bytes(png(torch.zeros(1, 8, 8)))
    (tmp_path / "data" / "good.png").write_bytes(png(torch.zeros(1, 8, 8)))
    rows = ["good.png", "../outside.png", str(tmp_path / "outside.png"), "missing.png", "", "good.png"]
    table = tmp_path / "data" / "t.csv"
    table.write_text("image,label\n" + "".join(f"{name},0\n" for name in rows))
    source = ImageSource(table)
    assert source.take(0, 9).keys == ["good.png#1", "good.png#6"]
    assert [one.why.split(" ", 1)[1] for one in source.skipped] == [
        "leads out of the data's folder", "leads out of the data's folder", "is no file 'missing.png'", "names no file in column 'image'",
    ]  # fmt: skip
    struct_rows = [{"image": {"bytes": None, "path": "../outside.png"}, "label": 0}]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    pq.write_table(pa.Table.from_pylist(struct_rows, schema=features.arrow_schema), tmp_path / "data" / "t.parquet")
    with pytest.raises(InputError, match=r"no row can be used; the first: .*leads out"):
        ImageSource(tmp_path / "data" / "t.parquet")


def test_pictures_of_one_shape(tmp_path):
    for name, picture in {
        "a/grey.png": Image.new("L", (8, 6), 128), "a/colour.jpg": Image.new("RGB", (8, 6), (128, 128, 128)), "b/palette.png": Image.new("P", (8, 6)),
        "b/bits.png": Image.new("1", (8, 6), 1), "b/clear.webp": Image.new("RGBA", (8, 6)), "b/plain.bmp": Image.new("RGB", (8, 6)),
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture.save(tmp_path / name)
    one = ImageSource(tmp_path, classes=["a", "b"])
    assert one.take(0, 9).x.shape == (6, 3, 6, 8)
    grey = one.take(0, 9).keys.index("a/grey.png")
    assert torch.equal(one.take(0, 9).x[grey], torch.full((3, 6, 8), 128 / 255))
    assert one.take(0, 9).x[one.take(0, 9).keys.index("b/bits.png")].eq(1).all()
    assert ImageSource(tmp_path, classes=["a", "b"], mode="L").take(0, 2).x.shape == (2, 1, 6, 8)
    assert ImageSource(tmp_path, classes=["a", "b"], size=[4, 4]).take(0, 2).x.shape == (2, 3, 4, 4)
    Image.new("L", (9, 6)).save(tmp_path / "a" / "z.png")
    with pytest.raises(InputError, match=r"pictures differ in size: \(6, 8\) and \(6, 9\)") as caught:
        ImageSource(tmp_path, classes=["a", "b"])
    assert "give size" in caught.value.fix
    for words in ({"mode": "CMYK"}, {"size": 8}, {"size": [8]}, {"size": [0, 8]}, {"size": [LARGEST, 2]}):
        with pytest.raises(ParameterError, match=next(iter(words))):
            ImageSource(tmp_path, classes=["a", "b"], **words)


# --- the call ---------------------------------------------------------------------------------------


def test_data_and_batches_are_not_mixed_up(own):
    model, some = digits_cnn(), digits().take(0, 2)
    for call, what in (
        ({"data": own / "folder", "x": some.x, "y": some.y, "attack": "image.fgsm"}, "data are given beside x or y"),
        ({"data": own / "folder"}, "attack is missing"),
        ({"x": some.x, "y": some.y, "attack": "image.fgsm", "limit": 1}, "limit is given without data"),
        ({"x": some.x, "y": some.y, "attack": "image.fgsm", "label_column": "a"}, "'label_column' is used by neither"),
        ({"data": own / "folder", "attack": "image.fgsm", "text_column": "a"}, "'text_column' is used by neither"),
        ({"data": own / "folder", "attack": "image.fgsm", "path": "a"}, "'path' is used by neither"),
        ({"data": own / "nowhere", "attack": "image.fgsm"}, "there is no such file or folder"),
    ):
        with pytest.raises(MmadvError, match=what):
            mmadv.attack(model, eps=0.1, **call)
    source = digits()
    result = mmadv.attack(model, data=source, limit=3, attack="image.fgsm", eps=0.1)
    assert result.keys == tuple(source.take(0, 3).keys)


# --- the command line -------------------------------------------------------------------------------


def mmadv_cli(*args):
    """The command line in this process; what it raises is raised."""
    done = CliRunner().invoke(cli.app, [str(arg) for arg in args], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def records(out):
    audit = Audit.of_folder(out, default_host())
    audit.facts()
    return {record["key"]: record for unit in audit.units() for record in audit.records(audit.place(unit))}


FACTORY = "mmadv_image.demo:digits_cnn"


def test_a_factory_and_a_folder_of_classes(own, hostile, tmp_path):
    options = ("attack", "image.pgd", "--model", FACTORY, "--eps", "0.1", "--steps", "5")
    said = mmadv_cli(*options, "--data", hostile, "--out", tmp_path / "hostile")
    assert "image.pgd: 10 left out of the data" in said
    assert "3/enormous.png: the picture has 10000 × 10000 pixels" in said or "and 5 more, in summary.json" in said
    summary = json.loads((tmp_path / "hostile" / "summary.json").read_text())
    assert len(summary["campaigns"][0]["skipped"]) == 10
    assert summary["campaigns"][0]["examples"] == COUNT
    assert "10 left out" not in mmadv_cli(*options, "--data", own / "folder", "--out", tmp_path / "clean")
    assert records(tmp_path / "hostile").keys() == records(tmp_path / "clean").keys()
    kept = ("x_sha256", "y", "status", "distance", "queries", "adv_sha256")
    for key, record in records(tmp_path / "clean").items():
        assert {word: record[word] for word in kept} == {
            word: records(tmp_path / "hostile")[key][word] for word in kept
        }
    assert list(verify(Audit.of_folder(tmp_path / "hostile", default_host()))) == []
    assert mmadv_cli(*options, "--data", hostile, "--out", tmp_path / "hostile")  # goes on with nothing left to do


def test_words_of_the_data_are_options_words_of_a_spec_and_of_the_call(own, tmp_path):
    table = own / "table" / "digits.csv"
    mmadv_cli(
        "attack", "image.square", "--model", FACTORY, "--data", table, "--image-column", "picture", "--label-column", "digit",
        "--limit", 12, "--eps", "0.2", "--queries", 60, "-d", "mode=L", "--out", tmp_path / "cli",
    )  # fmt: skip
    spec = f"""
title: the same
campaigns:
  - name: image.square
    modality: image
    target: {{factory: "{FACTORY}"}}
    data: {{path: "{table}", image_column: picture, label_column: digit, mode: L, limit: 12}}
    threat: {{eps: 0.2, queries: 60}}
    attacks: [image.square]
"""
    Audit(parse(spec), tmp_path / "spec", default_host()).run()
    result = mmadv.attack(
        digits_cnn(), data=table, image_column="picture", label_column="digit", mode="L", limit=12, attack="image.square",
        eps=0.2, queries=60,
    )  # fmt: skip
    one, other = records(tmp_path / "cli"), records(tmp_path / "spec")
    assert one == other
    assert list(one) == list(result.keys)
    assert [record["status"] for record in one.values()] == [status.value for status in result.status]
    assert [record["queries"] for record in one.values()] == result.queries.tolist()
    assert any(record["success"] for record in one.values())


@pytest.mark.parametrize(
    ("data", "what", "fix"),
    [
        ('{path: "%s/table/digits.csv"}', "no column is called 'image'", "image_column: one of 'picture', 'digit'"),
        ('{path: "%s/table/digits.csv", image_column: pictures}', "no column 'pictures'", "did you mean 'picture'"),
        ('{path: "%s/nowhere"}', "there is no such file or folder", "one subfolder for each class"),
        ('{folder: "%s/folder"}', "'folder' is used by nobody", "path"),
        ("{limit: 3}", "path is missing", "give path"),
        ('{path: "%s/folder", classes: [a, b]}', "is none of the model's classes", "classes"),
        ('{path: "%s/digits.parquet"}', "the model doesn't say what its classes are called", "classes: [eight, five"),
    ],
)
def test_a_spec_with_wrong_words_of_data_is_refused_with_its_line(own, tmp_path, data, what, fix):
    data = data % own if "%s" in data else data
    spec = f"""title: wrong
campaigns:
  - name: a
    modality: image
    target: {{factory: "{FACTORY}"}}
    data: {data}
    threat: {{eps: 0.1}}
    attacks: [image.fgsm]
"""
    with pytest.raises((SpecError, AssetError), match=what) as caught:
        Audit(parse(spec, "audit.yaml"), tmp_path / "run", default_host()).run()
    assert "audit.yaml:6" in caught.value.where
    assert fix in caught.value.fix
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A ViT of a user's: fitted to the digits, its classes named, in a folder."""
    folder = tmp_path_factory.mktemp("vit") / "vit-digits"
    config = transformers.ViTConfig(
        image_size=8, patch_size=2, num_channels=1, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, id2label=dict(enumerate(NAMES)), label2id={name: number for number, name in enumerate(NAMES)},
    )  # fmt: skip
    data = digits().take(0, 597)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.ViTForImageClassification(config)
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(60):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model((data.x - 0.5) / 0.5).logits, data.y).backward()
            optimiser.step()
    model.eval().save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.5], image_std=[0.5]).save_pretrained(
        folder
    )
    return folder


def named(own, folder, change=None):
    """The folder of digits with its classes called by name."""
    for number, name in enumerate(NAMES):
        if (own / "folder" / str(number)).is_dir():
            shutil.copytree(own / "folder" / str(number), folder / (change or {}).get(name, name.capitalize()))
    return folder


def test_names_of_folders_are_the_models_own_classes(own, vit, tmp_path):
    """In the order of the model, not of the alphabet; records say the same however it is run."""
    images = named(own, tmp_path / "images")
    options = ("attack", "image.pgd", "--model", vit, "--data", images, "--eps", "0.1", "--steps", "4")
    mmadv_cli(*options, "--out", tmp_path / "auto")
    summary = json.loads((tmp_path / "auto" / "summary.json").read_text())["campaigns"][0]
    assert summary["clean"]["value"] > 0.8
    assert summary["worst"][0]["robust"]["value"] < summary["clean"]["value"]
    spec = (tmp_path / "auto" / "spec.yaml").read_text()
    assert "device: auto" in spec
    assert "batch_size: auto" in spec
    for batch in ("1", "5"):
        mmadv_cli(*options, "--out", tmp_path / batch, "--batch-size", batch, "--device", "cpu")
        one, other = records(tmp_path / "auto"), records(tmp_path / batch)
        assert [(r["key"], r["status"], r["queries"], r["y"]) for r in one.values()] == [
            (r["key"], r["status"], r["queries"], r["y"]) for r in other.values()
        ]
    mmadv_cli(*options, "--out", tmp_path / "half", "--dtype", "bfloat16")
    half = json.loads((tmp_path / "half" / "summary.json").read_text())["campaigns"][0]
    assert abs(half["clean"]["value"] - summary["clean"]["value"]) < 0.2


def test_a_label_that_the_model_lacks_lists_what_it_has(own, vit, tmp_path):
    images = named(own, tmp_path / "images", {"seven": "sept"})
    with pytest.raises(SpecError, match="'sept' is none of the model's classes") as caught:
        mmadv_cli("attack", "image.fgsm", "--model", vit, "--data", images, "--eps", "0.1", "--out", tmp_path / "run")
    assert "'zero', 'one'" in caught.value.fix
    assert not (tmp_path / "run").exists()


def test_a_name_is_found_without_a_network(own, vit, tmp_path):
    snapshot = tmp_path / "hub" / "models--acme--digits" / "snapshots" / ("0" * 40)
    shutil.copytree(vit, snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("0" * 40)
    images = named(own, tmp_path / "images")
    command = [
        sys.executable, "-m", "mmadv.cli", "attack", "image.fgsm", "--data", str(images), "--eps", "0.1", "--limit", "10",
    ]  # fmt: skip
    env = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    for name, code in (("acme/digits", 0), ("acme/no-such", 2)):
        out = ["--model", name, "--out", str(tmp_path / f"run{code}")]
        done = subprocess.run([*command, *out], env=env, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        if code:
            assert "no image classifier could be loaded" in done.stderr
    assert Path(done.args[-1]).name == "run2"
    assert not (tmp_path / "run2").exists()


def test_a_victim_of_ones_own_folder_that_raises_is_an_error_and_no_failed_gate(own, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n\ndef load():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(7, 10)).eval()\n"
    )
    done = subprocess.run(
        [Path(sys.executable).with_name("mmadv"), "attack", "image.fgsm", "--eps", "0.1", "--model", "mine:load",
         "--data", own / "folder", "--out", "run"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied" in done.stderr
    assert "--debug shows where" in done.stderr


# --- models -----------------------------------------------------------------------------------------


def test_a_model_without_its_head_is_no_victim(vit, tmp_path):
    """`transformers` would make the head up, and only log it."""
    body = transformers.ViTForImageClassification.from_pretrained(vit).vit
    body.save_pretrained(tmp_path)
    shutil.copy(vit / "preprocessor_config.json", tmp_path)
    with pytest.raises(TargetError, match=r"no weights for 2 parts .* would be random"):
        mmadv.attack(tmp_path, torch.zeros(1, 1, 8, 8), [0], "image.fgsm", eps=0.1)


def test_code_that_comes_with_a_model_is_not_run(vit, tmp_path):
    shutil.copytree(vit, tmp_path / "model")
    (tmp_path / "model" / "evil.py").write_text("raise SystemExit('it was run')")
    config = json.loads((vit / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForImageClassification": "evil.M"}}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(TargetError, match="no image classifier could be loaded"):
        mmadv.attack(tmp_path / "model", torch.zeros(1, 1, 8, 8), [0], "image.fgsm", eps=0.1)


@pytest.mark.parametrize("broken", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_damaged_folder_is_a_typed_error(vit, tmp_path, broken):
    shutil.copytree(vit, tmp_path / "model")
    for content in (b"", b"[]", b"\xff" * 100):
        (tmp_path / "model" / broken).write_bytes(content)
        with pytest.raises(TargetError, match="no image classifier could be loaded"):
            mmadv.attack(tmp_path / "model", torch.zeros(1, 1, 8, 8), [0], "image.fgsm", eps=0.1)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({"device": "tpu9"}, "the device 'tpu9' can't be used"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"dtype": "half16"}, "unknown dtype 'half16'"),
        ({"batch_size": "many"}, "batch_size is 'many'"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_words_of_how_a_model_is_run(vit, words, what):
    with pytest.raises(MmadvError, match=what):
        mmadv.attack(vit, torch.zeros(1, 1, 8, 8), [0], "image.fgsm", eps=0.1, **words)


def test_a_module_of_a_factory_is_placed_as_the_words_say(own, tmp_path, monkeypatch):
    """It is made for the run alone, so it may be moved; a target that a factory makes is where it is."""
    (tmp_path / "own_victim.py").write_text(
        "from mmadv_image.demo import digits_cnn\n\ndef cnn():\n    return digits_cnn().module\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    options = ("attack", "image.fgsm", "--data", own / "folder", "--eps", "0.1", "--limit", "10", "--device", "auto")
    mmadv_cli(
        *options, "--model", "own_victim:cnn", "--dtype", "float64", "--batch-size", "auto", "--out", tmp_path / "wide"
    )
    mmadv_cli(*options, "--model", FACTORY, "--out", tmp_path / "plain")
    wide, plain = records(tmp_path / "wide"), records(tmp_path / "plain")
    assert [(r["key"], r["status"]) for r in wide.values()] == [(r["key"], r["status"]) for r in plain.values()]
    targets = [json.loads((tmp_path / run / "manifest.json").read_text())["targets"] for run in ("wide", "plain")]
    assert targets[0] != targets[1]
    with pytest.raises(SpecError, match="'dtype' is used by neither"):
        mmadv_cli(*options, "--model", FACTORY, "--dtype", "float64", "--out", tmp_path / "refused")
