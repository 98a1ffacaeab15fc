"""Every attack on observations against every law."""

from mmadv.testing import LAWS, conformance

# Noise promises no strength: it is the baseline.
test_laws = conformance("rl", without=["rl.random"])
test_noise = conformance(
    "rl", attacks=["rl.random"], laws=[law for law in LAWS if law not in ("strong", "edges", "shift_and_scale")]
)
