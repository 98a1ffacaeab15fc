"""Qualified names: everything the loaded plugins register, under `owner.name`.

The owner is the entry point's name, so two plugins can both bring a `pgd`. What bears its owner's own
name is not doubled: the modality `image` of the plugin `image` is `image`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

from mmadv.errors import ParameterError, PluginError, nearest
from mmadv.hookspecs import (
    AttackSpec,
    ConstraintSpec,
    GoalSpec,
    MetricSpec,
    ModalitySpec,
    SectionSpec,
    Spec,
    ThreatModelSpec,
)
from mmadv.host import KINDS, Host, Plugin, absent, describe

S = TypeVar("S", bound=Spec)


def qualify(owner: str, name: str) -> str:
    """The qualified name of a plugin's record.

    Example:
        >>> qualify("image", "pgd"), qualify("image", "image")
        ('image.pgd', 'image')
    """
    return name if name == owner else f"{owner}.{name}"


class Catalog:
    """The records of a host's loaded plugins by qualified name.

    Args:
        host: the plugins.

    Example:
        >>> from mmadv.hookspecs import hookimpl
        >>> class Acme:
        ...     @hookimpl
        ...     def mmadv_attacks(self):
        ...         yield AttackSpec(name="noise", summary="uniform noise", modality="image", factory=dict)
        >>> catalog = Catalog(Host(allowed=(), extra={"acme": Acme()}))
        >>> catalog.attack("acme.noise").summary, list(catalog.attacks(modality="text"))
        ('uniform noise', [])
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self._tables: dict[type[Spec], dict[str, Spec]] = {}
        for kind, type_ in KINDS.items():
            found = ((plugin.name, record) for plugin in host.loaded for record in plugin.records.get(kind, ()))
            named = {qualify(owner, record.name): record for owner, record in found}
            self._tables[type_] = dict(sorted(named.items()))

    def modality(self, name: str, *, where: str = "") -> ModalitySpec:
        """The modality of this qualified name.

        Args:
            name: the qualified name.
            where: what asks for it, such as a file and line; for the error.

        Raises:
            ParameterError: there is none; says which plugin failed, or would bring it. So does every look-up here.
        """
        return self._find(ModalitySpec, "modality", name, where)

    def attack(self, name: str, *, where: str = "") -> AttackSpec:
        """The attack of this qualified name."""
        return self._find(AttackSpec, "attack", name, where)

    def constraint(self, name: str, *, where: str = "") -> ConstraintSpec:
        """The constraint of this qualified name."""
        return self._find(ConstraintSpec, "constraint", name, where)

    def goal(self, name: str, *, where: str = "") -> GoalSpec:
        """The goal of this qualified name."""
        return self._find(GoalSpec, "goal", name, where)

    def threat_model(self, name: str, *, where: str = "") -> ThreatModelSpec:
        """The preset of a threat model of this qualified name."""
        return self._find(ThreatModelSpec, "threat model", name, where)

    def metric(self, name: str, *, where: str = "") -> MetricSpec:
        """The metric of this qualified name."""
        return self._find(MetricSpec, "metric", name, where)

    def attacks(self, modality: str | None = None) -> dict[str, AttackSpec]:
        """All attacks in the order of their names, or those on one modality, whoever brings them."""
        return {n: r for n, r in self.all(AttackSpec).items() if modality in (None, r.modality)}

    def sections(self) -> dict[str, SectionSpec]:
        """All sections of the report in the order of their names."""
        return self.all(SectionSpec)

    def all(self, kind: type[S]) -> dict[str, S]:
        """All records of a kind, such as `GoalSpec`, in the order of their names."""
        return cast("dict[str, S]", dict(self._tables[kind]))

    def owner(self, name: str) -> Plugin:
        """The plugin that brings a qualified name, with its distribution and version."""
        return self.host.plugins[name.partition(".")[0]]

    def _find(self, kind: type[S], noun: str, name: str, where: str) -> S:
        table = self.all(kind)
        if name in table:
            return table[name]
        owner = name.partition(".")[0]
        plugin = self.host.plugins.get(owner)
        what, fix = f"there is no {noun} {name!r}", nearest(name, table)
        if bare := [known for known in table if known.endswith(f".{name}")]:
            fix = f"names are qualified by their plugin: {', '.join(bare)}"
        elif plugin is None:
            what, fix = f"{what}: no installed plugin is called {owner!r}", absent(owner, self.host.plugins)
        elif plugin.state != "loaded":
            what, fix = f"{what}: the plugin {plugin} is {plugin.state}: {plugin.cause}", plugin.remedy
        raise ParameterError(what, where=where, fix=fix)


def build(record: Spec, params: Mapping[str, Any], where: str = "", beside: Iterable[str] = ()) -> Any:
    """Call a record's factory with keyword parameters.

    Args:
        record: what to build.
        params: its parameters by name.
        where: what asks for it, such as a file and line; by default the record's name.
        beside: words that may stand beside them and aren't the factory's, for hints.

    Returns:
        What the factory makes.

    Raises:
        PluginError: the factory cannot be imported or called.
        ParameterError: a parameter is unknown, or one without a default is missing. What the factory itself
            raises, a TypeError too, passes as it is.

    Example:
        >>> class Noise:
        ...     def __init__(self, *, scale: float = 1.0) -> None:
        ...         self.scale = scale
        >>> record = AttackSpec(name="noise", summary="", modality="image", factory=Noise)
        >>> build(record, {"scale": 0.5}).scale
        0.5
        >>> build(record, {"scales": 0.5})
        Traceback (most recent call last):
        mmadv.errors.ParameterError: noise has no parameter 'scales'
          where: noise
          fix:   did you mean 'scale'? known: scale
    """
    where = where or record.name
    try:
        factory = record.resolve()
        parameters = inspect.signature(factory).parameters.values()
    except Exception as error:
        fix = "update or reinstall the plugin that brings it (mmadv plugins)"
        what = f"the factory of {record.name}, {record.factory!r}, cannot be used: {describe(error)}"
        raise PluginError(what, where=where, fix=fix) from error
    known = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    unknown = sorted(set(params) - set(known))
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        what, fix = f"{record.name} has no parameter {unknown[0]!r}", nearest(unknown[0], [*known, *beside])
        raise ParameterError(what, where=where, fix=fix)
    if missing := [p.name for p in known.values() if p.default is p.empty and p.name not in params]:
        raise ParameterError(f"{record.name} needs the parameter {missing[0]!r}", where=where, fix=f"give {missing[0]}")
    return factory(**params)
