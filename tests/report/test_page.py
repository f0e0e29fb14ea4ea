import dataclasses
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from comparisons import found_in, write_made
from PIL import Image

from boundaryloss.files import UserError
from boundaryloss.report import plots
from boundaryloss.report.comparison import plain_console, print_verdicts, write_comparison
from boundaryloss.report.page import write_report
from boundaryloss.report.results import read_results
from boundaryloss.report.store import CASES

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def page(comparison):
    return write_report(*found_in(comparison))


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
        "By lesion size",
        "To explore, not to judge",
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
    assert html.count("<svg") == 7 + 2 + 2 + 8 + 2  # differences; curve, scatter; sizes; cases; training


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


def test_report_takes_any_name(tmp_path):
    names = ["a [bold] [/red] :smile: $x_1$ \\frac{", '<b>&amp;\n"b"/c [/] ' + "long" * 60]
    out = write_made(tmp_path / "out", methods={names[0]: None, names[1]: names[0]}, title="$x$ [/] <script>")
    page = write_report(*found_in(out)).read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert not parser.open and "<script" not in page and "<b>&amp;" not in page
    console = plain_console(file=io.StringIO(), width=500)
    results, findings = found_in(out)
    write_comparison(results, findings)
    print_verdicts(results, findings, console)
    assert all(names[0] in text for text in (console.file.getvalue(), (out / "report.txt").read_text()))


@pytest.mark.parametrize("options", [{"seeds": (0,), "cases": 1}, {"methods": {"only": None}, "cases": 1}])
def test_report_of_next_to_nothing_is_written(tmp_path, options):
    out = write_made(tmp_path / "out", **options)
    write_comparison(*found_in(out))
    assert "<h2>Results</h2>" in write_report(*found_in(out)).read_text(encoding="utf-8")


def test_report_says_on_which_contour_and_never_mixes_two(tmp_path):
    out = write_made(tmp_path / "out", seeds=(0, 1), cases=1)
    assert "HD95 is measured on the faces between voxels" in write_report(*found_in(out)).read_text(
        encoding="utf-8"
    )
    write_comparison(*found_in(out))
    assert "measured on the faces between voxels" in " ".join((out / "report.txt").read_text().split())
    first, second = out / "runs/m1-fold0-seed0", out / "runs/m1-fold0-seed1"
    table = (second / CASES).read_text()
    (second / CASES).write_text(table.replace("faces", "centers"))
    words = f"{second} has distances with contour centers, {first} with faces; remove one"
    with pytest.raises(UserError, match=re.escape(words)):
        read_results(out)
    (second / CASES).write_text(table.replace("faces", "edges"))
    with pytest.raises(UserError, match="'contour': 'edges' is none of faces, centers, surfels"):
        read_results(out)


def test_report_axes_show_numbers_and_no_formulas(tmp_path):
    page = write_report(*found_in(write_made(tmp_path / "out", seeds=(0,), cases=1))).read_text(
        encoding="utf-8"
    )
    assert "How hard the boundary term pulls" in page and "mathdefault" not in page


def test_report_shows_only_losses_as_losses(tmp_path):
    out = write_made(tmp_path / "out", seeds=(0,), cases=3)  # every case gains
    page = write_report(*found_in(out)).read_text(encoding="utf-8")
    assert "Largest losses of Dice: no case" in page and "Largest gains of Dice: no case" not in page
    for figure in page.split("<figcaption>")[1:]:
        before, after = re.search(r"Dice (\S+) → (\S+)", figure).groups()
        assert float(after) > float(before)


def test_report_of_many_pairs_is_folded_and_says_the_same_once(tmp_path, monkeypatch):
    monkeypatch.setattr("boundaryloss.report.page.MOST_DRAWN", 1)
    monkeypatch.setattr("boundaryloss.report.page.MOST_OPEN", 1)
    methods = {"base": None, "first": "base", "second": "base"}
    out = write_made(tmp_path / "out", seeds=(0,), cases=2, methods=methods)
    page = write_report(*found_in(out)).read_text(encoding="utf-8")
    assert page.count('<details class="pair" >') == 2 and page.count('<details class="pair" open>') == 0
    assert page.count("Figures are drawn for the first 1 of 2 pairs") == 1
    assert page.count("worse ← → better") == page.count("Case by case") == 1
    assert page.count("<td>false lesions at equal sensitivity</td>") == page.count("By lesion size") == 2
    assert page.count("Not judged") == 1  # of both


def test_report_is_written_whole_or_not_at_all(tmp_path):
    out = write_made(tmp_path / "out", seeds=(0,), cases=2)
    results, findings = found_in(out)
    (out / "images.npz").write_bytes((out / "images.npz").read_bytes()[:-40])
    with pytest.raises(UserError, match=r"images\.npz: missing or damaged"):
        write_report(results, findings)
    assert not any((out / name).exists() for name in ("report.html", "summary.csv", "tables"))


@pytest.mark.parametrize(
    "name", ["run.json", "cases.csv", "operating_points.csv", "metrics.csv", "planes.npz"]
)
@pytest.mark.parametrize("content", [b"", b"{", b"a,b\n\0,\xff\n", None])
def test_a_damaged_file_of_a_comparison_is_named(tmp_path, name, content):
    out = write_made(tmp_path / "out", seeds=(0,), cases=1)
    path = out / "runs/m1-fold0-seed0" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    words = f"{path}: missing or damaged"
    if name == "run.json" and content is None:
        words = f"{path.parent}: the run is not finished; give the same"
    with pytest.raises(UserError, match=re.escape(words)):
        read_results(out)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_report_fits_a_phone(tmp_path):
    long = {"a" * 300: None, "b " * 99: "a" * 300}
    write_report(*found_in(write_made(tmp_path, seeds=(0,), cases=2, methods=long, title="t" * 300)))
    (tmp_path / "phone.html").write_text(
        '<iframe src="report.html" style="width:390px" onload="document.title = '
        'this.contentDocument.documentElement.scrollWidth"></iframe>'
    )
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]
    command += ["--allow-file-access-from-files", "--disable-background-networking"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "phone.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert int(re.search(r"<title>(\d+)</title>", done.stdout)[1]) <= 390


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
