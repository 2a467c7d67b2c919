"""Charts as SVG made by the server: sparklines on the wall, larger ones on a market's page. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from umoja.console.words import _, number

WIDTH, HEIGHT = 240, 60
EDGE = 2  # left free above and below, so that a line at the border is seen whole

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What the drawing's lower and upper border stand for."""

    least: float
    most: float

    def y(self, value: float) -> float:
        inside = min(max(value, self.least), self.most)
        share = (inside - self.least) / max(self.most - self.least, 1e-9)
        return HEIGHT - EDGE - share * (HEIGHT - 2 * EDGE)


def from_nought(values: Values) -> Scale:
    """Return a scale from 0 to a round number above everything shown."""
    known = [value for value in values if value is not None]
    return Scale(least=0.0, most=rounded_up(max(known, default=0.0)))


def around(level: float, values: Values) -> Scale:
    """Return a scale in which the usual level is well seen: a peak of thrice as much is cut off."""
    known = [value for value in values if value is not None]
    return Scale(least=0.0, most=min(max(1.25 * max(known, default=0.0), 1.6 * level), 3 * level))


def of_percent(values: Values) -> Scale:
    """Return a scale up to 100 that begins close below what is shown: good days differ in tenths."""
    least = min((value for value in values if value is not None), default=100.0)
    return Scale(least=90.0 if least >= 90 else 50.0 if least >= 50 else 0.0, most=100.0)


