"""The audio modality: what the core asks of waveforms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mmadv import Goal, Targeted, Untargeted, rows
from mmadv.data import strings
from mmadv.errors import ParameterError
from mmadv_audio import channels, space, transcripts
from mmadv_audio.constraints import Band
from mmadv_audio.goals import WordErrors
from mmadv_audio.waves import Waves

if TYPE_CHECKING:
    from mmadv_audio.kit import AudioKit
    from mmadv_audio.source import AudioSource
    from mmadv_audio.space import WaveSpace


FAINTEST = -1000.0
"""dB of signal to noise; what is below is refused as this is, and would overflow."""


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
        norm: str | None = None,
        eps: float = float("inf"),
        snr: float | None = None,
        band: Sequence[float] | None = None,
    ) -> space.WaveSpace:
        """The space of a user's words.

        Args:
            norm: `linf` if not given, `l2`, `snr` or `masking`.
            eps: the radius in that norm's unit.
            snr: at least so many dB of signal to noise, in place of norm and eps.
            band: (low, high) in Hz.

        Raises:
            ParameterError: snr beside another norm or eps, a band that is not two numbers.
        """
        if snr is not None:
            if norm not in (None, "snr") or eps != float("inf"):
                raise ParameterError("snr is given beside norm or eps", where="snr", fix="give snr alone")
            if isinstance(snr, bool) or not isinstance(snr, Real):
                raise ParameterError(f"snr is {snr!r}", where="snr", fix="give dB as a number, such as 25")
            norm, eps = "snr", 10 ** (-max(float(snr), FAINTEST) / 20)
        return space.WaveSpace(norm or "linf", eps, None if band is None else Band.of(band))

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
        texts = strings(y)
        return y if texts is None else transcripts.labels_of(texts)

    def said(self, label: int) -> str | None:
        return transcripts.known(label)

    def inputs(self, x: Any) -> Waves:
        return space.checked(x)

    def stored(self, rows: Waves) -> Waves:
        return channels.int16(rows)

    def channels(self, waves: Waves) -> dict[str, Waves]:
        return channels.every(waves)

    def source(
        self,
        *,
        path: str | Path,
        audio_column: str | None = None,
        transcript_column: str | None = None,
        label_column: str | None = None,
        rate: int | None = None,
        classes: Sequence[str] | None = None,
        target: Any = None,
        space: WaveSpace | None = None,
        limit: int | None = None,
    ) -> AudioSource:
        from mmadv_audio.source import AudioSource

        return AudioSource(
            path, audio_column=audio_column, transcript_column=transcript_column, label_column=label_column, rate=rate,
            classes=classes, target=target, space=space, limit=limit,
        )  # fmt: skip

    def write(self, row: Waves, path: Path) -> Path:
        return channels.write_wav(row, path.with_suffix(".wav"))

    def read(self, path: Path) -> Waves:
        return channels.read_file(path)

    def pack(self, row: Waves) -> Tensor:
        """(3 + T,) the sample rate to the base of 256, which every dtype holds exactly, and the samples."""
        digits = [row.rate >> 16, row.rate >> 8 & 255, row.rate & 255]
        return torch.cat([torch.tensor(digits, dtype=row.samples.dtype), row[0]])

    def unpack(self, packed: Sequence[Tensor]) -> Waves:
        digits = [[int(digit) for digit in one[:3]] for one in packed]
        rates = [high << 16 | middle << 8 | low for high, middle, low in digits]
        return rows.join([Waves.of([one[3:]], rate) for one, rate in zip(packed, rates, strict=True)])

    def scale(self, space: WaveSpace, distance: float, x: Waves) -> str:
        """A distance in dB: beside the signal, beside full scale, or beside what can just be heard.

        Example:
            >>> audio, x = Audio(), Waves.of([torch.zeros(100)], 8000)
            >>> [audio.scale(audio.space(norm=norm), 0.01, x) for norm in ("snr", "linf", "l2", "masking")]
            ['40 dB SNR', 'peak −40 dBFS', 'RMS −60 dBFS', '40 dB below the masking threshold']
        """
        if distance <= 0:
            return "silence"
        level = 20 * math.log10(distance)
        if space.norm == "snr":
            return f"{-level:.3g} dB SNR".replace("-", "−")
        if space.norm == "masking":
            return f"{abs(level):.3g} dB {'above' if level > 0 else 'below'} the masking threshold"
        if space.norm == "l2":
            return f"RMS {level - 10 * math.log10(max(int(x.length[0]), 1)):.3g} dBFS".replace("-", "−")
        return f"peak {level:.3g} dBFS".replace("-", "−")

    def figures(self, x: Waves, adv: Waves, caption: tuple[str, str]) -> str:
        from mmadv_audio.figures import example

        return example(x, adv, caption)
