"""The constraints of text space: which words may be touched, how near the meaning must stay, how many characters may change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import regex
import torch
from torch import Tensor

from mmadv.errors import ParameterError, TargetError
from mmadv_text import language
from mmadv_text.texts import Lattice, Texts
from mmadv_text.words import Words

QUOTED = regex.compile(r"“[^”]*”|\"[^\"]*\"|«[^»]*»")
"""What stands in quotation marks; apostrophes are too often something else."""

Encoder = Callable[[list[str]], Tensor]
"""Texts to embeddings (B, D)."""


@dataclass(frozen=True)
class Editable:
    """Which words may be replaced; what is off by default changes what a text says, not how it says it.

    Args:
        stop_words: the, of, not …
        digits: words with a digit in them.
        entities: names: words tagged as proper nouns.
        quoted: words in quotation marks.

    Example:
        >>> Editable(stop_words=True, entities=True).of([Words.of('He said "no" 3 times')])
        [[True, True, False, False, True]]
    """

    stop_words: bool = False
    digits: bool = False
    entities: bool = False
    quoted: bool = False

    def of(self, texts: Sequence[Words]) -> list[list[bool]]:
        """For each word of each text, whether it may be replaced."""
        stopped = frozenset() if self.stop_words else language.stop_words()
        return [self._of(words, stopped) for words in texts]

    def _of(self, words: Words, stopped: frozenset[str]) -> list[bool]:
        if self.stop_words and self.digits and self.entities and self.quoted:
            return [True] * len(words.spans)
        quotes = [] if self.quoted else [match.span() for match in QUOTED.finditer(words.text)]
        tags = [""] * len(words.words) if self.entities else language.tag(words.words)
        return [
            word.lower().replace("’", "'") not in stopped
            and (self.digits or not any(char.isdigit() for char in word))
            and not tag.startswith("NNP")
            and not any(start <= span[0] < end for start, end in quotes)
            for word, tag, span in zip(words.words, tags, words.spans, strict=True)
        ]


@dataclass(frozen=True)
class Similarity:
    """Cosine similarity of sentence embeddings, always to the original text, however short.

    Args:
        encoder: texts to embeddings (B, D).
        least: the threshold.
        name: of the encoder, for records.

    Raises:
        ParameterError: a threshold outside [−1, 1].

    Example:
        >>> lengths = Similarity(lambda texts: torch.tensor([[float(len(text)), 1.0] for text in texts]), 0.9)
        >>> lengths.near([("four", "fours"), ("four", "")])
        tensor([ True, False])
    """

    encoder: Encoder
    least: float
    name: str = ""
    _known: OrderedDict[str, Tensor] = field(default_factory=OrderedDict, repr=False, compare=False)

    LARGEST = 50_000
    """Embeddings that are kept, so that no text is encoded twice."""

    def __post_init__(self) -> None:
        if not -1 <= self.least <= 1:
            raise ParameterError(
                f"similarity is {self.least!r}", where="similarity", fix="give a cosine between -1 and 1, such as 0.8"
            )

    def near(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """(B,) bool: whether (original, adversarial) texts are near enough.

        Raises:
            TargetError: the encoder answers NaN or inf, which would pass for robustness.
        """
        found = self.of(pairs)
        if not bool(torch.isfinite(found).all()):
            raise TargetError(
                "the encoder's answer is not finite",
                where=f"encoder, text {pairs[int((~torch.isfinite(found)).nonzero()[0, 0])][1][:60]!r}",
                fix="give an encoder that returns finite vectors for every text",
            )
        return found >= self.least

    def of(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """(B,) cosines of (original, adversarial) texts."""
        if not pairs:
            return torch.zeros(0)
        self._encode([text for pair in pairs for text in pair])
        one, other = (torch.stack([self._known[pair[side]] for pair in pairs]) for side in (0, 1))
        return (one * other).sum(1)

    def _encode(self, texts: Sequence[str]) -> None:
        new = sorted({text for text in texts if text not in self._known}, key=len)
        for start in range(0, len(new), 64):  # of like length, so that little is padded
            part = new[start : start + 64]
            with torch.no_grad():
                found = torch.as_tensor(self.encoder(part)).detach().float().cpu()
            if found.dim() != 2 or len(found) != len(part):
                raise TargetError(
                    f"the encoder answered shape {tuple(found.shape)} to {len(part)} texts",
                    where="similarity",
                    fix="return one embedding for each text, (B, D)",
                )
            self._known.update(zip(part, torch.nn.functional.normalize(found, dim=1), strict=True))
        for text in texts:
            self._known.move_to_end(text)
        while len(self._known) > self.LARGEST + len(texts):
            self._known.popitem(last=False)


def distances(book: Sequence[Lattice], slots: int) -> Tensor:
    """(A, S, C) int64: the Levenshtein distance of each choice from the original word; 0 for the word itself and padding."""
    from rapidfuzz.distance import Levenshtein

    most = 1 + max((len(options) for lattice in book for options in lattice.options), default=0)
    found = torch.zeros(len(book), slots, most, dtype=torch.int64)
    for row, lattice in enumerate(book):
        for slot, options in enumerate(lattice.options):
            word = lattice.words.words[lattice.slots[slot]]
            found[row, slot, 1 : 1 + len(options)] = torch.tensor(
                [Levenshtein.distance(word, one.text) for one in options]
            )
    return found


@dataclass(frozen=True)
class WordShare:
    """At most a share of words replaced, re-stated for who composes constraints.

    Args:
        eps: the share.

    Example:
        >>> x = Texts.of(["a good film"])
        >>> WordShare(0.5).feasible(x, x)
        tensor([True])
    """

    eps: float

    def distance(self, adv: Texts, x: Texts) -> Tensor:
        """(A,) the share of words replaced."""
        changed = [sum(change.source != "article" for change in adv.changes(row)) for row in range(len(adv))]
        length = [max(len(adv.lattice(row)[0].words.spans), 1) for row in range(len(adv))]
        return torch.tensor(changed) / torch.tensor(length)

    def feasible(self, adv: Texts, x: Texts) -> Tensor:
        """(A,) bool."""
        same = torch.tensor([adv.lattice(row)[0].words.text == x.lattice(row)[0].words.text for row in range(len(x))])
        return same & (self.distance(adv, x) <= self.eps + 1e-9)
