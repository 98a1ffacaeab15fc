"""For each law one attack that is broken on purpose: it fails the check of that law and no other."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import pytest
import torch

from mmadv import Attack, hookimpl, losses
from mmadv.errors import ParameterError
from mmadv.hookspecs import AttackSpec, ModalitySpec
from mmadv.host import Host
from mmadv.ledger import Signals
from mmadv.testing import LAWS, Case, Kit, Trial, cases, conformance
from mmadv_image.modality import Images


@dataclass(frozen=True, kw_only=True)
class Sound(Attack):
    """PGD on the margin, in its shortest form; the broken ones differ from it in one place each."""

    steps: ClassVar[int] = 10

    def check(self, oracle):
        if oracle.region.norm != "linf":
            raise ParameterError("linf only", where="norm", fix="use norm='linf'")

    def init(self, oracle):
        return oracle.region.x

    def loss(self, logits, label):
        return losses.margin(logits, label)

    def length(self, oracle):
        return 0.3

    def step(self, adv, oracle):
        grad = oracle.evaluate(adv, loss=self.loss, grad=True).grad
        return oracle.region.climb_(adv, grad, self.length(oracle))

    def pending(self, adv):
        return adv


class Widening(Sound):
    """Law 1: makes its own ball larger, so that the engine judges by that."""

    def init(self, oracle):
        region = oracle.region
        region.lower.copy_((region.x - 2 * region.eps.reshape(-1, 1, 1, 1)).clamp_min_(0))
        region.upper.copy_((region.x + 2 * region.eps.reshape(-1, 1, 1, 1)).clamp_max_(1))
        region.eps.mul_(2)
        return region.x


class Bypassing(Sound):
    """Law 2: asks the victim behind the oracle's back."""

    def init(self, oracle):
        oracle.problem.target(oracle.region.x)
        return oracle.region.x


class Polluting(Sound):
    """Law 3: leaves gradients on the victim's parameters."""

    def init(self, oracle):
        for parameter in oracle.problem.target.module.parameters():
            parameter.grad = torch.zeros_like(parameter)
        return oracle.region.x


class Hooking(Sound):
    """Law 3: leaves a query counter on the victim."""

    def init(self, oracle):
        oracle.problem.target.module.register_forward_hook(lambda *_: None)
        return oracle.region.x


class Coupled(Sound):
    """Law 4: draws from the global generator for the whole batch, so that a row's noise depends on its place."""

    def init(self, oracle):
        region = oracle.region
        return region.project(region.x + 0.1 * region.eps.reshape(-1, 1, 1, 1) * (torch.rand_like(region.x) - 0.5))


class Crowded(Sound):
    """Law 4: steps by how many rows are left."""

    def length(self, oracle):
        return 0.2 + 0.01 * len(oracle.y)


class Underflowing(Sound):
    """Law 5: climbs a probability, whose gradient is exactly 0 once the victim is sure."""

    def loss(self, logits, label):
        return 1 - losses.pick(logits.softmax(-1), label)


class Stuck(Sound):
    """Law 6: pixels of exactly 0 or 1 never move, as under tanh without shrinking."""

    def step(self, adv, oracle):
        following, x = super().step(adv, oracle), oracle.region.x
        return torch.where((x > 0) & (x < 1), following, x)


class Single(Sound):
    """Law 6: can't work in float64."""

    def step(self, adv, oracle):
        return torch.lerp(
            super().step(adv, oracle), torch.zeros((), dtype=torch.float32).expand_as(adv).contiguous(), 0.0
        )


class Crediting(Sound):
    """Law 7: takes rows that were wrong already for its own successes."""

    def init(self, oracle):
        oracle.open()
        ledger = oracle.ledger
        ledger.fooled |= ledger.wrong
        ledger.wrong = torch.zeros_like(ledger.wrong)
        return oracle.region.x


class Hiding(Sound):
    """Law 7: forgets that the victim answered NaN."""

    def step(self, adv, oracle):
        following = super().step(adv, oracle)
        oracle.ledger.broken = torch.zeros_like(oracle.ledger.broken)
        return following


class Timid(Sound):
    """Law 8: its steps reach 0.9 ε in all, whatever their number."""

    def length(self, oracle):
        return 0.9 / oracle.steps


class Soothing(Sound):
    """Law 9: takes back what would raise an alarm."""

    def step(self, adv, oracle):
        following = super().step(adv, oracle)
        oracle.signals = Signals.none(adv.device)
        return following


class Mislabelling(Sound):
    """Law 10: changes the labels that what was stored is judged by."""

    def init(self, oracle):
        oracle.problem.y = (oracle.problem.y + 1) % 2
        return oracle.region.x


class Wayward(Sound):
    """Law 11: carries something over from one seeded run to the next."""

    seeded_runs: ClassVar[list[int]] = []

    def init(self, oracle):
        self.seeded_runs.extend([oracle.problem.seed] * bool(oracle.problem.seed))
        return oracle.region.x

    def length(self, oracle):
        return 0.3 - 0.01 * (len(self.seeded_runs) % 5)


@dataclass(frozen=True, kw_only=True)
class Deaf(Sound):
    """Law 12: takes a parameter and does nothing with it."""

    decay: float = 1.0


class Fixed(Sound):
    """Law 12: makes the same number of steps whatever it is told."""

    def iterations(self, steps):
        return 10


BROKEN = {
    "feasible": [Widening],
    "counted": [Bypassing],
    "unmoved": [Polluting, Hooking],
    "independent": [Coupled, Crowded],
    "shift_and_scale": [Underflowing],
    "edges": [Stuck, Single],
    "honest": [Crediting, Hiding],
    "strong": [Timid],
    "no_false_comfort": [Soothing],
    "stored": [Mislabelling],
    "replayable": [Wayward],
    "nothing_ignored": [Deaf, Fixed],
}


