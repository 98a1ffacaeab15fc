"""Transcripts as labels: to a recogniser every text is a class, named by a hash of its normalised words.

A class number is the same in every process, and each process knows the texts that it has met. So goals, ledgers and
records hold transcripts as they hold classes, and `Targeted` is exact transcription.
"""

from __future__ import annotations

import hashlib
import unicodedata

import jiwer
import torch
from torch import Tensor

from mmadv.errors import InputError

_KNOWN: dict[int, str] = {}
"""Texts by label. Only ever added to, and the same label always means the same text."""


def normalised(text: str) -> str:
    """The one normalisation of reference and hypothesis: lower case, letters with their marks, digits and apostrophes, single spaces.

    What Unicode calls compatible is one spelling (NFKC): ligatures, full-width letters, accents as parts of a letter or behind it.

    Example:
        >>> normalised(" Don't stop -- NOW! ")
        "don't stop now"
        >>> normalised("cafe\u0301") == normalised("caf\u00e9")
        True
    """
    lower = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower()).replace("’", "'")
    kept = "".join(sign if sign == "'" or unicodedata.category(sign)[0] in "LNM" else " " for sign in lower)
    return " ".join(word for word in kept.split() if word.strip("'"))


def label_of(text: str) -> int:
    """The label of a transcript.

    Example:
        >>> label_of("Open the door.") == label_of("open the door")
        True
    """
    words = normalised(text)
    label = int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big") >> 1
    _KNOWN[label] = words
    return label


def labels_of(texts: list[str]) -> Tensor:
    """(B,) int64 labels of transcripts."""
    return torch.tensor([label_of(text) for text in texts], dtype=torch.int64)


def text_of(label: int) -> str:
    """The normalised transcript that a label stands for.

    Raises:
        InputError: a label that this process has not met, such as a class number.
    """
    if label not in _KNOWN:
        raise InputError(
            f"the label {label} is no transcript", where="y", fix="give transcripts as strings, one for each waveform"
        )
    return _KNOWN[label]


def known(label: int) -> str | None:
    """The transcript of a label, or None for a label that is none."""
    return _KNOWN.get(label)


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Word errors by the number of reference words; above 1 where many are inserted.

    An empty reference has a rate of 0 if nothing was heard, and else as many as words were heard.

    Example:
        >>> word_error_rate("open the door", "open a door now")
        0.6666666666666666
    """
    return _rate(reference, hypothesis, jiwer.wer)


def character_error_rate(reference: str, hypothesis: str) -> float:
    """As `word_error_rate`, in characters."""
    return _rate(reference, hypothesis, jiwer.cer)


def _rate(reference: str, hypothesis: str, rate: object) -> float:
    reference, hypothesis = normalised(reference), normalised(hypothesis)
    if not reference:
        return float(len(hypothesis.split() if rate is jiwer.wer else hypothesis))
    return float(rate(reference, hypothesis))  # type: ignore[operator]
