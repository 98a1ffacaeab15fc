"""Text victims: callables on strings, torch modules over token ids, and `transformers` sequence classifiers."""

from __future__ import annotations

import functools
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from mmadv import Access, CallableTarget, ModuleTarget, Output, TargetClaim
from mmadv.errors import TargetError
from mmadv.target import UNREADABLE, pretrained, quiet
from mmadv_text.encoder import CutWarning, positions
from mmadv_text.texts import Text, Texts
from mmadv_text.words import WORD

PASS = 400
"""What a forward pass is taken to cost by itself, in tokens: more makes fewer, fuller batches with more padding."""

KEPT = 4_000_000
"""Characters of texts whose tokens are kept; of long texts, a run's candidates would fill the memory."""


class Tokens(NamedTuple):
    """One text as its tokens.

    Args:
        ids: of the tokens.
        spans: (start, end) of each in the attacked text, in characters; (0, 0) for what is not of it.
        segments: for a pair, which part each token is of.
        cut: characters of the text, or of both parts of a pair, that the victim doesn't see.
    """

    ids: list[int]
    spans: list[tuple[int, int]]
    segments: list[int] | None = None
    cut: int = 0


class Tokenizer(Protocol):
    """What turns strings into token ids.

    Attributes:
        pad: the id that shorter texts are filled up with.
        unknown: the word for unknown ones.
        size: how many ids there are.
    """

    pad: int
    unknown: str
    size: int

    def __call__(self, texts: Sequence[Text]) -> list[Tokens]:
        """The tokens of each text."""
        ...


class Vocabulary:
    """A word-level tokenizer: one id a word, lower-cased.

    Args:
        words: in the order of their ids, from 2 on; 0 is padding and 1 any other word.

    Example:
        >>> Vocabulary(["good", "film"])(["A good film"])[0].ids
        [1, 2, 3]
    """

    pad, unknown = 0, "[UNK]"

    def __init__(self, words: Sequence[str]) -> None:
        self._ids = {word: number for number, word in enumerate(words, 2)}
        self.size = len(words) + 2

    def __call__(self, texts: Sequence[Text]) -> list[Tokens]:
        found = []
        for text in texts:
            words = list(WORD.finditer(text if isinstance(text, str) else text[1]))
            ids = [self._ids.get(word[0].lower(), 1) for word in words]
            found.append(Tokens(ids or [1], [word.span() for word in words] or [(0, 0)]))
        return found


class PretrainedTokenizer:
    """A `transformers` tokenizer.

    Args:
        tokenizer: a fast one.
        limit: tokens that the victim reads at most.
        pad: what the model takes for padding, for tokenizers that have none of their own.

    Raises:
        TargetError: a tokenizer without offsets.
    """

    def __init__(self, tokenizer: Any, limit: int | None = None, pad: int | None = None) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise TargetError(
                f"the tokenizer {type(tokenizer).__name__} gives no offsets",
                where="tokenizer",
                fix="load it as a fast one, with use_fast=True",
            )
        self.tokenizer = tokenizer
        self.pad = next(one for one in (tokenizer.pad_token_id, pad, 0) if one is not None)
        self.unknown = tokenizer.unk_token or ""
        self.size = len(tokenizer)
        known = tokenizer.model_max_length if tokenizer.model_max_length < 1_000_000 else None
        self.limit = min(filter(None, (limit, known)), default=None)

    def describe(self) -> str:
        """All that decides its tokens but how the last call cut and padded."""
        stated = json.loads(self.tokenizer.backend_tokenizer.to_str())
        return json.dumps({name: value for name, value in stated.items() if name not in ("truncation", "padding")})

    def __call__(self, texts: Sequence[Text]) -> list[Tokens]:
        pairs = [text for text in texts if not isinstance(text, str)]
        if pairs and len(pairs) != len(texts):
            return [self([text])[0] for text in texts]
        cut: dict[str, Any] = {} if self.limit is None else {"truncation": True, "max_length": self.limit}
        given = ([a for a, _ in pairs], [b for _, b in pairs]) if pairs else ([str(text) for text in texts],)
        answer = self.tokenizer(*given, return_offsets_mapping=True, **cut)
        part = 1 if pairs else 0
        found = []
        for at, (ids, offsets) in enumerate(zip(answer["input_ids"], answer["offset_mapping"], strict=True)):
            sequence = answer.sequence_ids(at)
            spans = [span if part == of else (0, 0) for span, of in zip(offsets, sequence, strict=True)]
            segments = answer["token_type_ids"][at] if "token_type_ids" in answer else None
            unseen = 0
            if answer.encodings[at].overflowing:
                for number, texts_of in enumerate(given):  # from either end, as the tokenizer has it
                    seen = [
                        span for span, of in zip(offsets, sequence, strict=True) if of == number and span[1] > span[0]
                    ]
                    read = seen[-1][1] - seen[0][0] if seen else 0
                    unseen += max(len(texts_of[at].strip()) - read, 0)
            found.append(Tokens(ids, spans, segments, unseen))
        return found


