"""Gates for releases: what a run must hold, judged, and written as JUnit XML for CI."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmadv.alarms import Trust
from mmadv.errors import ParameterError, nearest
from mmadv.spec import number


@dataclass(frozen=True)
class Gate:
    """The least robust accuracy that a campaign must keep.

    Args:
        least: a share in [0, 1].
        campaign: its name; all campaigns if not given.
        eps: where it is judged; at the largest ε of each campaign if not given.

    Example:
        >>> Gate.of("0.5"), Gate.of("digits@8/255=0.4")
        (Gate(least=0.5, campaign=None, eps=None), Gate(least=0.4, campaign='digits', eps=0.03137254901960784))
    """

    least: float
    campaign: str | None = None
    eps: float | None = None

    @classmethod
    def of(cls, text: str) -> Gate:
        """A gate from `[CAMPAIGN[@EPS]=]SHARE`.

        Raises:
            ParameterError: it is none.
        """
        before, equals, share = text.rpartition("=")
        name, at, level = before.partition("@")
        try:
            least, eps = float(share), number(level) if at else None
            if not 0 <= least <= 1 or (equals and not name) or not (eps is None or isinstance(eps, float)):
                raise ValueError
        except ValueError:
            raise ParameterError(
                f"{text!r} is not [CAMPAIGN[@EPS]=]SHARE",
                where="--fail-under",
                fix="write a share in [0, 1], as in 0.5, digits=0.5 or digits@8/255=0.5",
            ) from None
        return cls(least, name or None, eps)

    def at(self, levels: Sequence[float]) -> int | None:
        """Which of a campaign's ε it is judged at; None if there is none such."""
        found = [
            number
            for number, eps in enumerate(levels)
            if self.eps is None or abs(eps - self.eps) <= 1e-9 * max(1.0, self.eps)
        ]
        return found[-1] if found else None


@dataclass(frozen=True)
class Judged:
    """A gate at one campaign.

    Args:
        campaign: its name.
        check: what was asked.
        failure: why it fails; empty where it passes.
    """

    campaign: str
    check: str
    failure: str

    @property
    def passed(self) -> bool:
        return not self.failure


def check(gates: Sequence[Gate], levels: Mapping[str, Sequence[float] | None]) -> None:
    """See that each gate can be judged.

    Args:
        gates: to judge.
        levels: the ε of each campaign; None for one that was left out, which fails every gate.

    Raises:
        ParameterError: a campaign or an ε that there is not.
    """
    for gate in gates:
        if gate.campaign is not None and gate.campaign not in levels:
            raise ParameterError(
                f"there is no campaign {gate.campaign!r}", where="--fail-under", fix=nearest(gate.campaign, levels)
            )
        for name in levels if gate.campaign is None else [gate.campaign]:
            own = levels[name]
            if own is None or gate.at(own) is not None:
                continue
            if not own:
                raise ParameterError(
                    f"campaign {name!r} has no eps to be judged at",
                    where="--fail-under",
                    fix="name the campaigns that are to be judged, as in digits=0.5, or give this one eps: [ … ]",
                )
            raise ParameterError(
                f"campaign {name!r} has no eps {gate.eps:g}",
                where="--fail-under",
                fix=f"give one of its own: {', '.join(f'{eps:g}' for eps in own)}",
            )


def judged(summary: dict[str, Any], gates: Sequence[Gate], *, allow_suspect: bool = False) -> list[Judged]:
    """Every gate at every campaign that it concerns.

    A campaign whose verdict is `invalid` or `suspect` passes no gate: its robust accuracy may be an artefact, however high.
    One that was left out for want of its models or data fails too: what was not measured was not shown to hold.

    Args:
        summary: of a run.
        gates: to judge.
        allow_suspect: judge suspect figures by their value.

    Raises:
        ParameterError: a campaign or an ε that the run does not have.
    """
    campaigns = {campaign["name"]: campaign for campaign in summary["campaigns"]}
    missing = {one["name"]: one for one in summary["missing"]}
    known = {name: [point["eps"] for point in one["worst"]] for name, one in campaigns.items()} | dict.fromkeys(missing)
    check(gates, known)
    found = []
    for gate in gates:
        for name in known if gate.campaign is None else [gate.campaign]:
            if name in missing:
                found.append(Judged(name, f"robust accuracy ≥ {gate.least:g}", f"left out: {missing[name]['what']}"))
            else:
                found.append(_judged(campaigns[name], gate, allow_suspect))
    return found


def _judged(campaign: dict[str, Any], gate: Gate, allow_suspect: bool) -> Judged:
    name, worst = campaign["name"], campaign["worst"]
    at = gate.at([point["eps"] for point in worst])
    assert at is not None, "checked before"
    point = worst[at]
    robust = point["robust"]
    check = f"robust accuracy ≥ {gate.least:g} at eps {point['eps']:g}"
    refused = {Trust.INVALID.value} if allow_suspect else {Trust.INVALID.value, Trust.SUSPECT.value}
    if campaign["trust"] in refused:
        told = [alarm for one in [campaign, *campaign["attacks"]] for alarm in one["alarms"]]
        why = "; ".join(alarm["message"] for alarm in told if alarm["trust"] in refused)
        return Judged(name, check, f"the verdict is {campaign['trust']}: {why}")
    if robust["value"] is None:
        return Judged(name, check, "no example was judged")
    if robust["value"] < gate.least:
        return Judged(name, check, f"it is {robust['value']:.4g}, {robust['hits']} of {robust['total']} examples")
    return Judged(name, check, "")


def junit(summary: dict[str, Any], results: Sequence[Judged]) -> str:
    """Judged gates as JUnit XML: a suite for each campaign, a case for each gate.

    Example:
        >>> print(junit({"title": "demo"}, [Judged("digits", "robust accuracy ≥ 0.5 at eps 0.1", "it is 0.25")]))
        <?xml version='1.0' encoding='utf-8'?>
        <testsuites name="demo" tests="1" failures="1">
          <testsuite name="digits" tests="1" failures="1">
            <testcase classname="digits" name="robust accuracy ≥ 0.5 at eps 0.1">
              <failure message="it is 0.25" />
            </testcase>
          </testsuite>
        </testsuites>
    """

    def counts(some: Sequence[Judged]) -> dict[str, str]:
        return {"tests": str(len(some)), "failures": str(sum(not one.passed for one in some))}

    root = ET.Element("testsuites", {"name": _printable(summary["title"]), **counts(results)})
    for name in dict.fromkeys(one.campaign for one in results):
        own = [one for one in results if one.campaign == name]
        suite = ET.SubElement(root, "testsuite", {"name": name, **counts(own)})
        for one in own:
            case = ET.SubElement(suite, "testcase", {"classname": name, "name": one.check})
            if not one.passed:
                ET.SubElement(case, "failure", {"message": _printable(one.failure)})
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True).decode()


def _printable(text: str) -> str:
    """Text without what XML can't hold."""
    return "".join(character if character.isprintable() else " " for character in text)
