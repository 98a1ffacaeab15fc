"""What the text plugin registers. Importing this module is cheap: torch waits for the factories."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmadv import hookimpl
from mmadv.hookspecs import AttackSpec, ConstraintSpec, ModalitySpec, SectionSpec, ThreatModelSpec

if TYPE_CHECKING:
    from mmadv import TargetClaim

_ATTACKS = (
    ("pwws", "pwws:PWWS", "probability weighted word saliency, the paper's static order", "doi:10.18653/v1/P19-1103"),
    ("greedy", "greedy:Greedy", "word importance ranking (delete, unk, pwws, fewest), then greedy", "arXiv 1907.11932"),
    ("saliency", "greedy:Saliency", "word importance by the gradient, then greedy", "arXiv 2009.06368"),
    ("beam", "beam:Beam", "beam search, fewest words first", "arXiv 2009.06368"),
    ("firstorder", "firstorder:FirstOrder", "one gradient ranks all substitutions, the best are verified", "arXiv 1712.06751"),
    ("genetic", "genetic:Genetic", "genetic search", "arXiv 1804.07998"),
    ("swarm", "swarm:Swarm", "particle swarm search", "arXiv 1910.12196"),
    ("exhaustive", "exhaustive:Exhaustive", "every point of a small lattice, from decisions alone", ""),
    ("suite", "suite:Suite", "exhaustive, beam, greedy and genetic search at fixed query tiers", ""),
)  # fmt: skip


@hookimpl
def mmadv_modalities() -> Iterable[ModalitySpec]:
    yield ModalitySpec(name="text", summary="words of a text", factory="mmadv_text.modality:TextModality")


@hookimpl
def mmadv_attacks() -> Iterable[AttackSpec]:
    for name, place, summary, paper in _ATTACKS:
        yield AttackSpec(
            name=name, summary=summary, modality="text", paper=paper, factory=f"mmadv_text.attacks.{place}"
        )


@hookimpl
def mmadv_constraints() -> Iterable[ConstraintSpec]:
    for name, summary, cls in (
        ("share", "at most a share of the words replaced", "WordShare"),
        ("similarity", "cosine similarity of sentence embeddings to the original", "Similarity"),
    ):
        yield ConstraintSpec(name=name, summary=summary, modality="text", factory=f"mmadv_text.constraints:{cls}")


@hookimpl
def mmadv_threat_models() -> Iterable[ThreatModelSpec]:
    for name, summary in (
        ("strict", "15 % of the words, similarity 0.9"),
        ("loose", "40 % of the words, similarity 0.7"),
    ):
        yield ThreatModelSpec(name=name, summary=summary, modality="text", factory=f"mmadv_text.threat_model:{name}")


@hookimpl
def mmadv_adapt_target(victim: object, modality: str) -> TargetClaim | None:
    from mmadv_text.target import claim

    return claim(victim, modality)


@hookimpl
def mmadv_report_sections() -> Iterable[SectionSpec]:
    yield SectionSpec(
        name="texts", summary="success against queries and similarity", factory="mmadv_text.section:section"
    )


@hookimpl
def mmadv_commands(cli: typer.Typer) -> None:
    @cli.command("export-texts")
    def export(
        run: Annotated[Path, typer.Argument(help="A run folder.")],
        out: Annotated[Path, typer.Argument(help="A .csv or .jsonl file.")],
    ) -> None:
        """Write the texts of a run, original and adversarial, as CSV or JSON lines."""
        from mmadv.audit import Audit
        from mmadv.host import default_host
        from mmadv_text.export import write

        print(f"{write(Audit.of_folder(run, default_host()), out)} records in {out}")
