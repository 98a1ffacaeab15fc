"""The wheels as a user gets them: built, installed by pip into a fresh environment, listed, used and uninstalled again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("mmadv", "mmadv-image", "mmadv-foolbox")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    for package in PACKAGES:
        build = ["uv", "build", "--quiet", "--offline", "--no-build-isolation", "--wheel", "--package", package]
        subprocess.run(
            [sys.executable, "-m", *build, "--out-dir", folder, "--python", sys.executable], cwd=ROOT, check=True
        )
    assert len(list(folder.glob("*.whl"))) == len(PACKAGES)
    return folder


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A fresh environment; torch and all that is not ours comes from this one's, so that nothing is downloaded."""
    home = tmp_path_factory.mktemp("fresh")
    borrowed = home / "borrowed"
    borrowed.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.lower().lstrip("_").startswith("mmadv") and entry.suffix != ".pth" and entry.name != "pip":
            (borrowed / entry.name).symlink_to(entry)
    venv.create(home / "env", with_pip=True)
    executable = home / "env" / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.check_output([executable, "-c", where], text=True).strip())
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MMADV_PLUGINS")}

    def run(*args):
        done = subprocess.run([executable, *args], cwd=home, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


ATTACK = """
import mmadv, sys
from mmadv.testing import linear_victim
model, x, y = linear_victim(rows=4, shape=(1, 4, 4))
print(int(mmadv.attack(model, x, y, sys.argv[1], norm="linf", eps=0.4, steps=10).success.sum()))
"""


def test_installed_listed_used_and_uninstalled(python, wheels):
    python("-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(wheels), "mmadv-foolbox")
    listed = {plugin["name"]: plugin for plugin in json.loads(python("-m", "mmadv.cli", "plugins", "--json"))}
    assert {name: plugin["state"] for name, plugin in listed.items()} == {"foolbox": "loaded", "image": "loaded"}
    assert python("-c", ATTACK, "foolbox.bim").strip() == "4"
    python("-m", "pip", "uninstall", "--quiet", "--yes", "mmadv-foolbox")
    listed = {plugin["name"]: plugin["state"] for plugin in json.loads(python("-m", "mmadv.cli", "plugins", "--json"))}
    assert listed == {"image": "loaded"}
    assert python("-c", ATTACK, "image.pgd").strip() == "4"
