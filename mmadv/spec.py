"""Audit specs: YAML read into checked models, with the line of every value for errors.

title: Demo
campaigns:
  - name: digits
    modality: image
    target: {factory: "acme.victims:digits"}
    data: {factory: "acme.data:digits", limit: 100}
    threat: {norm: linf, eps: [2/255, 8/255]}
    attacks: [image.fgsm, {name: image.pgd, steps: 40}]
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from mmadv.errors import SpecError, nearest

DECIMAL = r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"


def number(value: object) -> object:
    """A number as it is, written as a fraction such as `8/255`, or as a ratio of amplitudes such as `-20 dB`.

    Example:
        >>> number("8/255") == 8 / 255, number("-20 dB")
        (True, 0.1)
    """
    if isinstance(value, str) and (level := re.fullmatch(rf"\s*({DECIMAL})\s*dB\s*", value)):
        return 10 ** (float(level[1]) / 20)
    if isinstance(value, str) and re.fullmatch(rf"\s*{DECIMAL}\s*(/\s*{DECIMAL}\s*)?", value):
        above, _, below = value.partition("/")
        if below and not Fraction(below.strip()):
            raise ValueError(f"{value.strip()} divides by zero")
        return float(Fraction(above.strip()) / Fraction(below.strip() or 1))
    return value


Number = Annotated[float, BeforeValidator(number)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Open(BaseModel):
    """Further keys are words of the plugin in question, which refuses the ones that it does not use."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @model_validator(mode="after")
    def _numbers(self) -> Self:
        _ = self.words  # a fraction that is none is refused here, where its line is known
        return self

    @property
    def words(self) -> dict[str, Any]:
        """The keys that are not the core's own."""
        return {key: number(value) for key, value in (self.model_extra or {}).items()}


class AttackEntry(_Open):
    """An attack by its qualified name; its budget, where it differs from the threat's, and its own parameters beside it."""

    name: str
    steps: int | None = Field(None, ge=1)
    queries: int | None = Field(None, ge=1)
    gradients: int | None = Field(None, ge=0)


class TargetEntry(_Open):
    """A victim: a `factory` that you trust to run, or a `model` that the modality loads without running code."""

    factory: str | None = Field(None, pattern=r"^[\w.]+:[\w.]+$")
    model: str | None = None
    args: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one(self) -> TargetEntry:
        if self.factory is None and self.model is None and self.model_extra:
            word = next(iter(self.model_extra))
            raise ValueError(
                f"there is neither factory nor model beside {word!r}: {nearest(word, ('factory', 'model'))}"
            )
        if (self.factory is None) == (self.model is None):
            raise ValueError("give exactly one of factory and model")
        return self


class DataEntry(_Open):
    """Labelled examples: a `factory` that you trust to run, or words of the modality such as `path` and `label_column`.

    A factory that draws or attacks by itself may have a parameter `audit_seed`: it is told the spec's seed.
    """

    factory: str | None = Field(None, pattern=r"^[\w.]+:[\w.]+$")
    args: dict[str, Any] = {}
    limit: int | None = Field(None, ge=1)

    @property
    def words(self) -> dict[str, Any]:
        """The keys that are not the core's own, as they are: a column may be called 1/2."""
        return dict(self.model_extra or {})


class ThreatEntry(_Open):
    """What the attacker sees, wants and spends; the space's own words, such as `norm`, beside it."""

    eps: tuple[Number, ...] = ()
    access: Literal["gradient", "score", "decision"] | None = None
    targets: Annotated[int, Field(ge=0)] | str | None = None
    queries: int | None = Field(None, ge=1)
    gradients: int | None = Field(None, ge=0)
    eot: int = Field(1, ge=1)

    @field_validator("eps", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return tuple(value) if isinstance(value, (list, tuple)) else (value,)

    @field_validator("eps")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 <= eps < math.inf for eps in value):
            raise ValueError("every eps is at least 0, and finite")
        if list(value) != sorted(set(value)):
            raise ValueError("several eps ascend, each once")
        return value