class StringsTarget(CallableTarget):
    """Any function from a list of strings to class scores or labels.

    Args:
        function: called with N strings (or pairs of strings); gives (N, L) scores or (N,) labels.
        output: what the answers mean: `logits`, `log_probabilities`, `probabilities` or `label`.
        access: `score` by default, `decision` for labels.
        batch_size: texts in one call; None for all of them.
        name: for records.

    Example:
        >>> target = StringsTarget(lambda texts: [[len(text), 3.0] for text in texts])
        >>> target(Texts.of(["four"])).tolist()
        [[4.0, 3.0]]
    """

    unknown = "[UNK]"

    def __init__(
        self,
        function: Callable[[list[Any]], Any],
        *,
        name: str = "",
        output: str | Output = Output.LOGITS,
        access: str | Access | None = None,
        batch_size: int | str | None = None,
    ) -> None:
        super().__init__(function, name=name, output=output, access=access, batch_size=batch_size)
        self._blank: Tensor | None = None

    def __call__(self, x: Texts) -> Tensor:
        texts = x.strings(self.unknown)
        if not texts and self._blank is not None:
            return self._blank
        answer = self._numbers(self.function(texts))
        if self.output is not Output.LABEL and not answer.is_floating_point():
            answer = answer.float()
        self._blank = answer[:0]
        return answer

    def _numbers(self, answer: Any) -> Tensor:
        """What the function answered, as a tensor.

        Raises:
            TargetError: it is none.
        """
        try:
            found = torch.as_tensor(answer)
        except (TypeError, ValueError, RuntimeError) as error:
            first = f" of {type(answer[0]).__name__}" if isinstance(answer, (list, tuple)) and answer else ""
            raise TargetError(
                f"the victim's answer, a {type(answer).__name__}{first}, can't be read as numbers: {error}",
                where=self.name,
                fix="return one row of class scores for each text, equally many in each, or one class number with output='label'",
            ) from error
        if self.output is Output.LABEL and found.is_floating_point() and bool((found != found.round()).any()):
            raise TargetError(
                "the victim's labels are no whole numbers",
                where=self.name,
                fix="return class numbers, or scores and declare what they mean, as in output='probabilities'",
            )
        return found


