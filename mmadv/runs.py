"""The run folder: one unit of work, one folder, written whole or not at all.

    RUN/
      spec.yaml           the resolved spec
      manifest.json       its digest, versions, fingerprints of targets and data
      shards/<campaign>/<attack>/<0000>/
          records.parquet     one row per example and ε
          adv.safetensors     the adversarials, by row
          files/              the same in their real form (PNG, WAV, text)
          unit.json           SHA-256 of the above, and the counts that alarms are raised from
          cost.json           seconds; in no digest
      summary.json, report.html

A unit is computed in a hidden folder beside its place and renamed into it, so a run killed at any moment
(kill -9) holds whole units only, and goes on with the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from mmadv.errors import RunError
from mmadv.spec import Spec

BEGUN = ("manifest.json", "spec.yaml")
"""What a run begins with."""


@dataclass(frozen=True)
class RunInfo:
    """What observers are told of a run.

    Args:
        folder: of the run.
        title: of its spec.
        units: how many units it has.
    """

    folder: Path
    title: str
    units: int


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically: the file is there whole, or as it was before."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with hidden.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(hidden, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            hidden.unlink()
        raise RunError(
            f"the file cannot be written: {error.strerror}",
            where=str(path),
            fix="free space or give a folder that you may write to; what was written so far stays",
        ) from error


def digest_of(value: object) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Folder:
    """A run folder on disk.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process.

        Raises:
            RunError: another process holds it, or it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"the run folder cannot be made: {error.strerror}",
                where=str(self.path),
                fix="give a path that you may write to",
            ) from error
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise RunError(
                "another process works on this run", where=str(self.path), fix="wait for it, or give another folder"
            ) from error
        except OSError as error:
            raise RunError(
                f"the run folder cannot be written: {error.strerror}",
                where=str(self.path),
                fix="free space or give a path that you may write to",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def begin(self, spec: Spec, facts: Mapping[str, object]) -> None:
        """Start a run, or go on with one of the same spec, targets and data.

        Args:
            spec: the resolved spec.
            facts: fingerprints that must be the same to go on.

        Raises:
            RunError: the folder holds something else.
        """
        manifest: dict[str, Any] = {"spec": spec.digest, **facts}
        path = self.path / "manifest.json"
        for left in (file for name in BEGUN for file in self.path.glob(f".{name}.*")):  # of a run that was killed
            with contextlib.suppress(OSError):
                left.unlink()
        if path.exists():
            before = self.manifest()
            # A campaign whose assets were missing, then or now, is in one of the two alone.
            for key, value in before.items():
                if isinstance(value, dict) and isinstance(manifest.get(key), dict) and key != "versions":
                    both = value.keys() & manifest[key].keys()
                    if any(value[name] != manifest[key][name] for name in both):
                        continue
                    manifest[key] = before[key] = {**value, **manifest[key]}
            for key in sorted({*before, *manifest} - {"versions"}):
                if before.get(key) != manifest.get(key):
                    raise RunError(
                        f"the run folder belongs to another {key}",
                        where=self._difference(spec)
                        if key == "spec"
                        else f"{path}: {_short(before.get(key))}, not {_short(manifest.get(key))}",
                        fix="give another folder, or delete this one to start again",
                    )
            write_json(path, {**manifest, "versions": before.get("versions", {})})
            if not (self.path / "spec.yaml").exists():
                self._write_spec(spec)
            return
        if any(entry.name != ".lock" for entry in self.path.iterdir()):
            raise RunError(
                "the folder is not empty and holds no run", where=str(self.path), fix="give a new or an empty folder"
            )
        # First what makes the folder a run: killed before the spec stands too, the same command goes on.
        write_json(path, manifest)
        self._write_spec(spec)

    def _write_spec(self, spec: Spec) -> None:
        write_text(self.path / "spec.yaml", yaml.safe_dump(spec.resolved, sort_keys=False, allow_unicode=True))

    def abandon(self) -> None:
        """Take back what `begin` wrote, as long as no shard stands."""
        for name in BEGUN:
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / "shards", ignore_errors=True)

    def _difference(self, spec: Spec) -> str:
        """The first place where a spec differs from the folder's own."""
        path = self.path / "spec.yaml"
        try:
            there = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError):
            return str(path)
        for place, ours, theirs in differences(spec.resolved, there):
            if place != "title":
                return f"{path}, {place}: {theirs!r} there, {ours!r} here"
        return str(path)

    def manifest(self) -> dict[str, Any]:
        """What the run was started with.

        Raises:
            RunError: there is none, or it cannot be read.
        """
        return self.json("manifest.json")

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file of the run.

        Raises:
            RunError: there is none, or it cannot be read.
        """
        path = self.path / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunError(
                f"there is no {name}",
                where=str(self.path),
                fix="give the folder of a run; `mmadv audit SPEC --out FOLDER` makes one",
            ) from error
        except (OSError, ValueError) as error:
            raise RunError(
                f"{name} cannot be read: {error}", where=str(path), fix="delete the folder and run again"
            ) from error
        if not isinstance(value, dict):
            raise RunError(f"{name} holds no mapping", where=str(path), fix="delete the folder and run again")
        return value

    def unit(self, campaign: str, attack: str, shard: int) -> Path:
        """Where a unit stands, or will."""
        return self.path / "shards" / campaign / attack / f"{shard:04d}"

    @contextmanager
    def writing(self, unit: Path) -> Iterator[Path]:
        """A hidden folder to write a unit into; it becomes `unit` when the body ends well.

        Raises:
            RunError: the disk is full or read-only.
        """
        hidden = unit.with_name(f".{unit.name}.{os.getpid()}")
        try:
            unit.parent.mkdir(parents=True, exist_ok=True)
            for left in unit.parent.glob(f".{unit.name}.*"):  # of a run that was killed; the lock is ours
                shutil.rmtree(left)
            hidden.mkdir()
            yield hidden
            for file in sorted(hidden.rglob("*")):
                if file.is_file():
                    _flush(file)
            os.replace(hidden, unit)
            _flush(unit.parent)
        except OSError as error:
            raise RunError(
                f"a shard cannot be written: {error.strerror or error}",
                where=str(unit),
                fix="free space or give a folder that you may write to; what was written so far stays",
            ) from error
        finally:
            with contextlib.suppress(OSError):
                shutil.rmtree(hidden)


def seal(unit: Path, facts: Mapping[str, object]) -> None:
    """Write `unit.json`: the hashes of all files of a unit, and further facts."""
    files = {str(file.relative_to(unit)): sha256(file) for file in sorted(unit.rglob("*")) if file.is_file()}
    write_json(unit / "unit.json", {"files": files, **facts})


def broken_files(unit: Path) -> list[str]:
    """Files of a unit that are missing or not what they were when it was sealed."""
    try:
        files = json.loads((unit / "unit.json").read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return ["unit.json"]
    return [name for name, wanted in files.items() if not (unit / name).is_file() or sha256(unit / name) != wanted]


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def differences(ours: Any, theirs: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(place, ours, theirs) of every leaf that differs between two structures of plain data."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in {**ours, **theirs}:
            yield from differences(ours.get(key), theirs.get(key), f"{place}.{key}".lstrip("."))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{place}.{index}")
    elif ours != theirs:
        yield place, ours, theirs


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else text[:77] + "…"
