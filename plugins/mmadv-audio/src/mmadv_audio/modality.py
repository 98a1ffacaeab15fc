"""The audio modality: what the core asks of waveforms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mmadv import Goal, Targeted, Untargeted, rows
from mmadv.errors import ParameterError
from mmadv_audio import channels, space, transcripts
from mmadv_audio.constraints import Band
from mmadv_audio.goals import WordErrors
from mmadv_audio.waves import Waves

if TYPE_CHECKING:
    from mmadv_audio.kit import AudioKit
    from mmadv_audio.source import AudioSource


class Audio:
    """Waveforms (B, T) of different lengths in [−1, 1].

    Example:
        >>> round(Audio().space(snr=20).eps, 3)
        0.1
    """

    name: ClassVar[str] = "audio"
    unit: ClassVar[str] = "norm of samples"
    continuous: ClassVar[bool] = True

    @property
    def kit(self) -> AudioKit:
        from mmadv_audio.kit import AudioKit

        return AudioKit()

    def space(
        self,
        *,
        norm: str = "linf",
        eps: float = float("inf"),
        snr: float | None = None,
        band: Sequence[float] | None = None,
    ) -> space.WaveSpace:
        """The space of a user's words.

        Args:
            norm: `linf`, `l2`, `snr` or `masking`.
            eps: the radius in that norm's unit.
            snr: at least so many dB of signal to noise, in place of norm and eps.
            band: (low, high) in Hz.

        Raises:
            ParameterError: snr beside norm or eps.
        """
        if snr is not None:
            if norm not in ("linf", "snr") or eps != float("inf"):
                raise ParameterError("snr is given beside norm or eps", where="snr", fix="give snr alone")
            norm, eps = "snr", 10 ** (-snr / 20)
        return space.WaveSpace(norm, eps, None if band is None else Band(*band))

    def goal(self, targeted: bool, /, *, wer: float | None = None) -> Goal:
        """Another class or transcript, a certain one, or with `wer` a word error rate of at least that.

        Raises:
            ParameterError: wer with a targeted goal.
        """
        if wer is None:
            return Targeted() if targeted else Untargeted()
        if targeted:
            raise ParameterError("wer is given beside targets", where="wer", fix="give one of the two")
        return WordErrors(wer)

    def labels(self, y: Any) -> Any:
        """Transcripts as labels; numbers as they are."""
        if isinstance(y, str):
            return transcripts.label_of(y)
        if isinstance(y, Sequence) and y and all(isinstance(one, str) for one in y):
            return transcripts.labels_of(list(y))
        return y

    def said(self, label: int) -> str | None:
        return transcripts.known(label)

    def inputs(self, x: Any) -> Waves:
        return space.checked(x)

    def stored(self, rows: Waves) -> Waves:
        return channels.int16(rows)

    def channels(self, waves: Waves) -> dict[str, Waves]:
        return channels.every(waves)

    def source(self, **words: Any) -> AudioSource:
        from mmadv_audio.source import source

        return source(**words)

    def write(self, row: Waves, path: Path) -> Path:
        return channels.write_wav(row, path.with_suffix(".wav"))

    def read(self, path: Path) -> Waves:
        return channels.read_file(path)

    def pack(self, row: Waves) -> Tensor:
        return torch.cat([torch.tensor([row.rate], dtype=row.samples.dtype), row[0]])

    def unpack(self, packed: Sequence[Tensor]) -> Waves:
        return rows.join([Waves.of([one[1:]], int(one[0])) for one in packed])

    def figures(self, x: Waves, adv: Waves, caption: tuple[str, str]) -> str:
        from mmadv_audio.figures import example

        return example(x, adv, caption)
