"""Every attack on series, whoever brings it, against every law."""

from mmadv.testing import LAWS, conformance

test_laws = conformance("series", without=["series.noise"], settings={"series.pgd": [{}, {"restarts": 3}]})
# Noise promises no strength: it is the baseline.
test_noise = conformance(
    "series", attacks=["series.noise"], laws=[law for law in LAWS if law not in ("strong", "edges", "shift_and_scale")]
)
