"""Every attack on texts, whoever brings it, against every law."""

from mmadv.testing import conformance
from mmadv_text.kit import Letters, TextKit

test_laws = conformance("text", without=["text.exhaustive"])
LIMITS = {"similarity": 0.0, "encoder": Letters(), "edits": 96, "words": 24}
"""Looser than the texts are long, so that the nearest adversarial stays where it is known to be."""
test_limited_pairs = conformance(
    "text", attacks=["text.greedy", "text.genetic"], kit=TextKit(paired=True, further=LIMITS),
    laws=["feasible", "counted", "independent", "honest", "stored", "replayable"],
)  # fmt: skip
test_small = conformance(
    "text", attacks=["text.exhaustive"], kit=TextKit(length=7, needed=2), settings={"text.exhaustive": [{"chunk": 4}]}
)
