"""What several test files share: documents as blocks of code, and an environment that mmadv is installed into as users do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt  # comes with rich

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Environment:
    """A virtual environment that borrows third-party packages from the workspace, and nothing of mmadv.

    Args:
        path: of the environment.
        wheels: where pip finds distributions; nothing is downloaded.
    """

    path: Path
    wheels: Path

    @property
    def variables(self):
        ours = (
            "MMADV_PLUGINS",
            "PYTHONPATH",
            "PYTHONHOME",
            "PYTHONWARNINGS",
            "PYTEST_ADDOPTS",
            "PYTEST_CURRENT_TEST",
            "PIP_TARGET",
        )
        kept = {name: value for name, value in os.environ.items() if name not in ours}
        return kept | {
            "PATH": os.pathsep.join([str(self.path / "bin"), os.environ["PATH"]]),
            "VIRTUAL_ENV": str(self.path),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_NO_BUILD_ISOLATION": "false",  # pip's own spelling: it means that there is no isolation
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }

    def run(self, *command, cwd, check=True):
        """Run a command as a user of the environment does."""
        result = subprocess.run(
            command, cwd=cwd, env=self.variables, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert not check or result.returncode == 0, f"{command} in {cwd}:\n{result.stdout}\n{result.stderr}"
        return result


@dataclass(frozen=True)
class Block:
    """A fenced block of a document.

    Args:
        document: its path.
        line: of the fence.
        language: that it is marked with.
        text: what stands in it.
        not_run: why it is not run, from a comment `<!-- not run: … -->` before it.
        file: what it is to be written to, from a comment `<!-- file: … -->` before it.
    """

    document: Path
    line: int
    language: str
    text: str
    not_run: str | None
    file: str | None

    def __str__(self):
        return f"{self.document}:{self.line}"


def _blocks(document):
    tokens = MarkdownIt("commonmark").parse(document.read_text(encoding="utf-8"))
    found = []
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "fence":
            comment = before.content.strip() if before is not None and before.type == "html_block" else ""
            notes = dict(re.findall(r"<!-- (not run|file): (.+) -->", comment))
            assert len(notes) == bool(comment), f"{document}:{token.map[0]}: what does {comment!r} mean?"
            text = (token.map[0] + 1, token.info, token.content)
            found.append(Block(document, *text, notes.get("not run"), notes.get("file")))
    return found


@pytest.fixture(scope="session")
def blocks():
    """A function that gives the fenced blocks of a document."""
    return _blocks


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """mmadv and the image plugin, installed by pip from wheels that are built here."""
    home = tmp_path_factory.mktemp("environment")
    path, wheels, borrowed = home / "venv", home / "wheels", home / "borrowed"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(path)], check=True)
    borrowed.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "mmadv" not in entry.name and not entry.name.startswith(("_virtualenv", "__pycache__")):
            (borrowed / entry.name).symlink_to(entry)
    (site,) = path.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    for name, module in (("pip", "pip"), ("pytest", "pytest")):
        script = path / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{path}/bin/python" -m {module} "$@"\n')
        script.chmod(0o755)
    (path / "bin" / "ruff").symlink_to(Path(sysconfig.get_path("scripts"), "ruff"))
    made = Environment(path, wheels)
    sources = [str(ROOT), str(ROOT / "plugins/mmadv-image")]
    made.run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), *sources, cwd=home)
    made.run("pip", "install", "--quiet", "mmadv", "mmadv-image", cwd=home)
    return made
