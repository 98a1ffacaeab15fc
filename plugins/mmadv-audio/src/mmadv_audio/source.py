"""Recordings with transcripts or classes, from a table or from a folder with one subfolder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import torch

from mmadv import Examples, rows
from mmadv.data import Table
from mmadv.errors import InputError, ParameterError
from mmadv_audio.channels import read_file, resampled
from mmadv_audio.recognisers import SpeechTarget
from mmadv_audio.space import WaveSpace
from mmadv_audio.transcripts import labels_of
from mmadv_audio.waves import FASTEST, Waves

SUFFIXES = {".wav", ".flac", ".ogg", ".mp3"}


class AudioSource:
    """Recordings of a table or a folder, decoded once when it is opened, to see that they can be, and again when they are asked for.

    Args:
        path: a table, a folder with a `metadata` table, or a folder with one subfolder for each class.
        audio_column: of a table: names of files relative to its folder, or the recordings themselves; a usual name if not given, as
            of all columns.
        transcript_column: what is said, for victims that answer transcripts.
        label_column: class numbers, or names that the victim or `classes` has, for victims that answer classes.
        rate: samples a second that recordings are resampled to; the victim's own if not given, or else 16,000.
        classes: names of the classes in the victim's order, where it doesn't tell them itself or the data have others.
        target: the victim.
        space: that recordings are attacked in.
        limit: how many examples are wanted.

    Attributes:
        skipped: recordings that are left out: broken, too long, of several channels, not there, outside of the folder, or such that
            the victim can't take them or never emit their transcript, or that the space has no limit for, as for silence.

    Raises:
        AssetError: no such file or folder, or nothing in it.
        InputError: a missing column, a label that is none of the classes.
        ParameterError: no sample rate, both transcripts and labels, or neither where both may be meant.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        audio_column: str | None = None,
        transcript_column: str | None = None,
        label_column: str | None = None,
        rate: int | None = None,
        classes: Sequence[str] | None = None,
        target: Any = None,
        space: WaveSpace | None = None,
        limit: int | None = None,
    ) -> None:
        self.rate = getattr(target, "rate", None) or 16_000 if rate is None else rate
        if isinstance(self.rate, bool) or not isinstance(self.rate, Integral) or not 1000 <= int(self.rate) <= FASTEST:
            raise ParameterError(
                f"rate is {self.rate!r}", where="data.rate", fix="give samples a second, such as 16000"
            )
        self._table = table = Table(path, role="audio", suffixes=SUFFIXES)
        self._column = table.column("audio", audio_column)
        table.keyed_by(self._column)
        self.labels: Sequence[str] | None = None
        if _transcribed(table, transcript_column, label_column, classes, target):
            texts = table.texts(table.column("transcript", transcript_column))
            labels = [None if text is None else int(labels_of([text])) for text in texts]
        else:
            labels, self.labels = table.classed(label_column, classes, target)

        def check(row: int) -> None:
            label = labels[row]
            if label is None:
                raise InputError("it has no transcript or label", where=table.where(row), fix="write one")
            wave = self._read(row)
            if not bool(torch.isfinite(wave.samples).all()) or float(wave.samples.abs().max()) > 1:
                raise InputError("its samples leave [-1, 1]", where=table.where(row), fix="scale the recording")
            if hasattr(target, "check"):
                target.check(wave, torch.tensor([label]))
            elif hasattr(target, "fitting"):
                target.fitting(wave)
            if space is not None:
                space.around(wave)

        self._rows = table.sift(check, limit)
        self.name, self.skipped = table.path.name, tuple(table.skipped)
        self._y = torch.tensor([labels[row] for row in self._rows], dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, start: int, stop: int) -> Examples:
        chosen = self._rows[start:stop]
        x = rows.join([self._read(row) for row in chosen])
        return Examples(x, self._y[start:stop], [self._table.key(row) for row in chosen])

    def _read(self, row: int) -> Waves:
        return resampled(read_file(self._table.sample(row, self._column)), self.rate)


def _transcribed(
    table: Table, transcript: str | None, label: str | None, classes: Sequence[str] | None, target: Any
) -> bool:
    """Whether what is right is a transcript: as the user says, as the victim answers, or as the columns are called.

    Raises:
        ParameterError: both, or neither and either may be meant.
    """
    if transcript is not None and (label is not None or classes is not None):
        raise ParameterError(
            "transcripts are given beside labels",
            where="data",
            fix="give transcript_column, or label_column and classes",
        )
    if transcript is not None or label is not None or classes is not None:
        return transcript is not None
    if isinstance(target, SpeechTarget) or getattr(target, "labels", None) is not None:
        return isinstance(target, SpeechTarget)
    if table.has("transcript") == table.has("label"):
        raise ParameterError(
            "it isn't clear whether the data have transcripts or labels",
            where=f"{table.path}: columns {', '.join(map(repr, table.columns))}",
            fix="give transcript_column, or label_column",
        )
    return table.has("transcript")
