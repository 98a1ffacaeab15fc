"""What the documents say is so: every block of code runs, and every hook stands in them with its exact signature."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest
import yaml

from mmadv import alarms, hookspecs, spec
from mmadv.catalog import Catalog
from mmadv.errors import AssetError, MmadvError
from mmadv.host import HOOKS, KINDS, default_host

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "plugins/README.md"
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", TUTORIAL, *sorted(ROOT.glob("plugins/*/README.md")))

REASONS = {"needs a clone", "needs the network", "takes minutes"}
"""Why a block may be left out."""

LEFT_OUT = [
    ("README.md", "$ make audit"),
    ("CONTRIBUTING.md", "make setup"),
    ("CONTRIBUTING.md", "make test"),
    ("CONTRIBUTING.md", "make lint"),
    ("CONTRIBUTING.md", "python benchmarks/run.py setup"),
    ("plugins/mmadv-rl/README.md", 'pip install "mmadv-rl[sb3]"'),
]
"""All of those blocks, by the command that they begin with."""


class Reader:
    """Who reads a document from top to bottom, and does what it says.

    Args:
        environment: gives what commands run in; only asked if there are any.
        cwd: the folder that the reader starts in.
        installed: run Python in the environment too, instead of here in one namespace.
    """

    def __init__(self, environment, cwd, installed):
        self.environment, self.cwd, self.installed = environment, cwd, installed
        self.names = {"__name__": "document"}
        self.printed = ""

    def do(self, block):
        """Run one block."""
        if block.file is not None:
            (self.cwd / block.file).write_text(block.text, encoding="utf-8")
        else:
            getattr(self, block.language)(block)

    def bash(self, block):
        script = f'{block.text}\npwd > "$MMADV_READER"'
        at = self.cwd / ".where"
        command = ["env", f"MMADV_READER={at}", "bash", "-euo", "pipefail", "-c", script]
        self.printed = self.environment().run(*command, cwd=self.cwd).stdout
        self.cwd = Path(at.read_text().strip())
        at.unlink()

    def console(self, block):
        """What stands behind a prompt, with every plugin that is installed here."""
        typed = re.findall(r"^\$ ((?:.*\\\n)*.*)$", block.text, re.MULTILINE)
        here = {**os.environ, "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"}
        for command in typed:
            done = subprocess.run(["bash", "-c", command], cwd=self.cwd, env=here, capture_output=True, text=True)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            self.printed = done.stdout

    def python(self, block):
        if self.installed:
            self.printed = self.environment().run("python", "-W", "error", "-c", block.text, cwd=self.cwd).stdout
            return
        code = compile("\n" * block.line + block.text, str(block.document), "exec", dont_inherit=True)
        said = re.search(r"^# (\w+Error: .*(?:\n# .*)*)", block.text, re.MULTILINE)
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                exec(code, self.names)
        except MmadvError as error:
            if said is None:
                raise
            self.agree(said[1].replace("\n# ", "\n"), f"{type(error).__name__}: {error}")
        else:
            assert said is None, f"it does not raise {said[1]}"
        self.printed = printed.getvalue()

    def text(self, block):
        """What the block before prints, up to the figures."""
        figures = re.compile(r"\d+(\.\d+)?")
        assert figures.sub("0", self.printed.rstrip()) == figures.sub("0", block.text.rstrip())

    def yaml(self, block):
        """A spec, or campaigns of one."""
        plain = yaml.safe_load(block.text)
        text = block.text if isinstance(plain, dict) else yaml.safe_dump({"title": "its own", "campaigns": plain})
        spec.parse(text, str(block))

    @staticmethod
    def agree(said, told):
        """Each line of an error's message is as said, as far as that goes before an ellipsis."""
        assert len(said.splitlines()) == len(told.splitlines())
        for ours, theirs in zip(said.splitlines(), told.splitlines(), strict=True):
            begins, ellipsis, _ = ours.partition("…")
            assert theirs.startswith(begins) if ellipsis else theirs == ours


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_runs(document, blocks, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reader = Reader(lambda: request.getfixturevalue("environment"), tmp_path, installed=document == TUTORIAL)
    missing = []
    try:
        for block in blocks(document):
            if block.not_run is not None:
                continue
            try:
                reader.do(block)
            except AssetError as error:  # models and data that can't be had here
                missing.append(f"{block}: {error}")
            except Exception as error:
                error.add_note(f"in {block}")
                raise
    finally:
        if document == TUTORIAL:
            reader.environment().run("pip", "uninstall", "--quiet", "--yes", "mmadv-demo", cwd=tmp_path)
    if missing:
        pytest.skip("; ".join(missing))


def test_what_is_not_run_is_known_and_has_a_reason(blocks):
    left_out = [block for document in DOCUMENTS for block in blocks(document) if block.not_run is not None]
    assert {block.not_run for block in left_out} <= REASONS
    found = [(block.document.relative_to(ROOT).as_posix(), block.text) for block in left_out]
    assert len(found) == len(LEFT_OUT)
    for (name, text), (known, begins) in zip(found, LEFT_OUT, strict=True):
        assert name == known
        assert text.startswith(begins)


def test_a_block_that_is_wrong_is_found(blocks, tmp_path):
    document = tmp_path / "README.md"

    def reads(text):
        document.write_text(text)
        reader = Reader(None, tmp_path, installed=False)
        for block in blocks(document):
            reader.do(block)

    reads("```python\nprint('3 of 4')\n```\n\n```text\n1 of 7\n```\n")
    with pytest.raises(AssertionError):
        reads("```python\nprint('3 of 4')\n```\n\n```text\n1 from 7\n```\n")
    raises = "```python\nfrom mmadv.errors import InputError\n{}\n# InputError: bad …\n#   where: here\n```\n"
    reads(raises.format("raise InputError('bad luck', where='here')"))
    for wrong in ("", "raise InputError('bad luck', where='there')", "raise InputError('bad luck')"):
        with pytest.raises(AssertionError):
            reads(raises.format(wrong))
    with pytest.raises(MmadvError, match="unknown key 'tilte'"):
        reads("```yaml\ntilte: x\n```\n")
    with pytest.raises(AttributeError):
        reads("```\nno language\n```\n")
    with pytest.raises(AssertionError, match="what does"):
        reads("<!-- don't run -->\n```python\n1 / 0\n```\n")


# --- what is said of the hooks --------------------------------------------------------------------


def signatures():
    """Every hook as it stands in the source."""
    tree = ast.parse(Path(hookspecs.__file__).read_text(encoding="utf-8"))
    hooks = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("mmadv_")]
    assert sorted(node.name for node in hooks) == list(HOOKS)
    return [f"{node.name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}" for node in hooks]


