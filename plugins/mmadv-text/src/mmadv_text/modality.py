"""The text modality: what the core asks of texts."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mmadv import assets
from mmadv import rows as row_axis
from mmadv.errors import ParameterError, RunError, nearest
from mmadv_text import space as text_space
from mmadv_text.candidates import Candidate, Source
from mmadv_text.constraints import Editable, Similarity
from mmadv_text.texts import ARTICLE, Lattice, Texts
from mmadv_text.words import Words

if TYPE_CHECKING:
    from mmadv import Target, ThreatModel
    from mmadv_text.source import TextSource

PRESETS: dict[str, dict[str, float]] = {
    "strict": {"eps": 0.15, "similarity": 0.9},
    "loose": {"eps": 0.4, "similarity": 0.7},
    "none": {},
}
"""Limits by name; a limit that is given itself goes before."""
SOURCES = {
    "wordnet": "mmadv_text.candidates.wordnet:WordNet",
    "characters": "mmadv_text.candidates.characters:Characters",
}
"""Candidate sources that need nothing from the user."""
ENCODER = "sentence-transformers/all-MiniLM-L6-v2"


class TextModality:
    """Texts, or pairs of texts whose second part is attacked.

    Example:
        >>> TextModality().space(preset="none", eps=0.2, candidates="characters").eps
        0.2
    """

    name: ClassVar[str] = "text"
    unit: ClassVar[str] = "share of words"
    continuous: ClassVar[bool] = False

    @property
    def kit(self) -> Any:
        """What the law checks need of texts."""
        from mmadv_text.kit import TextKit

        return TextKit()

    def space(
        self,
        *,
        preset: str = "loose",
        eps: float | None = None,
        words: int | None = None,
        candidates: str | Source = "wordnet",
        similarity: float | None = None,
        encoder: Any = None,
        edits: int | None = None,
        stop_words: bool = False,
        digits: bool = False,
        entities: bool = False,
        quoted: bool = False,
        markup: bool = False,
        articles: bool = True,
    ) -> text_space.TextSpace:
        """The space that a user's words describe.

        Args:
            preset: `strict`, `loose` or `none`: limits for what is not given.
            eps: the share of words that may be replaced.
            words: how many words may be replaced.
            candidates: `wordnet`, `characters`, a source, or a trusted `package.module:attribute`: a source, or a class or function
                without arguments that makes one.
            similarity: least cosine similarity to the original's embedding; −1 switches the check off.
            encoder: of sentences: a callable, a folder or hub name, or a trusted `package.module:attribute`: an encoder, or a class or
                function without arguments that makes one.
            edits: how many characters may change.
            stop_words, digits, entities, quoted, markup: whether such words may be replaced; see `Editable`.
            articles: repair a/an before a replacement.

        Raises:
            ParameterError: an unknown preset or source, a limit out of range, an encoder that nothing uses.
        """
        flags = {
            "stop_words": stop_words, "digits": digits, "entities": entities, "quoted": quoted, "markup": markup,
            "articles": articles,
        }  # fmt: skip
        for name, value in flags.items():
            if not isinstance(value, bool):
                raise ParameterError(f"{name} is {value!r}", where=name, fix="give true or false")
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ParameterError(f"unknown preset {preset!r}", where="preset", fix=nearest(str(preset), PRESETS))
        if eps is None:
            # Who limits the number of words or characters has said how much may change, if the preset says nothing.
            limited = words is not None or edits is not None
            eps = PRESETS[preset].get("eps", 1.0 if limited else float("inf"))
        least = PRESETS[preset].get("similarity") if similarity is None else similarity
        check = None if least is None or least == -1 else Similarity(*_encoder(encoder, least))
        if check is None and encoder is not None:
            raise ParameterError(
                "an encoder is given and no similarity is asked for",
                where="encoder",
                fix="give similarity=0.8, or leave it out",
            )
        editable = Editable(stop_words, digits, entities, quoted, markup)
        return text_space.TextSpace(_source(candidates), eps, words, editable, check, edits, articles)

    def pose(self, target: Target, threat: ThreatModel, x: Texts) -> tuple[Target, ThreatModel]:
        """The same target, and the threat model that knows what it reads of a text."""
        if hasattr(target, "seen") and isinstance(threat.space, text_space.TextSpace):
            threat = dataclasses.replace(threat, space=dataclasses.replace(threat.space, seen=target.seen))
        return target, threat

    def inputs(self, x: Any) -> Texts:
        return text_space.checked(x)

    def stored(self, rows: Texts) -> Texts:
        # As `write` and `read` have it, but for the description, which takes longer than a query; an audit judges files themselves.
        back = json.loads(json.dumps(rows.strings(), ensure_ascii=False).encode())
        return Texts.of([text if isinstance(text, str) else (text[0], text[1]) for text in back])

    def source(
        self,
        *,
        path: str | Path,
        text_column: str | None = None,
        label_column: str | None = None,
        pair_column: str | None = None,
        classes: Sequence[str] | None = None,
        target: Any = None,
        limit: int | None = None,
    ) -> TextSource:
        from mmadv_text.source import TextSource

        return TextSource(
            path, text_column=text_column, label_column=label_column, pair_column=pair_column, classes=classes,
            target=target, limit=limit,
        )  # fmt: skip

    def write(self, row: Texts, path: Path) -> Path:
        path = path.with_suffix(".json")
        path.write_bytes((json.dumps(described(row), ensure_ascii=False, indent=1) + "\n").encode())
        return path

    def read(self, path: Path) -> Texts:
        plain = json.loads(path.read_bytes())
        return Texts.of([plain["adversarial"] if plain["pair"] is None else (plain["pair"], plain["adversarial"])])

    def pack(self, row: Texts) -> Tensor:
        return torch.tensor(list(json.dumps(described(row), ensure_ascii=False).encode()), dtype=torch.uint8)

    def unpack(self, packed: Sequence[Tensor]) -> Texts:
        return row_axis.join([_restored(json.loads(bytes(one.tolist()).decode())) for one in packed])

    def scale(self, space: text_space.TextSpace, distance: float, x: Texts) -> str:
        """A distance in words of a hundred.

        Example:
            >>> TextModality().scale(TextModality().space(preset="none"), 0.1, Texts.of(["good"]))
            '10 % of the words'
        """
        return f"{100 * distance:.3g} % of the words"

    def figures(self, x: Texts, adv: Texts, caption: tuple[str, str]) -> str:
        from mmadv_text.figures import difference

        return difference(x, adv, caption)


def described(row: Texts) -> dict[str, Any]:
    """One example in full: original and adversarial text, and every place where they differ."""
    lattice, _ = row.lattice(0)
    changes = [{**vars(change), "span": list(lattice.words.spans[change.word])} for change in row.changes(0)]
    return {
        "original": lattice.words.text,
        "adversarial": row.texts()[0],
        "pair": lattice.pair,
        "words": len(lattice.words.spans),
        "substitutions": changes,
    }


def _restored(plain: dict[str, Any]) -> Texts:
    """The example that a description is of, as a lattice of its own substitutions.

    Raises:
        RunError: they don't make the recorded text.
    """
    # Which articles are repaired follows from what is replaced, so that one tells of all of them.
    articles = any(change["source"] == ARTICLE for change in plain["substitutions"])
    own = [change for change in plain["substitutions"] if change["source"] != ARTICLE]
    slots = tuple(change["word"] for change in own)
    options = tuple((Candidate(one["replacement"], one["source"], one["sense"]),) for one in own)
    texts = Texts.lattices([Lattice(Words.of(plain["original"]), slots, options, plain["pair"], articles)])
    texts.choice.fill_(1)
    if texts.texts() != [plain["adversarial"]]:
        raise RunError(
            "the stored substitutions don't make the stored text",
            where=f"text {plain['adversarial'][:60]!r}",
            fix="it was written by another version, or altered; run again",
        )
    return texts


def _source(candidates: str | Source) -> Source:
    if not isinstance(candidates, str):
        found = candidates
    elif candidates in SOURCES or ":" in candidates:
        found = _shared(SOURCES.get(candidates, candidates), "candidates", str(assets.cache_folder()))
    else:
        raise ParameterError(f"unknown source {candidates!r}", where="candidates", fix=nearest(candidates, SOURCES))
    if isinstance(found, type) or not isinstance(found, Source):
        raise ParameterError(
            f"candidates is a {type(found).__name__}",
            where="candidates",
            fix="give the name of a source, or an object like mmadv_text.candidates.Source",
        )
    return found


def _encoder(encoder: Any, least: float) -> tuple[Any, float, str]:
    name = getattr(encoder, "name", type(encoder).__name__)
    if encoder is None or isinstance(encoder, (str, Path)):
        name = str(encoder or ENCODER)
        place = name if ":" in name else "mmadv_text.encoder:SentenceEncoder"
        encoder = _shared(place, "encoder", str(assets.cache_folder()), *([] if ":" in name else [name]))
    if isinstance(encoder, type) or not callable(encoder):
        raise ParameterError(
            f"encoder is a {type(encoder).__name__}",
            where="encoder",
            fix="give a function of a list of texts, a folder or hub name, or package.module:attribute",
        )
    return encoder, least, name


@functools.cache
def _shared(place: str, where: str, folder: str, *given: str) -> Any:
    """What is named `package.module:attribute`, once for all spaces, so that what it knows of a text is kept.

    Args:
        place: its name; what can be called with `given` alone is called, and what asks for texts is the thing itself.
        where: the word that names it.
        folder: of the cache, whose assets it may hold.
        given: arguments.
    """
    try:
        found = resolve_name(place)
    except (ImportError, AttributeError, ValueError) as error:
        raise ParameterError(
            f"{place!r} cannot be imported: {error}", where=where, fix="name it package.module:attribute"
        ) from error
    if callable(found):
        asked = [
            one for one in inspect.signature(found).parameters.values()
            if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        ]  # fmt: skip
        if len(asked) == len(given):
            return found(*given)
    return found
