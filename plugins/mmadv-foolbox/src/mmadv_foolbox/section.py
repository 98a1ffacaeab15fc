"""The report's section on foolbox: which of its own answers were corrected, and how."""

from __future__ import annotations

from typing import Any

from mmadv.report import tables
from mmadv.runs import RunInfo

MARGIN = 1e-4
"""By which share our distance must be less than foolbox's to count as one that foolbox had seen and not returned."""


def section(run: RunInfo) -> str:
    """HTML of a table for all campaigns of a run that foolbox took part in; nothing where it didn't."""
    rows = []
    for campaign in tables.campaigns(run, "image"):
        for attack in campaign["attacks"]:
            if not attack["name"].startswith("foolbox."):
                continue
            found = [
                one for one in tables.records(run, campaign, attack) if "foolbox finished" in (one["measures"] or {})
            ]
            kinds = [corrections(one) for one in found]
            finished = sum(one["measures"]["foolbox finished"] == 1 for one in found)
            cells = [
                len(found),
                finished,
                *(sum(kind in one for one in kinds) for kind in KINDS),
                sum(map(bool, kinds)),
            ]
            rows.append((attack["label"], campaign["name"], [str(cell) for cell in cells]))
    return tables.table(
        "Which of foolbox's own answers were corrected. A run of foolbox is ended where a fixed-ε attack is first seen to succeed or "
        "the budget is spent; it then gave no answer of its own. Each example counts at every ε it was attacked at.",
        ["attacked", "foolbox answered", *KINDS, "corrected"],
        rows,
    )


KINDS = (
    "success that isn't one",
    "success lost in storage",
    "success denied",
    "nearer one seen",
)
"""What can be wrong with foolbox's answer, as `corrections` names it."""


def corrections(record: dict[str, Any]) -> list[str]:
    """What our record of an example says otherwise than foolbox did.

    Example:
        >>> said = {"foolbox finished": 1.0, "foolbox success": 1.0, "foolbox distance": 0.3}
        >>> corrections({"success": False, "stored_success": False, "distance": None, "measures": said})
        ["success that isn't one"]
        >>> corrections({"success": True, "stored_success": True, "distance": 0.2, "measures": said})
        ['nearer one seen']
    """
    said = record["measures"]
    if said.get("foolbox finished") != 1:
        return []
    claimed = said["foolbox success"] == 1
    if not record["success"]:
        return [KINDS[0]] if claimed else []
    found = [] if claimed else [KINDS[2]]
    if claimed and not record["stored_success"]:
        found.append(KINDS[1])
    if claimed and record["distance"] is not None and record["distance"] < said["foolbox distance"] * (1 - MARGIN):
        found.append(KINDS[3])
    return found
