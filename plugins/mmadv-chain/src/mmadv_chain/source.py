"""What stands between the stages of a system: texts as they were written, as the first stage hears them, and as it hears them
under attack. All have the keys of the data that the system itself is given, so that an example can be followed through it."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any

import torch

import mmadv
from mmadv import MemorySource, rows
from mmadv.errors import ParameterError
from mmadv.spec import number
from mmadv_chain.target import Chain, chain

Words = Mapping[str, Any]


def written(*, stages: Sequence[Words], data: Words) -> MemorySource:
    """The texts that speech was made from: what a system with a perfect first stage would read.

    Args:
        stages: of the system, as `chain` takes them.
        data: `factory` and `args` of the system's own data.

    Raises:
        ParameterError: the data's source doesn't say what was said.
    """
    source, examples, system = _opened(stages, data)
    said = getattr(source, "said", None)
    if said is None:
        raise ParameterError(
            f"{source.name} has no written form", where="data", fix="use speech that was made from text, with said="
        )
    return _texts(f"{source.name}: as written", system, list(said), examples, source)


@dataclass(frozen=True)
class Heard(MemorySource):
    """What a first stage writes, and what that took.

    Args:
        before: what was spent on an attack whose outcome was heard, by name, with its verdict; in no record, so that it is told beside them.
    """

    before: Mapping[str, Any] = field(default_factory=dict)


def heard(*, stages: Sequence[Words], data: Words, after: Words | None = None, audit_seed: int = 0) -> Heard:
    """What the first stage of a system writes of its data.

    Args:
        stages: of the system, as `chain` takes them.
        data: `factory` and `args` of the system's own data.
        after: of an attack on the whole system whose outcome is heard, stored and read again: its `attack`, and words of the
            threat model and of the attack. Where the attack fails, its best try is heard.
        audit_seed: of the attack's noise, where `after` has none of its own; an audit gives its own.

    Raises:
        ParameterError: no attack, or words that it does not use.
    """
    attack = None if after is None else {"seed": audit_seed, **after}
    said, told, before = _heard(json.dumps([list(stages), data, attack], sort_keys=True))
    source, examples, system = _opened(stages, data)
    texts = _texts(f"{source.name}: as heard{told}", system, said, examples, source)
    return Heard(**vars(texts), before=before)


@functools.lru_cache(4)
def _heard(words: str) -> tuple[list[str], str, dict[str, Any]]:
    """The texts, how the attack is called and what it took; kept, because two campaigns may start from the same."""
    stages, data, after = json.loads(words)
    _, examples, system = _opened(stages, data)
    x, told, before = examples.x, "", dict[str, Any]()
    if after is not None:
        given: dict[str, Any] = {word: number(value) for word, value in after.items()}
        if "attack" not in given:
            raise ParameterError("after has no attack", where="after", fix="add attack:, such as audio.pgd")
        name = given.pop("attack")
        kind = system.kinds[0]
        began = time.perf_counter()
        result = mmadv.attack(system, x, examples.y, name, modality=kind.name, ids=examples.ids, **given)
        x, told, spent = kind.stored(result.adv), f" after {name}", result.summary()
        before = {
            "attack": name,
            "queries": spent.queries,
            "gradients": spent.gradients,
            "seconds": time.perf_counter() - began,
            "trust": spent.trust.value,
            "alarms": [alarm.code for alarm in spent.alarms],
        }
    writer: Any = system.stages[0]
    size = system.batch_size or len(examples.y)
    texts: list[str] = []
    with system.held(), torch.no_grad():
        for start in range(0, len(examples.y), size):
            texts += writer.texts(rows.take(x, slice(start, start + size)))
    return texts, told, before


def _opened(stages: Sequence[Words], data: Words) -> tuple[Any, Any, Chain]:
    """The source of the system's data, all its examples, and the system."""
    return *_data(json.dumps(data, sort_keys=True)), _system(json.dumps(list(stages), sort_keys=True))


@functools.lru_cache(2)
def _data(words: str) -> tuple[Any, Any]:
    data = json.loads(words)
    if "factory" not in data or not data.keys() <= {"factory", "args"}:
        raise ParameterError(
            f"the system's data has the keys {', '.join(data) or 'none'}", where="data", fix="give factory: and args:"
        )
    source = resolve_name(data["factory"])(**data.get("args", {}))
    return source, source.take(0, len(source))


@functools.lru_cache(2)
def _system(words: str) -> Chain:
    return chain(stages=json.loads(words))


def _texts(name: str, system: Chain, said: list[str], examples: Any, source: Any) -> MemorySource:
    return MemorySource(name, system.kinds[1].inputs(said), examples.y, examples.keys, source.labels)
