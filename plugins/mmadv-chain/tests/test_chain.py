"""Systems of victims: what fits, what is asked of which stage, where gradients come from, and what adds up."""

import re
from pathlib import Path

import pytest
import torch

import mmadv
from mmadv import Access, MemorySource, report
from mmadv.audit import Audit
from mmadv.errors import AccessError, InputError, ParameterError, SpecError, TargetError
from mmadv.host import Host
from mmadv.runs import RunInfo
from mmadv.spec import parse
from mmadv_audio import Waves
from mmadv_audio.target import FunctionTarget as Recogniser
from mmadv_audio.target import WavesTarget
from mmadv_chain.section import Attribution, attributions, section
from mmadv_chain.source import heard, written
from mmadv_chain.target import Chain, chain
from mmadv_text.target import StringsTarget as Classifier

RATE = 16_000
GOOD, BAD = "what a good film", "what a bad film"


def judges(texts):
    return [[0.1, 0.9] if "good" in text else [0.9, 0.1] for text in texts]


class Meter(torch.nn.Module):
    """A voltmeter: the mean of samples (B, T)."""

    def forward(self, samples):
        return samples.mean(1, keepdim=True)


class Hears(WavesTarget):
    """A recogniser with gradients: it writes one of two texts by the sign of the mean, and is the surer, the further from 0."""

    asked = 0

    def texts(self, x):
        return self.transcribed(x)[0]

    def transcribed(self, x):
        level = self.run(self.heard(x))[:, 0] * 100
        type(self).asked += len(x)
        said = [GOOD if one > 0 else BAD for one in level.tolist()]
        return said, lambda: torch.nn.functional.softplus(-level.abs())


@pytest.fixture
def system():
    Hears.asked = 0
    return Chain([("audio", Hears(Meter().eval(), rate=RATE)), ("text", Classifier(judges))])


def waves(*levels):
    return Waves.of([torch.full((400,), level) for level in levels], RATE)


# --- the target ------------------------------------------------------------------------------------------


def test_the_system_says_what_its_stages_say_one_after_another(system):
    x = waves(0.3, -0.2, 0.1)
    expected = torch.tensor(judges(system.stages[0].texts(x)))
    assert torch.allclose(system(x), expected)
    assert system.name == "Meter → judges"
    assert system.output is system.stages[-1].output
    assert system.access is Access.GRADIENT


def test_gradients_lead_away_from_the_present_text_while_it_is_right_and_towards_the_edge_when_it_is_wrong(system):
    x = waves(0.3, 0.3)
    x.samples.requires_grad_()
    output, unlikely = system.likelihood(x)
    assert output.argmax(-1).tolist() == [1, 1]
    (grad,) = torch.autograd.grad(unlikely(torch.tensor([1, 0])).sum(), x.samples)
    assert (grad[0] < 0).all(), "a lower mean makes the right text less likely"
    assert (grad[1] > 0).all(), "where it is wrong already, it is kept so"


def test_gradient_attacks_find_what_noise_of_the_same_size_does_not(system):
    x, y = waves(0.04, -0.04, 0.2), [1, 0, 1]
    found = mmadv.attack(system, x, y, "audio.pgd", modality="audio", eps=0.05, steps=6)
    assert found.success.tolist() == [True, True, False]
    assert (found.gradients > 0).any()
    noise = mmadv.attack(system, x, y, "audio.noise", modality="audio", eps=0.05, steps=6)
    assert not noise.success.any()
    assert system(found.adv).argmax(-1).tolist() == [0, 1, 1]


def test_queries_of_a_system_are_those_of_its_first_stage(system):
    x = waves(0.3, -0.3)
    system.batch_size = 1
    result = mmadv.attack(system, x, [1, 0], "audio.pgd", modality="audio", eps=0.01, steps=3)
    assert Hears.asked == result.forwards + result.checks == int(result.queries.sum()) + result.checks


def test_without_gradients_in_the_first_stage_there_are_scores_and_without_scores_decisions():
    blind = Recogniser(lambda rows: [GOOD for _ in rows], output="label")
    assert Chain([("audio", blind), ("text", Classifier(judges))]).access is Access.SCORE
    labels = Classifier(lambda texts: [1 for _ in texts], output="label")
    assert Chain([("audio", blind), ("text", labels)]).access is Access.DECISION
    with pytest.raises(AccessError, match="gradient"):
        mmadv.attack(
            Chain([("audio", blind), ("text", labels)]), waves(0.1), [1], "audio.pgd", modality="audio", eps=0.1
        )


