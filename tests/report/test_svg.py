import re
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from boundaryloss.report import epochs, plots
from boundaryloss.report.svg import METHODS, as_svg, share_images

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ["plain", 'a "quoted" name', "it's <b>&amp;</b>", "two\nlines", "\"both'"]


@as_svg
def dotted(x, texts, **style):
    figure = Figure()
    axis = figure.subplots()
    axis.set(xlim=(-1, 10), ylim=(-1, 1))
    plots.dots(axis, np.array(x), np.zeros(len(x)), texts, **style)
    plots.dots(axis, np.array([9.0]), np.array([0.5]), ["another"])
    return figure


def told(svg):
    """The text of each dot, in the order of their places."""
    uses = [use for use in ElementTree.fromstring(svg).iter(f"{SVG}use") if len(use)]
    return [use.find(f"{SVG}title").text for use in sorted(uses, key=lambda use: float(use.get("x")))]


def test_dots_say_what_they_are_whatever_the_name():
    expected = [" ".join(name.split()) for name in NAMES]
    assert told(dotted([4, 3, 2, 1, 0], NAMES)) == [*expected[::-1], "another"]
    assert told(dotted([5], NAMES[1:2])) == [expected[1], "another"]
    assert told(dotted([], [])) == ["another"]


def test_dots_look_alike_and_say_so_once():
    svg = dotted(range(9), "abcdefghi", color="#123456", alpha=0.5)
    assert svg.count("fill: #123456") == 1 and svg.count("<use") >= 9
    assert len(dotted(range(9), "abcdefghi")) - len(dotted(range(5), "abcde")) < 4 * 110


def test_as_svg_takes_its_font_from_the_page():
    svg = dotted([1], "a")
    assert "font-size: 10px" in svg and "font-family" not in svg and "<g>" not in svg


def test_share_images_keeps_one_of_each():
    image = '<image xlink:href="data:image/png;base64,{}" id="{}" x="0" y="0" width="9" height="9"/>'
    page = "".join(image.format(*one) for one in (("AAAA", "i1"), ("BBBB", "i2"), ("AAAA", "i3")))
    assert share_images(page) == page.replace(image.format("AAAA", "i3"), '<use xlink:href="#i1"/>')


def test_sample_is_always_the_same_and_says_how_many_there_are():
    axis = Figure().subplots()
    assert plots.sample(axis, np.arange(plots.MOST_DOTS), "cases").tolist() == [*range(plots.MOST_DOTS)]
    assert not axis.get_title()
    shown, again = (plots.sample(axis, np.arange(5000) * 2, "cases") for _ in range(2))
    assert axis.get_title() == f"{plots.MOST_DOTS} of 5000 cases, drawn by chance"
    assert len({*shown}) == plots.MOST_DOTS and (shown == again).all() and (np.diff(shown) > 0).all()
    assert (shown % 2 == 0).all() and 4000 < np.median(shown) < 6000


def method(index, *runs):
    histories = [SimpleNamespace(region=np.array(run, float), validation_dice=np.array([])) for run in runs]
    return SimpleNamespace(name=f"m{index}", index=index, histories=histories)


def test_learning_curves_of_runs_that_differ_in_length():
    values = epochs.of_epochs(method(0, [1, 2, 3], [5]), "region")
    np.testing.assert_array_equal(values, [[1, 2, 3], [5, np.nan, np.nan]])


@pytest.mark.parametrize(("count", "points"), [(80, 80), (100, 100), (101, 51), (1000, 100)])
def test_learning_curves_of_many_epochs_are_averaged(count, points):
    drawn = {}
    axis = SimpleNamespace(
        fill_between=lambda x, low, high, **style: drawn.update(x=x, low=low, high=high),
        plot=lambda x, mean, **style: drawn.update(mean=mean),
    )
    values = np.stack([np.arange(count), np.arange(count) + 2.0])
    epochs._band(axis, values, METHODS[0], "-")
    assert len(drawn["x"]) == points
    each = -(-count // 100)
    assert drawn["x"][0] == (1 + each) / 2 and drawn["mean"][0] == (each - 1) / 2 + 1
    assert drawn["low"][0] == 0 and drawn["high"][-1] == count + 1


def test_learning_curves_have_a_colour_for_each_method():
    methods = [method(index, [1.0, 0.5]) for index in range(30)]
    figures = epochs.in_figures(methods)
    assert [len(figure) for figure in figures] == [8, 8, 8]
    svg = epochs.learning_curves(figures[1], "Dice")
    assert all(len(re.findall(rf"stroke: var\(--method-{place}\)", svg)) >= 1 for place in range(8))
    assert "m8" in svg and "m15" in svg and "m16" not in svg
