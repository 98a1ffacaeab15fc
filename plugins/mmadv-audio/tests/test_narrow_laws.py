"""The laws under psychoacoustic masking and in bands of frequencies, judged by NumPy."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import mmadv
from mmadv.testing import LAWS, conformance
from mmadv_audio.kit import RATE, AudioKit

_SPEC = importlib.util.spec_from_file_location("masking_judge", Path(__file__).with_name("masking_reference.py"))
reference = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(reference)
BAND = (1000.0, 6000.0)


@dataclass(frozen=True)
class NarrowKit(AudioKit):
    """Masking and bands, judged by NumPy alone: where the nearest adversarial lies nobody knows, so that strength is not on trial.

    Nothing succeeds nearer than without a band, nor by what is a little louder than the masking threshold.
    """

    norms: tuple[str, ...] = ("masking", "linf", "snr")  # snr is L2 with a radius of its own for each row
    rows: int = 4

    def settings(self):
        return [{"norm": norm} if norm == "masking" else {"norm": norm, "band": list(BAND)} for norm in self.norms]

    def duel(self, words):
        return self._reaching(super().duel(_unmasked(words)), words, 1.0, 1.0)

    def crowd(self, words):
        return self._reaching(super().crowd(_unmasked(words)), words, 10.0, 2.0)

    def corners(self, words):
        return self._reaching(super().corners(_unmasked(words)), words, 100.0, 3.0)

    def _reaching(self, stage, words, ratio, share):
        return stage._replace(radius=ratio if words["norm"] == "masking" else share * stage.radius)

    def distance(self, adv, x, words):
        if words["norm"] != "masking":
            inside = torch.tensor([_within(other - clean) for clean, other in zip(x, adv, strict=True)])
            return super().distance(adv, x, words).where(inside, torch.inf)
        return torch.tensor([_over(clean, other) for clean, other in zip(x, adv, strict=True)], dtype=torch.float64)

    def rounding(self, words):
        # Rounding of full-scale samples, beside the threshold of hearing in the quietest bin.
        return 0.1 if words["norm"] == "masking" else super().rounding(words)


def _unmasked(words):
    return {"norm": "l2" if words["norm"] == "masking" else words["norm"]}


def _within(delta):
    """Whether a perturbation has no frequencies but those of the band."""
    spectrum = np.fft.rfft(delta.double().numpy())
    hertz = np.fft.rfftfreq(len(delta), 1 / RATE)
    spectrum[(hertz >= BAND[0]) & (hertz <= BAND[1])] = 0
    return bool(np.sqrt(np.square(np.fft.irfft(spectrum, len(delta))).mean()) < 1e-6)


def _over(clean, other):
    """The largest ratio of amplitudes between a perturbation and the masking threshold."""
    clean, delta = clean.double().numpy(), (other.double() - clean.double()).numpy()
    if not delta.any():
        return 0.0
    threshold, peak = reference.threshold(clean, RATE)
    return float(np.sqrt((10**9.6 / peak * 10 ** (reference.psd(delta) / 10) / threshold.T).max()))


BOUND_BY = [law for law in LAWS if law not in ("strong", "edges", "shift_and_scale", "no_false_comfort")]
test_narrow = conformance(
    "audio",
    without=["audio.kenansville", "audio.nes", "audio.noise", "audio.universal"],
    kit=NarrowKit(),
    laws=BOUND_BY,
)
# Its steps are many and small, and all attacks go through the same projections.
test_narrow_from_scores = conformance(
    "audio",
    attacks=["audio.nes"],
    kit=NarrowKit(norms=("masking",)),
    settings={"audio.nes": [{"samples": 4}]},
    laws=BOUND_BY,
)


def test_masking_and_bands_do_bind():
    """Of the stages above, about half of the rows are fooled: the laws judge what the constraints let through, and what not."""
    kit = NarrowKit()
    for words in kit.settings():
        stage = kit.crowd(words)
        result = mmadv.attack(stage.victim, stage.x, stage.y, "audio.pgd", eps=stage.radius, steps=20, **words)
        free = mmadv.attack(stage.victim, stage.x, stage.y, "audio.pgd", eps=10 * stage.radius, steps=20, **words)
        assert 0 < int(result.success.sum()) < len(stage.y)
        assert bool(free.success.all())
