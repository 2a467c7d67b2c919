"""The plot of a bench: rate and p99 against offered load, as one SVG that needs nothing else. Pure.

It has no background and two sets of colours, for light and for dark surroundings.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 620
LEFT, RIGHT = 90, 24
PANEL = 210  # its height
TOPS = (70, 350)
TICKS = 5
_STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #444 }
.title { font-size: 16px; font-weight: 600 }
.grid { stroke: #8884; stroke-width: 1 }
.axis { stroke: #888; stroke-width: 1 }
.ideal { stroke: #888; stroke-width: 1.5; stroke-dasharray: 5 4; fill: none }
.done { stroke: #1668b8; stroke-width: 2.5; fill: none }
.done-dot { fill: #1668b8 }
.late { stroke: #b8541b; stroke-width: 2.5; fill: none }
.late-dot { fill: #b8541b }
@media (prefers-color-scheme: dark) {
  text { fill: #ccc }
  .done { stroke: #6cb2f5 } .done-dot { fill: #6cb2f5 }
  .late { stroke: #f0a070 } .late-dot { fill: #f0a070 }
}
</style>"""


def plotted(found: dict[str, Any]) -> str:
    """Return the SVG of a bench's offered loads: the object that `bench.run` returns."""
    loads = sorted(found["open_loop"], key=lambda load: float(load["offered_per_s"]))
    title = (
        f"Umoja {found['mode']} on {found['engine']}, {found['workload']},"
        f" {found['customers']:,} customers"
    )
    told = escape(_told(loads), {'"': "&quot;"})
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{told}">',
        _STYLE,
        f'<text class="title" x="{LEFT}" y="28">{escape(title)}</text>',
    ]
    if not loads:
        parts.append(f'<text x="{LEFT}" y="80">No load was offered.</text></svg>')
        return "\n".join(parts)
    most_x = rounded_up(max(float(load["offered_per_s"]) for load in loads))

    def x(rate: float) -> float:
        return LEFT + rate / most_x * (WIDTH - LEFT - RIGHT)

    offered = [float(load["offered_per_s"]) for load in loads]
    done = [float(load["payments_per_s"]) for load in loads]
    late = [float(load["p99_ms"] or 0) for load in loads]
    parts += _rates(offered, done, x, most_x)
    parts += _lateness(offered, late, x, most_x)
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 14}" text-anchor="middle">'
        "offered load (payments a second)</text></svg>"
    )
    return "\n".join(parts)


def _told(loads: Sequence[dict[str, Any]]) -> str:
    """Return what the plot shows, for whoever does not see it."""
    if not loads:
        return "No load was offered."
    return "; ".join(
        f"offered {float(load['offered_per_s']):.0f} a second: done"
        f" {float(load['payments_per_s']):.0f}, p99 {float(load['p99_ms'] or 0):.1f} ms"
        for load in loads
    )


def _rates(
    offered: list[float], done: list[float], x: Callable[[float], float], most_x: float
) -> list[str]:
    top = TOPS[0]
    most = rounded_up(max(*done, 1.0))

    def y(rate: float) -> float:
        return top + PANEL - min(rate / most, 1.0) * PANEL

    end = min(most, most_x)
    return [
        _heading("completed (payments a second)", top),
        *_frame(
            top, x, most_x, [(most * n / TICKS, y(most * n / TICKS)) for n in range(TICKS + 1)]
        ),
        f'<path class="ideal" d="M{x(0):.1f} {y(0):.1f} L{x(end):.1f} {y(end):.1f}"/>',
        *_curve("done", offered, done, x, y),
    ]


def _lateness(
    offered: list[float], late: list[float], x: Callable[[float], float], most_x: float
) -> list[str]:
    """Return the lower panel: a logarithmic axis, for beyond saturation lateness knows no end."""
    top = TOPS[1]
    known = [value for value in late if value > 0] or [1.0]
    first = math.floor(math.log10(min(known)))
    last = max(math.ceil(math.log10(max(known)) - 1e-9), first + 1)

    def y(value: float) -> float:
        share = (math.log10(max(value, 10.0**first)) - first) / (last - first)
        return top + PANEL - share * PANEL

    ticks = [(10.0**power, y(10.0**power)) for power in range(first, last + 1)]
    return [
        _heading("p99 from when a payment was due (ms)", top),
        *_frame(top, x, most_x, ticks),
        *_curve("late", offered, late, x, y),
    ]


def _heading(text: str, top: int) -> str:
    return f'<text x="{LEFT}" y="{top - 12}">{escape(text)}</text>'


def _frame(
    top: int, x: Callable[[float], float], most_x: float, ticks: list[tuple[float, float]]
) -> list[str]:
    right, bottom = WIDTH - RIGHT, top + PANEL
    parts = []
    for value, at in ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f} H{right}"/>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_number(value)}</text>'
        )
    for n in range(TICKS + 1):
        value = most_x * n / TICKS
        parts.append(
            f'<text x="{x(value):.1f}" y="{bottom + 20}" text-anchor="middle">{_number(value)}</text>'
        )
    parts.append(f'<path class="axis" d="M{LEFT} {top} V{bottom} H{right}" fill="none"/>')
    return parts


def _curve(
    name: str,
    xs: list[float],
    ys: list[float],
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> list[str]:
    points = [(x(a), y(b)) for a, b in zip(xs, ys, strict=True)]
    path = " L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    return [
        f'<path class="{name}" d="M{path}"/>',
        *(f'<circle class="{name}-dot" cx="{a:.1f}" cy="{b:.1f}" r="4"/>' for a, b in points),
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 or value == 0 else f"{value:g}"


def rounded_up(value: float) -> float:
    """Return the next 1, 1.5, 2, 3, 4, 5 or 8 times a power of ten."""
    if value <= 0:
        return 1.0
    power = float(10 ** math.floor(math.log10(value)))
    steps = (1, 1.5, 2, 3, 4, 5, 8, 10)
    return next(step * power for step in steps if value <= step * power * (1 + 1e-9))
