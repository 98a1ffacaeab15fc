"""How an input of several parts is shown: how far each part was moved."""

from __future__ import annotations

from markupsafe import Markup

from mmadv_joint.space import Joint


def example(x: Joint, adv: Joint, caption: tuple[str, str]) -> Markup:
    """HTML: a table of the parts, with the largest and the root mean square change of each."""
    clean, other = x.parts, adv.parts
    rows = Markup("").join(
        Markup("<tr><th scope='row'>{}</th><td>{}</td><td>{}</td><td>{}</td></tr>").format(
            name,
            " × ".join(map(str, shape)),
            f"{float((other[name] - clean[name]).abs().max()):.4g}",
            f"{float((other[name] - clean[name]).square().mean().sqrt()):.4g}",
        )
        for name, shape in x.layout
    )
    return Markup(
        "<figure><table><thead><tr><th scope='col'>part</th><th scope='col'>shape</th><th scope='col'>largest change</th>"
        "<th scope='col'>root mean square</th></tr></thead><tbody>{}</tbody></table>"
        "<figcaption>clean: {}, adversarial: {}</figcaption></figure>"
    ).format(rows, *caption)
