"""A plugin written for a hook interface of the future."""

from mmadv.hookspecs import AttackSpec, hookimpl


@hookimpl
def mmadv_attacks():
    return [
        AttackSpec(
            name="noise", summary="uniform noise", modality="image", factory="mmadv_fixture_toonew:Noise", api=99
        )
    ]
