"""The report in a real browser: it loads in silence, can be read off, sorted and filtered, and runs nothing that it quotes."""

import os
import shutil
from pathlib import Path

import brotli
import pytest
from playwright.sync_api import sync_playwright

from mmadv import assets, report
from mmadv.audit import Audit
from mmadv.host import default_host
from mmadv.report import records
from mmadv.report.parts import fragment
from mmadv.spec import parse

EVIL = "<script>window.owned = 1</script><img src=x onerror='window.owned = 2'>"
MODULE = f"""
import torch
from mmadv import MemorySource
from mmadv.testing import linear_victim
from mmadv_audio.waves import Waves
from mmadv_text.texts import Texts

EVIL = {EVIL!r}

def digits():
    return linear_victim(150, (1, 4, 4), classes=3)[0]

def pictures():
    _, x, y = linear_victim(150, (1, 4, 4), classes=3)
    y = y.clone()
    y[::5] = (y[::5] + 1) % 3
    return MemorySource("pictures " + EVIL, x, y, [f"picture {{n:03d}}" for n in range(len(x))])

def told(texts):
    good = torch.tensor([float(text.split().count("good")) for text in texts])
    return torch.stack([0.5 - 0 * good, good], 1)

def sentiment():
    return told

def texts():
    said = [f"a good {{what}} {{EVIL}}" for what in ("film", "play", "book")]
    return MemorySource("texts", Texts.of(said), torch.ones(3, dtype=torch.long), [EVIL + str(n) for n in range(3)], ["bad", "good " + EVIL])

class Loud(torch.nn.Module):
    def forward(self, samples):
        return torch.stack([0.001 + 0 * samples[:, 0], samples.mean(1)], 1)

def loud():
    return Loud().eval()

def sounds():
    torch.manual_seed(0)
    waves = [0.1 * torch.randn(8000) for _ in range(2)]
    return MemorySource("sounds", Waves.of([wave - wave.mean() for wave in waves], 8000), torch.zeros(2, dtype=torch.long), ["one", "two"])
"""
SPEC = """
title: A page
campaigns:
  - name: pictures
    modality: image
    target: {factory: "browser_victims:digits"}
    data: {factory: "browser_victims:pictures"}
    threat: {norm: linf, eps: [0.01, 0.05, 0.1]}
    attacks: [image.fgsm, {name: image.pgd, steps: 5}]
  - name: nearest
    modality: image
    target: {factory: "browser_victims:digits"}
    data: {factory: "browser_victims:pictures", limit: 30}
    threat: {norm: l2}
    attacks: [{name: image.ddn, steps: 10}]
  - name: texts
    modality: text
    target: {factory: "browser_victims:sentiment"}
    data: {factory: "browser_victims:texts"}
    threat: {candidates: characters, similarity: -1, eps: 0.5}
    attacks: [text.greedy]
  - name: sounds
    modality: audio
    target: {factory: "browser_victims:loud", rate: 8000}
    data: {factory: "browser_victims:sounds"}
    threat: {norm: linf, eps: 0.01}
    attacks: [audio.fgsm]
"""
CHROMIUM = {
    "bin/chromium.br": "64d813a054f76fc32b8010e305d87e6d7a45aa76ee02d36e66c03c8ca6667e8d",
    "bin/al2023.tar.br": "2e22542d8c66b83194172f4bbbef0a79b80bbeb99d69abf3962d85c1351f478d",
}
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def chromium(folder):
    """Chromium and the variables it runs with: the machine's own, or else the one of a package, unpacked into a folder."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if own := shutil.which(name):
            return own, None
    package = assets.unpacked(
        "npm", "@sparticuz/chromium", "147.0.0", files={f"package/{name}": sha for name, sha in CHROMIUM.items()}
    )
    for name in CHROMIUM:
        (folder / Path(name).stem).write_bytes(brotli.decompress((package / "package" / name).read_bytes()))
    (folder / "chromium").chmod(0o700)
    shutil.unpack_archive(folder / "al2023.tar", folder, filter="data")
    return str(folder / "chromium"), {**os.environ, "LD_LIBRARY_PATH": str(folder / "lib")}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program, variables = chromium(tmp_path_factory.mktemp("chromium"))
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, env=variables, args=QUIET)
        yield started
        started.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of small victims of three modalities, and its report."""
    where = tmp_path_factory.mktemp("browser")
    (where / "browser_victims.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(where))
        audit = Audit(parse(SPEC), where / "run", default_host())
        summary = audit.run()
        yield audit, summary, report.write(audit, summary)


@pytest.fixture
def opened(browser, made):
    """A function that opens the report in a window of its own; fails at the end if the page complained or asked for anything."""
    complaints, windows = [], []

    def open_(**options):
        window = browser.new_context(**options)
        windows.append(window)
        page = window.new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
        page.goto(made[2].as_uri())
        return page

    open_.complaints = complaints
    yield open_
    for window in windows:
        window.close()
    assert complaints == []


def column(page, number):
    return page.locator(f"#all-records tbody tr :nth-child({number})").all_inner_texts()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_loads_in_silence_and_fits_any_screen(opened, scheme, width):
    page = opened(color_scheme=scheme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = page.evaluate(
        "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))"
    )
    shades = [sum(map(int, shade[4:-1].split(","))) for shade in (ink, paper)]
    assert (shades[0] < shades[1]) == (scheme == "light")
    assert abs(shades[0] - shades[1]) > 500


def test_what_it_quotes_is_never_run(opened, made):
    page = opened()
    page.get_by_role("combobox", name="Campaign").select_option("texts")
    assert EVIL in page.locator("#all-records").inner_text()
    assert EVIL in page.locator("section[aria-labelledby=c-texts]").inner_text()
    page.get_by_label("Words").fill("owned")
    assert page.evaluate("window.owned") is None
    assert page.locator("script").count() == 1
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<b id=bad onclick=\"window.owned = 3\">x</b>')")
    page.locator("#bad").click()
    assert "Content Security Policy" in opened.complaints.pop()
    assert page.evaluate("window.owned") is None


def test_sounds_can_be_played_and_pictures_are_drawn(opened):
    page = opened()
    players = page.locator("audio")
    assert players.count() >= 3
    for player in players.all():
        assert player.evaluate(
            "it => new Promise((ok, no) => { it.onloadedmetadata = () => ok(it.duration); it.onerror = () => no(it.error.message); it.load(); })"
        ) == pytest.approx(1.0, abs=0.01)
    for picture in page.locator("img").all():
        assert picture.evaluate("it => it.complete && it.naturalWidth") > 0


def test_records_are_shown_a_hundred_at_a_time(opened, made):
    page = opened()
    total = sum(len(records.table(made[0], number, campaign)) for number, campaign in enumerate(made[1]["campaigns"]))
    assert total > 200
    assert len(column(page, 1)) == 100
    assert page.locator("#record-count").inner_text() == f"100 of {total} shown"
    page.get_by_role("button", name="Show more").click()
    assert len(column(page, 1)) == 200


def test_records_are_filtered_by_words_and_by_columns(opened, made):
    page = opened()
    page.get_by_role("combobox", name="Campaign").select_option("nearest")
    assert set(column(page, 2)) == {"nearest"}
    assert page.locator("#record-count").inner_text().startswith("30 of 30 shown, of ")
    page.get_by_label("Words").fill("PICTURE 007")
    assert column(page, 1) == ["picture 007"]
    page.get_by_label("Words").fill("no such thing")
    assert column(page, 1) == []
    page.get_by_label("Words").fill("")
    page.get_by_role("combobox", name="Campaign").select_option("all")
    page.get_by_role("combobox", name="Status").select_option("already wrong")
    assert set(column(page, 4)) == {"already wrong"}


def test_records_are_sorted_by_any_column_with_what_has_no_figure_last(opened, made):
    page = opened()
    page.get_by_role("combobox", name="Campaign").select_option("nearest")
    head = page.get_by_role("button", name="Distance")
    head.focus()
    rows = {row.key: row.distance for row in records.table(made[0], 1, made[1]["campaigns"][1])}
    known = sorted(filter(None, rows.values()))
    for order, found in (("ascending", known), ("descending", known[::-1])):
        page.keyboard.press("Enter")
        shown = [rows[key] for key in column(page, 1)]
        assert shown[: len(found)] == found
        assert set(shown[len(found) :]) <= {None}
        assert page.locator("th[aria-sort]").get_attribute("aria-sort") == order
    page.get_by_role("button", name="Example").click()
    assert column(page, 1) == sorted(column(page, 1))


def test_curves_are_read_off_with_a_pointer_and_with_keys(opened, made):
    page = opened()
    figure = page.locator("section[aria-labelledby=c-pictures] figure.plot")
    tip, chart = figure.locator(".tip"), figure.locator("svg.chart")
    assert not tip.is_visible()
    chart.locator(".at rect").nth(2).hover()
    worst = made[1]["campaigns"][0]["worst"][1]
    assert tip.inner_text().split("\n")[0] == "ε = 0.05 (12.8 of 255 levels at most)"
    assert f"({worst['robust']['hits']} of {worst['robust']['total']})" in tip.inner_text()
    page.mouse.move(0, 0)
    assert not tip.is_visible()
    chart.focus()
    for key, told in (
        ("Home", "clean, ε = 0"),
        ("ArrowRight", "ε = 0.01 (2.55 of 255 levels at most)"),
        ("ArrowLeft", "clean, ε = 0"),
        ("End", "ε = 0.1 (25.5 of 255 levels at most)"),
    ):
        page.keyboard.press(key)
        assert tip.inner_text().split("\n")[0] == told
        assert chart.get_attribute("aria-valuetext").startswith(told)
    page.keyboard.press("Escape")
    assert not tip.is_visible()


def test_a_curve_of_many_steps_is_read_off_too(opened, made):
    page = opened()
    chart = page.locator("section[aria-labelledby=c-nearest] svg.chart")
    chart.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    eps, told = chart.get_attribute("aria-valuetext").split("; ")
    rows = records.table(made[0], 1, made[1]["campaigns"][1])
    radius = float(eps.removeprefix("ε = "))
    left = sum(row.outcome in ("robust", "fooled") and not (row.distance and row.distance <= radius) for row in rows)
    assert told.endswith(f"({left} of {len(rows)})")


def test_what_plugins_draw_does_not_stop_the_page(browser, made, tmp_path):
    drawn = fragment('<svg class="chart"><g class="at"></g></svg><p id="all-records">x</p><p id="record-tools">y</p>')
    html, mark = made[2].read_text(), '<section aria-labelledby="summary">'
    assert html.count(mark) == 1
    (tmp_path / "page.html").write_text(html.replace(mark, f"{mark}{drawn}"))
    page, complaints = browser.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator("div#record-tools").is_visible()
    assert len(page.locator("table#all-records tbody tr").all()) == 100
    page.close()
    assert complaints == []


def test_all_is_there_without_script(opened, made):
    page = opened(java_script_enabled=False)
    total = sum(len(records.table(made[0], number, campaign)) for number, campaign in enumerate(made[1]["campaigns"]))
    assert len(column(page, 1)) == total
    assert not page.get_by_label("Words").is_visible()
    assert (
        "ε = 0.05 (12.8 of 255 levels at most)\nworst case"
        in page.locator("section[aria-labelledby=c-pictures] .at title").nth(2).text_content()
    )