def test_three_stages_pass_texts_on():
    shouts = Classifier(lambda texts: [1 for _ in texts], output="label")
    shouts.texts = lambda rows: [text.upper().replace("BAD", "good") for text in rows]
    first = Recogniser(lambda rows: [BAD for _ in rows], output="label")
    system = Chain([("audio", first), ("text", shouts), ("text", Classifier(judges))])
    assert system(waves(0.1)).argmax(-1).tolist() == [1]


def test_stages_that_do_not_fit_name_both_types():
    texts = Classifier(judges)
    with pytest.raises(TargetError, match=r"StringsTarget of text.*StringsTarget of text") as found:
        Chain([("text", texts), ("text", texts)])
    assert "texts(x)" in found.value.fix
    hears = Recogniser(lambda rows: rows, output="label")
    with pytest.raises(TargetError, match="FunctionTarget of audio"):
        Chain([("audio", hears), ("audio", hears)])
    with pytest.raises(ParameterError, match="1 stages"):
        Chain([("audio", hears)])


def test_rows_that_the_first_stage_cannot_take_are_refused_before_the_first_query(system):
    with pytest.raises((InputError, TargetError), match="8000"):
        mmadv.attack(system, Waves.of([torch.zeros(10)], 8000), [1], "audio.noise", modality="audio", eps=0.1)
    assert Hears.asked == 0


def test_a_changed_stage_changes_the_fingerprint(system):
    other = Chain([*zip(["audio"], system.stages[:1], strict=True), ("text", Classifier(lambda texts: judges(texts)))])
    assert system.fingerprint() == system.fingerprint()
    assert system.fingerprint() != other.fingerprint()


# --- specs and sources -----------------------------------------------------------------------------------


def classifier():
    return judges


def hearing():
    return Hears(Meter().eval(), rate=RATE)


def said():
    source = MemorySource("levels", waves(0.04, -0.3, 0.5), torch.tensor([1, 0, 0]), ["a", "b", "c"], ["bad", "good"])
    object.__setattr__(source, "said", [GOOD, BAD, "so good"])
    return source


STAGES = [
    {"modality": "audio", "factory": "test_chain:hearing"},
    {"modality": "text", "factory": "test_chain:classifier"},
]
DATA = {"factory": "test_chain:said"}


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_what_is_written_heard_and_heard_under_attack_has_the_keys_of_the_data():
    plain, clean = written(stages=STAGES, data=DATA), heard(stages=STAGES, data=DATA)
    after = heard(stages=STAGES, data=DATA, after={"attack": "audio.pgd", "eps": 0.05, "steps": 5})
    assert list(plain.x) == [GOOD, BAD, "so good"]
    assert list(clean.x) == [GOOD, BAD, GOOD]
    assert list(after.x) == [BAD, BAD, GOOD]
    for one in (plain, clean, after):
        assert one.take(0, 3).keys == ["a", "b", "c"]
        assert one.y.tolist() == [1, 0, 0]
    assert len({plain.name, clean.name, after.name}) == 3


def test_the_attack_before_takes_the_audits_seed_and_tells_what_it_cost(monkeypatch):
    seeds, found, attack = [], [], mmadv.attack
    monkeypatch.setattr(
        mmadv,
        "attack",
        lambda *args, **words: seeds.append(words["seed"]) or found.append(attack(*args, **words)) or found[-1],
    )
    words = {"attack": "audio.pgd", "eps": 0.05, "steps": 4}
    after = heard(stages=STAGES, data=DATA, after=words, audit_seed=7)
    heard(stages=STAGES, data=DATA, after={**words, "seed": 3}, audit_seed=7)
    assert seeds == [7, 3]
    spent = found[0].summary()
    assert spent.gradients > 0
    assert {**after.before, "seconds": 0} == {
        "attack": "audio.pgd", "queries": spent.queries, "gradients": spent.gradients, "seconds": 0,
        "trust": spent.trust.value, "alarms": [alarm.code for alarm in spent.alarms],
    }  # fmt: skip
    assert not heard(stages=STAGES, data=DATA).before


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"stages": STAGES[:1]}, "1 stages"),
        ({"stages": [{"factory": "x:y"}, STAGES[1]]}, "no modality"),
        ({"stages": [{"modality": "audio"}, STAGES[1]]}, "exactly one"),
        ({"stages": [{**STAGES[0], "modality": "smell"}, STAGES[1]]}, "no modality 'smell'"),
        ({"stages": [{**STAGES[0], "word": 1}, STAGES[1]]}, "'word'"),
        ({"data": {"factory": "test_chain:said", "limit": 3}}, "limit"),
        ({"data": {}}, "none"),
        ({"after": {"steps": 3}}, "no attack"),
        ({"after": {"attack": "audio.pgd", "epsilon": 3}}, "'epsilon'"),
    ],
)
def test_what_a_spec_gets_wrong_is_named(change, what):
    with pytest.raises(ParameterError, match=re.escape(what)) as found:
        heard(**{"stages": STAGES, "data": DATA, **change})
    assert found.value.fix


