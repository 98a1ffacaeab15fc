"""What plugins' sections share: the records of a run, and tables of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow.parquet as pq
from markupsafe import Markup

from mmadv.ledger import Status
from mmadv.runs import RunInfo

Record = dict[str, Any]


def campaigns(run: RunInfo, modality: str) -> list[dict[str, Any]]:
    """The summaries of a run's campaigns of one modality."""
    summary = json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))
    return [campaign for campaign in summary["campaigns"] if campaign["modality"] == modality]


def records(run: RunInfo, campaign: dict[str, Any], attack: dict[str, Any]) -> list[Record]:
    """All records of an attack; `shard` says which shard each stands in."""
    folder = run.folder / "shards" / campaign["name"] / attack["label"]
    return [
        {**record, "shard": file.parent.name}
        for file in sorted(folder.glob("*/records.parquet"))
        for record in pq.read_table(file).to_pylist(maps_as_pydicts="strict")
    ]


def own_successes(found: Iterable[Record], label: str) -> list[Record]:
    """Successes as the attack of this label found them first, each example once."""
    known: dict[tuple[str, int], Record] = {}
    for record in found:
        if record["success"] and record["origin"] == label and record["origin_eps"] == record["eps"]:
            known.setdefault((record["shard"], record["row"]), record)
    return list(known.values())


def attacked(found: Iterable[Record]) -> int:
    """How many examples count: those that were fooled or held."""
    return len({(one["shard"], one["row"]) for one in found if one["status"] in (Status.FOOLED, Status.ROBUST)})


def table(
    caption: str, columns: Sequence[str], rows: Sequence[tuple[str, str, Sequence[str]]], first: str = "Attack"
) -> Markup:
    """A table whose rows are a name, a smaller note below it, and a cell for each column; nothing where there are no rows."""
    if not rows:
        return Markup("")
    join = Markup("").join
    head = join(Markup('<th scope="col" class="number">{}</th>').format(name) for name in columns)
    body = join(
        Markup('<tr><th scope="row" class="name">{}<small>{}</small></th>{}</tr>').format(
            name, note, join(Markup('<td class="number">{}</td>').format(cell) for cell in cells)
        )
        for name, note, cells in rows
    )
    return Markup(
        '<p class="note">{}</p><div class="scroll"><table><thead><tr><th scope="col">{}</th>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(caption, first, head, body)


def share(found: Sequence[Record], total: int, holds: Callable[[Record], bool]) -> str:
    """The share of `total` that the records which hold are.

    Example:
        >>> share([{"queries": 3}, {"queries": 30}], 4, lambda record: record["queries"] < 10)
        '25 %'
    """
    return f"{100 * sum(map(holds, found)) / total:.0f} %" if total else "–"