def partition(lengths: Sequence[int], tokens: int) -> list[int]:
    """How many texts of ascending lengths go into each batch, so that padding and passes together cost least.

    Args:
        lengths: of the texts in tokens, ascending.
        tokens: of a batch, padding included, at most; a longer text is a batch of its own.

    Example:
        >>> partition([8] * 100 + [9] * 2 + [64] * 30, 3072)
        [102, 30]
    """
    groups = [(length, len(list(same))) for length, same in groupby(lengths)]
    # least[j]: of the first j groups, what they cost in tokens, and where their last stretch starts.
    least = [(0, 0)]
    for stop in range(1, len(groups) + 1):
        longest, count, ways = groups[stop - 1][0], 0, []
        for start in range(stop - 1, -1, -1):
            count += groups[start][1]
            passes = -(-count // max(1, tokens // max(1, longest)))
            ways.append((least[start][0] + count * longest + PASS * passes, start))
        least.append(min(ways))
    sizes: list[int] = []
    stop = len(groups)
    while stop:
        start = least[stop][1]
        count = sum(same for _, same in groups[start:stop])
        most = max(1, tokens // max(1, groups[stop - 1][0]))
        passes = -(-count // most)
        sizes += [count // passes + (number < count % passes) for number in range(passes)][::-1]
        stop = start
    return sizes[::-1]


class TokensTarget(ModuleTarget):
    """A `torch.nn.Module` over token ids (B, T), padded.

    Texts are sorted by length and cut into batches of like length, so that little is padded.

    Args:
        module: in eval mode, answers (B, L) to ids (B, T).
        tokenizer: strings to ids; what the module or a part of it has as `tokenizer` if not given.
        tokens: padded tokens in one forward pass, at most.
        embedding: the module whose output gradients are taken of; the first `nn.Embedding` if not given. Without one, no
            more than scores are granted.
        **options: of `mmadv.ModuleTarget`.

    Raises:
        TargetError: a tokenizer with more ids than the module has embeddings.
    """

    usual_batch: ClassVar[int | None] = None  # `tokens` keeps passes small, however many texts are asked about at once

    def __init__(
        self,
        module: nn.Module,
        *,
        tokenizer: Tokenizer | None = None,
        tokens: int = 3072,
        embedding: nn.Module | None = None,
        name: str = "",
        output: str | Output = Output.LOGITS,
        access: str | Access | None = None,
        device: str | torch.device | None = None,
        autocast: str | torch.dtype | None = None,
        compile: bool = False,
        batch_size: int | str | None = None,
        allow_training: bool = False,
    ) -> None:
        carried: Any = next((part.tokenizer for part in module.modules() if hasattr(part, "tokenizer")), None)
        tokenizer = tokenizer or carried
        if tokenizer is None:
            raise TargetError(
                "no tokenizer is given",
                where=name or type(module).__name__,
                fix="pass tokenizer=: what gives the token ids of strings, such as mmadv_text.target.Vocabulary(words)",
            )
        self.tokenizer: Tokenizer = tokenizer
        self.tokens = tokens
        found = (
            [part for part in module.modules() if isinstance(part, nn.Embedding)] if embedding is None else [embedding]
        )
        self.embedding: nn.Module | None = found[0] if found else None
        limit = getattr(self.embedding, "num_embeddings", None)
        if limit is not None and tokenizer.size > limit:
            raise TargetError(
                f"the tokenizer has {tokenizer.size} ids and the model {limit} embeddings",
                where=name or type(module).__name__,
                fix="use the tokenizer that the model was trained with",
            )
        super().__init__(
            module, name=name, output=output, access=access, device=device, autocast=autocast,
            compile=compile, batch_size=batch_size, allow_training=allow_training,
        )  # fmt: skip
        if self.embedding is None:
            self.access = min(self.access, Access.SCORE)
        self.unknown = tokenizer.unknown
        self._known: dict[Text, Tokens] = {}
        self._kept = 0  # characters of those
        self._blank: Tensor | None = None
        self._told = False

    def tokenized(self, texts: Sequence[Text]) -> list[Tokens]:
        """The tokens of each text; the tokenizer is asked once about each, as far as they are kept."""
        new = list({text: None for text in texts if text not in self._known})
        if new:
            self._known.update(zip(new, self.tokenizer(new), strict=True))
        found = [self._known[text] for text in texts]
        self._kept += sum(len(text) if isinstance(text, str) else len("".join(text)) for text in new)
        if self._kept > KEPT:
            self._known.clear()
            self._kept = 0
        cut = [row for row, one in enumerate(found) if one.cut]
        if cut and not self._told:
            self._told = True
            one, text = found[cut[0]], texts[cut[0]]
            warnings.warn(
                f"{self.name} reads {len(one.ids)} tokens at most: {len(cut)} of {len(texts)} texts are cut off, row {cut[0]} by "
                f"{one.cut} of {len(text if isinstance(text, str) else ''.join(text))} characters; what is left out is not seen, and "
                "changing it can't fool",
                CutWarning,
                stacklevel=2,
            )
        return found

    def seen(self, texts: Sequence[Text]) -> list[tuple[int, int, int]]:
        """What the module reads of each text: the first and last character that is in a token, and how many characters are cut off.

        Asked once a run, each of which warns of what is cut off.
        """
        self._told = False
        found = []
        for one in self.tokenized(texts):
            read = [span for span in one.spans if span[1] > span[0]] or [(0, 0)]
            found.append((read[0][0], read[-1][1], one.cut))
        return found

    @contextmanager
    def held(self) -> Iterator[None]:
        with super().held():
            try:
                yield
            finally:
                self._known.clear()
                self._kept = 0

    def fingerprint(self) -> str:
        own = self.tokenizer
        told = own.describe() if isinstance(own, PretrainedTokenizer) else repr(vars(own))
        words = f"{super().fingerprint()}|{told}|{getattr(own, 'limit', None)}|{own.pad}"
        return hashlib.sha256(words.encode()).hexdigest()

    def batches(self, found: Sequence[Tokens]) -> Iterator[list[int]]:
        """Numbers of texts of like length, together at most `tokens` when padded."""
        lengths = [len(one.ids) for one in found]
        order = sorted(range(len(found)), key=lengths.__getitem__)
        start = 0
        for size in partition(sorted(lengths), self.tokens):
            yield order[start : start + size]
            start += size

    def inputs(self, found: Sequence[Tokens]) -> dict[str, Tensor]:
        """The module's arguments for texts of one batch."""
        longest = max(len(one.ids) for one in found)
        pad = self.tokenizer.pad
        ids = torch.tensor([one.ids + [pad] * (longest - len(one.ids)) for one in found], device=self.device)
        return {"ids": ids}

    def ask(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The module's answer to one batch."""
        with torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            return self.read(self._call(inputs["ids"]))

    def __call__(self, x: Texts) -> Tensor:  # type: ignore[override]
        return self._answered(self.tokenized(x.strings(self.unknown)))[0]

    def _answered(self, found: Sequence[Tokens], traced: bool = False) -> tuple[Tensor, list[Tensor], list[list[int]]]:
        """(B, L) answers, and if traced, the embeddings of each batch, which gradients can be taken of."""
        if not found and self._blank is not None:
            return self._blank, [], []
        parts: list[Tensor] = []
        order: list[list[int]] = []
        leaves: list[Tensor] = []
        for batch in self.batches(found):
            inputs = self.inputs([found[row] for row in batch])
            with self._opened(leaves) if traced else nullcontext():
                parts.append(self.ask(inputs))
            order.append(batch)
        answer = torch.cat(parts)
        self._blank = answer[:0].detach()
        back = torch.tensor([row for batch in order for row in batch], device=answer.device).argsort()
        return answer[back], leaves, order

    @contextmanager
    def _opened(self, leaves: list[Tensor]) -> Iterator[None]:
        """While open, the embeddings of one pass are a leaf of the graph, and are noted.

        Where a decoder reads the same tokens one place later, as in BART and T5, it gets them from the same leaf, so that
        gradients tell of all that a word does.

        Raises:
            TargetError: the embedding is not asked, or about different tokens too.
        """
        first: list[Tensor] = []

        def cut(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> Tensor:
            ids = next(iter((*given, *named.values())))
            if not first:
                leaves.append(output.detach().requires_grad_())
                first.append(ids)
                return leaves[-1]
            if ids.shape == first[0].shape and torch.equal(ids[:, 1:], first[0][:, :-1]):
                return torch.cat([output[:, :1].detach(), leaves[-1][:, :-1]], 1)
            raise self._unclear("is asked twice in one pass, about different tokens")

        handles = [table.register_forward_hook(cut, with_kwargs=True) for table in self._tables()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        if not first:
            raise self._unclear("is not asked in a pass")

    def _tables(self) -> list[nn.Module]:
        """The embedding, and those that share its weights, one of which the module may ask in its place."""
        assert self.embedding is not None
        weight = getattr(self.embedding, "weight", None)
        tied = [part for part in self.module.modules() if isinstance(part, nn.Embedding) and part.weight is weight]
        return list({id(part): part for part in [self.embedding, *tied]}.values())

    def _unclear(self, what: str) -> TargetError:
        return TargetError(
            f"the embedding {type(self.embedding).__name__} {what}, so that no gradient can be taken of the words",
            where=self.name,
            fix="wrap the model in mmadv_text.target.TokensTarget with embedding= the module that reads the token ids, or use "
            "access='score' and an attack without gradients",
        )

    def traced(self, x: Texts) -> tuple[Tensor, list[Tensor], Callable[[Sequence[Tensor]], Tensor]]:
        """The answer, the embeddings it came from, and what makes of their gradients the first-order value of every substitution."""
        found = self.tokenized(x.strings(self.unknown))
        answer, leaves, order = self._answered(found, traced=True)

        def values(gradients: Sequence[Tensor]) -> Tensor:
            return self._values(x, found, [leaf.detach() for leaf in leaves], gradients, order)

        return answer, leaves, values

    def _values(
        self,
        x: Texts,
        found: Sequence[Tokens],
        leaves: Sequence[Tensor],
        gradients: Sequence[Tensor],
        order: Sequence[list[int]],
    ) -> Tensor:
        """(A, S, C): (embedding of the substitute − embedding of the word as it stands) · gradient, at the word's own tokens.

        Words of several tokens count by the mean of their embeddings.
        """
        book = [x.book[number] for number in x.number.tolist()]
        options = x.options
        slots = x.choice.shape[-1]
        words = sorted({one.text for lattice in book for own in lattice.options for one in own})
        place = {word: at for at, word in enumerate(words)}
        table = self._embedded(words)
        values = torch.zeros(len(book), slots, options, device=self.device, dtype=torch.float32)
        for batch, leaf, gradient in zip(order, leaves, gradients, strict=True):
            for at, row in enumerate(batch):
                lattice = book[row]
                if not lattice.slots:
                    continue
                member = self._membership(x, row, found[row], leaf.shape[1])
                pull = member @ gradient[at].float()  # (S', D)
                own = (member @ leaf[at].float()) / member.sum(1, keepdim=True).clamp_min(1)
                stay = (own * pull).sum(1)
                sizes = [len(own_options) for own_options in lattice.options]
                which = torch.tensor([place[one.text] for own_options in lattice.options for one in own_options])
                slot = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
                option = torch.cat([torch.arange(1, 1 + size) for size in sizes])
                which, slot, option = (index.to(self.device) for index in (which, slot, option))
                values[row, slot, option] = (table[which] * pull[slot]).sum(1) - stay[slot]
        return values

    def _membership(self, x: Texts, row: int, tokens: Tokens, length: int) -> Tensor:
        """(S', T) which tokens are of the word in each slot, as the text stands."""
        lattice, chosen = x.lattice(row)
        spans = lattice.places(chosen)
        member = torch.zeros(len(spans), length, device=self.device)
        at = 0
        for token, (start, stop) in enumerate(tokens.spans):
            if start == stop:
                continue
            while at < len(spans) and spans[at][1] <= start:
                at += 1
            if at < len(spans) and stop > spans[at][0]:
                member[at, token] = 1.0
        return member

    def _embedded(self, words: Sequence[str]) -> Tensor:
        """(V, D) each word's embedding, the mean over its tokens where it stands alone."""
        assert self.embedding is not None
        found = self.tokenizer([f" {word}" if not isinstance(self.tokenizer, Vocabulary) else word for word in words])
        seen = [
            [number for number, (start, stop) in zip(one.ids, one.spans, strict=True) if stop > start] or one.ids
            for one in found
        ]
        place = {number: at for at, number in enumerate(sorted({number for own in seen for number in own}))}
        with torch.no_grad():  # asked as the module asks, which may scale what its weights say
            table = self.embedding(torch.tensor([list(place)], dtype=torch.int64, device=self.device))[0].float()
        return torch.stack([table[[place[number] for number in own]].mean(0) for own in seen]) if seen else table


class TransformersTarget(TokensTarget):
    """A `transformers` sequence classifier with its tokenizer, on texts or on pairs of them.

    Args:
        model: in eval mode, answers `logits`.
        tokenizer: a fast `transformers` tokenizer, the one the model was trained with.
        max_length: tokens that are read at most; the tokenizer's and the model's own limit if not given.
        tokens: padded tokens in one forward pass, at most.
        **options: of `mmadv.ModuleTarget`.

    Raises:
        TargetError: no tokenizer, or one that doesn't fit the model.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        tokenizer: Any = None,
        max_length: int | None = None,
        tokens: int = 3072,
        name: str = "",
        access: str | Access | None = None,
        device: str | torch.device | None = None,
        autocast: str | torch.dtype | None = None,
        compile: bool = False,
        batch_size: int | str | None = None,
        allow_training: bool = False,
    ) -> None:
        if tokenizer is None:
            raise TargetError(
                "no tokenizer is given",
                where=name or type(model).__name__,
                fix="pass tokenizer=AutoTokenizer.from_pretrained(…), or the model's folder in place of the model",
            )
        config: Any = model.config
        limit = min(filter(None, (max_length, positions(model))), default=None)
        own = PretrainedTokenizer(tokenizer, limit, getattr(config, "pad_token_id", None))
        _refuse_stranger(tokenizer, config, name or type(model).__name__)
        super().__init__(
            model, tokenizer=own, tokens=tokens,
            embedding=model.get_input_embeddings(),  # type: ignore[operator]
            name=name, access=access, device=device, autocast=autocast, compile=compile, batch_size=batch_size,
            allow_training=allow_training,
        )  # fmt: skip

    def inputs(self, found: Sequence[Tokens]) -> dict[str, Tensor]:
        longest = max(len(one.ids) for one in found)
        pad = self.tokenizer.pad
        columns: dict[str, list[list[int]]] = {
            "input_ids": [one.ids + [pad] * (longest - len(one.ids)) for one in found],
            "attention_mask": [[1] * len(one.ids) + [0] * (longest - len(one.ids)) for one in found],
        }
        segments = [one.segments for one in found]
        if all(one is not None for one in segments):
            columns["token_type_ids"] = [one + [0] * (longest - len(one)) for one in segments if one is not None]
        return {name: torch.tensor(values, device=self.device) for name, values in columns.items()}

    def ask(self, inputs: Mapping[str, Tensor]) -> Tensor:
        with torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            try:
                return self.read(self._call(**inputs))
            except ValueError as error:
                if getattr(self.module.config, "pad_token_id", None) is not None:
                    raise
                raise TargetError(
                    f"the model reads no batches of several texts: {error}",
                    where=self.name,
                    fix="say what it takes for padding: model.config.pad_token_id = tokenizer.pad_token_id, or tokenizer.eos_token_id",
                ) from error

    def read(self, answer: Any) -> Tensor:
        if not hasattr(answer, "logits"):
            raise TargetError(
                f"the model answers a {type(answer).__name__} without logits",
                where=self.name,
                fix="use a model with a sequence classification head",
            )
        return answer.logits


SPARE = 128
"""Embeddings that models have beyond the tokens, to make their number even."""


def _refuse_stranger(tokenizer: Any, config: Any, name: str) -> None:
    """See that a tokenizer is the one that a model states.

    Raises:
        TargetError: it has other ids for the tokens that both know, or far fewer ids than the model.
    """
    odd = []
    for token in ("pad", "bos", "eos", "cls", "sep"):
        own, stated = (getattr(one, f"{token}_token_id", None) for one in (tokenizer, config))
        known = stated if isinstance(stated, (list, tuple)) else [stated]
        if own is not None and own not in known and any(one is not None and one >= 0 for one in known):
            odd.append(f"for {token} the id {own}, and the model {stated}")
    size = getattr(config, "vocab_size", None)
    if size is not None and len(tokenizer) < 0.95 * size - SPARE:
        odd.append(f"{len(tokenizer)} ids, and the model {size}")
    if odd:
        raise TargetError(
            f"the tokenizer {type(tokenizer).__name__} has {odd[0]}",
            where=name,
            fix="use the tokenizer that the model was trained with",
        )


def load_folder(
    folder: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    **options: Any,
) -> TransformersTarget:
    """A `transformers` sequence classifier and its tokenizer from a folder in the hub's format, or from the hub by name.

    Weights are read from safetensors only; nothing is unpickled.

    Args:
        folder: what `from_pretrained` takes.
        device: to load it to; `auto` for the first of CUDA, MPS and CPU that is there.
        dtype: of its weights, as they are saved if not given.
        **options: of `TransformersTarget`.

    Raises:
        TargetError: no such model, or one whose weights would have to be unpickled.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    path = Path(folder)
    try:
        with quiet():
            model = pretrained(AutoModelForSequenceClassification, folder, device=device, dtype=dtype)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except UNREADABLE as error:
        raise TargetError(
            f"no text classifier could be loaded: {(str(error) or type(error).__name__).splitlines()[0]}",
            where=str(folder),
            fix="give a folder written by save_pretrained of the model and of its tokenizer",
        ) from error
    return TransformersTarget(model, tokenizer=tokenizer, **{"name": path.name, **options})


def claim(victim: object, modality: str) -> TargetClaim | None:
    """The text plugin's offer to adapt a victim."""
    if modality != "text":
        return None
    if isinstance(victim, nn.Module):
        transformer = hasattr(victim, "config") and type(victim).__module__.startswith("transformers.")
        return TargetClaim("text", functools.partial(TransformersTarget if transformer else TokensTarget, victim))
    if isinstance(victim, (str, Path)):
        return TargetClaim("text", functools.partial(_from_folder, victim))
    if callable(victim):
        return TargetClaim("text", functools.partial(StringsTarget, victim))
    return None


def _from_folder(
    folder: str | Path,
    *,
    name: str = "",
    max_length: int | None = None,
    tokens: int = 3072,
    device: str | None = None,
    dtype: str | None = None,
    autocast: str | None = None,
    compile: bool = False,
    batch_size: int | str | None = None,
) -> TransformersTarget:
    options: dict[str, Any] = {
        "device": device,
        "dtype": dtype,
        "autocast": autocast,
        "compile": compile,
        "batch_size": batch_size,
    }
    words: dict[str, Any] = {"max_length": max_length, "tokens": tokens}
    return load_folder(folder, **options, **words, **({"name": name} if name else {}))
