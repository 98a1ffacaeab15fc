"""An audit: campaigns over targets, run unit by unit into a folder, summed up, and verified from disk."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmadv import alarms, api, rows
from mmadv.access import Access
from mmadv.budget import Budget
from mmadv.catalog import Catalog, build
from mmadv.errors import MmadvError, ParameterError, RunError, SpecError
from mmadv.goals import Targeted, Untargeted
from mmadv.host import Host
from mmadv.ledger import Status
from mmadv.modality import Modality
from mmadv.protocol import Attack
from mmadv.result import Rate, rates
from mmadv.runs import Folder, RunInfo, broken_files, seal, write_json
from mmadv.source import Examples, Source, digest
from mmadv.spec import AttackEntry, Campaign, Spec, parse
from mmadv.target import Target
from mmadv.threat import Problem, ThreatModel

Progress = Callable[[int, int, str], None]
"""Called with (units done, units in all, what comes next)."""

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
        ("distance", pa.float64()),
        ("score", pa.float64()),
        ("clean_score", pa.float64()),
        ("queries", pa.int64()),
        ("gradients", pa.int64()),
        ("origin", pa.string()),
        ("origin_eps", pa.float64()),
        ("adv_sha256", pa.string()),
        ("seed", pa.int64()),
    ]
)
"""A record. `eps` is null for a minimum-norm attack, whose `distance` answers every ε. `origin` and `origin_eps` say which
attack and ε the success was found at: a success counts for every larger ε, and in a cascade for every later attack."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Unit:
    """One shard of examples under one attack of one campaign."""

    campaign: int
    attack: int
    shard: int


