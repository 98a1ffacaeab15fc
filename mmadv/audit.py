"""An audit: campaigns over targets, run unit by unit into a folder, summed up, and verified from disk."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from mmadv import alarms, api, rows
from mmadv.catalog import Catalog
from mmadv.errors import AssetError, MmadvError, ParameterError, RunError
from mmadv.host import Host, describe
from mmadv.ledger import Status
from mmadv.runs import Folder, RunInfo, broken_files, seal, write_json
from mmadv.source import Examples, digest
from mmadv.spec import Spec, parse
from mmadv.stage import Stage, Unit, prepared
from mmadv.summary import altered, finite, summarise
from mmadv.threat import Problem
from mmadv.workers import Crew

Progress = Callable[[int, int, str], None]
"""Called with what is done, of how many, and what comes next; of 0 as long as campaigns are being set up."""

SCHEMA = pa.schema(
    [
        ("row", pa.int32()),
        ("key", pa.string()),
        ("x_sha256", pa.string()),
        ("y", pa.int64()),
        ("eps", pa.float64()),
        ("status", pa.string()),
        ("success", pa.bool_()),
        ("stored_success", pa.bool_()),
        ("decision", pa.int64()),
        ("said", pa.list_(pa.string())),
        ("distance", pa.float64()),
        ("score", pa.float64()),
        ("clean_score", pa.float64()),
        ("queries", pa.int64()),
        ("recalled", pa.int64()),
        ("gradients", pa.int64()),
        ("origin", pa.string()),
        ("origin_eps", pa.float64()),
        ("measures", pa.map_(pa.string(), pa.float64())),
        ("adv_sha256", pa.string()),
        ("seed", pa.int64()),
    ]
)
"""A record. `eps` is null for a minimum-norm attack, whose `distance` answers every ε. `origin` and `origin_eps` say which
attack and ε the success was found at: a success counts for every larger ε, and in a cascade for every later attack. Where it was lost
once stored, or the goal's successes have degrees (`graded`), the row is searched again at larger ε, and the better success is kept.
`measures` are what an example was attacked under (`Region`'s terms), fooled or not, the space's further figures of a success, and what
the attack itself notes. Where labels are known by texts, `said` holds three: what is right, what the victim said to the clean input and
what to the stored adversarial. `recalled` answers were known already and cost no query."""

Record = dict[str, Any]
COST = ("queries", "recalled", "gradients")
"""Of a record: what was spent at its own ε."""


class Audit:
    """A spec and a run folder.

    Args:
        spec: what to do.
        out: the run folder.
        host: of plugins.

    Attributes:
        missing: why campaigns are left out, by name, once the facts were asked for.
    """

    def __init__(self, spec: Spec, out: Path, host: Host) -> None:
        self.spec, self.host, self.folder = spec, host, Folder(out)
        catalog = Catalog(host)
        self.stages = [Stage(spec, number, catalog) for number in range(len(spec.campaigns))]
        self.missing: dict[str, AssetError] = {}

    @classmethod
    def of_folder(cls, path: Path, host: Host) -> Audit:
        """The audit that a run folder was made by."""
        folder = Folder(path)
        folder.manifest()
        try:
            text = (path / "spec.yaml").read_text(encoding="utf-8")
        except OSError as error:
            raise RunError(
                "spec.yaml cannot be read", where=str(path), fix="run the audit again into a new folder"
            ) from error
        return cls(parse(text, str(path / "spec.yaml")), path, host)

    @classmethod
    def of_finished(cls, path: Path, host: Host) -> tuple[Audit, dict[str, Any]]:
        """The audit of a finished run and its summary, with the campaigns that it has; neither victims nor data are asked for.

        Raises:
            RunError: it is not finished, or its summary is none.
        """
        made = cls.of_folder(path, host)
        summary = made.summary()
        lengths = {campaign["name"]: campaign["examples"] for campaign in summary["campaigns"]}
        made.keep(lengths)
        for stage in made.stages:
            stage.length = lengths[stage.campaign.name]
        return made, summary

    def summary(self) -> dict[str, Any]:
        """What `summary.json` holds.

        Raises:
            RunError: there is none, or it is another thing.
        """
        found = self.folder.json("summary.json")
        try:
            names = [campaign["name"] for campaign in found["campaigns"] if int(campaign["examples"]) > 0]
            whole = {"digest", "missing", "trust"} <= found.keys() and len(names) == len(found["campaigns"])
        except (KeyError, TypeError, ValueError):
            whole = False
        if not whole or not set(names) <= {campaign.name for campaign in self.spec.campaigns}:
            raise RunError(
                "summary.json holds no summary of this run",
                where=str(self.folder.path),
                fix="run the audit again: it sums up the shards that are there",
            )
        return found

    def confirm(self, summary: dict[str, Any]) -> None:
        """See that a summary says what the shards come to, and that no shard was altered.

        Raises:
            RunError: it doesn't, or one was.
        """
        for unit in self.units():
            self._refuse_broken(self.place(unit))
        for line in altered(self, summary):
            raise RunError(
                line, where=str(self.folder.path), fix="run the audit again: it sums up the shards that are there"
            )

    def units(self) -> list[Unit]:
        """All units, in the order they are worked on."""
        return [
            Unit(number, attack, shard)
            for number, stage in enumerate(self.stages)
            for attack in range(len(stage.attacks))
            for shard in range(stage.shards)
        ]

    def place(self, unit: Unit) -> Path:
        """Where a unit stands on disk."""
        campaign = self.stages[unit.campaign].campaign
        return self.folder.unit(campaign.name, campaign.label(unit.attack), unit.shard)

    def keep(self, names: Collection[str]) -> None:
        """Go on with the campaigns of these names only."""
        self.stages = [stage for stage in self.stages if stage.campaign.name in names]

    def facts(self, progress: Progress | None = None) -> dict[str, object]:
        """Fingerprints of all that decides the results, and the versions at hand.

        Optional campaigns whose assets can't be had here are left out from here on, and said to be.

        Args:
            progress: told which campaign is being set up: models may have to be trained, and data to be fetched.

        Raises:
            AssetError: no campaign is left, or one is missing that is not optional.
        """

        def tell(stage: Stage) -> None:
            if progress is not None:
                progress(0, 0, f"set-up: {stage.campaign.name}")

        missing: dict[str, AssetError] = {}
        for stage, error in prepared(self.stages, tell):
            if error is None:
                continue
            if not stage.campaign.optional or not isinstance(error, AssetError):
                raise error
            missing[stage.campaign.name] = error
        names = [stage.campaign.name for stage in self.stages]
        self.missing = {name: missing[name] for name in names if name in missing}
        if len(missing) == len(names):
            raise next(iter(self.missing.values()))
        self.keep([name for name in names if name not in missing])
        packages = {"mmadv", "torch", *(plugin.distribution for plugin in self.host.loaded)}
        versions = {"python": platform.python_version()}
        for name in sorted(packages):
            try:
                versions[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        targets = {stage.campaign.name: stage.target.fingerprint() for stage in self.stages}
        data = {stage.campaign.name: stage.fingerprint() for stage in self.stages}
        # Where a space holds models or word lists of its own, they decide what is feasible.
        spaces = {
            stage.campaign.name: space.fingerprint()
            for stage in self.stages
            if hasattr(space := stage.space(max(stage.levels, default=None)), "fingerprint")
        }
        return {"targets": targets, "data": data, "spaces": spaces, "versions": versions}

    def run(self, progress: Progress | None = None, *, workers: int = 1) -> dict[str, Any]:
        """Do what is left to do, and sum up.

        Args:
            progress: told of what is done and what comes next.
            workers: processes that share the units; the records are the same for any number.

        Returns:
            The summary, as in `summary.json`.

        Raises:
            ParameterError: no workers.
            RunError: the folder belongs to another run, is in use or can't be written; a stored shard is corrupt.
        """
        if workers < 1:
            raise ParameterError(f"there are {workers} workers", where="workers", fix="give at least 1")
        with nullcontext() if workers == 1 else Crew(self, workers) as crew:
            return self._run(crew, progress)

    def _run(self, crew: Crew | None, progress: Progress | None) -> dict[str, Any]:
        facts = self.facts(progress)  # what can't be resolved leaves no folder behind
        with self.folder.locked():
            self.folder.begin(self.spec, facts)
            units = self.units()
            info = RunInfo(self.folder.path, self.spec.title, len(units))
            self.host.observe("run_started", run=info)
            try:
                for done, unit in enumerate(self._computed(units, crew, progress), 1):
                    if unit is not None:
                        self.host.observe("step_finished", run=info, done=done, total=len(units))
                if progress is not None:
                    progress(len(units), len(units), "summary")
                summary = summarise(self)
                write_json(self.folder.path / "summary.json", summary)
            except BaseException as error:
                self.host.observe("run_failed", run=info, error=error)
                if isinstance(error, Exception) and not any(self.place(unit).exists() for unit in units):
                    self.folder.abandon()  # a run that failed before its first shard claims no folder
                raise
            self.host.observe("run_finished", run=info)
        return summary

    def _computed(self, units: list[Unit], crew: Crew | None, progress: Progress | None) -> Iterator[Unit | None]:
        """Compute what is left of the units; gives each that was computed, and None for each that stood already."""
        left = []
        for unit in units:
            if (place := self.place(unit)).exists():
                self._refuse_broken(place)
            else:
                left.append(unit)
        done = len(units) - len(left)
        yield from [None] * done

        def tell(unit: Unit) -> None:
            campaign = self.stages[unit.campaign].campaign
            if progress is not None:
                progress(done, len(units), f"{campaign.name}: {campaign.label(unit.attack)}")

        if crew is None:
            for unit in left:
                tell(unit)
                self.compute(unit)
                done += 1
                yield unit
            return
        rows: dict[object, list[Unit]] = {}
        for unit in left:  # in a cascade an attack takes up what the one before it left standing
            alone = not self.stages[unit.campaign].campaign.cascade
            rows.setdefault(unit if alone else (unit.campaign, unit.shard), []).append(unit)
        if left:
            tell(left[0])
        for unit in crew.computed(rows.values()):
            done += 1
            tell(unit)
            yield unit

    @staticmethod
    def _refuse_broken(place: Path) -> None:
        if broken := broken_files(place):
            raise RunError(
                f"a shard is corrupt: {', '.join(broken)} changed after it was written",
                where=str(place),
                fix="delete this folder and run again; the rest is kept",
            )

    # --- one unit ------------------------------------------------------------------------------------

    def compute(self, unit: Unit) -> None:
        """Compute one unit into its place; this process, or the one that started it, holds the folder."""
        with self.folder.writing(self.place(unit)) as hidden:
            self._compute(unit, hidden)

    def _compute(self, unit: Unit, place: Path) -> None:
        stage = self.stages[unit.campaign]
        if not stage.ready:  # in a worker: what sets a campaign up is no cost of its first attack
            stage.prepare()
        began = time.perf_counter()
        attack, entry = stage.attacks[unit.attack], stage.campaign.attacks[unit.attack]
        label = stage.campaign.label(unit.attack)
        examples = stage.examples(unit.shard)
        hashes = stage.digests(examples.x)
        earlier = self._earlier(unit)
        known: dict[int, Record] = {}
        records: list[Record] = []
        advs: dict[str, Tensor] = {}
        counts = alarms.Counts()
        terms: dict[str, None] = {}
        graded = False
        if stage.campaign.plant and not unit.shard:
            problem = stage.problem(examples, max(stage.levels), entry)
            try:
                counts += api.looked_for(stage.kind, problem, attack, stage.campaign.plant)
            except ParameterError as error:  # the other campaigns are worth their report
                if error.where != "plant":
                    raise
                counts += alarms.Counts(unplanted=1)
        (place / "files").mkdir()
        for level, eps in enumerate(stage.levels if attack.keeps == "hit" else [None]):
            before = earlier.get(eps, {})
            known |= {
                row: record
                for row, record in before.items()
                if row not in known or (graded and record["success"] and _more(record["score"], known[row]))
            }
            again = {
                row
                for row, record in known.items()
                if record["success"] and row not in before and (graded or not record["stored_success"])
            }
            open_rows = torch.tensor(
                [row for row in range(len(hashes)) if row not in known or row in again], dtype=torch.int64
            )
            fresh: dict[int, Record] = {}
            if len(open_rows):
                part = Examples(
                    rows.take(examples.x, open_rows),
                    examples.y[open_rows],
                    [examples.keys[row] for row in open_rows.tolist()],
                )
                problem = stage.problem(part, eps, entry)
                ledger, seen = api.run(stage.kind, problem, attack)
                counts += seen
                terms |= dict.fromkeys(ledger.terms)
                graded = getattr(problem.threat.goal, "graded", False)
                names = {row: f"{row:04d}-{level}" if row in known else f"{row:04d}" for row in open_rows.tolist()}
                for at, row in enumerate(open_rows.tolist()):
                    if graded and row in known and not _more(float(ledger.score[at]), known[row]):
                        ledger.fooled[at] = False  # what was found at a smaller ε stays
                stored, decisions, measures, said = self._stored(stage, problem, ledger, open_rows, names, place, advs)
                for at, row in enumerate(open_rows.tolist()):
                    if not graded and row in known and ledger.fooled[at] and not stored[row]:
                        ledger.fooled[at] = False  # what was lost once stored is lost again, and the first stays
                        del advs[names[row]]
                        next((place / "files").glob(f"{names[row]}.*")).unlink()
                for at, row in enumerate(open_rows.tolist()):
                    success = bool(ledger.fooled[at])
                    fresh[row] = {
                        "status": ledger.status[at].value, "success": success,
                        "stored_success": stored.get(row, False), "decision": decisions.get(row), "said": said.get(row),
                        "distance": float(ledger.distance[at]) if torch.isfinite(ledger.distance[at]) else None,
                        "score": finite(ledger.score[at]), "clean_score": finite(ledger.clean_score[at]),
                        "queries": int(ledger.queries[at]), "recalled": int(ledger.recalled[at]),
                        "gradients": int(ledger.gradients[at]), "measures": _measured(ledger, at, measures.get(row, {})),
                        "origin": label, "origin_eps": eps,
                        "adv_sha256": digest(advs[names[row]]) if success else None,
                    }  # fmt: skip
                    if row in known and not success:
                        fresh[row] |= {name: known[row][name] for name in known[row] if name not in COST}
            for row, (key, sha) in enumerate(zip(examples.keys, hashes, strict=True)):
                found = fresh.get(row) or {**known[row], **dict.fromkeys(COST, 0)}
                records.append(
                    {
                        **found,
                        "row": row,
                        "key": key,
                        "x_sha256": sha,
                        "y": int(examples.y[row]),
                        "eps": eps,
                        "seed": self.spec.seed,
                    }
                )
            # A success at this ε is one at every larger ε; a wrong answer on the clean input doesn't change with ε.
            known |= {
                row: record
                for row, record in fresh.items()
                if record["status"] in (Status.FOOLED, Status.ALREADY_WRONG)
            }
        (place / "adv.safetensors").write_bytes(save(advs))  # whose own save_file hides why a file can't be written
        pq.write_table(pa.Table.from_pylist(records, schema=SCHEMA), place / "records.parquet")
        if getattr(stage.source, "before", None):
            counts = replace(counts, attacked_before=len(examples.y))
        seal(place, {"counts": vars(counts), "terms": list(terms)})
        write_json(place / "cost.json", {"seconds": time.perf_counter() - began})

    def _earlier(self, unit: Unit) -> dict[float | None, dict[int, Record]]:
        """In a cascade: what the attack before this one has settled, by ε and row."""
        stage = self.stages[unit.campaign]
        if not stage.campaign.cascade or unit.attack == 0 or stage.attacks[unit.attack].keeps != "hit":
            return {}
        settled: dict[float | None, dict[int, Record]] = {}
        for record in self.records(self.place(Unit(unit.campaign, unit.attack - 1, unit.shard))):
            if record["status"] in (Status.FOOLED, Status.ALREADY_WRONG) and record["eps"] is not None:
                settled.setdefault(record["eps"], {})[record["row"]] = {
                    name: record[name]
                    for name in SCHEMA.names
                    if name not in ("row", "key", "x_sha256", "y", "eps", "seed")
                }
        return settled

    def _stored(
        self,
        stage: Stage,
        problem: Problem,
        ledger: Any,
        open_rows: Tensor,
        names: dict[int, str],
        place: Path,
        advs: dict[str, Tensor],
    ) -> tuple[dict[int, bool], dict[int, int], dict[int, dict[str, float]], dict[int, list[str | None]]]:
        """Write the successes in their real form, read them again, judge them by what came back, and measure them."""
        index = ledger.fooled.nonzero()[:, 0]
        if not len(index):
            return {}, {}, {}, {}
        adv = rows.moved(rows.take(ledger.adv, index), torch.device("cpu"))
        there = open_rows[index.cpu()].tolist()
        read = []
        for at, row in enumerate(there):
            one = rows.take(adv, slice(at, at + 1))
            advs[names[row]] = stage.kind.pack(one)
            read.append(stage.kind.read(_written(stage, one, place / "files" / names[row])))
        back = rows.join(read)
        hits, decisions = api.judge(problem, back, index)
        x = rows.moved(rows.take(problem.x, index.to(next(rows.leaves(problem.x)).device)), torch.device("cpu"))
        found = {name: values.tolist() for name, values in problem.threat.space.measures(x, adv).items()}
        for name, sent in getattr(stage.kind, "channels", lambda rows: {})(back).items():
            found[f"survives {name}"] = api.judge(problem, sent, index)[0].double().tolist()
        # A figure that is not defined for an example, such as the SNR of silence, is NaN, and left out.
        measures = {
            row: {name: values[at] for name, values in found.items() if not math.isnan(values[at])}
            for at, row in enumerate(there)
        }
        said: dict[int, list[str | None]] = {}
        if (name_of := getattr(stage.kind, "said", None)) is not None:
            columns = problem.y[index.cpu()], api.judge(problem, x, index)[1], decisions
            said = {row: [name_of(int(column[at])) for column in columns] for at, row in enumerate(there)}
        stored = dict(zip(there, hits.tolist(), strict=True))
        return stored, dict(zip(there, decisions.tolist(), strict=True)), measures, said

    # --- reading back --------------------------------------------------------------------------------

    def records(self, place: Path) -> list[Record]:
        """The records of a unit.

        Raises:
            RunError: they can't be read.
        """
        try:
            return pq.read_table(place / "records.parquet").to_pylist(maps_as_pydicts="strict")
        except (OSError, pa.ArrowException) as error:
            raise RunError(
                f"the records cannot be read: {error}",
                where=str(place),
                fix="delete this folder and run again; the rest is kept",
            ) from error

    def adversarials(self, place: Path, level: int | None = None) -> dict[int, Tensor]:
        """The adversarials of a unit by row.

        Args:
            place: of the unit.
            level: which of the campaign's ε; what did better there than a success at a smaller one takes its place.

        Raises:
            RunError: they can't be read.
        """
        try:
            found = load_file(place / "adv.safetensors")
            first = {int(name): tensor for name, tensor in found.items() if "-" not in name}
            return first | {int(n.split("-")[0]): tensor for n, tensor in found.items() if n.endswith(f"-{level}")}
        except Exception as error:
            raise RunError(
                f"the adversarials cannot be read: {error}",
                where=str(place),
                fix="delete this folder and run again; the rest is kept",
            ) from error


def _more(score: float | None, record: Record) -> bool:
    """Whether a success with this score is better than the recorded one; what is infinite is recorded as None."""
    return record["score"] is not None and (math.inf if score is None else score) > record["score"]


def _written(stage: Stage, one: Any, path: Path) -> Path:
    """Write a row in its real form; libraries that write files have errors of their own for a full disk."""
    try:
        return stage.kind.write(one, path)
    except (OSError, MmadvError):
        raise
    except Exception as error:
        raise OSError(describe(error)) from error


def _measured(ledger: Any, at: int, success: dict[str, float]) -> dict[str, float] | None:
    """What the row at `at` was attacked under, its figures if it is a success, and the attack's own notes; None for none."""
    terms, notes = (
        {name: float(values[at]) for name, values in told.items() if not math.isnan(values[at])}
        for told in (ledger.terms, ledger.notes)
    )
    return {**terms, **success, **notes} or None
