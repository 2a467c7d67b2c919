"""The map: the continent with its markets as links, coloured by state. Drawn beforehand, see docs/map."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from markupsafe import Markup, escape

from umoja.console.words import _, named

SMALL = 14  # units of the drawing: a land narrower than this gets a dot that can be hit

_DRAWING = Path(__file__).parent / "static" / "africa.svg"
_LAND = re.compile(r'<path data-code="([A-Z]*)" data-x="([\d.]+)" data-y="([\d.]+)" d="([^"]+)"/>')
_PLACE = re.compile(r"[ML](-?[\d.]+),")


@cache
def _lands() -> tuple[tuple[str, str, str, str], ...]:
    """Return code, place of the label and outline of each land."""
    lands = tuple(_LAND.findall(_DRAWING.read_text("utf-8")))
    assert lands, "the drawing is as its maker writes it"
    return lands


def drawn(states: Mapping[str, str], names: Mapping[str, str]) -> Markup:
    """Return the map. `states` and `names` are by market; a market that is not on the map is left out."""
    plain, markets = [], []
    for code, x, y, outline in _lands():
        if code not in states:
            plain.append(Markup('<path class="land" d="{}"/>').format(outline))
            continue
        across = [float(place) for place in _PLACE.findall(outline)]
        is_small = max(across) - min(across) < SMALL
        markets.append(
            Markup(
                '<a href="/markets/{code}" data-state="{state}" data-place="{code}">'
                "<title>{name}: {said}</title>"
                '<path d="{outline}"/>{dot}<text x="{x}" y="{y}" dy="{dy}">{code}</text></a>'
            ).format(
                code=code,
                state=states[code],
                said=named(states[code]),
                name=names[code],
                outline=outline,
                dot=Markup('<circle cx="{}" cy="{}" r="10"/>').format(x, y) if is_small else "",
                x=x,
                y=y,
                dy="26" if is_small else "5",
            )
        )
    return Markup(
        '<svg class="map" viewBox="0 0 400 430" role="group" aria-label="{}">{}{}</svg>'
    ).format(
        _("Map of the markets"), escape(Markup("").join(plain)), escape(Markup("").join(markets))
    )
