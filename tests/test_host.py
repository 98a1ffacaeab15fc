"""The host in one process; what needs installed distributions is in test_cli_plugins.py."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmadv.errors import PluginError, TargetError
from mmadv.hookspecs import (
    AttackSpec,
    ConstraintSpec,
    GoalSpec,
    MetricSpec,
    ModalitySpec,
    SectionSpec,
    ThreatModelSpec,
    hookimpl,
)
from mmadv.host import HOOKS, IN_PROCESS, KINDS, OURS, Host, PluginWarning, absent, default_host


def attack(name="noise", **changes):
    return AttackSpec(**{"name": name, "summary": "a test", "modality": "acme", "factory": dict} | changes)


def plugin(hook, body):
    """An object that implements one hook without arguments."""

    def implementation(self):
        return body()

    return type("Plugin", (), {hook: hookimpl(implementation)})()


def host(**extra):
    return Host(allowed=(), extra=extra)


def only(host, name):
    found = host.plugins[name]
    assert found.name == name
    return found


class Everything:
    """Implements every hook and writes down what it was called with."""

    def __init__(self):
        self.calls = {}

    def note(self, hook, **kwargs):
        self.calls[hook] = kwargs

    @hookimpl
    def mmadv_modalities(self):
        self.note("mmadv_modalities")
        return [ModalitySpec(name="everything", summary="", factory=dict)]

    @hookimpl
    def mmadv_attacks(self):
        self.note("mmadv_attacks")
        yield attack("b")
        yield attack("a")

    @hookimpl
    def mmadv_constraints(self):
        self.note("mmadv_constraints")
        return (ConstraintSpec(name="ball", summary="", modality="everything", factory=dict),)

    @hookimpl
    def mmadv_goals(self):
        self.note("mmadv_goals")
        return {GoalSpec(name="other", summary="", factory=dict)}

    @hookimpl
    def mmadv_threat_models(self):
        self.note("mmadv_threat_models")
        return [ThreatModelSpec(name="usual", summary="", modality="everything", factory=dict)]

    @hookimpl
    def mmadv_metrics(self):
        self.note("mmadv_metrics")
        return [MetricSpec(name="l2", summary="", modality="everything", factory=dict)]

    @hookimpl
    def mmadv_report_sections(self):
        self.note("mmadv_report_sections")
        return [SectionSpec(name="figures", summary="", factory=dict)]

    @hookimpl
    def mmadv_commands(self, cli):
        self.note("mmadv_commands", cli=cli)

    @hookimpl
    def mmadv_adapt_target(self, victim, modality):
        self.note("mmadv_adapt_target", victim=victim, modality=modality)
        return SimpleNamespace(claimant="everything", factory=dict)

    @hookimpl
    def mmadv_run_started(self, run):
        self.note("mmadv_run_started", run=run)

    @hookimpl
    def mmadv_step_finished(self, run, done, total):
        self.note("mmadv_step_finished", run=run, done=done, total=total)

    @hookimpl
    def mmadv_run_finished(self, run):
        self.note("mmadv_run_finished", run=run)

    @hookimpl
    def mmadv_run_failed(self, run, error):
        self.note("mmadv_run_failed", run=run, error=error)


def test_every_hook_is_called_with_its_arguments():
    everything, error = Everything(), ValueError("x")
    loaded = host(everything=everything)
    found = only(loaded, "everything")
    found.call("mmadv_commands", cli="cli")
    loaded.adapt("victim", "everything")
    loaded.observe("run_started", run="run")
    loaded.observe("step_finished", run="run", done=1, total=2)
    loaded.observe("run_finished", run="run")
    loaded.observe("run_failed", run="run", error=error)
    assert everything.calls == {
        **{f"mmadv_{kind}": {} for kind in KINDS},
        "mmadv_commands": {"cli": "cli"},
        "mmadv_adapt_target": {"victim": "victim", "modality": "everything"},
        "mmadv_run_started": {"run": "run"},
        "mmadv_step_finished": {"run": "run", "done": 1, "total": 2},
        "mmadv_run_finished": {"run": "run"},
        "mmadv_run_failed": {"run": "run", "error": error},
    }
    assert set(everything.calls) == set(HOOKS) == set(found.hooks)


def test_records_of_every_kind_are_kept_in_the_order_of_their_names():
    records = only(host(everything=Everything()), "everything").records
    names = {kind: [record.name for record in found] for kind, found in records.items()}
    assert names == {
        "modalities": ["everything"],
        "attacks": ["a", "b"],
        "constraints": ["ball"],
        "goals": ["other"],
        "threat_models": ["usual"],
        "metrics": ["l2"],
        "report_sections": ["figures"],
    }


def broken_generator():
    yield attack()
    raise OSError("half-way")


def leave():
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("hook", "body", "cause", "remedy"),
    [
        ("mmadv_attacks", lambda: 1 / 0, "ZeroDivisionError: division by zero", "mend the object"),
        ("mmadv_attacks", leave, "SystemExit: 3", "mend the object"),
        ("mmadv_attacks", broken_generator, "OSError: half-way", "mend the object"),
        ("mmadv_attacks", lambda: None, "mmadv_attacks gave None, expected an iterable of AttackSpec", "return a list"),
        ("mmadv_attacks", attack, "expected an iterable of AttackSpec", "return a list"),
        ("mmadv_attacks", lambda: "pgd", "mmadv_attacks gave 'p', expected", "return a list"),
        ("mmadv_goals", lambda: [attack()], "expected an iterable of GoalSpec", "return a list"),
        ("mmadv_attacks", lambda: [attack(api=99)], "'noise' is written for hook api 99", "pip install -U mmadv"),
        ("mmadv_attacks", lambda: [attack(api=0)], "'noise' is written for hook api 0", f"pip install -U {IN_PROCESS}"),
        ("mmadv_attacks", lambda: [attack(), attack()], "two records named 'noise'", "rename one"),
        ("mmadv_attacks", lambda: [attack("a.b")], "'a.b' is not a name", "a dot qualifies"),
        ("mmadv_atacks", list, "unknown hook 'mmadv_atacks'", "did you mean 'mmadv_attacks'?"),
    ],
)
def test_a_bad_plugin_is_listed_and_its_neighbours_work(hook, body, cause, remedy):
    loaded = host(bad=plugin(hook, body), after=Everything(), acme=plugin("mmadv_attacks", lambda: [attack()]))
    bad = only(loaded, "bad")
    assert (bad.state, bad.records, bad.manager) == ("failed", {}, None)
    assert cause in bad.cause
    assert "\n" not in bad.cause
    assert remedy in bad.remedy
    assert [found.name for found in loaded.loaded] == ["acme", "after"]


def test_an_argument_that_the_hook_does_not_have_is_refused():
    class Greedy:
        @hookimpl
        def mmadv_attacks(self, nothing):
            return []

    found = only(host(greedy=Greedy()), "greedy")
    assert found.state == "failed"
    assert "nothing" in found.cause


def test_a_hook_without_the_decorator_is_refused():
    class Bare:
        def mmadv_attacks(self):
            return []

    found = only(host(bare=Bare()), "bare")
    assert found.state == "failed"
    assert found.remedy == "put @mmadv.hookimpl on mmadv_attacks"


def test_a_bad_plugin_name_is_refused():
    assert only(Host(allowed=(), extra={"a.b": Everything()}), "a.b").cause == "'a.b' is not a name"


def test_no_factory_runs_while_loading():
    def explode():
        raise AssertionError("a factory ran")

    assert only(host(lazy=plugin("mmadv_attacks", lambda: [attack(factory=explode)])), "lazy").state == "loaded"
    assert only(host(lazy=plugin("mmadv_attacks", lambda: [attack(factory="no:where")])), "lazy").state == "loaded"


def test_keyboard_interrupt_passes():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        host(bad=plugin("mmadv_attacks", interrupt))


def test_one_module_under_two_names_is_two_plugins():
    module = plugin("mmadv_attacks", lambda: [attack()])
    assert [found.name for found in host(a=module, b=module).loaded] == ["a", "b"]


def test_hosts_share_nothing():
    assert "acme" in host(acme=Everything()).plugins
    assert "acme" not in host().plugins


def test_default_host_is_kept_until_it_is_forgotten(monkeypatch):
    monkeypatch.setenv("MMADV_PLUGINS", "")
    default_host.cache_clear()
    first = default_host()
    assert first is default_host()
    assert first.loaded == []
    default_host.cache_clear()
    assert first is not default_host()
    default_host.cache_clear()


def test_the_allow_list_of_the_environment(monkeypatch):
    monkeypatch.setenv("MMADV_PLUGINS", " image ,")
    loaded = Host(blocked=["image"], extra={"acme": Everything()})
    assert only(loaded, "acme").state == "loaded"
    assert (only(loaded, "image").state, only(loaded, "image").remedy) == ("blocked", "drop --no-plugin image")
    monkeypatch.setenv("MMADV_PLUGINS", "acme")
    image = only(Host(extra={"acme": Everything()}), "image")
    assert (image.state, image.cause, image.remedy) == ("blocked", "not in MMADV_PLUGINS", "add image to MMADV_PLUGINS")


@pytest.mark.parametrize(
    ("name", "fix"), [("rl", "pip install mmadv-rl"), ("acmee", "did you mean 'acme'?"), ("zzz", "known: acme")]
)
def test_an_allowed_plugin_that_is_not_installed_is_an_error(monkeypatch, name, fix):
    monkeypatch.setenv("MMADV_PLUGINS", name)
    monkeypatch.setattr("mmadv.host.metadata.entry_points", lambda group: ())
    with pytest.raises(PluginError, match=f"no installed plugin is called '{name}'") as caught:
        Host(extra={"acme": Everything()})
    assert fix in caught.value.fix


def test_a_blocked_plugin_that_does_not_exist_is_an_error():
    with pytest.raises(PluginError, match="did you mean 'acme'"):
        Host(allowed=(), blocked=["acmee"], extra={"acme": Everything()})


def test_an_observer_that_raises_warns_once_and_the_others_are_told():
    class Bad:
        @hookimpl
        def mmadv_run_started(self, run):
            raise RuntimeError("observer down")

    told = Everything()
    loaded = host(bad=Bad(), told=told)
    with pytest.warns(PluginWarning, match=r"bad \(\(in process\)\) failed in mmadv_run_started.*observer down"):
        loaded.observe("run_started", run=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded.observe("run_started", run=2)
    assert told.calls["mmadv_run_started"] == {"run": 2}


def test_a_misspelt_event_is_an_error_even_without_plugins():
    with pytest.raises(AttributeError, match="mmadv_run_startd"):
        host().observe("run_startd", run=1)


class Claims:
    @hookimpl
    def mmadv_adapt_target(self, victim):
        return SimpleNamespace(claimant="x", factory=dict) if isinstance(victim, int) else None


class Raises:
    @hookimpl
    def mmadv_adapt_target(self):
        raise ImportError("no such backend")


def test_one_claim_is_given():
    assert host(a=Claims(), b=plugin("mmadv_attacks", list)).adapt(3, "image").claimant == "x"


def test_several_claims_are_an_error_that_names_all():
    with pytest.raises(
        TargetError, match=r"2 plugins claim a victim of type builtins.int in the modality 'image'"
    ) as e:
        host(a=Claims(), b=Claims(), c=plugin("mmadv_attacks", list)).adapt(3, "image")
    assert e.value.where == "a ((in process)), b ((in process))"


def test_no_claim_is_an_error_that_names_who_was_asked_and_who_failed():
    loaded = host(a=Claims(), down=plugin("mmadv_attacks", lambda: 1 / 0), raises=Raises())
    with pytest.warns(PluginWarning, match="no such backend"), pytest.raises(TargetError, match=r"builtins\.str") as e:
        loaded.adapt("victim", "image")
    assert "asked: a ((in process)), raises ((in process))" in e.value.where
    assert "down ((in process)) is failed: ZeroDivisionError" in e.value.where
    assert "raises ((in process)) failed in mmadv_adapt_target: ImportError: no such backend" in e.value.where


def test_a_claimant_that_raises_does_not_stop_the_one_that_claims():
    with pytest.warns(PluginWarning, match="no such backend"):
        assert host(a=Raises(), b=Claims()).adapt(3, "image").claimant == "x"


def test_what_is_no_claim_is_reported():
    class Odd:
        @hookimpl
        def mmadv_adapt_target(self):
            return 5

    with (
        pytest.warns(PluginWarning, match="gave 5, expected a TargetClaim"),
        pytest.raises(TargetError, match="no plugin"),
    ):
        host(odd=Odd()).adapt(3, "image")


def test_every_plugin_of_ours_that_is_missing_is_named_with_its_package():
    there = (Path(__file__).parents[1] / "plugins").glob("mmadv-*")
    assert sorted(folder.name.removeprefix("mmadv-") for folder in there) == sorted(OURS)
    assert {absent(name, ["image"]) for name in OURS} == {f"pip install mmadv-{name}" for name in OURS}
