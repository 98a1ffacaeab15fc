"""Verifying a run: every recorded success is judged once more from what is on disk, and the summary is drawn once more (law 11)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mmadv import api, rows
from mmadv.audit import Audit, Progress
from mmadv.errors import RunError
from mmadv.runs import broken_files
from mmadv.source import digest
from mmadv.stage import Stage, Unit
from mmadv.summary import altered

OTHERWISE = {
    "targets": "give the model that was audited, or where it is trained and cached, the cache of the run (MMADV_CACHE)",
    "data": "give the data that were audited, in the same order",
    "spaces": "give the models and word lists that decided what was feasible",
}
"""What to do where a fact of a run is another one now."""


def verify(audit: Audit, progress: Progress | None = None) -> Iterator[str]:
    """Judge every recorded success once more from what is on disk.

    Args:
        audit: of a run folder.
        progress: told about each shard.

    Yields:
        One line for each thing that is not as recorded, naming the record.
    """
    before, now = audit.folder.manifest(), audit.facts(progress)
    for fact in ("targets", "data", "spaces"):
        for name, value in now[fact].items():  # type: ignore[attr-defined]
            if before.get(fact, {}).get(name) != value:
                yield f"{name}: the {fact} are not those of the run; {OTHERWISE[fact]}"
    for name, error in audit.missing.items():
        if name in before.get("targets", {}):
            yield f"{name}: can't be judged again here: {error.what}"
    units = audit.units()
    for done, unit in enumerate(units):
        stage, place = audit.stages[unit.campaign], audit.place(unit)
        name = str(place.relative_to(audit.folder.path / "shards"))
        if progress is not None:
            progress(done, len(units), name)
        if not place.exists():
            yield f"{name}: this shard is missing; run the audit again"
            continue
        yield from (f"{name}: {file} changed after it was written" for file in broken_files(place))
        try:
            yield from _judge_again(audit, unit, stage, place, name)
        except RunError as error:
            yield f"{name}: {error.what}"
    if all(audit.place(unit).exists() for unit in units):
        try:
            yield from altered(audit, audit.summary())
        except RunError as error:
            yield f"{error.what} ({error.where})"


def _judge_again(audit: Audit, unit: Unit, stage: Stage, place: Path, name: str) -> Iterator[str]:
    records, examples = audit.records(place), stage.examples(unit.shard)
    entry, label = stage.campaign.attacks[unit.attack], stage.campaign.label(unit.attack)
    hashes = stage.digests(examples.x)
    for record in records:
        if hashes[record["row"]] != record["x_sha256"]:
            yield f"{name}: record {record['row']} ({record['key']}): the clean input is not the one attacked"
    own = [r for r in records if r["success"] and r["origin"] == label and r["origin_eps"] == r["eps"]]
    for eps in dict.fromkeys(r["eps"] for r in own):
        level = None if eps is None else stage.levels.index(eps)
        advs, part = audit.adversarials(place, level), [r for r in own if r["eps"] == eps]
        missing = [r for r in part if r["row"] not in advs]
        yield from (f"{name}: record {r['row']} ({r['key']}): its adversarial is missing" for r in missing)
        part = [r for r in part if r["row"] in advs]
        if not part:
            continue
        index = torch.tensor([r["row"] for r in part])
        problem = stage.problem(examples, eps, entry)
        packed = [advs[r["row"]] for r in part]
        adv = stage.kind.unpack(packed)
        region = problem.threat.space.around(rows.detached(rows.take(examples.x, index), torch.device("cpu")))
        feasible = region.feasible(adv)
        hits, _ = api.judge(problem, adv, index)
        read = rows.join([_file(stage, place, r["row"], level) for r in part])
        stored, _ = api.judge(problem, read, index)
        for at, record in enumerate(part):
            who = f"{name}: record {record['row']} ({record['key']})"
            if digest(packed[at]) != record["adv_sha256"]:
                yield f"{who}: the stored adversarial was altered"
            if not bool(feasible[at]):
                yield f"{who}: the adversarial breaks the constraints"
            if not bool(hits[at]):
                yield f"{who}: the adversarial does not fool the target"
            if bool(stored[at]) != record["stored_success"]:
                yield f"{who}: the file in {place.name}/files was judged otherwise"


def _file(stage: Stage, place: Path, row: int, level: int | None) -> Any:
    found = [file for name in (f"{row:04d}-{level}", f"{row:04d}") for file in (place / "files").glob(f"{name}.*")]
    if not found:
        raise RunError(f"record {row}: its file is missing", where=str(place))
    return stage.kind.read(found[0])
