"""The constraints of text space: which words may be touched, how near the meaning must stay, how many characters may change."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import regex
import torch
from torch import Tensor

from mmadv.errors import AssetError, ParameterError, TargetError
from mmadv_text import language, lexicon
from mmadv_text.encoder import identity
from mmadv_text.texts import ARTICLE, Change, Lattice, Texts
from mmadv_text.words import NUMBER, Words

QUOTED = regex.compile(r"“[^”]*”|(?<!\d)\"[^\"]*\"|«[^»]*»|‘(?:[^‘’]|’(?=\p{L}))*’(?!\p{L})|``(?:[^'`]|'(?!'))*''")
"""What stands in quotation marks, LaTeX's and curly single ones too; straight apostrophes are too often something else, and so
are marks after a digit, which are inches."""

MARKUP = regex.compile(
    r"""
    </?[a-z][^<>]*> | <![^<>]*> | &(?:\#\w+|[a-z]\w*);      # HTML: tags, comments, entities
  | (?<![a-z0-9+.\-])(?:[a-z][a-z0-9+.\-]*+://|www\.)\S+    # addresses
  | (?<![\w.\-])[\w\-]++(?:\.[\w\-]++)*+(?<=\.(?:com|org|net|edu|gov|io|info|co\.uk))(?:/\S*)?
  | (?<![\w.+\-])[\w.+\-]++@[\w\-]++(?:\.[\w\-]++)*+        # e-mail
  | (?<![\w&])[@\#]\w+                                      # handles and tags
    """,
    regex.VERBOSE | regex.IGNORECASE,
)
"""What is read by machines: a word changed in there breaks it, or makes it another's."""

Encoder = Callable[[list[str]], Tensor]
"""Texts to embeddings (B, D)."""


@dataclass(frozen=True)
class Editable:
    """Which words may be replaced; what is off by default changes what a text says, not how it says it.

    Args:
        stop_words: the, of, and negations, however they are spelt: not, never, cannot, isn’t, dont, do n't, w/o …
        digits: words with a digit in them.
        entities: names: words tagged as proper nouns, and those that capitals make names (`language.named`).
        quoted: words in quotation marks.
        markup: words in HTML tags, entities, addresses of the web and of e-mail, @handles and #tags.

    Example:
        >>> Editable(stop_words=True, entities=True).of([Words.of('He said "no" 3 times')])
        [[True, True, False, False, True]]
    """

    stop_words: bool = False
    digits: bool = False
    entities: bool = False
    quoted: bool = False
    markup: bool = False

    def fingerprint(self) -> str:
        """All that decides it, for records."""
        listed = "" if self.stop_words else hashlib.sha256(" ".join(sorted(lexicon.stop_words())).encode()).hexdigest()
        with _or_entities(self.entities):
            return f"{self} 2, stop words {listed[:16]}, tagger {'' if self.entities else lexicon.tagger_name()}"

    def of(self, texts: Sequence[Words]) -> list[list[bool]]:
        """For each word of each text, whether it may be replaced."""
        stopped = frozenset() if self.stop_words else lexicon.stop_words()
        return [self._of(words, stopped) for words in texts]

    def admits(self, replacement: str) -> bool:
        """Whether a replacement may be offered: no negation, not even as a typing error, where stop words stay."""
        return self.stop_words or not language.negates(replacement)

    def _of(self, words: Words, stopped: frozenset[str]) -> list[bool]:
        found = [True] * len(words.words)
        if stopped:
            negated = language.negated(words)
            found = [
                language.plain(word) not in stopped and not negates
                for word, negates in zip(words.words, negated, strict=True)
            ]
        if not self.digits:
            found = [open_ and not NUMBER.search(word) for open_, word in zip(found, words.words, strict=True)]
        if not self.entities:
            with _or_entities(self.entities):
                tags, names = language.tag(words.words), language.named(words)
            found = [
                open_ and not name and not tag.startswith("NNP")
                for open_, tag, name in zip(found, tags, names, strict=True)
            ]
        kept = [pattern for pattern, open_ in ((QUOTED, self.quoted), (MARKUP, self.markup)) if not open_]
        if closed := [match.span() for pattern in kept for match in pattern.finditer(words.text)]:
            found = [
                open_ and not any(start < span[1] and span[0] < end for start, end in closed)
                for open_, span in zip(found, words.spans, strict=True)
            ]
        return found


@contextmanager
def _or_entities(entities: bool) -> Iterator[None]:
    """Errors of the language data that names are told by say the way without."""
    try:
        yield
    except AssetError as error:
        raise (
            error
            if entities
            else AssetError(
                error.what,
                where=error.where,
                fix=f"{error.fix}; or entities=True, which opens names and needs no tagger",
            )
        ) from error


@dataclass(frozen=True)
class Similarity:
    """Cosine similarity of sentence embeddings, always to the original text, however short.

    Args:
        encoder: texts to embeddings (B, D).
        least: the threshold.
        name: of the encoder, for records.

    Raises:
        ParameterError: a threshold that is no number of [−1, 1].

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
        if isinstance(self.least, bool) or not isinstance(self.least, (int, float)) or not -1 <= self.least <= 1:
            raise ParameterError(
                f"similarity is {self.least!r}", where="similarity", fix="give a cosine between -1 and 1, such as 0.8"
            )

    def near(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """(B,) bool: whether (original, adversarial) texts are near enough.

        Raises:
            TargetError: as `of`.
        """
        return self.of(pairs) >= self.least

    def of(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """(B,) cosines of (original, adversarial) texts; 1 for a text and itself.

        Raises:
            TargetError: the encoder answers another shape, NaN or inf, or a vector without direction, any of which would pass
                for robustness.
        """
        found = torch.ones(len(pairs))
        row = [number for number, (one, other) in enumerate(pairs) if one != other]
        if row:
            self._encode([text for number in row for text in pairs[number]])
            one, other = (torch.stack([self._known[pairs[number][side]] for number in row]) for side in (0, 1))
            found[row] = (one * other).sum(1)
        return found

    def unread(self, texts: Sequence[str]) -> list[int]:
        """Characters of each text that the encoder doesn't read, as far as it tells."""
        told = getattr(self.encoder, "unread", None)
        return [0] * len(texts) if told is None else told(list(texts))

    def fingerprint(self) -> str:
        """All that decides it, for records."""
        return f"similarity >= {self.least} by {self.name or 'a function'}, {identity(self.encoder)}"

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
            size = found.norm(dim=1)
            odd = ~torch.isfinite(size) | (size == 0)
            if bool(odd.any()):
                row = int(odd.nonzero()[0, 0])
                raise TargetError(
                    f"the encoder's answer {'has no direction: it is 0' if float(size[row]) == 0 else 'is not finite'}",
                    where=f"encoder, text {part[row][:60]!r}",
                    fix="give an encoder that returns finite vectors, not 0, for every text, or similarity=-1",
                )
            self._known.update(zip(part, torch.nn.functional.normalize(found, dim=1), strict=True))
        for text in texts:
            self._known.move_to_end(text)
        while len(self._known) > self.LARGEST + len(texts):
            self._known.popitem(last=False)


def distances(book: Sequence[Lattice], slots: int) -> Tensor:
    """(A, S, C) int64: characters that each choice by itself changes, a repaired a/an among them; 0 for the original word."""
    most = 1 + max((len(options) for lattice in book for options in lattice.options), default=0)
    found = torch.zeros(len(book), slots, most, dtype=torch.int64)
    for row, lattice in enumerate(book):
        for slot, options in enumerate(lattice.options):
            found[row, slot, 1 : 1 + len(options)] = torch.tensor(
                [edited(lattice.changes({slot: option})) for option in range(1, 1 + len(options))]
            )
    return found


def edited(changes: Sequence[Change]) -> int:
    """The Levenshtein distances of the replaced words, added up."""
    from rapidfuzz.distance import Levenshtein

    return sum(Levenshtein.distance(change.original, change.replacement) for change in changes)


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
        changed = [sum(change.source != ARTICLE for change in adv.changes(row)) for row in range(len(adv))]
        length = [max(len(adv.lattice(row)[0].words.spans), 1) for row in range(len(adv))]
        return torch.tensor(changed) / torch.tensor(length)

    def feasible(self, adv: Texts, x: Texts) -> Tensor:
        """(A,) bool."""
        same = torch.tensor([adv.lattice(row)[0].words.text == x.lattice(row)[0].words.text for row in range(len(x))])
        return same & (self.distance(adv, x) <= self.eps + 1e-9)
