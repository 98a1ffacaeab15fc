"""Every attack on images, whoever brings it, against every law."""

from mmadv.testing import LAWS, conformance

# Noise promises no strength: it is the baseline.
test_laws = conformance(
    "image",
    without=["image.noise"],
    settings={"image.apgd": [{}, {"loss": "dlr_targeted"}], "image.pgd": [{}, {"restarts": 3}]},
)
test_noise = conformance(
    "image", attacks=["image.noise"], laws=[law for law in LAWS if law not in ("strong", "edges", "shift_and_scale")]
)
