"""Every attack on waveforms, whoever brings it, against every law."""

import torch

from mmadv.testing import LAWS, conformance
from mmadv_audio.kit import AudioKit, FaintKit, OneWayKit

BLIND = ["audio.kenansville", "audio.universal"]

# The kit’s distances are those of full-scale noise, a hundred times those of speech.
test_laws = conformance("audio", without=[*BLIND, "audio.noise"], settings={"audio.cw": [{"lr": 0.01}]})
# Noise promises no strength, and `edges` asks for some: it is the baseline.
test_noise = conformance("audio", attacks=["audio.noise"], laws=[law for law in LAWS if law not in ("strong", "edges")])
test_faint = conformance("audio", attacks=["audio.kenansville"], kit=FaintKit())


def towards_class_one(norm: str) -> torch.Tensor:
    """Louder than any radius allows, in the direction in which every row of the kit is fooled."""
    slope = AudioKit().duel({"norm": norm}).victim.victim.weight[:2].detach()
    step = slope[1] - slope[0]
    return step.sign() if norm == "linf" else 10 * step


test_universal_linf = conformance(
    "audio",
    attacks=["audio.universal"],
    kit=OneWayKit(norms=("linf",)),
    settings={"audio.universal": [{"perturbation": towards_class_one("linf"), "repeat": False}]},
)
test_universal = conformance(
    "audio",
    attacks=["audio.universal"],
    kit=OneWayKit(norms=("l2", "snr")),
    settings={"audio.universal": [{"perturbation": towards_class_one("l2"), "repeat": False}]},
)
