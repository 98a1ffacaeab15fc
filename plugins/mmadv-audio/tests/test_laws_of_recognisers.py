"""What the laws ask of attacks on victims that answer transcripts: counts, rows, scales, statuses and replay, on a small recogniser."""

import pytest
import torch
from torch import nn

import mmadv
from mmadv.errors import ParameterError
from mmadv_audio import Waves
from mmadv_audio.attacks.universal import fitted, led
from mmadv_audio.recognisers import CTCTarget
from mmadv_audio.space import WaveSpace
from mmadv_audio.transcripts import labels_of, word_error_rate

RATE = 16_000
SYMBOLS = ["", "a", "b", "c", " "]
LENGTHS = (400, 320, 400, 240)


class Frames(nn.Module):
    """Frames of 40 samples, each heard by itself; its sums know nothing of other rows.

    Args:
        scale: of the scores.
        shift: of the scores.
    """

    def __init__(self, scale=1.0, shift=0.0):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.register_buffer("weight", torch.randn(len(SYMBOLS), 40, generator=generator))
        self.scale, self.shift, self.rows = scale, shift, 0
        self.eval()

    def forward(self, samples):
        self.rows += len(samples)
        frames = samples.unfold(1, 40, 40).unsqueeze(2)
        return self.shift + self.scale * (frames * self.get_buffer("weight")).sum(3)


def recogniser(**words):
    return CTCTarget(Frames(**words), vocabulary=SYMBOLS, frames=lambda length: length // 40)


@pytest.fixture(scope="module")
def x():
    generator = torch.Generator().manual_seed(0)
    return Waves.of([0.1 * torch.randn(size, generator=generator) for size in LENGTHS], RATE)


ATTACKS = {
    "audio.noise": {"snr": 5, "steps": 3},
    "audio.fgsm": {"snr": 15},
    "audio.pgd": {"snr": 20, "steps": 5},
    "audio.cw": {"snr": 5, "steps": 16, "lr": 0.02},
    "audio.imperceptible": {"snr": 10, "steps": 8, "lr": 0.01},
    "audio.kenansville": {"snr": 5},
    "audio.nes": {"snr": 10, "steps": 5, "samples": 6},
    "audio.universal": {"snr": 5, "perturbation": 0.05 * torch.sin(torch.arange(97.0))},
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_laws_hold_on_transcripts(x, attack):
    texts = recogniser().texts(x)
    claimed = [*texts[:3], "a b c"]  # the last is wrong already

    def run(index, **words):
        victim = recogniser(**words)
        part = Waves.of([x[row] for row in index], RATE)
        y = [claimed[row] for row in index]
        found = mmadv.attack(victim, part, y, attack, wer=0.3, ids=[7 * row for row in index], **ATTACKS[attack])
        assert victim.module.rows == found.forwards + found.checks  # law 2: counted by the victim itself
        return found

    whole = run(range(4))
    # Law 7: each status is earned.
    assert str(whole.status[3]) == "already_wrong"
    assert whole.queries[3] == 1
    heard = recogniser().texts(whole.adv)
    rates = torch.tensor([word_error_rate(right, text) for right, text in zip(claimed, heard, strict=True)])
    within = WaveSpace("snr", 10 ** (-ATTACKS[attack]["snr"] / 20)).around(x).feasible(whole.adv)
    assert torch.equal(whole.success[:3], ((rates >= 0.3) & within)[:3])
    assert whole.success[:3].any()
    # Laws 4 and 11: a row is what it is whatever stands beside it, and again.
    for index in ([2], [3, 1], [3, 2, 1, 0]):
        part = run(index)
        for at, row in enumerate(index):
            assert torch.equal(part.adv[at], whole.adv[row])
            for name in ("score", "distance", "queries", "gradients", "status"):
                assert getattr(part, name)[at] == getattr(whole, name)[row]
    # Law 5: another scale or offset of the scores makes no victim robust.
    for words in ({"scale": 100.0}, {"shift": 1000.0}):
        assert int(run(range(4), **words).success.sum()) >= int(whole.success.sum())


class Steered(nn.Module):
    """Hears "a" in whatever is loud enough, and the less the higher the mean of what comes first."""

    def forward(self, samples):
        voice = 100 * samples.unfold(1, 40, 40).abs().mean(2)
        quiet = 3 + 200 * samples[:, :80].mean(1, keepdim=True).expand_as(voice)
        return torch.stack([quiet, voice], 2)


def test_one_prefix_mutes_recordings_that_it_was_not_fitted_to(x):
    victim = CTCTarget(Steered().eval(), vocabulary=["", "a"], frames=lambda length: length // 40)
    spoken = led(x, 80 / RATE)
    assert victim.texts(spoken) == ["a"] * 4
    threat = mmadv.ThreatModel(WaveSpace("linf", 0.05), goal=mmadv.Targeted())
    silent = labels_of([""] * 2)
    problem = mmadv.Problem(victim, threat, spoken[:2], labels_of(["a"] * 2), torch.arange(2), silent)
    prefix, ledger = fitted(problem, samples=80, eps=0.05, repeat=False, steps=8)
    assert ledger.forwards == 2 * 9
    words = {"norm": "linf", "eps": 0.05, "targets": [""] * 2, "repeat": False}
    muted = mmadv.attack(victim, spoken[2:], ["a"] * 2, "audio.universal", perturbation=prefix, **words)
    assert muted.success.all()
    assert muted.stored_success.all()
    assert victim.texts(muted.adv) == ["", ""]
    noise = 0.05 * torch.randn(80, generator=torch.Generator().manual_seed(1)).sign()
    assert not mmadv.attack(victim, spoken[2:], ["a"] * 2, "audio.universal", perturbation=noise, **words).success.any()
    for odd in ({"samples": 0}, {"eps": -1.0}, {"eps": float("nan")}, {"steps": 2.5}, {"lr": 0}):
        with pytest.raises(ParameterError, match=f"{next(iter(odd))} is"):
            fitted(problem, **{"samples": 80, "eps": 0.05, **odd})


def test_nes_hears_its_own_iterate(x):
    """What only the iterate reaches, none of the samples around it, is a success at once."""
    sent = []

    class Listening(CTCTarget):
        def likelihood(self, rows):
            sent.append(rows.samples)
            return super().likelihood(rows)

    victim = Listening(Frames(), vocabulary=SYMBOLS, frames=lambda length: length // 40)
    mmadv.attack(victim, x[:1], victim.texts(x[:1]), "audio.nes", snr=30, wer=9.0, steps=2, samples=4, sigma=0.01)
    asked = [part for part in sent if len(part) == 5]
    assert len(asked) == 2
    assert torch.equal(asked[0][0], x[0])
    assert not torch.equal(asked[1][0], x[0])
