"""Every attack on images, whoever brings it, against every law."""

from mmadv.testing import conformance

test_laws = conformance(
    "image", settings={"image.apgd": [{}, {"loss": "dlr_targeted"}], "image.pgd": [{}, {"restarts": 3}]}
)