class Lossless(Images):
    """Law 10, broken by a modality: it says that storing loses nothing."""

    name = "broken.lossless"

    def stored(self, rows):
        return rows


class Plugin:
    """All of them, installed in process."""

    @hookimpl
    def mmadv_modalities(self):
        yield ModalitySpec(name="lossless", summary="images whose storing loses nothing, it says", factory=Lossless)

    @hookimpl
    def mmadv_attacks(self):
        for attack in [Sound, *chain(*BROKEN.values())]:
            yield AttackSpec(name=attack.__name__.lower(), summary="", modality="image", factory=attack)
        yield AttackSpec(name="unstored", summary="", modality="broken.lossless", factory=Sound)

    @hookimpl
    def mmadv_adapt_target(self, victim, modality):
        from mmadv_image.target import claim

        return claim(victim, "image") if modality == "broken.lossless" else None


@pytest.fixture(scope="module")
def host():
    return Host(allowed=["image"], extra={"broken": Plugin()})


def failures(name, host):
    """The laws that an attack breaks, and what was said of each."""
    found = {}
    for law, check in LAWS.items():
        try:
            check(Trial(Case(name, {"norm": "linf"}), Kit(), host))
        except AssertionError as error:
            found[law] = str(error)
    return found


def test_every_law_of_an_attack_has_a_check_and_a_broken_attack():
    assert list(LAWS) == list(BROKEN)


def test_the_sound_attack_breaks_no_law(host):
    assert failures("broken.sound", host) == {}


@pytest.mark.parametrize(
    ("law", "attack"),
    [pytest.param(law, attack, id=f"{law}-{attack.__name__}") for law, attacks in BROKEN.items() for attack in attacks],
)
def test_a_broken_attack_fails_the_check_of_its_law_and_no_other(law, attack, host):
    name = f"broken.{attack.__name__.lower()}"
    found = failures(name, host)
    assert set(found) == {law}, found
    assert f"({law}) is broken by {name}-linf: " in found[law]


def test_a_modality_that_hides_what_storing_loses_fails_that_check_alone(host):
    assert set(failures("broken.unstored", host)) == {"stored"}


def test_an_attack_that_raises_breaks_the_law_with_its_own_words(host):
    with pytest.raises(
        AssertionError, match=r"law 6 \(edges\) is broken by broken.single-linf: it raised RuntimeError: expected dtype"
    ) as caught:
        LAWS["edges"](Trial(Case("broken.single", {"norm": "linf"}), host=host))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_cases_are_all_attacks_in_all_settings_but_for_norms_they_refuse(host):
    found = [str(case) for case in cases("image", host=host, settings={"image.apgd": [{}, {"loss": "dlr"}]})]
    assert {"image.pgd-linf", "image.pgd-l1", "image.cw-l2", "image.apgd-l2-loss=dlr", "broken.sound-linf"} <= set(
        found
    )
    assert not {"image.cw-linf", "image.apgd-l1", "broken.sound-l2"} & set(found)
    assert [case.name for case in cases("broken.lossless", host=host)] == ["broken.unstored"]


def test_cases_say_what_is_wrong_with_an_attack_that_fits_nowhere(host):
    with pytest.raises(ParameterError, match="linf only"):
        cases("broken.lossless", host=host, kit=Kit(norms=("l2",)))
    with pytest.raises(ParameterError, match=r"there is no attack 'image\.pdg'"):
        cases("image", host=host, settings={"image.pdg": [{}]})
    with pytest.raises(TypeError, match="lossy"):
        cases("image", host=host, settings={"image.pgd": [{"lossy": 1}]})


def test_a_kit_of_the_modality_is_taken(host, monkeypatch):
    monkeypatch.setattr(Images, "kit", Kit(shape=(1, 4, 4)), raising=False)
    assert Trial(Case("image.fgsm", {"norm": "linf"}), host=host).kit.shape == (1, 4, 4)
    assert Trial(Case("image.fgsm", {"norm": "linf"}), Kit(), host).kit.shape == (3, 5, 4)


def test_conformance_parametrises_by_law_and_case(host):
    test = conformance("broken.lossless", host=host, laws=["stored", "counted"])
    [mark] = test.pytestmark
    assert [parameter.id for parameter in mark.args[1]] == [
        "stored-broken.unstored-linf",
        "counted-broken.unstored-linf",
    ]
    test("counted", Case("broken.unstored", {"norm": "linf"}))
    with pytest.raises(AssertionError, match="law 10"):
        test("stored", Case("broken.unstored", {"norm": "linf"}))


def test_the_pytest_plugin_gives_three_lines_fixtures_and_a_filter(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "from mmadv.testing import conformance\n"
        "test_laws = conformance('image', laws=['stored'])\n"
        "def test_fixtures(mmadv_host, linear_victim):\n"
        "    assert [plugin.name for plugin in mmadv_host('image', mine=object()).loaded] == ['image', 'mine']\n"
        "    assert len(linear_victim(rows=3)[1]) == 3\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "no:cacheprovider",
        "-W",
        "error",
        "--mmadv-attack",
        "image.fgsm",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for kept in (
        "test_laws[stored-image.fgsm-linf] PASSED",
        "test_laws[stored-image.fgsm-l1] PASSED",
        "test_fixtures PASSED",
    ):
        assert kept in done.stdout
    assert "image.pgd" not in done.stdout


def test_the_pytest_plugin_does_not_import_torch():
    code = "import sys, mmadv.testing.pytest_plugin; assert 'torch' not in sys.modules; import mmadv.testing; mmadv.testing.Nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "AttributeError: module 'mmadv.testing' has no attribute 'Nothing'" in done.stderr