def test_every_hook_stands_in_the_document_with_its_signature():
    text = TUTORIAL.read_text(encoding="utf-8")
    assert re.findall(r"^### `(mmadv_.*)`$", text, re.MULTILINE) == signatures()
    assert set(re.findall(r"\bmmadv_(?:[a-z]+_)?[a-z]+\b", text)) - {"mmadv_demo", "mmadv_image", "mmadv_host"} == set(
        HOOKS
    )


def test_every_record_stands_in_the_document_with_its_fields():
    listed = dict(re.findall(r"^\| `(\w+Spec)` \| `(.*)` \|$", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {
        kind.__name__: ", ".join(field.name for field in dataclasses.fields(kind)) for kind in KINDS.values()
    }


def test_links_between_documents_lead_somewhere():
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (document.parent / link).exists(), f"{document}: {link}"


def test_every_command_stands_in_the_readme():
    from mmadv.cli import app

    names = {(one.name or one.callback.__name__.replace("_", "-")) for one in app.registered_commands}
    listed = set(re.findall(r"^\| `mmadv ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert names <= listed


def test_every_attack_stands_in_the_readme_with_its_paper():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = {line.split("`")[1]: line for line in text.splitlines() if re.match(r"\| `[a-z]+\.[a-z_]+` \|", line)}
    known = Catalog(default_host()).attacks()
    ours = {
        name: one for name, one in known.items() if not name.startswith("foolbox.")
    }  # these have a table of their own
    assert listed.keys() == ours.keys()
    for name, one in ours.items():
        assert one.paper.split("/")[-1].removeprefix("arXiv ") in listed[name], name


def test_every_sign_of_trouble_stands_in_the_readme():
    raised = {sign[0] for sign in alarms._SIGNS}
    for name in ("alarms.py", "summary.py"):
        source = (ROOT / "mmadv" / name).read_text(encoding="utf-8")
        for codes in re.findall(r'Alarm\(\s*"([a-z_]+)"(?: if \w+ else "([a-z_]+)")?', source):
            raised |= set(filter(None, codes))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([a-z]+_[a-z_]+|randomised)` \|", text, re.MULTILINE))
    assert listed == raised