class Campaign(_Strict):
    """Attacks on one target under one threat model; an optional one is left out where its models or data can't be had.

    With `plant`, adversarials are planted at so many examples, and the attacks must find them (`mmadv.planted`).
    """

    name: str = Field(pattern=r"^\w[\w.-]*$")
    modality: str
    target: TargetEntry
    data: DataEntry
    threat: ThreatEntry
    attacks: tuple[AttackEntry, ...] = Field(min_length=1)
    cascade: bool = False
    optional: bool = False
    plant: int = Field(0, ge=0)

    @field_validator("attacks", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return (
            [{"name": entry} if isinstance(entry, str) else entry for entry in value]
            if isinstance(value, list)
            else value
        )

    def label(self, index: int) -> str:
        """A name for an attack that is unique in the campaign and fit for a folder."""
        names = [entry.name for entry in self.attacks]
        name = names[index]
        return name if names.count(name) == 1 else f"{name}-{1 + names[:index].count(name)}"


class Spec(_Strict):
    """A whole audit."""

    title: str
    seed: int = Field(0, ge=-(2**63), lt=2**63)
    shard_size: int = Field(32, ge=1)
    campaigns: tuple[Campaign, ...] = Field(min_length=1)

    _lines: dict[tuple[str | int, ...], int] = PrivateAttr(default_factory=dict)
    _file: str = PrivateAttr(default="")

    @field_validator("campaigns")
    @classmethod
    def _names_differ(cls, value: tuple[Campaign, ...]) -> tuple[Campaign, ...]:
        names = [campaign.name for campaign in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two campaigns are called {name!r}")
        return value

    def where(self, *path: str | int) -> str:
        """File and line of a value, or of what holds it; its name where nobody wrote lines."""
        return _place(path, self._lines, self._file)

    @property
    def resolved(self) -> dict[str, Any]:
        """All of it, defaults filled in, as plain data."""
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides the results; how the victim is run (device, batch size) and the title do not."""
        plain = self.resolved
        del plain["title"]
        for campaign in plain["campaigns"]:
            for word in ("batch_size", "device", "compile", "channels_last"):
                campaign["target"].pop(word, None)
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def read(path: Path) -> Spec:
    """Read a spec from a YAML file.

    Raises:
        SpecError: unreadable, malformed, an unknown key or a wrong type: with file, line and what was expected.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"the spec cannot be read: {error.strerror if isinstance(error, OSError) else error}",
            where=str(path),
            fix="give the path of a YAML file",
        ) from error
    return parse(text, str(path))


def parse(text: str, file: str = "spec", *, numbered: bool = True) -> Spec:
    """Read a spec from text; `file` is what errors call it, with lines where somebody wrote them.

    Example:
        >>> parse("title: [", "audit.yaml")
        Traceback (most recent call last):
        mmadv.errors.SpecError: the spec is not YAML: expected the node content, but found '<stream end>'
          where: audit.yaml:1
          fix:   mend the line
    """
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        plain = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise SpecError(
            f"the spec is not YAML: {getattr(error, 'problem', error)}", where=file + line, fix="mend the line"
        ) from error
    if not isinstance(plain, dict):
        raise SpecError("the spec is not a mapping", where=file, fix="start with title: and campaigns:")
    lines: dict[tuple[str | int, ...], int] = {}
    _mark(node, (), lines, file)
    if not numbered:
        lines = {}
    try:
        spec = Spec.model_validate(plain)
    except ValidationError as error:
        raise _first(error, lines, file) from error
    spec._lines, spec._file = lines, file
    return spec


def _mark(node: yaml.Node, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], file: str) -> None:
    """The line of every value by its path; a key that stands twice in one mapping is refused, of which YAML would keep the last."""
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise SpecError(
                    f"the key {key.value!r} stands twice in one mapping, in line {seen[key.value]} too",
                    where=f"{file}:{line}",
                    fix="leave one of them out",
                )
            seen[key.value] = line
            _mark(value, (*path, key.value), lines, file)
            lines[(*path, key.value)] = line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _mark(value, (*path, index), lines, file)


def _place(path: Sequence[str | int], lines: dict[tuple[str | int, ...], int], file: str) -> str:
    """File and line of a value, or of what holds it; its name where there are no lines."""
    if not lines:
        names = [part for part in path if isinstance(part, str)]
        return ", ".join(filter(None, [file, *names[-1:]]))
    return f"{file}:{next(lines[tuple(path[:end])] for end in range(len(path), -1, -1) if tuple(path[:end]) in lines)}"


def _first(error: ValidationError, lines: dict[tuple[str | int, ...], int], file: str) -> SpecError:
    """The first thing wrong, with its line and the fix."""
    errors = error.errors()
    # A misspelt key also makes the right one missing; the misspelling is what to mend.
    found = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    path: Sequence[str | int] = found["loc"]
    shown = ".".join(str(part) for part in path) or "spec"
    where = _place(path, lines, file)
    message = found["msg"].removeprefix("Value error, ")
    if found["type"] == "extra_forbidden":
        known = _keys_at(path[:-1])
        return SpecError(
            f"unknown key {path[-1]!r} in {'.'.join(map(str, path[:-1])) or 'the spec'}",
            where=where,
            fix=nearest(str(path[-1]), known),
        )
    if found["type"] == "missing":
        return SpecError(f"{shown} is missing", where=where, fix=f"add {path[-1]}:")
    told = isinstance(found["input"], (dict, list)) or found["type"] == "value_error"
    given = "" if told else f", not {found['input']!r}"
    fix = "see `mmadv schema` for what each key takes"
    if found["type"] == "float_parsing":
        message, fix = "no number", "write a number, a fraction such as 8/255, or a ratio of amplitudes such as -20 dB"
    return SpecError(f"{shown}: {message[0].lower()}{message[1:]}{given}", where=where, fix=fix)


def _keys_at(path: Sequence[str | int]) -> list[str]:
    """What keys the mapping at `path` may have."""
    model: type[BaseModel] = Campaign if path and path[0] == "campaigns" else Spec
    return list(model.model_fields)
