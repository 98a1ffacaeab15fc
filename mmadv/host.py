"""The loader of plugins: one that fails is listed with its cause and remedy, and never stops the program.

Pluggy's own loader lets one bad plugin raise through, and silently skips a second distribution with the
same entry-point name. Here every plugin is imported, checked and called on its own, in a manager of its
own, so that no plugin can wrap, reorder or interrupt another.
"""

from __future__ import annotations

import functools
import os
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal, cast

import pluggy
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mmadv import hookspecs
from mmadv.errors import MmadvError, PluginError, TargetError, nearest

if TYPE_CHECKING:
    from mmadv.modality import TargetClaim

KINDS: Mapping[str, type[hookspecs.Spec]] = {
    "modalities": hookspecs.ModalitySpec,
    "attacks": hookspecs.AttackSpec,
    "constraints": hookspecs.ConstraintSpec,
    "goals": hookspecs.GoalSpec,
    "threat_models": hookspecs.ThreatModelSpec,
    "metrics": hookspecs.MetricSpec,
    "report_sections": hookspecs.SectionSpec,
}
"""What a plugin can register; `mmadv_<kind>` is the hook and the value the type of its records."""

HOOKS = tuple(sorted(name for name in vars(hookspecs) if name.startswith("mmadv_")))
OURS = ("audio", "chain", "foolbox", "image", "joint", "rl", "series", "text")
"""Plugins of ours, each in a package mmadv-NAME: who asks for one that is missing is told what to install."""
IN_PROCESS = "(in process)"
Event = Literal["run_started", "step_finished", "run_finished", "run_failed"]
State = Literal["loaded", "failed", "collision", "blocked"]

_FAILURES = (Exception, SystemExit)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class PluginWarning(RuntimeWarning):
    """A plugin failed while a run went on without it."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One plugin, whatever became of it.

    Args:
        name: the entry point's name, which qualifies the plugin's records.
        distribution: the distribution it came from; both owners in a collision.
        version: the version of that distribution.
        module: what the entry point names.
        state: `loaded`, `failed`, `collision` (several owners of one name) or `blocked`.
        hooks: the hooks it implements.
        records: what it registers, by kind.
        cause: why it is not loaded, on one line.
        remedy: what the user can do about it.
        error: the exception behind `cause`, for a traceback.
        manager: the pluggy manager that holds this plugin alone, None when it is not loaded.
    """

    name: str
    distribution: str
    version: str
    module: str
    state: State = "loaded"
    hooks: tuple[str, ...] = ()
    records: Mapping[str, tuple[hookspecs.Spec, ...]] = field(default_factory=dict)
    cause: str = ""
    remedy: str = ""
    error: BaseException | None = field(default=None, repr=False, compare=False)
    manager: pluggy.PluginManager | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name} ({f'{self.distribution} {self.version}'.strip()})"

    def call(self, hook: str, **kwargs: object) -> list[Any]:
        """What this plugin's implementations of a hook return, without None."""
        return getattr(self.manager.hook, hook)(**kwargs) if self.manager else []

    def out(self, state: State, cause: str, remedy: str, error: BaseException | None = None) -> Plugin:
        """This plugin, listed but contributing nothing."""
        return replace(self, state=state, cause=cause, remedy=remedy, error=error, records={}, manager=None)

    def failed(self, error: BaseException) -> Plugin:
        """This plugin, listed as failed, with the remedy that fits the error."""
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if isinstance(error, MmadvError) and error.fix:
            remedy = error.fix
        elif self.distribution == IN_PROCESS:
            remedy = f"mend the object given as Host(extra={{{self.name!r}: ...}})"
        elif missing and missing.partition(".")[0] == self.module.partition(".")[0]:
            remedy = f"pip install --force-reinstall {self.distribution}: its own module {missing!r} is missing"
        else:
            mend = f"install what provides the module {missing!r}" if missing else f"pip install -U {self.distribution}"
            remedy = f"{mend}, or pip uninstall {self.distribution}"
        return self.out("failed", describe(error), remedy, error)


def describe(error: BaseException) -> str:
    """One line that says what an exception is.

    Example:
        >>> describe(ValueError("no such\\nthing"))
        'ValueError: no such thing'
    """
    text = error.what if isinstance(error, MmadvError) else f"{type(error).__name__}: {error}"
    return textwrap.shorten(text, 300, placeholder=" …")


def absent(name: str, known: Iterable[str]) -> str:
    """What to do when no plugin has this name.

    Example:
        >>> absent("text", ["image"]), absent("imgae", ["image"])
        ('pip install mmadv-text', "did you mean 'image'? known: image")
    """
    return f"pip install mmadv-{name}" if name in OURS else nearest(name, known)


