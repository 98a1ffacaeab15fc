"""A good plugin: one attack, and a command of its own."""

from dataclasses import dataclass

from mmadv.hookspecs import AttackSpec, hookimpl


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Uniform noise."""

    scale: float = 1.0


@hookimpl
def mmadv_attacks():
    yield AttackSpec(name="noise", summary="uniform noise", modality="image", factory="mmadv_fixture_acme:Noise")


@hookimpl
def mmadv_commands(cli):
    @cli.command()
    def acme_greet(name: str):
        """Greet somebody."""
        print(f"hello {name}")
