"""Every attack on texts, whoever brings it, against every law."""

from mmadv.testing import conformance
from mmadv_text.kit import TextKit

test_laws = conformance("text", without=["text.exhaustive"])
test_small = conformance(
    "text", attacks=["text.exhaustive"], kit=TextKit(length=7, needed=2), settings={"text.exhaustive": [{"chunk": 4}]}
)
