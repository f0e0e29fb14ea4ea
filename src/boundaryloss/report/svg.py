"""Figures as SVG that takes its colours and its font from the page, and is as small as it can be."""

import functools
import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Stand-ins that no figure uses otherwise; the page's style sheet says what they look like, by day and night.
INK, MUTED, LINE = "#010101", "#020202", "#030303"
GOOD, BAD = "#040404", "#050505"
TRUTH, PREDICTION = "#070707", "#080808"
METHODS = tuple(f"#0606{index:02x}" for index in range(8))
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    GOOD: "good",
    BAD: "bad",
    TRUTH: "truth",
    PREDICTION: "prediction",
} | {colour: f"method-{index}" for index, colour in enumerate(METHODS)}
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names are names
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "figure.constrained_layout.use": True,
}
PIXEL = 1 / 72  # of the SVG, in inches

MARKERS = re.compile(r'(?:<use xlink:href="[^"]*" x="[^"]*" y="[^"]*" style="[^"]*"/>){2,}')
WITH_TIPS = re.compile(r"<g id=([\"'])tips:(.*?)\1>", re.DOTALL)
NEEDLESS = [
    (re.compile(pattern, re.DOTALL), text)
    for pattern, text in (
        (r"<metadata>.*?</metadata>|<!--.*?-->|<defs><style[^>]*>.*?</style></defs>", ""),  # the page has it
        (r">\s+<", "><"),
        (r'<g id="(?!tips:)[^"]*"/>', ""),
        (r'<g id="(?!tips:)[^"]*">', "<g>"),
        (r'<path d="[^"]*" style="fill: none"/>| transform="rotate\(-?0 [^"]*"', ""),
        (r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--font)"),
        (r"font-family: [^;\"]*;? ?", ""),
    )
]

_figures = itertools.count()


def as_svg(draw: Callable[..., Figure | None]) -> Callable[..., str]:
    """Make a drawing function return inline SVG, or nothing where there is nothing to draw."""

    @functools.wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> str:
        salt = str(next(_figures))  # ids must differ between the figures of a page
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}):
            figure = draw(*args, **kwargs)
            if figure is None:
                return ""
            file = io.StringIO()
            FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})  # savefig would draw twice
        return _inline(file.getvalue())

    return wrapped


def tips(texts: Sequence[str]) -> str:
    """Return the gid of a line whose markers, all inside the figure, say these texts when pointed at."""
    return "tips:" + "\n".join(" ".join(text.split()) for text in texts)


def share_images(page: str) -> str:
    """Let pictures that are on the page twice refer to the first one."""
    first: dict[str, str] = {}

    def once(match: re.Match[str]) -> str:
        number = first.setdefault(match[1] + match[3], match[2])
        return match[0] if number == match[2] else f'<use xlink:href="#{number}"/>'

    return re.sub(r'<image (xlink:href="data:[^"]*") id="([^"]*)"([^>]*)/>', once, page)


def _inline(svg: str) -> str:
    """Return the bare element: page colours for the stand-ins, the page's font, and tips as titles."""
    svg = svg[svg.index("<svg") :]
    width = re.search(r'width="([\d.]+)pt"', svg)
    size = f'style="width:{width[1]}px"' if width else ""
    svg = re.sub(
        r'width="[\d.]+pt" height="[\d.]+pt"|height="[\d.]+pt" [^>]*width="[\d.]+pt"', size, svg, count=1
    )
    for pattern, text in NEEDLESS:
        svg = pattern.sub(text, svg)
    svg = re.sub(r' (?:d|x|y)="[^"]*"', lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]), svg)
    svg = _give_tips(MARKERS.sub(_style_once, _without_bare_groups(svg)))
    for stand_in, name in VARIABLES.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    return svg


def _without_bare_groups(svg: str) -> str:
    """Return the figure without the groups that say nothing of what is in them."""
    parts, bare = [], []
    for part in re.split(r"(<g(?: [^>]*)?>|</g>)", svg):
        if part.startswith("<g"):
            bare.append(part == "<g>")
        elif part == "</g>":
            part = "" if bare.pop() else part
        parts.append("" if part == "<g>" else part)
    return "".join(parts)


def _style_once(markers: re.Match[str]) -> str:
    """Say once how markers look, and not for each of hundreds."""
    style = re.search(r' style="[^"]*"', markers[0])
    assert style
    return f"<g{style[0]}>{markers[0].replace(style[0], '')}</g>"


def _give_tips(svg: str) -> str:
    """Put the texts of `tips` into the markers."""
    start, *groups = WITH_TIPS.split(svg)
    for texts, group in zip(groups[1::3], groups[2::3], strict=True):
        titles = iter(texts.split("\n"))

        def say(use: re.Match[str], titles: Iterator[str] = titles) -> str:
            return f"{use[1]}><title>{next(titles)}</title></use>"

        count = texts.count("\n") + 1
        start += '<g class="tip">' + re.sub(r"(<use [^>]*)/>", say, group, count=count)
    return start
