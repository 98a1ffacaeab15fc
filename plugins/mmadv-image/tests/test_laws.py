"""Every attack on images, whoever brings it, against every law."""

from mmadv.catalog import Catalog
from mmadv.host import default_host
from mmadv.testing import LAWS, conformance

# Another library's attacks are as strong as it made them: their plugin's own tests hold them to the other laws.
FOREIGN = [name for name in Catalog(default_host()).attacks("image") if name.startswith("foolbox.")]

# Noise promises no strength: it is the baseline.
test_laws = conformance(
    "image",
    without=["image.noise", *FOREIGN],
    settings={
        "image.apgd": [{}, {"loss": "dlr_targeted"}],
        "image.pgd": [{}, {"restarts": 3}],
        "image.suite": [{"ascent": 10, "squares": 40}],
    },
)
test_noise = conformance(
    "image", attacks=["image.noise"], laws=[law for law in LAWS if law not in ("strong", "edges", "shift_and_scale")]
)