class Host:
    """Every plugin there is: loaded, failed, in collision or blocked.

    Args:
        allowed: load only these installed plugins. By default the environment variable `MMADV_PLUGINS`
            (`a,b`; set but empty: none), and without it all of them.
        blocked: never load these.
        extra: plugins of this process by name, a module or an object each; `allowed` does not concern them.

    Attributes:
        plugins: all of them by name, in the order of names.

    Raises:
        PluginError: `allowed` or `blocked` names a plugin that does not exist.

    Example:
        >>> class Acme:
        ...     @hookspecs.hookimpl
        ...     def mmadv_attacks(self):
        ...         yield hookspecs.AttackSpec(name="noise", summary="noise", modality="image", factory="acme:Noise")
        >>> host = Host(allowed=(), extra={"acme": Acme()})
        >>> host.plugins["acme"].state, [attack.name for attack in host.plugins["acme"].records["attacks"]]
        ('loaded', ['noise'])
    """

    def __init__(
        self,
        *,
        allowed: Iterable[str] | None = None,
        blocked: Iterable[str] = (),
        extra: Mapping[str, object] | None = None,
    ) -> None:
        if allowed is None and (listed := os.environ.get("MMADV_PLUGINS")) is not None:
            allowed = filter(None, map(str.strip, listed.split(",")))
        extra = extra or {}
        offers: dict[str, list[_Offer]] = {}
        for offer in [*_installed(), *_in_process(extra)]:
            offers.setdefault(offer[0].name, []).append(offer)
        chosen = set(offers) if allowed is None else {*_existing(allowed, "MMADV_PLUGINS", offers), *extra}
        refused = _existing(blocked, "--no-plugin", offers)
        self._warned: set[str] = set()
        self.plugins: dict[str, Plugin] = {}
        for name, owners in sorted(offers.items()):
            plugin, load = owners[0]
            if name in refused:
                self.plugins[name] = plugin.out("blocked", "left out by request", f"drop --no-plugin {name}")
            elif name not in chosen:
                self.plugins[name] = plugin.out("blocked", "not in MMADV_PLUGINS", f"add {name} to MMADV_PLUGINS")
            elif len(owners) > 1:
                self.plugins[name] = _collision([owner for owner, _ in owners])
            else:
                with self.guard(plugin):
                    self.plugins[name] = _load(plugin, load)

    @property
    def loaded(self) -> list[Plugin]:
        """The plugins that work, in the order of their names."""
        return [plugin for plugin in self.plugins.values() if plugin.state == "loaded"]

    @contextmanager
    def guard(self, plugin: Plugin) -> Iterator[None]:
        """List a plugin as failed when the body raises, and go on."""
        try:
            yield
        except _FAILURES as error:
            self.plugins[plugin.name] = plugin.failed(error)

    def observe(self, event: Event, **kwargs: object) -> None:
        """Tell every plugin of an event; one that raises is reported once, as a `PluginWarning`.

        Args:
            event: the observer hook without its prefix, such as `run_started`.
            **kwargs: the arguments of the hook.
        """
        hook = getattr(hookspecs, f"mmadv_{event}").__name__  # a misspelt event must not be a silent one
        for plugin in self.loaded:
            try:
                plugin.call(hook, **kwargs)
            except _FAILURES as error:
                if plugin.name not in self._warned:
                    self._warned.add(plugin.name)
                    text = f"the plugin {plugin} failed in {hook}, the run goes on: {describe(error)}"
                    warnings.warn(text, PluginWarning, stacklevel=2)

    def adapt(self, victim: object, modality: str) -> TargetClaim:
        """Find the one plugin that knows how to call a victim.

        A plugin that raises when it is asked makes no claim and is reported as a `PluginWarning`; what it refuses by a `TargetError`
        it knows, and its reason is what the user is told.

        Args:
            victim: what the user passed.
            modality: the qualified modality.

        Returns:
            The only claim.

        Raises:
            TargetError: no plugin claims the victim, or several do.
        """
        claims, refusals = [], []
        failures = [f"{plugin} is {plugin.state}: {plugin.cause}" for plugin in self.plugins.values() if plugin.cause]
        for plugin in self.loaded:
            try:
                found = plugin.call("mmadv_adapt_target", victim=victim, modality=modality)
                if odd := [claim for claim in found if not hasattr(claim, "factory")]:
                    raise PluginError(f"it gave {odd[0]!r}, expected a TargetClaim or None")
                claims += [(plugin, claim) for claim in found]
            except TargetError as error:
                refusals.append(error)
            except _FAILURES as error:
                failures.append(f"{plugin} failed in mmadv_adapt_target: {describe(error)}")
                warnings.warn(f"the plugin {failures[-1]}", PluginWarning, stacklevel=2)
        if len(claims) == 1:
            return claims[0][1]
        what = f"a victim of type {type(victim).__module__}.{type(victim).__qualname__} in the modality {modality!r}"
        if claims:
            raise TargetError(
                f"{len(claims)} plugins claim {what}",
                where=", ".join(str(plugin) for plugin, _ in claims),
                fix=f"leave all but one out (such as --no-plugin {claims[0][0].name}), or pass a mmadv.Target",
            )
        if refusals:
            raise refusals[0]
        raise TargetError(
            f"no plugin claims {what}",
            where="; ".join([f"asked: {', '.join(map(str, self.loaded)) or 'none'}", *failures]),
            fix="pass a mmadv.Target, or install the plugin that knows this type",
        )


