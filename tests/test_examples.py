"""The example plugins as their users get them: a wheel, installed by pip, listed, used in an audit and uninstalled again."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

VICTIMS = """
import torch
from torch import nn
from mmadv import MemorySource

def victim(*shape):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), 3)).eval()

def inputs(*shape):
    x = torch.rand(6, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return MemorySource("inputs", x, victim(*shape)(x).argmax(1))

def picture(): return victim(1, 6, 6)
def pictures(): return inputs(1, 6, 6)
def curve(): return victim(2, 20)
def curves(): return inputs(2, 20)
"""
SPEC = """
title: an example
campaigns:
  - name: example
    modality: {modality}
    target: {{factory: "victims:{victim}"}}
    data: {{factory: "victims:{inputs}"}}
    threat: {{norm: linf, eps: 0.4}}
    attacks: [{attack}]
"""


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        ("foolbox", {"modality": "image", "victim": "picture", "inputs": "pictures", "attack": "foolbox.bim"}),
        ("series", {"modality": "series", "victim": "curve", "inputs": "curves", "attack": "series.pgd"}),
    ],
)
def test_installed_listed_used_and_uninstalled(environment, tmp_path, plugin, words):
    def listed():
        found = json.loads(environment.run("mmadv", "plugins", "--json", cwd=tmp_path).stdout)
        return {one["name"]: one["state"] for one in found}

    (tmp_path / "victims.py").write_text(VICTIMS)
    (tmp_path / "spec.yaml").write_text(SPEC.format(**words))
    (tmp_path / "plain.yaml").write_text(
        SPEC.format(modality="image", victim="picture", inputs="pictures", attack="image.pgd")
    )
    build = [
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(environment.wheels),
        f"{ROOT}/plugins/mmadv-{plugin}",
    ]
    environment.run(*build, cwd=tmp_path)
    before = listed()
    assert plugin not in before
    early = environment.run(
        "python", "-m", "mmadv.cli", "audit", "spec.yaml", "--out", "early", cwd=tmp_path, check=False
    )
    assert (early.returncode, (tmp_path / "early").exists()) == (2, False)
    assert f"no installed plugin is called '{plugin}'" in early.stderr
    assert f"pip install mmadv-{plugin}" in early.stderr
    environment.run("pip", "install", "--quiet", f"mmadv-{plugin}", cwd=tmp_path)
    assert listed() == before | {plugin: "loaded"}
    environment.run("python", "-m", "mmadv.cli", "audit", "spec.yaml", "--out", "run", cwd=tmp_path)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["campaigns"][0]["worst"][0]["robust"]["hits"] == 0
    assert f"mmadv-{plugin} 0.1.0" in (tmp_path / "run" / "report.html").read_text()
    environment.run("python", "-m", "mmadv.cli", "verify", "run", cwd=tmp_path)
    environment.run("pip", "uninstall", "--quiet", "--yes", f"mmadv-{plugin}", cwd=tmp_path)
    assert listed() == before
    environment.run("python", "-m", "mmadv.cli", "audit", "plain.yaml", "--out", "plain", cwd=tmp_path)
