"""`mmadv new-plugin`: what it writes is clean and works as it is, and what it can't write leaves nothing behind."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmadv import scaffold
from mmadv.errors import AssetError, InputError, ParameterError, PluginError
from mmadv.host import Host

ROOT = Path(__file__).parents[1]
INNER = [
    *(
        f"torch.{part}.*"
        for part in (
            "ao",
            "backends",
            "cuda",
            "distributed",
            "export",
            "fx",
            "jit",
            "onnx",
            "profiler",
            "testing",
            "utils",
        )
    ),
    *("datasets.*", "pandas.*", "pyarrow.*", "scipy.*", "transformers.*"),
]
LONG = "-".join(["abcdefg"] * 4)
assert len(LONG) <= scaffold.LONGEST


def write(name, out, kind="attack"):
    return scaffold.write(name, kind, out, Host(allowed=["image"]))


# --- what is written ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", scaffold.KINDS)
@pytest.mark.parametrize("name", ["x", LONG])
def test_what_is_written_is_clean_under_any_name(tmp_path, kind, name):
    folder = write(name, tmp_path / "new", kind)
    for check in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "."], cwd=folder, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("kind", scaffold.KINDS)
def test_what_is_written_is_typed(tmp_path, kind):
    folder = write("demo", tmp_path / "new", kind)
    # What torch and others are made of inside is not on trial, and reading it takes a minute.
    with (folder / "pyproject.toml").open("a") as file:
        file.write(f'\n[[tool.mypy.overrides]]\nmodule = {json.dumps(INNER)}\nfollow_imports = "skip"\n')
    env = {**os.environ, "MYPYPATH": "src"}
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache/templates")]
    result = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_template_is_left_out_and_no_placeholder_is_left_in():
    root = ROOT / "mmadv/templates/plugin"
    for kind in scaffold.KINDS:
        files = scaffold.rendered("demo", kind)
        templates = [*(root / "common").rglob("*"), *(root / kind).rglob("*")]
        assert len(files) == sum(path.is_file() for path in templates)
        for path, text in files.items():
            assert path.suffix != ".j2"
            assert not [mark for mark in ("{{", "{%", "PACKAGE") if mark in f"{path}\n{text}"]


def test_the_tables_of_a_new_modality_are_read_or_refused(tmp_path, monkeypatch):
    folder = write("tables", tmp_path / "new", "modality")
    monkeypatch.syspath_prepend(folder / "src")
    source = importlib.import_module("mmadv_tables.source").source
    table = tmp_path / "table.csv"

    def read(text, **words):
        table.write_text(text)
        return source(file=str(table), **words)

    examples = read("a,label,b\n1,0,5\n3,1,6\n", low=[1, 4], high=[5, 6]).take(0, 9)
    assert examples.x.tolist() == [[0.0, 0.5], [0.5, 1.0]]
    assert (examples.y.tolist(), examples.keys) == ([0, 1], ["table.csv:2", "table.csv:3"])
    for text, words, message in (
        ("a,class\n1,0\n", {}, "there is no column 'label'"),
        ("a,label\n1,0,2\n", {}, "3 cells under 2 columns"),
        ("a,label\nx,0\n", {}, "a cell is no number"),
        ("a,label\n1,0\n1,0.5\n", {}, r"no class number: 0.5(?s:.*)table.csv:3"),
        ("a,label\n1,-1\n", {}, "no class number: -1"),
        ("a,label\n1,0\n", {"low": [0]}, r"low is \[0\] and high is None"),
        ("a,label\n1,0\n", {"low": [0, 0], "high": [1, 1]}, "give 1 of each"),
        ("a,label\n1,0\n", {"low": [1], "high": [1]}, "low < high"),
    ):
        with pytest.raises(InputError, match=message):
            read(text, **words)
    for absent in ({"file": str(tmp_path / "nowhere.csv")}, {"file": str(table.parent / "empty.csv")}):
        (tmp_path / "empty.csv").touch()
        with pytest.raises(AssetError):
            source(**absent)


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "new").mkdir()
    assert (write("demo", tmp_path / "new") / "pyproject.toml").is_file()
    assert [entry.name for entry in tmp_path.iterdir()] == ["new"]


# --- what can't be written ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "suggested"),
    [("", "acme"), ("Demo", "demo"), ("my plugin", "my-plugin"), ("a.b", "a-b"), ("a-", "a"), ("9to5", "to5"),
     ("-x", "x"), ("a--b", "a-b"), ("../up", "up"), ("é", "acme")],
)  # fmt: skip
def test_a_name_that_pip_or_python_refuses_is_refused_with_another(tmp_path, name, suggested):
    with pytest.raises(ParameterError, match="is no name for a plugin") as caught:
        write(name, tmp_path / "new")
    assert caught.value.fix.endswith(f"such as {suggested!r}")
    assert scaffold.named(suggested)
    assert not list(tmp_path.iterdir())


def test_a_long_name_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="has 33 characters"):
        write("a" * 33, tmp_path / "new")


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="did you mean 'modality'"):
        write("demo", tmp_path / "new", "modalty")


def test_names_that_are_taken_are_refused(tmp_path, monkeypatch):
    for name, owner in (
        ("image", "mmadv-image"),
        ("text", "mmadv-text"),
    ):  # the second is left out here, and still there
        with pytest.raises(PluginError, match=f"a plugin called '{name}' is installed already: {name} .{owner} "):
            write(name, tmp_path / "new")
    host = Host(allowed=["image"])
    del host.plugins["text"]  # as if its entry point had another name
    with pytest.raises(PluginError, match=r"mmadv-text \S+ is installed already"):
        scaffold.write("text", "modality", tmp_path / "new", host)
    (tmp_path / "mmadv_taken").mkdir()
    (tmp_path / "mmadv_taken" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match="a package mmadv_taken can be imported already"):
        write("taken", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_attack_on_images_needs_images(tmp_path):
    with pytest.raises(ParameterError, match="there is no modality 'image'"):
        scaffold.write("demo", "attack", tmp_path / "new", Host(allowed=()))
    assert scaffold.write("demo", "modality", tmp_path / "new", Host(allowed=())).is_dir()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "notes.txt").write_text("mine")
    with pytest.raises(ParameterError, match="there already, and not empty"):
        write("demo", tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(ParameterError, match="there already, and not empty"):
        write("demo", tmp_path / "file")
    with pytest.raises(ParameterError, match="can't be written"):
        write("demo", tmp_path / "file" / "new")
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["file", "new", "notes.txt"]


def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in (Path(), tmp_path, Path("..")):
        with pytest.raises(ParameterError, match="the current folder can't be replaced"):
            write("demo", out)


def test_nothing_is_left_half_written(tmp_path, monkeypatch):
    real, written = Path.write_text, []

    def fails(self, *args, **kwargs):
        written.append(self)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", fails)
    with pytest.raises(ParameterError, match="No space left on device"):
        write("demo", tmp_path / "new")
    assert len(written) == 4
    assert not list(tmp_path.iterdir())


# --- what is written, installed as users install it -----------------------------------------------


SPEC = """
title: new
campaigns:
  - name: table
    modality: vectors
    target: {factory: "victims:judge", low: [0, 0], high: [10, 1]}
    data: {file: table.csv, low: [0, 0], high: [10, 1]}
    threat: {norm: linf, eps: [0.05, 0.35]}
    attacks: [vectors.fgsm, vectors.pgd, {name: vectors.simba, steps: 20}]
