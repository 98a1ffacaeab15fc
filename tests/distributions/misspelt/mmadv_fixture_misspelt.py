"""A plugin with a misspelt hook."""

from mmadv.hookspecs import AttackSpec, hookimpl


@hookimpl
def mmadv_atacks():
    return [AttackSpec(name="noise", summary="uniform noise", modality="image", factory="mmadv_fixture_misspelt:Noise")]
