import dataclasses
import re
import shutil
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from boundaryloss.report import plots
from boundaryloss.report.page import write_report
from boundaryloss.report.results import read_results

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def page(comparison):
    return write_report(comparison)


@pytest.fixture(scope="module")
def html(page):
    return page.read_text(encoding="utf-8")


class Balanced(HTMLParser):
    """Fails on an element that is not closed, or closed twice."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_write_report_is_well_formed(html):
    parser = Balanced()
    parser.feed(html)
    parser.close()
    assert not parser.open


def test_write_report_needs_no_network(html):
    links = re.findall(r"(?:src|href)\s*=\s*[\"']([^\"'#]*)", html) + re.findall(r"url\(([^)]*)\)", html)
    assert all(link.startswith(("data:", "#")) for link in links if link)
    assert "<script" not in html and "@import" not in html


def test_write_report_shows_all_that_it_promises(html):
    for words in (
        "What may be said",
        "Paired differences",
        "A shift of the operating point?",
        "Case by case",
        "Largest gains of Dice",
        "Largest losses of Dice",
        "Learning curves",
        "How hard the boundary term pulls",
        "Wilcoxon",
        "14 cases of 7 patients",
        "torch 2.",
        "Not judged, with fewer than 3 seeds",
    ):
        assert words in html, words
    assert html.count("<svg") == 7 + 2 + 8 + 2  # differences; curve, scatter; cases; training


def test_write_report_escapes_what_users_write(html):
    assert "Squares &amp; &lt;circles&gt;" in html and "<circles>" not in html


def test_write_report_leaves_colours_to_the_page(html):
    figures = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert "var(--ink)" in figures and "var(--method-1)" in figures
    assert not re.findall(r"#0[1-8]0[1-8]0[0-8]\b", figures)


def test_write_report_ids_do_not_clash(html):
    ids = re.findall(r'<(?:clipPath|path|image)[^>]* id="([^"]+)"', html)
    assert ids and len(ids) == len(set(ids))


def test_figures_take_any_name(comparison):
    results = read_results(comparison)
    pair = [dataclasses.replace(method, name='$\\bad {"&') for method in results.methods]
    for draw in (plots.scatter, plots.operating_curve):
        ElementTree.fromstring(draw(results, pair, 3))  # is well-formed


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_write_report_opens_in_a_browser(page, tmp_path):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    command += [
        f"--user-data-dir={tmp_path}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
    ]
    command += ["--window-size=1100,3000", f"--screenshot={tmp_path / 'page.png'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr  # nothing to complain about
    with Image.open(tmp_path / "page.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[:2] == (3000, 1100)
    coloured = np.ptp(pixels, axis=2).max(axis=1) > 60
    assert coloured.mean() > 0.2  # figures, all the way down
    assert (pixels[:, -8:].std(axis=(0, 1)) < 1).all()  # nothing sticks out on the right
