"""What a run found on texts, as CSV or JSON lines for people to read and for anybody to score again."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from mmadv.audit import Audit
from mmadv.errors import RunError
from mmadv.stage import Unit
from mmadv_text.modality import TextModality, described

COLUMNS = (
    "campaign", "attack", "eps", "key", "label", "decision", "status", "success", "stored_success", "queries", "origin", "origin_eps",
    "original", "adversarial", "pair", "words", "substitutions", "measures",
)  # fmt: skip

RECORDED = (
    "eps", "key", "decision", "status", "success", "stored_success", "queries", "origin", "origin_eps", "measures",
)  # fmt: skip
"""Columns that stand in the records as they are."""


def rows(audit: Audit) -> Iterator[dict[str, Any]]:
    """Every record of the text campaigns of a run, with its texts.

    Args:
        audit: of a run folder.

    Yields:
        One dict a record; `substitutions` and `measures` are plain data. Every success has its `adversarial`, whichever attack and ε
        (`origin`, `origin_eps`) it was found by; elsewhere it is None.
    """
    for number, stage in enumerate(audit.stages):
        shards = audit.folder.path / "shards" / stage.campaign.name
        if not isinstance(stage.kind, TextModality) or not shards.exists():  # one that was left out has no data to open
            continue
        labels = [stage.campaign.label(attack) for attack in range(len(stage.attacks))]
        for attack, label in enumerate(labels):
            for shard in range(stage.shards):
                place = audit.place(Unit(number, attack, shard))
                if not place.exists():
                    continue
                x = stage.examples(shard).x
                advs: dict[str, dict[int, Tensor]] = {}  # by the attack that found them: in a cascade one before this
                for record in audit.records(place):
                    row = x[record["row"] : record["row"] + 1]
                    if found := record["success"]:
                        origin = record["origin"]
                        if origin not in advs:
                            advs[origin] = audit.adversarials(audit.place(Unit(number, labels.index(origin), shard)))
                        row = stage.kind.unpack([advs[origin][record["row"]]])
                    text = described(row)
                    yield {
                        "campaign": stage.campaign.name, "attack": label, "label": record["y"],
                        **{name: record[name] for name in RECORDED},
                        **{name: text[name] for name in ("original", "pair", "words", "substitutions")},
                        "adversarial": text["adversarial"] if found else None,
                    }  # fmt: skip


def write(audit: Audit, out: Path) -> int:
    """Write all records to a `.csv` or `.jsonl` file, and say how many there are.

    Args:
        audit: of a run folder.
        out: the file.

    Raises:
        RunError: a run without texts, another suffix, or a file that can't be written.
    """
    if not any(isinstance(stage.kind, TextModality) for stage in audit.stages):
        raise RunError("the run has no campaign on texts", where=str(audit.folder.path), fix="name the run of one")
    if out.suffix not in (".csv", ".jsonl"):
        raise RunError(f"{out.suffix or 'no suffix'} is no known format", where=str(out), fix="name it .csv or .jsonl")
    hidden = out.with_name(f".{out.name}.new")
    count = 0
    try:
        with hidden.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            if out.suffix == ".csv":
                table.writeheader()
            for row in rows(audit):
                count += 1
                if out.suffix == ".csv":
                    plain = {name: json.dumps(row[name], ensure_ascii=False) for name in ("substitutions", "measures")}
                    table.writerow({**row, **plain})
                else:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        hidden.replace(out)
    except OSError as error:
        hidden.unlink(missing_ok=True)
        raise RunError(
            f"it can't be written: {error.strerror}", where=str(out), fix="name a file in a folder of yours"
        ) from error
    return count
