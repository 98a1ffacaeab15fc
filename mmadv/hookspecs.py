"""The hooks of mmadv: plugins register frozen records and observe runs; they never compute here.

A plugin is a module that an installed distribution names under the entry-point group `mmadv`. It
implements the hooks below with `mmadv.hookimpl`. Records are cheap: a name, a line of summary and a
lazy factory written `"package.module:attribute"`, so that listing plugins imports neither torch nor
the plugin's own heavy modules.

Names are given bare (`pgd`) and qualified by the entry point's name (`image.pgd`).
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import typer

    from mmadv.modality import TargetClaim
    from mmadv.runs import RunInfo

API = 1
"""The version of the hook interface. A record of another version is refused before its factory runs."""

hookspec = pluggy.HookspecMarker("mmadv")
hookimpl = pluggy.HookimplMarker("mmadv")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What every record shares.

    Args:
        name: bare name; the host qualifies it with the plugin's name.
        summary: one line for `mmadv plugins`.
        factory: `"package.module:attribute"`, or a callable; resolved on first use.
        api: the hook interface that the record was written for.
    """

    name: str
    summary: str
    factory: str | Callable[..., Any]
    api: int = API

    def resolve(self) -> Any:
        """Import and return what the factory names."""
        return pkgutil.resolve_name(self.factory) if isinstance(self.factory, str) else self.factory


@dataclass(frozen=True, kw_only=True)
class ModalitySpec(Spec):
    """A modality; the factory gives a `mmadv.Modality`."""


@dataclass(frozen=True, kw_only=True)
class AttackSpec(Spec):
    """An attack; the factory gives a class that implements `mmadv.Attack`.

    Args:
        modality: the qualified modality it works on, such as `image`.
        paper: its source, an arXiv id where there is one.
    """

    modality: str
    paper: str = ""


@dataclass(frozen=True, kw_only=True)
class ConstraintSpec(Spec):
    """A feasible set; the factory gives a `mmadv.Constraint` class."""

    modality: str


@dataclass(frozen=True, kw_only=True)
class GoalSpec(Spec):
    """What an attacker wants; the factory gives a `mmadv.Goal` class."""


@dataclass(frozen=True, kw_only=True)
class ThreatModelSpec(Spec):
    """A preset with the field's usual figures; the factory gives a `mmadv.ThreatModel`."""

    modality: str
    paper: str = ""


@dataclass(frozen=True, kw_only=True)
class MetricSpec(Spec):
    """A figure of merit per example; the factory gives `(x, adv) -> (B,)` values."""

    modality: str


@dataclass(frozen=True, kw_only=True)
class SectionSpec(Spec):
    """A section of the report; the factory gives `(run) -> html`.

    The HTML is escaped by who writes it, closes every element that it opens, holds no script and loads nothing but
    `data:` images and media: anything else is shown as an error line in its place.
    """


# -------------------------------------------------------------------------------------------------
# Registration: called once, when the catalog is built. Each returns an iterable of records.
# -------------------------------------------------------------------------------------------------


@hookspec
def mmadv_modalities() -> Iterable[ModalitySpec]:
    """Modalities that this plugin brings.

    Example:
        ``return [ModalitySpec(name="image", summary="pixels", factory="acme.space:Pixels")]``
    """
    raise NotImplementedError


@hookspec
def mmadv_attacks() -> Iterable[AttackSpec]:
    """Attacks that this plugin brings, for its own or another plugin's modality.

    Example:
        ``return [AttackSpec(name="pgd", summary="…", modality="image", factory="acme.pgd:PGD")]``
    """
    raise NotImplementedError


@hookspec
def mmadv_constraints() -> Iterable[ConstraintSpec]:
    """Feasible sets that threat models can name."""
    raise NotImplementedError


@hookspec
def mmadv_goals() -> Iterable[GoalSpec]:
    """What an attacker can want."""
    raise NotImplementedError


@hookspec
def mmadv_threat_models() -> Iterable[ThreatModelSpec]:
    """Presets with the field's usual figures, such as Linf 8/255."""
    raise NotImplementedError


@hookspec
def mmadv_metrics() -> Iterable[MetricSpec]:
    """Figures of merit that the report can show per example."""
    raise NotImplementedError


@hookspec
def mmadv_report_sections() -> Iterable[SectionSpec]:
    """Sections added to the report, in the order of their qualified names."""
    raise NotImplementedError


@hookspec
def mmadv_commands(cli: typer.Typer) -> None:
    """Add commands to the `mmadv` command line.

    Args:
        cli: the application to add to.
    """
    raise NotImplementedError


# -------------------------------------------------------------------------------------------------
# Adaptation: asked of every plugin when a victim is to be attacked. Exactly one may claim it.
# -------------------------------------------------------------------------------------------------


@hookspec
def mmadv_adapt_target(victim: object, modality: str) -> TargetClaim | None:
    """Claim a victim of a type that this plugin knows how to call.

    Args:
        victim: what the user passed.
        modality: the qualified modality it is to be attacked in.

    Returns:
        A claim whose factory builds the `mmadv.Target`, or None. Two claims are an error that names both.
    """
    raise NotImplementedError


# -------------------------------------------------------------------------------------------------
# Observation: an observer that raises is reported as a warning and never stops a run.
# -------------------------------------------------------------------------------------------------


@hookspec
def mmadv_run_started(run: RunInfo) -> None:
    """A run is about to work on its first open shard."""
    raise NotImplementedError


@hookspec
def mmadv_step_finished(run: RunInfo, done: int, total: int) -> None:
    """A shard of a run has been written.

    Args:
        run: the run.
        done: shards written so far.
        total: shards of the whole run.
    """
    raise NotImplementedError


@hookspec
def mmadv_run_finished(run: RunInfo) -> None:
    """Every shard is written, and the summary too."""
    raise NotImplementedError


@hookspec
def mmadv_run_failed(run: RunInfo, error: BaseException) -> None:
    """A run stopped on an error; what it wrote so far stays.

    Args:
        run: the run.
        error: what stopped it.
    """
    raise NotImplementedError