"""
VICTIM = """
import torch

def judge():
    model = torch.nn.Linear(2, 2)
    model.weight.data = torch.tensor([[-0.1, 0.0], [0.1, 0.0]])
    model.bias.data = torch.tensor([0.5, -0.5])
    return model.eval()
"""
TABLE = "length,label,width\n" + "".join(f"{length},{int(length > 5)},0.5\n" for length in (1, 2, 4, 6, 7, 9))


def test_new_plugins_install_pass_their_tests_audit_and_leave(environment, blocks, tmp_path):
    def run(*command, cwd=tmp_path):
        return environment.run(*command, cwd=cwd).stdout

    def plugins():
        return {plugin["name"]: plugin for plugin in json.loads(run("mmadv", "plugins", "--json"))}

    where = run("python", "-c", "import mmadv; print(mmadv.__file__)").strip()
    assert Path(where).is_relative_to(environment.path), "the core does not come from its wheel"
    before = plugins()
    assert {name: plugin["state"] for name, plugin in before.items()} == {"image": "loaded"}

    run("mmadv", "new-plugin", "steps")
    run("mmadv", "new-plugin", "vectors", "--kind", "modality")
    run("pip", "install", "--quiet", "./steps", "./vectors", str(ROOT / "tests/distributions/acme"))
    try:
        for folder in ("steps", "vectors"):
            told = run("pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path / folder)
            assert " passed" in told
            assert "simba.py" in run("pytest", "--collect-only", "-q", "src", cwd=tmp_path / folder)
            (example,) = (block for block in blocks(tmp_path / folder / "README.md") if block.language == "python")
            assert "robust accuracy" in run("python", "-c", example.text)
        found = plugins()
        assert {name: plugin["state"] for name, plugin in found.items()} == dict.fromkeys(
            ("acme", "image", "steps", "vectors"), "loaded"
        )
        assert found["steps"]["registers"] == {"attacks": ["steps.simba"]}
        assert found["vectors"]["registers"] == {
            "modalities": ["vectors"],
            "attacks": ["vectors.fgsm", "vectors.pgd", "vectors.simba"],
        }
        again = environment.run("mmadv", "new-plugin", "steps", "--out", "other", cwd=tmp_path, check=False)
        assert again.returncode == 2
        assert "a plugin called 'steps' is installed already: steps (mmadv-steps 0.1.0)" in again.stderr

        for name, text in (("spec.yaml", SPEC), ("victims.py", VICTIM), ("table.csv", TABLE)):
            (tmp_path / name).write_text(text)
        run("python", "-m", "mmadv.cli", "audit", "spec.yaml", "--out", "run")
        (campaign,) = json.loads((tmp_path / "run/summary.json").read_text())["campaigns"]
        # The lengths 1, 2, 4, 6, 7, 9 are 4, 3, 1, 1, 2, 4 of ten away from the border.
        assert [point["robust"]["value"] for point in campaign["worst"]] == [1.0, pytest.approx(1 / 3)]
        run("python", "-m", "mmadv.cli", "verify", "run")
    finally:
        run("pip", "uninstall", "--quiet", "--yes", "mmadv-steps", "mmadv-vectors")
    assert set(plugins()) == {"acme", "image"}
    run("pip", "uninstall", "--quiet", "--yes", "mmadv-fixture-acme")
    assert plugins() == before