class Stage:
    """A campaign with its plugins, victim and data resolved.

    Args:
        spec: the audit.
        number: of the campaign.
        catalog: of plugins.

    Raises:
        SpecError: with file and line, whatever the plugins refuse.
    """

    def __init__(self, spec: Spec, number: int, catalog: Catalog) -> None:
        self.spec, self.number, self.catalog = spec, number, catalog
        self.campaign: Campaign = spec.campaigns[number]
        path = ("campaigns", number)
        with _located(spec, *path, "modality"):
            self.kind: Modality = catalog.modality(self.campaign.modality).resolve()()
        self.attacks: list[Attack] = []
        for index, entry in enumerate(self.campaign.attacks):
            with _located(spec, *path, "attacks", index):
                self.attacks.append(self._attack(entry))
        with _located(spec, *path, "threat"):
            threat = self.campaign.threat
            self._space_words = api.sorted_out(threat.words, {"space": self.kind.space}, where="threat")["space"]
            self.space(max(threat.eps, default=None))
            if not threat.eps and any(attack.keeps == "hit" for attack in self.attacks):
                raise ParameterError(
                    "eps is missing", where="threat", fix="add eps: [ … ]; only minimum-norm attacks do without"
                )

    def _attack(self, entry: AttackEntry) -> Attack:
        record = self.catalog.attack(entry.name)
        if record.modality != self.campaign.modality:
            raise ParameterError(
                f"{entry.name} works on {record.modality}, and the campaign is {self.campaign.modality}",
                where=entry.name,
                fix="choose an attack of this modality",
            )
        attack: Attack = build(record, entry.words, where=entry.name)
        if attack.single_step and entry.steps is not None:
            raise ParameterError(
                "steps is given, and this attack makes exactly one", where=entry.name, fix="leave steps out"
            )
        return attack

    def space(self, eps: float | None) -> Any:
        """The campaign's space at one ε."""
        return self.kind.space(**self._space_words, **({} if eps is None else {"eps": eps}))

    @cached_property
    def target(self) -> Target:
        """The victim, built on first use."""
        entry = self.campaign.target
        with _located(self.spec, "campaigns", self.number, "target"):
            victim: Any = resolve_name(entry.factory)(**entry.args) if entry.factory else entry.model
            adapt = api.adapter(self.catalog, victim, self.kind)
            target = adapt(**api.sorted_out(entry.words, {"target": adapt}, where="target")["target"])
        wanted = self.campaign.threat.access
        if wanted is not None and Access.of(wanted) > target.access:
            where = self.spec.where("campaigns", self.number, "threat", "access")
            raise SpecError(
                f"access is {wanted}, and the target gives {target.access.name.lower()}",
                where=where,
                fix="grant what the target gives",
            )
        return target

    @cached_property
    def source(self) -> Source:
        """The data, opened on first use."""
        entry = self.campaign.data
        with _located(self.spec, "campaigns", self.number, "data"):
            source: Source = (
                resolve_name(entry.factory)(**entry.args) if entry.factory else self.kind.source(**entry.words)
            )
            if not len(source):
                raise ParameterError("the data are empty", where=source.name, fix="name data with at least one example")
        return source

    @cached_property
    def length(self) -> int:
        """Examples of the campaign."""
        return min(len(self.source), self.campaign.data.limit or len(self.source))

    @property
    def shards(self) -> int:
        return -(-self.length // self.spec.shard_size)

    def examples(self, shard: int) -> Examples:
        """The examples of one shard."""
        start = shard * self.spec.shard_size
        return self.source.take(start, min(start + self.spec.shard_size, self.length))

    def problem(self, examples: Examples, eps: float | None, attack: Attack, steps: int | None) -> Problem:
        """Examples under the campaign's threat model at one ε."""
        threat = self.campaign.threat
        goal = Untargeted() if threat.targets is None else Targeted()
        access = self.target.access if threat.access is None else Access.of(threat.access)
        model = ThreatModel(self.space(eps), access, goal, Budget(steps, threat.queries, threat.gradients))
        return api.make_problem(
            self.kind,
            self.target,
            model,
            examples.x,
            examples.y,
            ids=examples.ids,
            targets=threat.targets,
            seed=self.spec.seed,
            eot=threat.eot,
        )


class Audit:
    """A spec and a run folder.

    Args:
        spec: what to do.
        out: the run folder.
        host: of plugins.
    """

    def __init__(self, spec: Spec, out: Path, host: Host) -> None:
        self.spec, self.host, self.folder = spec, host, Folder(out)
        catalog = Catalog(host)
        self.stages = [Stage(spec, number, catalog) for number in range(len(spec.campaigns))]

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

    def facts(self) -> dict[str, object]:
        """Fingerprints of all that decides the results, and the versions at hand."""
        names = {"mmadv", "torch", *(plugin.distribution for plugin in self.host.loaded)}
        versions = {"python": platform.python_version()}
        for name in sorted(names):
            try:
                versions[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        targets = {stage.campaign.name: stage.target.fingerprint() for stage in self.stages}
        data = {
            stage.campaign.name: digest([stage.examples(0).x, stage.examples(stage.shards - 1).x]) + f"/{stage.length}"
            for stage in self.stages
        }
        return {"targets": targets, "data": data, "versions": versions}

    def run(self, progress: Progress | None = None) -> dict[str, Any]:
        """Do what is left to do, and sum up.

        Returns:
            The summary, as in `summary.json`.

        Raises:
            RunError: the folder belongs to another run, is in use or can't be written; a stored shard is corrupt.
        """
        with self.folder.locked():
            self.folder.begin(self.spec, self.facts())
            units = self.units()
            info = RunInfo(self.folder.path, self.spec.title, len(units))
            self.host.observe("run_started", run=info)
            try:
                for done, unit in enumerate(units):
                    stage, place = self.stages[unit.campaign], self.place(unit)
                    if progress is not None:
                        progress(done, len(units), f"{stage.campaign.name}: {stage.campaign.label(unit.attack)}")
                    if place.exists():
                        self._refuse_broken(place)
                        continue
                    with self.folder.writing(place) as hidden:
                        self._compute(unit, hidden)
                    self.host.observe("step_finished", run=info, done=done + 1, total=len(units))
                if progress is not None:
                    progress(len(units), len(units), "summary")
                summary = self.summarise()
                write_json(self.folder.path / "summary.json", summary)
            except BaseException as error:
                self.host.observe("run_failed", run=info, error=error)
                raise
            self.host.observe("run_finished", run=info)
        return summary

    @staticmethod
    def _refuse_broken(place: Path) -> None:
        if broken := broken_files(place):
            raise RunError(
                f"a shard is corrupt: {', '.join(broken)} changed after it was written",
                where=str(place),
                fix="delete this folder and run again; the rest is kept",
            )

    # --- one unit ------------------------------------------------------------------------------------

    def _compute(self, unit: Unit, place: Path) -> None:
        began = time.perf_counter()
        stage = self.stages[unit.campaign]
        attack, entry = stage.attacks[unit.attack], stage.campaign.attacks[unit.attack]
        label = stage.campaign.label(unit.attack)
        examples = stage.examples(unit.shard)
        hashes = [digest(rows.take(examples.x, slice(index, index + 1))) for index in range(len(examples.keys))]
        earlier = self._earlier(unit)
        known: dict[int, Record] = {}
        records: list[Record] = []
        advs: dict[str, Tensor] = {}
        counts = alarms.Counts()
        (place / "files").mkdir()
        for eps in stage.campaign.threat.eps if attack.keeps == "hit" else [None]:
            known |= {row: record for row, record in earlier.get(eps, {}).items() if row not in known}
            open_rows = torch.tensor([row for row in range(len(hashes)) if row not in known], dtype=torch.int64)
            fresh: dict[int, Record] = {}
            if len(open_rows):
                part = Examples(
                    rows.take(examples.x, open_rows),
                    examples.y[open_rows],
                    [examples.keys[row] for row in open_rows.tolist()],
                )
                problem = stage.problem(part, eps, attack, entry.steps)
                ledger, seen = api.run(problem, attack)
                counts += seen
                stored, decisions = self._stored(stage, problem, ledger, open_rows, place, eps, advs)
                for at, row in enumerate(open_rows.tolist()):
                    success = bool(ledger.fooled[at])
                    fresh[row] = {
                        "status": ledger.status[at].value, "success": success,
                        "stored_success": stored.get(row, False), "decision": decisions.get(row),
                        "distance": float(ledger.distance[at]) if torch.isfinite(ledger.distance[at]) else None,
                        "score": _finite(ledger.score[at]), "clean_score": _finite(ledger.clean_score[at]),
                        "queries": int(ledger.queries[at]), "gradients": int(ledger.gradients[at]),
                        "origin": label, "origin_eps": eps,
                        "adv_sha256": digest(advs[_slot(row)]) if success else None,
                    }  # fmt: skip
            for row, (key, sha) in enumerate(zip(examples.keys, hashes, strict=True)):
                found = fresh.get(row) or {**known[row], "queries": 0, "gradients": 0}
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
        pq.write_table(pa.Table.from_pylist(records, schema=SCHEMA), place / "records.parquet")
        save_file(advs, place / "adv.safetensors")
        seal(place, {"counts": vars(counts)})
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
        place: Path,
        eps: float | None,
        advs: dict[str, Tensor],
    ) -> tuple[dict[int, bool], dict[int, int]]:
        """Write the successes in their real form, read them again, and judge them by what came back."""
        index = ledger.fooled.nonzero()[:, 0]
        if not len(index):
            return {}, {}
        adv = rows.moved(rows.take(ledger.adv, index), torch.device("cpu"))
        read = []
        for at, row in enumerate(open_rows[index.cpu()].tolist()):
            one = rows.take(adv, slice(at, at + 1))[0]
            advs[_slot(row)] = one.contiguous()
            read.append(stage.kind.read(stage.kind.write(one, place / "files" / f"{row:04d}")))
        hits, decisions = api.judge(problem, torch.stack(read), index)
        there = open_rows[index.cpu()].tolist()
        return dict(zip(there, hits.tolist(), strict=True)), dict(zip(there, decisions.tolist(), strict=True))

    # --- reading back --------------------------------------------------------------------------------

    def records(self, place: Path) -> list[Record]:
        """The records of a unit.

        Raises:
            RunError: they can't be read.
        """
        try:
            return pq.read_table(place / "records.parquet").to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise RunError(
                f"the records cannot be read: {error}",
                where=str(place),
                fix="delete this folder and run again; the rest is kept",
            ) from error

    def adversarials(self, place: Path) -> dict[int, Tensor]:
        """The adversarials of a unit by row."""
        try:
            return {int(slot): tensor for slot, tensor in load_file(place / "adv.safetensors").items()}
        except Exception as error:
            raise RunError(
                f"the adversarials cannot be read: {error}",
                where=str(place),
                fix="delete this folder and run again; the rest is kept",
            ) from error

    def summarise(self) -> dict[str, Any]:
        """Accuracies, intervals, cost and alarms of every campaign."""
        campaigns = [self._summary(number, stage) for number, stage in enumerate(self.stages)]
        everything = [json.loads((self.place(unit) / "unit.json").read_text())["files"] for unit in self.units()]
        return {
            "title": self.spec.title,
            "spec": self.spec.digest,
            "digest": digest_of(everything),
            "trust": alarms.verdict(
                alarms.Alarm("", alarms.Trust(campaign["trust"]), "") for campaign in campaigns
            ).value,
            "campaigns": campaigns,
        }

    def _summary(self, number: int, stage: Stage) -> dict[str, Any]:
        campaign = stage.campaign
        levels: Sequence[float] = campaign.threat.eps
        attacks: list[dict[str, Any]] = []
        worst: dict[float, dict[tuple[int, int], tuple[str, bool]]] = {eps: {} for eps in levels}
        for index, attack in enumerate(stage.attacks):
            units = [Unit(number, index, shard) for shard in range(stage.shards)]
            records = [{**record, "shard": unit.shard} for unit in units for record in self.records(self.place(unit))]
            counts = sum(
                (alarms.Counts(**json.loads((self.place(unit) / "unit.json").read_text())["counts"]) for unit in units),
                alarms.Counts(),
            )
            seconds = sum(json.loads((self.place(unit) / "cost.json").read_text())["seconds"] for unit in units)
            curve = []
            for eps in levels:
                at = [r for r in records if r["eps"] == eps] if attack.keeps == "hit" else records
                inside = [r["success"] and (attack.keeps == "hit" or r["distance"] <= eps) for r in at]
                _, robust = rates([r["status"] for r in at], inside)
                _, stored = rates(
                    [r["status"] for r in at], [hit and r["stored_success"] for hit, r in zip(inside, at, strict=True)]
                )
                curve.append({"eps": eps, "robust": _rate(robust), "stored": _rate(stored)})
                for record, hit in zip(at, inside, strict=True):
                    _worsen(worst[eps], (record["shard"], record["row"]), record["status"], hit)
            attacked = [r for r in records if r["status"] != Status.ALREADY_WRONG]
            distances = sorted(float("inf") if r["distance"] is None else r["distance"] for r in attacked)
            examples = max(len({(r["shard"], r["row"]) for r in attacked}), 1)
            statuses = [r["status"] for r in records if r["eps"] == (levels[-1] if attack.keeps == "hit" else None)]
            attacks.append(
                {
                    "label": campaign.label(index),
                    "name": campaign.attacks[index].name,
                    "parameters": {
                        **campaign.attacks[index].words,
                        **({"steps": campaign.attacks[index].steps} if campaign.attacks[index].steps else {}),
                    },
                    "access": attack.access.name.lower(),
                    "keeps": attack.keeps,
                    "clean": _rate(rates(statuses, [False] * len(statuses))[0]),
                    "curve": curve,
                    "statuses": {status.value: statuses.count(status.value) for status in Status},
                    "median_distance": _finite(distances[len(distances) // 2])
                    if distances and attack.keeps == "nearest"
                    else None,
                    "queries": sum(r["queries"] for r in records) / examples,
                    "gradients": sum(r["gradients"] for r in records) / examples,
                    "seconds": seconds,
                    "alarms": [vars(alarm) for alarm in alarms.of_counts(counts, eot=campaign.threat.eot)],
                }
            )
        worst_curve = []
        for eps in levels:
            _, robust = rates([status for status, _ in worst[eps].values()], [hit for _, hit in worst[eps].values()])
            worst_curve.append({"eps": eps, "robust": _rate(robust)})
        further = _masked(attacks)
        raised = [alarms.Trust(alarm["trust"]) for one in attacks for alarm in one["alarms"]] + [
            alarm.trust for alarm in further
        ]
        return {
            "name": campaign.name,
            "modality": campaign.modality,
            "unit": stage.kind.unit,
            "target": stage.target.name,
            "data": stage.source.name,
            "examples": stage.length,
            "threat": stage.campaign.threat.model_dump(mode="json"),
            "cascade": campaign.cascade,
            "clean": attacks[0]["clean"],
            "worst": worst_curve,
            "attacks": attacks,
            "alarms": [vars(alarm) for alarm in further],
            "trust": max(raised, key=list(alarms.Trust).index, default=alarms.Trust.RELIABLE).value,
        }

    # --- verifying -----------------------------------------------------------------------------------

    def verify(self, progress: Progress | None = None) -> Iterator[str]:
        """Judge every recorded success once more from what is on disk.

        Yields:
            One line for each thing that is not as recorded, naming the record.
        """
        before, now = self.folder.manifest(), self.facts()
        for fact in ("targets", "data"):
            for name, value in now[fact].items():  # type: ignore[attr-defined]
                if before.get(fact, {}).get(name) != value:
                    yield f"{name}: the {fact} are not those of the run"
        units = self.units()
        for done, unit in enumerate(units):
            stage, place = self.stages[unit.campaign], self.place(unit)
            name = str(place.relative_to(self.folder.path / "shards"))
            if progress is not None:
                progress(done, len(units), name)
            if not place.exists():
                yield f"{name}: this shard is missing; run the audit again"
                continue
            yield from (f"{name}: {file} changed after it was written" for file in broken_files(place))
            try:
                yield from self._verify(unit, stage, place, name)
            except RunError as error:
                yield f"{name}: {error.what}"

    def _verify(self, unit: Unit, stage: Stage, place: Path, name: str) -> Iterator[str]:
        records, advs, examples = self.records(place), self.adversarials(place), stage.examples(unit.shard)
        attack, entry, label = (
            stage.attacks[unit.attack],
            stage.campaign.attacks[unit.attack],
            stage.campaign.label(unit.attack),
        )
        for record in records:
            if digest(rows.take(examples.x, slice(record["row"], record["row"] + 1))) != record["x_sha256"]:
                yield f"{name}: record {record['row']} ({record['key']}): the clean input is not the one attacked"
        own = [r for r in records if r["success"] and r["origin"] == label and r["origin_eps"] == r["eps"]]
        for eps in dict.fromkeys(r["eps"] for r in own):
            part = [r for r in own if r["eps"] == eps]
            missing = [r for r in part if r["row"] not in advs]
            yield from (f"{name}: record {r['row']} ({r['key']}): its adversarial is missing" for r in missing)
            part = [r for r in part if r["row"] in advs]
            if not part:
                continue
            index = torch.tensor([r["row"] for r in part])
            problem = stage.problem(examples, eps, attack, entry.steps)
            adv = torch.stack([advs[r["row"]] for r in part])
            region = problem.threat.space.around(rows.detached(rows.take(examples.x, index), torch.device("cpu")))
            feasible = region.feasible(adv)
            hits, _ = api.judge(problem, adv, index)
            read = torch.stack([self._file(stage, place, r["row"]) for r in part])
            stored, _ = api.judge(problem, read, index)
            for at, record in enumerate(part):
                who = f"{name}: record {record['row']} ({record['key']})"
                if digest(adv[at]) != record["adv_sha256"]:
                    yield f"{who}: the stored adversarial was altered"
                if not bool(feasible[at]):
                    yield f"{who}: the adversarial breaks the constraints"
                if not bool(hits[at]):
                    yield f"{who}: the adversarial does not fool the target"
                if bool(stored[at]) != record["stored_success"]:
                    yield f"{who}: the file in {place.name}/files was judged otherwise"

    def _file(self, stage: Stage, place: Path, row: int) -> Any:
        found = list((place / "files").glob(f"{row:04d}.*"))
        if not found:
            raise RunError(f"record {row}: its file is missing", where=str(place))
        return stage.kind.read(found[0])


def digest_of(value: object) -> str:
    """SHA-256 of plain data."""
    import hashlib

    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _slot(row: int) -> str:
    return f"{row:04d}"


def _finite(value: Tensor | float) -> float | None:
    number = float(value)
    return number if abs(number) < float("inf") else None


def _rate(rate: Rate) -> dict[str, Any]:
    low, high = rate.interval
    return {
        "hits": rate.hits,
        "total": rate.total,
        "value": rate.value if rate.total else None,
        "low": low,
        "high": high,
    }


def _worsen(worst: dict[tuple[int, int], tuple[str, bool]], who: tuple[int, int], status: str, hit: bool) -> None:
    """Keep the worst that any attack did to an example; a judged one counts before an error."""
    before = worst.get(who)
    void = (Status.ERROR, Status.INFEASIBLE)
    if before is None or (hit and not before[1]) or (before[0] in void and status not in void):
        worst[who] = (status if not hit or status == Status.ALREADY_WRONG else Status.FOOLED, hit)


def _masked(attacks: list[dict[str, Any]]) -> tuple[alarms.Alarm, ...]:
    """Whether a weaker access or a single step found more than the gradient attacks did (law 9)."""
    found = []
    fixed = [one for one in attacks if one["keeps"] == "hit"]
    strong = [one for one in fixed if one["access"] == "gradient"]
    weak = [one for one in fixed if one["access"] != "gradient"]
    for other in weak:
        for level, point in enumerate(other["curve"]):
            rival = min((one["curve"][level]["robust"]["value"] for one in strong), default=None)
            if rival is not None and point["robust"]["value"] is not None and point["robust"]["value"] < rival - 0.002:
                message = f"{other['label']}, which sees no gradients, leaves {point['robust']['value']:.1%} at eps {point['eps']:g} where gradient attacks leave {rival:.1%}: gradients are masked"
                found.append(alarms.Alarm("black_box_wins", alarms.Trust.SUSPECT, message))
                break
    return tuple(found)


class _located:
    """Give an error that names no line of the spec the one it comes from."""

    def __init__(self, spec: Spec, *path: str | int) -> None:
        self.spec, self.path = spec, path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SpecError) or error is None or isinstance(error, (KeyboardInterrupt, SystemExit)):
            return
        where = self.spec.where(*self.path)
        if isinstance(error, MmadvError):
            raise SpecError(
                error.what, where=f"{where} ({error.where})" if error.where else where, fix=error.fix
            ) from error
        if isinstance(error, (ImportError, AttributeError)) and self.path[-1] in ("target", "data"):
            raise SpecError(
                f"the factory cannot be imported: {error}",
                where=where,
                fix="name it package.module:function, and install the package",
            ) from error
        if isinstance(error, TypeError) and self.path[-1] in ("target", "data"):
            raise SpecError(f"the factory refuses its args: {error}", where=where, fix="mend args:") from error
