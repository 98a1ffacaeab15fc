"""How the report shows a text: original and adversarial, with every difference marked; the page colours `del` and `ins`."""

from __future__ import annotations

from markupsafe import Markup, escape

from mmadv_text.texts import Texts


def difference(x: Texts, adv: Texts, caption: tuple[str, str]) -> str:
    """HTML of one example: the text with each replaced word struck out and its replacement after it."""
    lattice, _ = x.lattice(0)
    pieces = [escape(piece) for piece in lattice.words.pieces]
    rows = []
    for change in adv.changes(0):
        told = escape(f"{change.source}: {change.sense}" if change.sense else change.source)
        pieces[2 * change.word + 1] = Markup('<del>{}</del> <ins title="{}">{}</ins>').format(
            change.original, told, change.replacement
        )
        rows.append(Markup("<li>{} → {} ({})</li>").format(change.original, change.replacement, told))
    pair = "" if lattice.pair is None else Markup("<p>{}</p>").format(lattice.pair)
    return Markup('<figure class="text">{}<p>{}</p><ul>{}</ul><figcaption>{} → {}</figcaption></figure>').format(
        pair, Markup("").join(pieces), Markup("").join(rows), caption[0], caption[1]
    )
