"""One of two plugins of the same name."""

from mmadv.hookspecs import AttackSpec, hookimpl


@hookimpl
def mmadv_attacks():
    return [
        AttackSpec(name="noise", summary="uniform noise", modality="image", factory="mmadv_fixture_duplicate_a:Noise")
    ]
