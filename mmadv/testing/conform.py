"""The whole conformance suite of a modality, in three lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mmadv import rows
from mmadv.catalog import Catalog
from mmadv.errors import ParameterError
from mmadv.host import Host, default_host
from mmadv.testing.checks import LAWS
from mmadv.testing.kit import Case, Kit, Trial

PARAMETER = "mmadv_case"
"""What the parametrised tests call the case; the pytest plugin filters by it."""


def cases(
    modality: str,
    *,
    host: Host | None = None,
    kit: Kit | None = None,
    settings: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    attacks: Iterable[str] | None = None,
    without: Iterable[str] = (),
) -> list[Case]:
    """Every attack on a modality in every setting of the kit, but for norms that the attack refuses.

    Args:
        modality: its qualified name.
        host: of plugins; the default one if not given.
        kit: as for `Trial`.
        settings: lists of words by the attack's qualified name, for attacks that are to be tried with other words than their defaults.
        attacks: names of those to try; all if not given.
        without: names of those to leave out, because another call tries them with a kit that suits them.

    Raises:
        ParameterError: an attack that refuses every setting, or `settings` for an attack that there isn't.

    Example:
        >>> [str(case) for case in cases("image") if case.name == "image.ddn"]
        ['image.ddn-l2']
    """
    host, settings = host or default_host(), settings or {}
    names = [name for name in Catalog(host).attacks(modality) if name not in set(without)]
    names = names if attacks is None else [name for name in names if name in set(attacks)]
    for name in [*settings, *(attacks or ()), *without]:
        Catalog(host).attack(name, where="settings")
    found = []
    for name in names:
        refusals, accepted = [], []
        for words in settings.get(name, [{}]):
            first = Trial(Case(name, {}, words), kit, host)
            for space in first.kit.settings():
                case = Case(name, space, words)
                trial = Trial(case, kit, host)
                stage = trial.kit.crowd(space)
                nothing = stage._replace(x=rows.take(stage.x, slice(0, 0)), y=stage.y[:0])
                try:
                    trial.run(nothing, stage.radius)
                    accepted.append(case)
                except ParameterError as error:
                    if error.where != "norm":
                        raise
                    refusals.append(error)
        if not accepted:
            raise refusals[0]
        found += accepted
    return found


def conformance(
    modality: str,
    *,
    host: Host | None = None,
    kit: Kit | None = None,
    settings: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    laws: Iterable[str] = tuple(LAWS),
    attacks: Iterable[str] | None = None,
    without: Iterable[str] = (),
) -> Callable[..., None]:
    """A parametrised pytest test of every attack on a modality, its own plugin's and everybody else's, against every law.

    Args:
        modality: its qualified name.
        host: of plugins; the default one if not given.
        kit: victims and inputs of the modality; its own, or the one for tensors, if not given.
        settings: further words for attacks by name, such as `{"image.apgd": [{}, {"loss": "dlr"}]}`.
        laws: names of those to check.
        attacks: names of those to try; all if not given.
        without: names of those to leave out, because another call tries them with a kit that suits them.

    Example:
        >>> test_laws = conformance("image", laws=["feasible"])
    """
    import pytest

    parameters = [
        pytest.param(law, case, id=f"{law}-{case}")
        for case in cases(modality, host=host, kit=kit, settings=settings, attacks=attacks, without=without)
        for law in laws
    ]

    @pytest.mark.parametrize(("law", PARAMETER), parameters)
    def test_laws(law: str, mmadv_case: Case) -> None:
        LAWS[law](Trial(mmadv_case, kit, host))

    return test_laws
