"""New plugins: a package from templates that installs, passes its own tests, and is there to be changed.

The templates are files under `templates/plugin`: what both kinds share in `common`, and a folder for each kind. `PACKAGE` in
a path stands for the name of the Python package.
"""

from __future__ import annotations

import os
import re
import tempfile
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from jinja2 import Environment, StrictUndefined
from packaging.version import Version

from mmadv.catalog import Catalog
from mmadv.errors import ParameterError, PluginError, nearest
from mmadv.host import Host

KINDS = {
    "attack": "An attack on images for mmadv: random search from scores alone.",
    "modality": "A modality of mmadv: feature vectors inside Lp balls, with attacks, targets and tables of examples.",
}
"""What can be written, and what is said of it in its first line; the first is the default."""

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
LONGEST = 32
"""Characters of a name, so that the lines it stands in stay short."""


def write(name: str, kind: str, out: Path, host: Host) -> Path:
    """Write a new plugin, whole or not at all.

    Args:
        name: of the plugin, which qualifies all that it brings; the distribution is `mmadv-<name>`.
        kind: `attack` or `modality`.
        out: the folder to make.
        host: of the plugins that the new one will stand beside.

    Returns:
        The folder.

    Raises:
        ParameterError: a name, kind or folder that can't be used, or an attack on images without the image plugin.
        PluginError: the name is taken by what is installed.
    """
    if kind not in KINDS:
        raise ParameterError(f"there is no kind {kind!r} of plugin", where="--kind", fix=nearest(kind, KINDS))
    distribution, package = named(name)
    _see_that_it_is_free(name, distribution, package, host)
    if kind == "attack":
        Catalog(host).modality("image", where="--kind attack")
    return _placed(rendered(name, kind), out)


def named(name: str) -> tuple[str, str]:
    """The distribution and the Python package of a plugin.

    Raises:
        ParameterError: neither PEP 508 nor Python would take it, or it is long.

    Example:
        >>> named("tree-edits")
        ('mmadv-tree-edits', 'mmadv_tree_edits')
    """
    if not NAME.fullmatch(name):
        other = re.sub(r"[^a-z0-9]+", "-", name.lower()).lstrip("-0123456789").rstrip("-") or "acme"
        fix = (
            f"begin with a small letter, and use small letters, digits and single hyphens, such as {other[:LONGEST]!r}"
        )
        raise ParameterError(f"{name!r} is no name for a plugin", where="NAME", fix=fix)
    if len(name) > LONGEST:
        raise ParameterError(f"{name!r} has {len(name)} characters", where="NAME", fix=f"use at most {LONGEST}")
    return f"mmadv-{name}", f"mmadv_{name.replace('-', '_')}"


def rendered(name: str, kind: str) -> dict[PurePosixPath, str]:
    """The files of a new plugin by their paths inside it.

    Args:
        name: of the plugin.
        kind: `attack` or `modality`.

    Example:
        >>> [str(path) for path in rendered("demo", "attack") if path.name == "simba.py"]
        ['src/mmadv_demo/attacks/simba.py']
    """
    distribution, package = named(name)
    running = Version(metadata.version("mmadv"))
    words = {
        "name": name,
        "kind": kind,
        "distribution": distribution,
        "package": package,
        "description": KINDS[kind],
        "needs": ["mmadv", "mmadv-image"] if kind == "attack" else ["mmadv"],
        "versions": f">={running.major}.{running.minor},<{running.major}.{running.minor + 1}",
        "shape": "(3, 4, 4)" if kind == "attack" else "(12,)",
    }
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    root = resources.files("mmadv") / "templates" / "plugin"
    return {
        PurePosixPath(path.replace("PACKAGE", package).removesuffix(".j2")): environment.from_string(text).render(words)
        for part in ("common", kind)
        for path, text in _texts(root / part)
    }


def _texts(folder: Traversable, at: str = "") -> list[tuple[str, str]]:
    """(path, text) of all templates under a folder, in the order of their names."""
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _texts(entry, f"{at}{entry.name}/")
        elif entry.name.endswith(".j2"):
            found.append((at + entry.name, entry.read_text(encoding="utf-8")))
    return found


def _see_that_it_is_free(name: str, distribution: str, package: str, host: Host) -> None:
    """Refuse what would collide once it is installed: the plugin's name, the distribution or the package."""
    fix = f"choose another name, or pip uninstall {distribution} first"
    if plugin := host.plugins.get(name):
        fix = f"choose another name, or pip uninstall {plugin.distribution} first"
        raise PluginError(f"a plugin called {name!r} is installed already: {plugin}", where="NAME", fix=fix)
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        if find_spec(package) is None:
            return
        raise PluginError(f"a package {package} can be imported already", where="NAME", fix=fix) from None
    raise PluginError(f"{distribution} {version} is installed already", where="NAME", fix=fix)


def _placed(files: dict[PurePosixPath, str], out: Path) -> Path:
    """Write files beside `out` first, and rename when all are there."""
    out = out.resolve()
    if Path.cwd().is_relative_to(out):
        raise ParameterError(
            "the current folder can't be replaced", where=f"--out {out}", fix="name a folder that is to be made"
        )
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ParameterError(
            "the folder is there already, and not empty", where=f"--out {out}", fix="give --out another folder"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
            made = Path(beside, out.name)
            for path, text in files.items():
                file = made / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8", newline="\n")
            if out.exists():  # an empty folder
                out.rmdir()
            os.rename(made, out)
    except OSError as error:
        raise ParameterError(
            f"the plugin can't be written: {error.strerror}", where=f"--out {out}", fix="give --out another folder"
        ) from error
    return out
