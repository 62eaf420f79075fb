"""From matplotlib to inline SVG: palette, styles, legend entries and the text inside.

matplotlib draws; afterwards its colors become CSS variables, so that one drawing
serves the light scheme, the dark scheme and print. Legends are HTML, which wraps on
a phone. The same input gives the same bytes.

Colors: Okabe & Ito, "Color universal design" (2008), darkened on white where a line
would have less than three times the contrast; every line also has its own dash and
every point its own marker. Drawings are small, so that their text is still read when
they are shrunk to a phone.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

INK, MUTED, GRID, PAPER = "#1d2430", "#5b6575", "#dfe3ea", "#fefefe"
HARM, GOOD, WARN = "#d55e00", "#009e73", "#e69f00"
HARM_INK, GOOD_INK = "#8a3800", "#00573f"
SERIES = ("#0072b2", "#cc79a7", "#009e73", "#56b4e9", "#b87a00", "#8a6d3b")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "<")  # seven: out of step with the colors
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "card"} | {
    HARM: "harm",
    HARM_INK: "harm-ink",
    GOOD_INK: "good-ink",
    GOOD: "good",
    WARN: "warn",
    **{color: f"s{i}" for i, color in enumerate(SERIES) if color != GOOD},
}

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "malgen",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "text.color": INK,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "path.simplify": True,
}


@dataclass(frozen=True)
class Key:
    """One entry of a legend.

    Attributes:
        label: what it stands for.
        color: a CSS color.
        dash: SVG dash pattern; "" for a solid line.
        marker: a matplotlib marker letter; "" for none.
        band: True for a filled area.
    """

    label: str
    color: str
    dash: str = ""
    marker: str = ""
    band: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing that can stand in a page.

    Attributes:
        name: unique within the page.
        title: what it shows.
        svg: markup; safe to insert as it is.
        alt: the same in words.
        legend: entries in drawing order.
        rows: the numbers behind it as a table, the head first.
    """

    name: str
    title: str
    svg: str
    alt: str
    legend: tuple[Key, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


# Drawing ---------------------------------------------------------------------


def draw(
    name: str,
    title: str,
    alt: str,
    paint: Callable[[Any], Sequence[Key]],
    *,
    rows: Sequence[Sequence[str]] = (),
    size: tuple[float, float] = (4.0, 3.0),
    head: bool = False,
    left: float = 0.6,
) -> Chart:
    """Run ``paint`` on fresh axes and turn the figure into a chart.

    Args:
        name: unique within the page.
        title: what it shows.
        alt: the same in words.
        paint: draws on matplotlib axes and gives the legend.
        rows: the numbers as a table, the head first.
        size: width and height, inches.
        head: True to leave room for a label above the axes.
        left: room for what stands left of the axes, inches.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs missing here exist in the browser
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        axes = figure.add_axes(_box(*size, 0.2 if head else 0.08, left))
        legend = tuple(paint(axes))
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    svg = _inline(buffer.getvalue(), name, title, alt)
    return Chart(name, title, svg, alt, legend, tuple(map(tuple, rows)))


def _box(
    width: float, height: float, top: float, left: float
) -> tuple[float, float, float, float]:
    """Where the axes lie in a figure: margins in inches, so that text always fits."""
    right, bottom = 0.06, 0.47
    return (
        left / width,
        bottom / height,
        (width - left - right) / width,
        (height - bottom - top) / height,
    )


def _inline(svg: str, name: str, title: str, alt: str) -> str:
    """SVG as part of an HTML page: own ids, no namespaces, colors as variables."""
    from html import escape

    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    box = re.search(r'viewBox="[^"]*"', body)
    assert box is not None
    body = body[body.index(">") + 1 :]
    body = re.sub(r'<style type="text/css">.*?</style>', "", body, flags=re.S)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    body = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', body)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.S)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    for color, variable in VARIABLES.items():
        body = body.replace(color, f"var(--{variable},{color})")
    body = re.sub(r' (?:d|x|y)="[^"]*"', _shorter, body)
    body = re.sub(r"\n\s*", "\n", body).strip()
    head = (
        f'<svg {box[0]} role="img" aria-labelledby="{name}-name" '
        f'aria-describedby="{name}-desc">'
        f'<title id="{name}-name">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(alt)}</desc>\n'
    )
    return head + body


def _shorter(attribute: re.Match[str]) -> str:
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute[0])


def css(color: str) -> str:
    """A palette color as a CSS variable with itself as fallback."""
    return f"var(--{VARIABLES[color]},{color})"


def _dash(style: Any) -> str:
    return "" if style == "-" else " ".join(f"{1.8 * x:g}" for x in style[1])


def styles_of(
    names: Sequence[str], runs: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Color, dash and marker by name: the same in every chart for the same run.

    Args:
        names: of the series.
        runs: which of them are under audit, in order, if not called "seed N".
    """
    styles: dict[str, dict[str, Any]] = {}
    references = 0
    for name in names:
        seed = re.fullmatch(r"seed (\d+)", name)
        if seed or name in runs:
            i = int(seed[1]) if seed else runs.index(name)
            color, dash = SERIES[i % len(SERIES)], DASHES[i % len(DASHES)]
            marker = MARKERS[i % len(MARKERS)]
        elif name == "x-oracle":
            color, dash, marker = INK, (0, (4, 1.6)), "*"
        else:
            color, dash = MUTED, (0, (1.2, 1.4 + references))
            marker = ("x", *MARKERS)[references % (1 + len(MARKERS))]
            references += 1
        styles[name] = {"color": color, "dash": dash, "marker": marker}
    return styles


def legend_key(label: str, style: dict[str, Any], *, marker: bool = False) -> Key:
    """The legend entry of a series; with its marker if the chart shows markers."""
    mark = style["marker"] if marker else ""
    return Key(label, css(style["color"]), _dash(style["dash"]), mark)


def zero_line(axes: Any, *, left: bool = False, label: bool = True) -> None:
    """The line of the switched-off system, named at the free end."""
    axes.axhline(0, color=INK, linewidth=1.1)
    if label:
        axes.annotate(
            "switched off = 0",
            (0.005 if left else 0.995, 0),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="left" if left else "right",
            color=MUTED,
            fontsize=9,
        )
