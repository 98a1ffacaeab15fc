"""Recognisers that answer by chance: passes judged one by one, a stream of draws for each row, and the alarm."""

import pytest
import torch
from torch import nn

import mmadv
from mmadv.errors import ParameterError
from mmadv_audio import Waves
from mmadv_audio.goals import WordErrors
from mmadv_audio.recognisers import CTCTarget
from mmadv_audio.target import FunctionTarget
from mmadv_audio.transcripts import labels_of
from mmadv_audio.transforms import Played, rooms

RATE = 16_000
SYMBOLS = ["", "a", "b", "c", " "]


@pytest.fixture(scope="module")
def x():
    generator = torch.Generator().manual_seed(0)
    return Waves.of([0.1 * torch.randn(size, generator=generator) for size in (800, 640, 800, 520)], RATE)


class Frames(nn.Module):
    """A recogniser of frames of 40 samples, which counts the rows that it hears."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.head, self.rows = nn.Conv1d(1, len(SYMBOLS), 40, stride=40), 0
        self.eval()

    def forward(self, samples):
        self.rows += len(samples)
        return (self.head(samples.unsqueeze(1)) * 30).transpose(1, 2)


def recogniser(**words):
    return CTCTarget(Frames(), vocabulary=SYMBOLS, **words)


def told(*heard):
    """A recogniser that says these transcripts in turn."""
    turn = iter(heard * 100)
    return FunctionTarget(lambda waves: [next(turn) for _ in waves], output="label")


@pytest.mark.parametrize(
    ("words", "heard", "status"),
    [
        ({}, ["open the door", "a", "open the door", "b", "c"], "already_wrong"),  # most often right, in 2 of 5 passes
        ({}, ["open the door", "open the door", "open the door", "a", "b"], "robust"),
        ({"wer": 0.5}, ["open the door", "open a door now"], "robust"),  # a mean of 1/3
        ({"wer": 0.5}, ["open the door", "shut up you"], "already_wrong"),
        ({"wer": 0.5}, ["open the door", "open the door", "a b c d e f"], "already_wrong"),  # one pass of 200 %
    ],
)
def test_passes_of_a_recogniser_are_judged_one_by_one(x, words, heard, status):
    victim = told(*heard)
    result = mmadv.attack(victim, x[:2], ["open the door"] * 2, "audio.noise", snr=20, eot=len(heard), **words)
    assert [str(one) for one in result.status] == [status] * 2


def test_a_success_is_one_in_at_least_half_of_the_passes(x):
    loud = FunctionTarget(
        lambda waves: [
            "yes" if abs(wave).max() < 1e-3 or row % 3 == 0 else f"no {row}" for row, wave in enumerate(waves)
        ],
        output="label",
    )
    quiet = Waves.of([torch.full((800,), 1e-4)], RATE)
    words = {"norm": "linf", "eps": 0.1, "modality": "audio"}
    result = mmadv.attack(loud, quiet, ["yes"], "audio.noise", eot=6, **words)
    assert result.success.all()
    assert result.stored_success.all()
    assert not mmadv.attack(loud, quiet, ["yes"], "audio.noise", eot=6, targets=["no 1"], **words).success.any()


def test_word_errors_of_passes_are_means():
    heard = labels_of(["a b", "a c", "c d", "a b"]).reshape(1, 2, 2)
    verdict = WordErrors(0.5)(heard, labels_of(["a b", "a b"]).reshape(1, 2))
    assert verdict.score.tolist() == [[0.25, 0.5]]
    assert verdict.hit.tolist() == [[False, True]]


def test_candidates_that_were_not_sent_have_no_transcript(x):
    result = mmadv.attack(recogniser(), x, recogniser().texts(x), "audio.nes", snr=30, wer=5.0, samples=4, queries=7)
    assert result.queries.tolist() == [7] * 4


@pytest.mark.parametrize("attack", ["audio.pgd", "audio.fgsm"])
def test_a_loss_that_a_recogniser_can_not_have_is_refused(x, attack):
    with pytest.raises(ParameterError, match="loss is 'margin', and Frames answers no scores"):
        mmadv.attack(recogniser(), x, recogniser().texts(x), attack, snr=30, loss="margin")


@pytest.mark.parametrize(
    "played",
    [Played(snr_db=(20, 20)), Played(rooms(4, RATE, reverberation=(0.01, 0.03)), gain_db=(-6, 6), snr_db=(10, 30))],
)
def test_what_a_row_sounds_like_depends_on_no_other(x, played):
    y = recogniser().texts(x)
    words = {"snr": 30, "wer": 5.0, "steps": 2, "eot": 2}

    def attacked(rows, **options):
        part = Waves.of([x[row] for row in rows], RATE)
        victim = recogniser(played=played)
        return mmadv.attack(victim, part, [y[row] for row in rows], "audio.pgd", ids=rows, **words, **options)

    whole = attacked([0, 1, 2, 3])
    for rows, options in (
        ([2], {}),
        ([3, 1], {}),
        ([0, 1, 2, 3], {"batch_size": 4}),
        ([3, 2, 1, 0], {"early_stop": False}),
    ):
        part = attacked(rows, **options)
        for at, row in enumerate(rows):
            assert torch.equal(part.adv[at], whole.adv[row])
            assert part.score[at] == whole.score[row]


def test_passes_sound_different_each(x):
    heard = []
    played = Played(snr_db=(0, 0))
    victim = FunctionTarget(lambda waves: heard.append(waves) or ["a"] * len(waves), output="label")
    victim.drawing = played.drawing
    victim._asked = lambda rows: victim.function(list(played(rows)))
    same = Waves.of([x[0], x[0]], RATE)
    mmadv.attack(victim, same, ["a", "a"], "audio.noise", snr=60, eot=2, steps=2)
    drawn = torch.cat([torch.stack(list(waves)) for waves in heard[3:]])  # after those that look for chance
    assert len(drawn) == 12
    assert len(torch.unique(drawn, dim=0)) == 12


@pytest.mark.parametrize(("played", "codes"), [(Played(snr_db=(60, 60)), ["randomised"]), (None, [])])
def test_chance_that_no_transcript_shows_is_told(x, played, codes):
    victim = recogniser(played=played)
    result = mmadv.attack(victim, x, recogniser().texts(x), "audio.pgd", snr=40, wer=5.0, steps=1)
    assert [alarm.code for alarm in result.alarms] == codes


def test_frames_are_learnt_from_the_answers_themselves(x):
    lengths = Waves.of([torch.rand(900 + 40 * row) for row in range(20)], RATE)
    victim = recogniser()
    victim.check(lengths, labels_of(["a b"] * 20))
    assert victim.module.rows == 1  # about the shortest
    victim(lengths)
    assert victim.module.rows == 1 + 20
    assert victim.frames(lengths.length).tolist() == [(900 + 40 * row) // 40 for row in range(20)]
    assert victim.module.rows == 21
