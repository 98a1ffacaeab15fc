"""A campaign with its plugins, victim and data resolved from a spec."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

import torch
from torch import nn

from mmadv import api, rows
from mmadv.access import Access
from mmadv.assets import Busy, unwaiting
from mmadv.budget import Budget
from mmadv.catalog import Catalog, build
from mmadv.errors import AssetError, MmadvError, ParameterError, SpecError, nearest
from mmadv.host import OURS, absent, describe
from mmadv.modality import Modality
from mmadv.protocol import Attack
from mmadv.runs import digest_of
from mmadv.source import Examples, Source, digest
from mmadv.spec import AttackEntry, Campaign, Spec
from mmadv.target import Target, known_dtype, usable_device
from mmadv.threat import Problem, ThreatModel


@dataclass(frozen=True)
class Unit:
    """One shard of examples under one attack of one campaign."""

    campaign: int
    attack: int
    shard: int


class Stage:
    """A campaign with its plugins, victim and data resolved.

    Args:
        spec: the audit.
        number: of the campaign.
        catalog: of plugins.

    Attributes:
        levels: every ε that is searched at: the spec's, or the one that other words of the threat come to.
        ready: whether it was prepared in this process.
        goal_words: the words of the threat that say what the attacker wants.

    Raises:
        SpecError: with file and line, whatever the plugins refuse.
    """

    def __init__(self, spec: Spec, number: int, catalog: Catalog) -> None:
        self.spec, self.number, self.catalog = spec, number, catalog
        self.campaign: Campaign = spec.campaigns[number]
        self.ready = False
        path = ("campaigns", number)
        with located(spec, *path, "modality"):
            self.kind: Modality = catalog.modality(self.campaign.modality).resolve()()
        self.attacks: list[Attack] = []
        for index, entry in enumerate(self.campaign.attacks):
            with located(spec, *path, "attacks", index):
                self.attacks.append(self._attack(entry))
        with located(spec, *path, "threat"):
            threat = self.campaign.threat
            goal = api.goal_maker(self.kind, threat.targets is not None)
            given = api.sorted_out(threat.words, {"space": self.kind.space, "goal": goal}, where="threat")
            self._space_words, self.goal_words = given["space"], given["goal"]
            self.goal = goal(**self.goal_words)
            space = self.space(max(threat.eps, default=None))
            self.levels: tuple[float, ...] = threat.eps
            if not threat.eps and any(attack.keeps == "hit" for attack in self.attacks):
                # Other words may say how much may change: a preset, a number of words, a ratio in dB.
                own = float(getattr(space, "eps", math.inf))
                if math.isinf(own):
                    raise ParameterError(
                        "eps is missing", where="threat", fix="add eps: [ … ]; only minimum-norm attacks do without"
                    )
                self.levels = (own,)
        if self.campaign.plant:
            with located(spec, *path, "plant"):
                api.plantable(self.kind)
                if not max(self.levels, default=0.0) > 0:
                    raise ParameterError(
                        "there is no eps above 0", where="plant", fix="add eps: [ … ], to plant within the largest"
                    )

    def _attack(self, entry: AttackEntry) -> Attack:
        record = self.catalog.attack(entry.name)
        if record.modality != self.campaign.modality:
            raise ParameterError(
                f"{entry.name} works on {record.modality}, and the campaign is {self.campaign.modality}",
                where=entry.name,
                fix="choose an attack of this modality",
            )
        attack: Attack = build(record, entry.words, where=entry.name, beside=AttackEntry.model_fields.keys() - {"name"})
        if attack.single_step and entry.steps is not None:
            raise ParameterError(
                "steps is given, and this attack makes exactly one", where=entry.name, fix="leave steps out"
            )
        return attack

    def space(self, eps: float | None) -> Any:
        """The campaign's space at one ε."""
        return self.kind.space(
            **self._space_words, **({"eps": eps} if self.campaign.threat.eps and eps is not None else {})
        )

    @cached_property
    def target(self) -> Target:
        """The victim, built on first use."""
        entry = self.campaign.target
        with located(self.spec, "campaigns", self.number, "target"):
            victim: Any = resolve_name(entry.factory)(**entry.args) if entry.factory else entry.model
            words = entry.words
            if isinstance(victim, nn.Module):  # made for this run alone, so that it may be moved
                dtype = known_dtype(words.pop("dtype", None), "dtype")
                victim = victim.to(device=usable_device(words["device"]) if "device" in words else None, dtype=dtype)
            adapt = api.adapter(self.catalog, victim, self.campaign.modality)
            target = adapt(**api.sorted_out(words, {"target": adapt}, where="target")["target"])
        wanted = self.campaign.threat.access
        if wanted is not None and Access.of(wanted) > target.access:
            where = self.spec.where("campaigns", self.number, "threat", "access")
            raise SpecError(
                f"access is {wanted}, and the target gives {target.access.name.lower()}",
                where=where,
                fix="grant what the target gives",
            )
        return target

    @cached_property
    def source(self) -> Source:
        """The data, opened on first use."""
        entry = self.campaign.data
        victim = None if entry.factory else self.target  # whose errors name a line of their own
        space = self.space(max(self.levels, default=None))
        with located(self.spec, "campaigns", self.number, "data"):
            if entry.factory and entry.words:
                word = next(iter(entry.words))
                raise ParameterError(
                    f"{word!r} is used by nobody: a factory takes its own words under args:",
                    where="data",
                    fix=nearest(word, ("factory", "args", "limit")),
                )
            source: Source = (
                self._made(resolve_name(entry.factory), entry.args)
                if entry.factory
                else api.source_of(self.kind, entry.words, target=victim, space=space, limit=entry.limit)
            )
            if not len(source):
                raise ParameterError("the data are empty", where=source.name, fix="name data with at least one example")
        return source

    def _made(self, factory: Callable[..., Source], args: dict[str, Any]) -> Source:
        """What a trusted factory makes; one that has a parameter `audit_seed` attacks or draws by itself, and is told the spec's."""
        try:
            told = {"audit_seed": self.spec.seed} if "audit_seed" in inspect.signature(factory).parameters else {}
        except ValueError:  # a builtin tells nothing of itself
            told = {}
        return factory(**{**told, **args})

    @cached_property
    def length(self) -> int:
        """Examples of the campaign."""
        return min(len(self.source), self.campaign.data.limit or len(self.source))

    @cached_property
    def _first(self) -> Any:
        return rows.take(self.examples(0).x, slice(0, 1))

    def scale(self, distance: float) -> str:
        """A distance in words on a scale that people know, as it is for the first example; empty where the modality has none."""
        return api.scaled(self.kind, self.space(max(self.levels, default=None)), distance, self._first)

    def prepare(self) -> None:
        """Build the victim, open the data, and see that the space can be laid around an example.

        Raises:
            AssetError: something that the campaign needs can't be had here.
        """
        first = self._first
        space = self.space(max(self.levels, default=None))
        busy = None
        try:
            device = self.target.device
        except Busy as error:  # what the space reads can be made meanwhile
            device, busy = torch.device("cpu"), error
        with located(self.spec, "campaigns", self.number, "threat"):
            space.around(rows.detached(first, device))
            space.measures(first, first)
        if busy is not None:
            raise busy
        size = self.spec.shard_size
        with located(self.spec, "campaigns", self.number, "plant"):
            if size < min(self.campaign.plant, self.length):
                raise ParameterError(
                    f"adversarials are planted in the first shard, which has {size} examples",
                    where="plant",
                    fix=f"plant at most {size}, or make shard_size larger",
                )
        self.ready = True

    @property
    def shards(self) -> int:
        return -(-self.length // self.spec.shard_size)

    def digests(self, x: Any) -> list[str]:
        """SHA-256 of each example of rows."""
        return [digest(self.kind.pack(rows.take(x, slice(row, row + 1)))) for row in range(rows.count(x))]

    def fingerprint(self) -> str:
        """Of the keys, labels and inputs of all examples, in their order, whatever the shards."""
        found: list[tuple[str, int, str]] = []
        for shard in range(self.shards):
            part = self.examples(shard)
            found += zip(part.keys, map(int, part.y), self.digests(part.x), strict=True)
        return f"{digest_of(found)}/{self.length}"

    def examples(self, shard: int) -> Examples:
        """The examples of one shard."""
        start = shard * self.spec.shard_size
        return self.source.take(start, min(start + self.spec.shard_size, self.length))

    def problem(self, examples: Examples, eps: float | None, entry: AttackEntry) -> Problem:
        """Examples under the campaign's threat model at one ε, with an attack's own budget."""
        threat = self.campaign.threat
        access = self.target.access if threat.access is None else Access.of(threat.access)
        budget = Budget(
            entry.steps,
            entry.queries or threat.queries,
            threat.gradients if entry.gradients is None else entry.gradients,
        )
        return api.make_problem(
            self.kind, self.target, ThreatModel(self.space(eps), access, self.goal, budget), examples.x, examples.y,
            ids=examples.ids, targets=threat.targets, seed=self.spec.seed, eot=threat.eot,
        )  # fmt: skip


def prepared(
    stages: Sequence[Stage], tell: Callable[[Stage], None] = lambda stage: None
) -> Iterator[tuple[Stage, Exception | None]]:
    """Prepare campaigns, those later for which another process is making something.

    Args:
        stages: the campaigns.
        tell: called with each before it is taken up.

    Returns:
        Each with what went wrong.
    """
    waits = False
    while stages:
        busy = []
        for stage in stages:
            tell(stage)
            try:
                with nullcontext() if waits else unwaiting():
                    stage.prepare()
            except Busy:
                busy.append(stage)
            except Exception as error:
                yield stage, error
            else:
                yield stage, None
        waits = len(busy) == len(stages)  # there is nothing else to do
        stages = busy


def _made_in(module: ModuleType) -> list[str]:
    """The public functions and classes that a module defines."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", None) == module.__name__
    ]


@contextmanager
def located(spec: Spec, *path: str | int) -> Iterator[None]:
    """Give an error that names no line of the spec the one that it comes from.

    Raises:
        SpecError: with file and line.
    """
    where = spec.where(*path)
    factory = path[-1] in ("target", "data")
    try:
        yield
    except SpecError:
        raise
    except AssetError as error:
        raise AssetError(error.what, where=f"{where} ({error.where})", fix=error.fix) from error
    except MmadvError as error:
        raise SpecError(
            error.what, where=f"{where} ({error.where})" if error.where else where, fix=error.fix
        ) from error
    except (ImportError, AttributeError) as error:
        if not factory:
            raise
        package = (getattr(error, "name", None) or "").partition(".")[0]
        owner = package.removeprefix("mmadv_") if isinstance(error, ModuleNotFoundError) else ""
        fix = absent(owner, ()) if owner in OURS else "name it package.module:function, and install the package"
        if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
            fix = nearest(error.name or "", _made_in(error.obj))
        raise SpecError(f"the factory cannot be imported: {error}", where=where, fix=fix) from error
    except TypeError as error:
        if not factory:
            raise
        raise SpecError(f"the factory refuses its args: {error}", where=where, fix="mend args:") from error
    except Exception as error:
        if not factory:
            raise
        fix = "mend it or its args; --debug shows where it failed"
        raise SpecError(f"the {path[-1]} cannot be made: {describe(error)}", where=where, fix=fix) from error
