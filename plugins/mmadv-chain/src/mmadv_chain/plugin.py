"""What the chain plugin registers: how a run's losses are shared out among the stages of a system."""

from __future__ import annotations

from collections.abc import Iterable

from mmadv import hookimpl
from mmadv.hookspecs import SectionSpec


@hookimpl
def mmadv_report_sections() -> Iterable[SectionSpec]:
    yield SectionSpec(name="chain", summary="what each stage of a system loses", factory="mmadv_chain.section:section")