@functools.lru_cache(maxsize=1)
def default_host() -> Host:
    """The host of this process, loaded on first use; `default_host.cache_clear()` forgets it."""
    return Host()


_Offer = tuple[Plugin, Callable[[], object]]
"""A plugin that could be loaded, and what loads it."""


def _installed() -> Iterator[_Offer]:
    seen = set()
    for entry in metadata.entry_points(group="mmadv"):
        dist = cast("metadata.Distribution", entry.dist)
        name, version = dist.name or "(unknown)", dist.version or ""  # None after an interrupted installation
        # An interrupted upgrade leaves a second record of the same distribution: that is no second owner.
        if (key := (entry.name, entry.value, canonicalize_name(name))) not in seen:
            seen.add(key)
            plugin = Plugin(name=entry.name, distribution=name, version=version, module=entry.value)
            yield plugin, functools.partial(_import, entry, dist)


def _in_process(extra: Mapping[str, object]) -> Iterator[_Offer]:
    for name, module in extra.items():
        plugin = Plugin(name=name, distribution=IN_PROCESS, version="", module=getattr(module, "__name__", ""))
        yield plugin, functools.partial(lambda found: found, module)


def _import(entry: metadata.EntryPoint, dist: metadata.Distribution) -> object:
    """Import a plugin whose distribution can work with the mmadv that is running."""
    running = metadata.version("mmadv")
    for need in map(Requirement, dist.requires or ()):
        applies = canonicalize_name(need.name) == "mmadv" and (not need.marker or need.marker.evaluate({"extra": ""}))
        if applies and not need.specifier.contains(running, prereleases=True):
            fix = f"pip install 'mmadv{need.specifier}', or another version of {dist.name}"
            raise PluginError(f"it needs mmadv{need.specifier}, and mmadv {running} is running", fix=fix)
    return entry.load()


def _existing(names: Iterable[str], where: str, known: Iterable[str]) -> set[str]:
    names = set(names)
    for name in sorted(names - set(known)):
        raise PluginError(f"no installed plugin is called {name!r}", where=where, fix=absent(name, known))
    return names


def _collision(owners: list[Plugin]) -> Plugin:
    owners = sorted(owners, key=lambda owner: owner.distribution)
    names, versions = [owner.distribution for owner in owners], [owner.version for owner in owners]
    both = replace(owners[0], distribution=", ".join(names), version=", ".join(filter(None, versions)))
    cause = "offered by " + " and by ".join(f"{owner.distribution} {owner.version}".strip() for owner in owners)
    removals = [f"pip uninstall {name}" if name != IN_PROCESS else "rename yours in Host(extra=...)" for name in names]
    return both.out("collision", cause, f"keep one: {', or '.join(removals)}")


def _load(plugin: Plugin, load: Callable[[], object]) -> Plugin:
    """Import, check and ask one plugin; whatever is wrong with it is raised."""
    _check_name(plugin.name)
    module = load()
    manager = pluggy.PluginManager("mmadv")
    manager.add_hookspecs(hookspecs)
    manager.register(module, plugin.name)
    hooks = {caller.name for caller in manager.get_hookcallers(module) or ()}
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        name = min(hooks - set(HOOKS))
        raise PluginError(f"it implements the unknown hook {name!r}", fix=nearest(name, HOOKS)) from error
    if bare := sorted(set(HOOKS) & set(dir(module)) - hooks):
        raise PluginError(f"its {bare[0]} is not a hook implementation", fix=f"put @mmadv.hookimpl on {bare[0]}")
    plugin = replace(plugin, hooks=tuple(sorted(hooks)), manager=manager)
    return replace(plugin, records={kind: _records(plugin, kind) for kind in KINDS if f"mmadv_{kind}" in hooks})


def _records(plugin: Plugin, kind: str) -> tuple[hookspecs.Spec, ...]:
    """What a plugin registers under a hook, sorted by name, every record checked."""
    hook, type_ = f"mmadv_{kind}", KINDS[kind]
    expected, fix = f"expected an iterable of {type_.__name__}", f"return a list from {hook}, or yield"
    records: dict[str, hookspecs.Spec] = {}
    for answer in plugin.call(hook) or [None]:  # pluggy leaves None out
        if not isinstance(answer, Iterable):
            raise PluginError(f"{hook} gave {answer!r}, {expected}", fix=fix)
        for record in answer:
            if not isinstance(record, type_):
                raise PluginError(f"{hook} gave {record!r}, {expected}", fix=fix)
            if record.api != hookspecs.API:
                what = f"{hook}: {record.name!r} is written for hook api {record.api}, mmadv has {hookspecs.API}"
                older = plugin.distribution if record.api < hookspecs.API else "mmadv"
                raise PluginError(what, fix=f"pip install -U {older}")
            _check_name(record.name)
            if record.name in records:
                raise PluginError(f"{hook} gave two records named {record.name!r}", fix="rename one of them")
            records[record.name] = record
    return tuple(records[name] for name in sorted(records))


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise PluginError(f"{name!r} is not a name", fix="use letters, digits, _ and -: a dot qualifies")