def rounded_up(value: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = float(10 ** math.floor(math.log10(value)))
    return next((step * power for step in (1, 2, 5) if value <= step * power), 10 * power)


def line_chart(
    values: Values,
    *,
    name: str,
    css: str = "spark",
    scale: Scale | None = None,
    level: float | None = None,
) -> Markup:
    """Return a line over time; gaps where nothing is known, a dashed line at `level`."""
    scale = scale or (around(level, values) if level else from_nought(values))

    def x(index: int) -> float:
        return index / max(len(values) - 1, 1) * WIDTH

    shapes = []
    for run in _runs(values):
        places = [(x(index), scale.y(value)) for index, value in run]
        if len(places) == 1:  # a minute alone is drawn as a short stroke that ends there
            places.insert(0, (max(places[0][0] - WIDTH / max(len(values), 1), 0), places[0][1]))
        points = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
        first, last = places[0][0], places[-1][0]
        shapes.append(f'<path d="M{first:.1f},{HEIGHT} L{points} L{last:.1f},{HEIGHT} Z"/>')
        shapes.append(f'<polyline points="{points}"/>')
    if level is not None:
        down = scale.y(level)
        shapes.append(f'<line x1="0" x2="{WIDTH}" y1="{down:.1f}" y2="{down:.1f}"/>')
    is_empty = all(value is None for value in values)
    return Markup(
        '<svg class="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img"'
        ' aria-label="{}">{}</svg>'
    ).format(
        css,
        WIDTH,
        HEIGHT,
        _("{name}: nothing to show yet", name=name) if is_empty else name,
        Markup("".join(shapes)),  # noqa: S704  only numbers of ours are in the shapes
    )


def _runs(values: Values) -> list[list[tuple[int, float]]]:
    """Return the stretches without a gap, each value with its place."""
    runs: list[list[tuple[int, float]]] = []
    was_known = False
    for index, value in enumerate(values):
        if value is None:
            was_known = False
            continue
        if not was_known:
            runs.append([])
        runs[-1].append((index, value))
        was_known = True
    return runs


def gathered(values: Values, size: int, by: Callable[[list[float]], float]) -> list[float | None]:
    """Return one value for each `size` of them, made `by` those that are known; None where none is."""
    found: list[float | None] = []
    for start in range(0, len(values), size):
        known = [value for value in values[start : start + size] if value is not None]
        found.append(by(known) if known else None)
    return found


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart with its words: what it shows, the latest value, and what its borders stand for."""

    title: str
    unit: str
    latest: str
    top: str
    bottom: str
    start: str
    svg: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """How far back charts look, and how many minutes one point stands for."""

    name: str
    title: str
    minutes: int
    minutes_a_point: int


SPANS = (
    Span(name="hour", title="1 h", minutes=60, minutes_a_point=1),
    Span(name="quarter", title="6 h", minutes=360, minutes_a_point=4),
    Span(name="day", title="24 h", minutes=1_440, minutes_a_point=15),
)


def chart(
    values: Values, *, title: str, unit: str, span: Span, by: Callable[[list[float]], float]
) -> Chart:
    """Return the chart of a value a minute; several minutes are gathered `by` a function."""
    points = gathered(values, span.minutes_a_point, by)
    scale = of_percent(points) if unit == "%" else from_nought(points)
    known = [value for value in values if value is not None]
    latest = _short(known[-1]) if known else "–"
    return Chart(
        title=title,
        unit=unit,
        latest=latest,
        top=_short(scale.most),
        bottom=_short(scale.least),
        start=_("{span} ago", span=span.title),
        svg=line_chart(
            points,
            name=_(
                "{title}, the last {span}; now {latest} {unit}",
                title=title,
                span=span.title,
                latest=latest,
                unit=unit,
            ).rstrip(),
            css="chart",
            scale=scale,
        ),
    )


def _short(value: float) -> str:
    return number(value, decimals=0 if value >= 100 or value == int(value) else 1)


WIDE, TALL = 720, 190
FOOT, HEAD = 22, 26  # left free for the hours below and the marks above


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One stretch of time in a chart of bars; `value` None: nobody saw. `says` is read on pointing."""

    value: float | None
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A moment that is marked: how far along the chart (0 to 1), its name, and its kind for colours."""

    at: float
    name: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """An hour written below: how far along the chart (0 to 1)."""

    at: float
    name: str


def bar_chart(
    bars: Sequence[Bar],
    *,
    name: str,
    describes: str,
    level: float,
    top: str,
    most: float,
    marks: Sequence[Mark] = (),
    ticks: Sequence[Tick] = (),
) -> Markup:
    """Return bars over time: hatched where nobody saw, a dashed line at `level`, moments marked.

    `most` is what the upper border stands for, `top` how that is written.
    """
    foot, room = TALL - FOOT, TALL - FOOT - HEAD
    width = WIDE / max(len(bars), 1)
    shapes: list[Markup] = []
    for place, bar in enumerate(bars):
        left = place * width
        if bar.value is None:
            high, css = float(room), "unseen-bar"
        else:
            share = min(bar.value / most, 1.0) if most > 0 else 0.0
            high, css = share * room, "bar"
            if bar.value > 0:
                high = max(high, 1.5)
        shapes.append(
            Markup(
                '<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}">'
                "<title>{}</title></rect>"
            ).format(css, left, foot - high, max(width - 0.6, 0.4), high, bar.says)
        )
    if level > 0 and most > 0:
        down = foot - min(level / most, 1.0) * room
        shapes.append(
            Markup('<line class="level" x1="0" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                WIDE, down, down
            )
        )
    shapes.append(
        Markup('<line class="ground" x1="0" x2="{}" y1="{}" y2="{}"/>').format(WIDE, foot, foot)
    )
    for row, mark in enumerate(marks):
        across = min(max(mark.at, 0.0), 1.0) * WIDE
        is_right = across > WIDE * 0.8
        shapes.append(
            Markup(
                '<g class="mark" data-kind="{}"><line x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>'
                '<text x="{:.1f}" y="{}" text-anchor="{}">{}</text></g>'
            ).format(
                mark.kind, across, across, 2, foot,
                across + (-4 if is_right else 4), 11 + 13 * (row % 2), "end" if is_right else "start",
                mark.name,
            )
        )  # fmt: skip
    shapes.extend(
        Markup('<text class="hour" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            min(max(tick.at, 0.03), 0.97) * WIDE, TALL - 6, tick.name
        )
        for tick in ticks
    )
    return Markup(
        '<svg class="losses" viewBox="0 0 {} {}" role="img" aria-label="{}"><desc>{}</desc>'
        '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse"'
        ' patternTransform="rotate(45)"><line x1="0" x2="0" y1="0" y2="7"/></pattern></defs>'
        '<text class="most" x="2" y="{}">{}</text>{}</svg>'
    ).format(
        WIDE,
        TALL,
        name,
        describes,
        HEAD - 6,
        top,
        Markup("").join(shapes),
    )