def test_an_error_in_a_stage_says_which():
    with pytest.raises(ParameterError) as found:
        chain(stages=[STAGES[0], {**STAGES[1], "bach_size": 3}])
    assert "stage 2" in found.value.where
    with pytest.raises(ParameterError, match="no written form"):
        written(stages=STAGES, data={"factory": "row_source:silent"})


SPEC = """
title: system
campaigns:
  - name: system
    modality: audio
    target: {factory: "mmadv_chain.target:chain", args: {stages: &stages [
      {modality: audio, factory: "test_chain:hearing"}, {modality: text, factory: "test_chain:classifier"}]}}
    data: &data {factory: "test_chain:said", args: {}}
    threat: {norm: linf, eps: [0.05]}
    attacks: [audio.noise, {name: audio.pgd, steps: 5}]
  - name: written
    modality: text
    target: {factory: "test_chain:classifier"}
    data: {factory: "mmadv_chain.source:written", args: {stages: *stages, data: *data}}
    threat: &words {eps: [0.5], candidates: characters, similarity: -1}
    attacks: [text.greedy]
  - name: heard
    modality: text
    target: {factory: "test_chain:classifier"}
    data: {factory: "mmadv_chain.source:heard", args: {stages: *stages, data: *data}}
    threat: *words
    attacks: [text.greedy]
  - name: attacked
    modality: text
    target: {factory: "test_chain:classifier"}
    data: {factory: "mmadv_chain.source:heard", args: {stages: *stages, data: *data,
      after: {attack: audio.pgd, norm: linf, eps: 0.05, steps: 5}}}
    threat: *words
    attacks: [text.greedy]
"""


def test_losses_are_attributed_and_add_up(tmp_path):
    """Of three sentences one is labelled wrong; the waveform takes one, the words in between both (good → g00d)."""
    audit = Audit(parse(SPEC), tmp_path / "run", Host())
    summary = audit.run()
    assert [bool(campaign["before"]) for campaign in summary["campaigns"]] == [False, False, False, True]
    assert "audio.pgd made what these attacks start from" in report.render(audit, summary)
    run = RunInfo(tmp_path / "run", "system", 5)
    ((name, found),) = attributions(run)
    assert name == "system"
    assert found.consistent
    third = pytest.approx(1 / 3)
    assert (found.count, found.written, found.heard, found.noise) == (
        3,
        2 * third.expected,
        2 * third.expected,
        found.heard,
    )
    assert found.waveform == third
    assert found.both <= min(found.waveform, found.text)
    assert sum(found.losses.values()) == pytest.approx(found.written - found.both)
    html = section(run)
    assert "step by step" in html
    assert "not add up" not in html


def test_a_run_without_all_steps_has_no_attribution(tmp_path):
    audit = Audit(parse(SPEC[: SPEC.index("  - name: attacked")]), tmp_path / "run", Host())
    audit.run()
    assert section(RunInfo(tmp_path / "run", "system", 4)) == ""


def test_attribution_is_symmetric_in_the_two_attacks():
    one = Attribution(10, 0.9, 0.8, None, 0.3, 0.5, 0.1, True)
    other = Attribution(10, 0.9, 0.8, None, 0.5, 0.3, 0.1, True)
    assert one.losses["waveform"] == pytest.approx(other.losses["text"])
    assert sum(one.losses.values()) == pytest.approx(sum(other.losses.values()))


# --- the real system -------------------------------------------------------------------------------------


def test_spoken_reviews_fall_at_25_db_where_noise_of_25_db_costs_little(tmp_path):
    """Whisper hears sixteen spoken sentences, MiniLM judges what it hears."""
    import yaml

    spec = yaml.safe_load((Path(mmadv.__file__).parent / "demo.yaml").read_text())
    spec["campaigns"] = [one for one in spec["campaigns"] if one["name"].startswith("spoken-reviews")]
    for one in spec["campaigns"]:  # in a YAML alias all are the same entry
        data = one["data"] if one["name"] == "spoken-reviews" else one["data"]["args"]["data"]
        data["args"]["limit"] = 16
    quick = yaml.safe_dump(spec).replace("steps: 6", "steps: 3")
    try:
        audit = Audit(parse(quick), tmp_path / "run", Host())
    except SpecError as error:  # pragma: no cover
        pytest.fail(str(error))
    audit.run()
    ((_, found),) = attributions(RunInfo(tmp_path / "run", "reviews", 5))
    assert found.count == 16
    assert found.consistent
    assert found.noise is not None
    assert found.noise - found.waveform >= found.heard / 2
    assert sum(found.losses.values()) == pytest.approx(found.written - found.both)
