"""Real models compared: naturally and adversarially trained digit recognisers."""

from mmadv.audit import Audit
from mmadv.compare import compare
from mmadv.host import Host
from mmadv.spec import parse

SPEC = """
title: digits
campaigns:
  - name: natural
    modality: image
    target: {factory: "mmadv_image.demo:digits_cnn"}
    data: {factory: "mmadv_image.demo:digits", limit: 100}
    threat: {norm: linf, eps: [0.1, 0.15]}
    attacks: [{name: image.pgd, steps: 20}]
  - name: trained
    modality: image
    target: {factory: "mmadv_image.demo:digits_cnn", args: {adversarial: true}}
    data: {factory: "mmadv_image.demo:digits", limit: 100}
    threat: {norm: linf, eps: [0.1, 0.15]}
    attacks: [{name: image.pgd, steps: 20}]
"""


def test_adversarial_training_is_seen_and_a_model_does_not_differ_from_itself(tmp_path):
    audit = Audit(parse(SPEC), tmp_path / "run", Host())
    audit.run(workers=2)
    (found,) = compare(audit, audit, ("natural", "trained"))
    assert found.differ
    assert not found.worse, "it is the second that was trained"
    assert not found.points[0].differs, "clean accuracies are alike"
    for one in compare(audit, audit):
        assert not one.differ
        assert {point.p for point in one.points} == {1.0}
