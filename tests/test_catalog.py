"""Qualified names, look-ups that say what to do, and building from parameters."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mmadv.catalog import Catalog, build, qualify
from mmadv.errors import ParameterError, PluginError
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
from mmadv.host import Host


def attack(name, modality="image", factory=dict):
    return AttackSpec(name=name, summary="", modality=modality, factory=factory)


class Image:
    @hookimpl
    def mmadv_modalities(self):
        return [ModalitySpec(name="pixels", summary="", factory=dict)]

    @hookimpl
    def mmadv_attacks(self):
        return [attack("pgd", "pixels"), attack("apgd", "pixels")]

    @hookimpl
    def mmadv_constraints(self):
        return [ConstraintSpec(name="linf", summary="", modality="pixels", factory=dict)]

    @hookimpl
    def mmadv_goals(self):
        return [GoalSpec(name="untargeted", summary="", factory=dict)]

    @hookimpl
    def mmadv_threat_models(self):
        return [ThreatModelSpec(name="linf8", summary="", modality="pixels", factory=dict)]

    @hookimpl
    def mmadv_metrics(self):
        return [MetricSpec(name="ssim", summary="", modality="pixels", factory=dict)]

    @hookimpl
    def mmadv_report_sections(self):
        return [SectionSpec(name="gallery", summary="", factory=dict)]


class Acme:
    @hookimpl
    def mmadv_modalities(self):
        return [ModalitySpec(name=name, summary="", factory=dict) for name in ("series", "acme", "aaa")]

    @hookimpl
    def mmadv_attacks(self):
        return [attack("pgd", "pixels"), attack("warp", "acme.series")]


class Down:
    @hookimpl
    def mmadv_attacks(self):
        raise OSError("no licence")


@pytest.fixture
def catalog(monkeypatch):
    monkeypatch.setattr("mmadv.host.metadata.entry_points", lambda group: ())
    extra = {"pixels": Image(), "acme": Acme(), "down": Down(), "left": Acme()}
    return Catalog(Host(extra=extra, blocked=["left"]))


def test_what_bears_its_owners_name_is_not_doubled():
    assert qualify("image", "image") == "image"
    assert qualify("acme", "image") == "acme.image"


def test_every_kind_is_found_by_its_qualified_name(catalog):
    assert catalog.modality("pixels").name == "pixels"
    assert catalog.modality("acme").name == "acme"
    assert catalog.modality("acme.series").name == "series"
    assert catalog.attack("pixels.pgd").name == "pgd"
    assert catalog.constraint("pixels.linf").name == "linf"
    assert catalog.goal("pixels.untargeted").name == "untargeted"
    assert catalog.threat_model("pixels.linf8").name == "linf8"
    assert catalog.metric("pixels.ssim").name == "ssim"
    assert list(catalog.sections()) == ["pixels.gallery"]


def test_attacks_are_listed_by_modality_whoever_brings_them(catalog):
    assert list(catalog.attacks()) == ["acme.pgd", "acme.warp", "pixels.apgd", "pixels.pgd"]
    assert list(catalog.attacks("pixels")) == ["acme.pgd", "pixels.apgd", "pixels.pgd"]
    assert list(catalog.attacks("acme.series")) == ["acme.warp"]
    assert catalog.attacks("nothing") == {}


def test_listings_are_in_the_order_of_qualified_names(catalog):
    assert list(catalog.all(ModalitySpec)) == ["acme", "acme.aaa", "acme.series", "pixels"]


def test_listings_are_copies(catalog):
    catalog.attacks().clear()
    catalog.all(GoalSpec).clear()
    assert len(catalog.attacks()) == 4
    assert list(catalog.all(GoalSpec)) == ["pixels.untargeted"]


def test_the_owner_of_a_name(catalog):
    assert catalog.owner("pixels.pgd").name == catalog.owner("pixels").name == "pixels"


@pytest.mark.parametrize(
    ("name", "what", "fix"),
    [
        ("pixels.pdg", "there is no attack 'pixels.pdg'", "did you mean 'pixels.pgd'?"),
        ("pgd", "there is no attack 'pgd'", "qualified by their plugin: acme.pgd, pixels.pgd"),
        ("text.greedy", "no installed plugin is called 'text'", "pip install mmadv-text"),
        ("acne.pgd", "no installed plugin is called 'acne'", "did you mean 'acme'?"),
        ("down.pgd", "the plugin down ((in process)) is failed: OSError: no licence", "mend the object"),
        ("left.pgd", "the plugin left ((in process)) is blocked", "drop --no-plugin left"),
    ],
)
def test_an_unknown_name_says_what_to_do(catalog, name, what, fix):
    with pytest.raises(ParameterError) as caught:
        catalog.attack(name, where="audit.yaml:3")
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.where == "audit.yaml:3"


def test_a_name_of_another_kind_is_unknown(catalog):
    with pytest.raises(ParameterError, match=r"there is no threat model 'pixels\.pgd'"):
        catalog.threat_model("pixels.pgd")


@dataclass(frozen=True, kw_only=True)
class Noise:
    steps: int
    scale: float = 1.0

    def __post_init__(self):
        if self.scale < 0:
            raise TypeError("unexpected keyword argument 'scale'")  # reads like a wrong parameter, and is not
        if self.steps < 0:
            raise ValueError("steps")


def test_build_gives_keyword_parameters():
    assert build(attack("noise", factory=Noise), {"steps": 3}) == Noise(steps=3)
    assert build(attack("noise", factory=f"{__name__}:Noise"), {"steps": 3, "scale": 2.0}) == Noise(steps=3, scale=2.0)
    assert build(attack("any", factory=lambda **given: given), {"whatever": 1}) == {"whatever": 1}


def test_build_refuses_an_unknown_parameter_and_lists_the_known():
    with pytest.raises(ParameterError, match="noise has no parameter 'step'") as caught:
        build(attack("noise", factory=Noise), {"step": 3, "steps": 3}, "audit.yaml:7")
    assert caught.value.where == "audit.yaml:7"
    assert caught.value.fix == "did you mean 'steps'? known: scale, steps"
    with pytest.raises(ParameterError) as caught:  # a word that stands beside parameters, and goes elsewhere
        build(attack("noise", factory=Noise), {"querys": 3}, beside=["queries"])
    assert "did you mean 'queries'?" in caught.value.fix


def test_build_names_a_missing_parameter():
    with pytest.raises(ParameterError, match="noise needs the parameter 'steps'"):
        build(attack("noise", factory=Noise), {})


@pytest.mark.parametrize(("params", "error"), [({"steps": 1, "scale": -1.0}, TypeError), ({"steps": -1}, ValueError)])
def test_build_lets_the_constructors_own_errors_pass(params, error):
    with pytest.raises(error):
        build(attack("noise", factory=Noise), params)


@pytest.mark.parametrize(
    ("factory", "cause"),
    [
        ("mmadv_nowhere:X", "ModuleNotFoundError"),
        ("mmadv.errors:Nope", "AttributeError"),
        ("mmadv.hookspecs:API", "TypeError"),
    ],
)
def test_a_factory_that_cannot_be_used_is_a_plugin_error(factory, cause):
    with pytest.raises(PluginError, match=cause) as caught:
        build(attack("noise", factory=factory), {}, "image.noise")
    assert caught.value.where == "image.noise"
    assert isinstance(caught.value.__cause__, Exception)
