"""Every attack on inputs of several parts, whoever brings it, against every law."""

from mmadv.testing import LAWS, conformance

# Noise promises no strength: it is the baseline.
test_laws = conformance("joint", without=["joint.noise"], settings={"joint.pgd": [{}, {"restarts": 3}]})
test_noise = conformance(
    "joint", attacks=["joint.noise"], laws=[law for law in LAWS if law not in ("strong", "edges", "shift_and_scale")]
)
