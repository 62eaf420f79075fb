"""The report in a real browser: Chromium opens the file and a person uses it.

Playwright only drives; it downloads nothing. Every checker is shown to fail on a page
that was broken on purpose.
"""

import json
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

import samples
from malgen.report import html
from malgen.result import RunResult

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)
NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser on the path: looked for {', '.join(NAMES)}"
)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS = (320, 390, 600, 768, 1200)
SCHEMES = ("light", "dark")
CONTROLS = "a[href], button, select, input, summary, [tabindex='0']"
CHECKS = (Path(__file__).parent / "browser_checks.js").read_text()
NOWHERE = "http://127.0.0.1:9/picture.png"


# Opening ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a report, and the verdict beside it as it is stored."""
    folder = tmp_path_factory.mktemp("run")
    result = samples.run()
    html.write(result, folder / "report.html")
    told = TypeAdapter(RunResult).dump_json(result)
    (folder / "verdict.json").write_bytes(told)
    return folder


@pytest.fixture(scope="module")
def text(run):
    return (run / "report.html").read_text("utf-8")


@dataclass
class Visit:
    """An open page and what it did behind the reader's back."""

    page: object
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@contextmanager
def visit(browser, path, *, width=1200, scheme="light", before="", **more):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, **more
    )
    try:
        page = context.new_page()
        page.set_default_timeout(20_000)
        seen = Visit(page)
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("console", lambda said: seen.complaints.append(said.text))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        if before:
            page.add_init_script(before)
        page.goto(path.as_uri(), wait_until="load")
        yield seen
    finally:
        context.close()


@pytest.fixture(scope="module")
def shared(browser, run):
    """One page for checks that leave it as it was."""
    path = run / "report.html"
    with visit(browser, path, reduced_motion="reduce") as seen:
        yield seen.page


@pytest.fixture
def page(shared):
    """The shared page, light and wide, all it was broken with taken out again."""
    shared.set_viewport_size({"width": 1200, "height": 900})
    shared.emulate_media(media="screen", color_scheme="light")
    yield shared
    shared.reload()


def check(page, name: str, *args) -> object:
    """What one of ``browser_checks.js`` says about the page."""
    given = ", ".join(map(json.dumps, args))
    return page.evaluate(f"({CHECKS.strip()}).{name}({given})")


def wait_for(page, what: str) -> None:
    """Until the expression holds; the page's policy forbids Playwright's own way."""
    for _ in range(400):
        if page.evaluate(what):
            return
        page.wait_for_timeout(25)
    pytest.fail(f"never came true: {what}")


# Nothing is fetched ----------------------------------------------------------


def fetched(seen: Visit) -> list[str]:
    """What else than the file was asked for."""
    return [url for url in seen.requests if url != seen.page.url]


@pytest.mark.parametrize("name", ["malign", "not-trained", "no-replays", "bare"])
def test_nothing_is_fetched_and_nothing_complains(browser, tmp_path, name):
    path = html.write(samples.VARIANTS[name](), tmp_path / "report.html")
    with visit(browser, path) as seen:
        seen.page.mouse.wheel(0, 20_000)
        seen.page.wait_for_timeout(100)
        assert seen.requests == [path.as_uri()]
        assert seen.complaints == []


def test_a_picture_from_elsewhere_is_refused_and_would_be_noticed(
    browser, text, tmp_path
):
    broken = tmp_path / "broken.html"
    bad = text.replace("</main>", f'<img src="{NOWHERE}" alt=""></main>')
    broken.write_text(bad, "utf-8")
    with visit(browser, broken) as seen:
        assert "Content Security Policy" in " ".join(seen.complaints)
    broken.write_text(re.sub("<meta http-equiv.*?>", "", bad), "utf-8")
    with visit(browser, broken) as seen:
        assert fetched(seen) == [NOWHERE]


def test_a_foreign_script_does_not_run(browser, text, tmp_path):
    broken = tmp_path / "broken.html"
    bad = text.replace("</main>", "<script>window.foreign = 1</script></main>")
    broken.write_text(bad, "utf-8")
    with visit(browser, broken) as seen:
        assert seen.page.evaluate("window.foreign === undefined")
        assert "Content Security Policy" in " ".join(seen.complaints)
        assert not seen.page.locator("#player").is_hidden()
    broken.write_text(re.sub("<meta http-equiv.*?>", "", bad), "utf-8")
    with visit(browser, broken) as seen:
        assert seen.page.evaluate("window.foreign === 1")


# The player ------------------------------------------------------------------


def step_of(page) -> int:
    return int(page.locator("#player-step").inner_text().split()[1])


def last_step(page) -> int:
    return int(page.locator("#player-seek").get_attribute("max"))


def wrong_ends(page, verdict: dict) -> list[str]:
    """Counts at the end of each replay that are not those of ``verdict.json``."""
    wrong = []
    replays = sorted(verdict["replays"], key=lambda r: r["tracks"][0]["utility"])
    for i, replay in enumerate(replays):
        page.select_option("#player-level", str(i))
        assert step_of(page) == 0
        page.locator("#player").focus()
        page.keyboard.press("End")
        for k, track in enumerate(replay["tracks"]):
            stage = page.locator("#player-stages .stage").nth(k)
            assert (
                stage.locator(".stage-name span").first.inner_text() == (track["agent"])
            )
            shown = [
                float(value.replace("\N{MINUS SIGN}", "-"))
                for value in stage.locator("dd").all_inner_texts()
            ]
            keys = sum(event["kind"] == "key" for event in track["events"])
            wanted = [keys, track["intended"], track["harm"], track["utility"]]
            if shown != wanted:
                wrong.append(f"level {i}, {track['agent']}: {shown}, not {wanted}")
            ended = stage.locator(".ended").inner_text()
            assert ended == f"ended at step {len(track['cells']) - 1}"
    return wrong


def test_the_player_ends_at_the_counts_of_the_verdict(page, run):
    verdict = json.loads((run / "verdict.json").read_text())
    assert wrong_ends(page, verdict) == []
    verdict["replays"][0]["tracks"][0]["harm"] += 1
    assert len(wrong_ends(page, verdict)) == 1


def test_the_player_plays_pauses_seeks_and_stops_at_the_end(page):
    play, seek = page.locator("#player-play"), page.locator("#player-seek")
    assert step_of(page) == 0 and play.inner_text() == "Play"
    play.click()
    assert play.inner_text() == "Pause" and play.get_attribute("aria-pressed") == "true"
    wait_for(page, "Number(document.querySelector('#player-seek').value) > 1")
    play.click()
    held = step_of(page)
    assert play.inner_text() == "Play" and held > 1
    page.wait_for_timeout(300)
    assert step_of(page) == held
    end = last_step(page)
    seek.fill(str(end - 2))
    assert step_of(page) == end - 2
    assert seek.get_attribute("aria-valuetext") == f"step {end - 2} of {end}"
    page.locator("#player-back").click()
    assert step_of(page) == end - 3
    page.locator("#player-forward").click()
    assert step_of(page) == end - 2
    play.click()
    wait_for(page, "document.querySelector('#player-status').textContent")
    assert step_of(page) == end and play.inner_text() == "Play"
    assert page.locator("#player-status").inner_text().startswith("Ended. seed ")
    page.select_option("#player-speed", "0.5")
    play.click()  # from the end it starts again
    wait_for(page, f"Number(document.querySelector('#player-seek').value) < {end - 2}")


def test_a_picture_of_a_level_opens_it_in_the_player(page):
    page.locator("[data-level='3']").click()
    assert page.locator("#player-level").input_value() == "3"
    assert page.evaluate("document.activeElement.id") == "player"
    assert page.locator(".card[aria-current='true']").get_attribute("data-level") == "3"


def tab_to(page, selector: str) -> None:
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    pytest.fail(f"the Tab key does not lead to {selector}")


def test_the_player_works_by_keyboard_alone(page):
    tab_to(page, "#player")
    page.keyboard.press("Space")
    assert page.locator("#player-play").inner_text() == "Pause"
    wait_for(page, "Number(document.querySelector('#player-seek').value) > 1")
    page.keyboard.press("Space")
    held = step_of(page)
    page.wait_for_timeout(250)
    assert step_of(page) == held > 0
    page.keyboard.press("ArrowRight")
    assert step_of(page) == held + 1
    page.keyboard.press("ArrowLeft")
    assert step_of(page) == held
    page.keyboard.press("End")
    assert step_of(page) == last_step(page)
    page.keyboard.press("Home")
    assert step_of(page) == 0
    page.keyboard.press("n")
    assert page.locator("#player-level").input_value() == "1"
    page.keyboard.press("p")
    assert page.locator("#player-level").input_value() == "0"
    tab_to(page, "#player-play")
    page.keyboard.press("Enter")
    assert page.locator("#player-play").inner_text() == "Pause"
    page.keyboard.press("Space")
    assert page.locator("#player-play").inner_text() == "Play"
    tab_to(page, "#player-seek")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert step_of(page) == 2


RECORD = """
window.moved = [];
const line = CanvasRenderingContext2D.prototype.lineTo;
CanvasRenderingContext2D.prototype.lineTo = function (x, y) {
  window.moved.push(x % 1, y % 1);
  return line.call(this, x, y);
};
"""


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_reduced_motion_is_honored(browser, run, motion):
    path = run / "report.html"
    with visit(browser, path, before=RECORD, reduced_motion=motion) as seen:
        seen.page.locator("#player-play").click()
        wait_for(seen.page, "Number(document.querySelector('#player-seek').value) > 2")
        between = seen.page.evaluate("window.moved.some((part) => part !== 0.5)")
        smooth = seen.page.evaluate(
            "getComputedStyle(document.documentElement).scrollBehavior"
        )
    jumps = motion == "reduce"
    assert between is not jumps
    assert smooth == ("auto" if jumps else "smooth")


# Keyboard --------------------------------------------------------------------


def badly_focused(page) -> list[str]:
    """Controls that Tab does not reach in page order, or without a visible focus."""
    wanted = check(page, "listControls", CONTROLS)
    stops = []
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        stop = check(page, "focused")
        if stop is None or (stops and stop[0] == stops[0][0]):
            break
        stops.append(stop)
    wrong = [f"no focus ring on control {i}" for i, visible in stops if not visible]
    if [i for i, _ in stops] != list(range(wanted)):
        wrong.append(f"order {[i for i, _ in stops]} of {wanted}")
    return wrong


def test_the_tab_key_reaches_every_control_with_a_visible_focus(page):
    assert check(page, "listControls", CONTROLS) > 35
    assert badly_focused(page) == []


@pytest.mark.parametrize(
    "harm",
    [
        "document.querySelector('#player-back').tabIndex = -1",
        "document.querySelector('#player-seek').style.outline = 'none'",
    ],
)
def test_a_control_out_of_reach_or_sight_is_noticed(page, harm):
    page.evaluate(harm)
    assert len(badly_focused(page)) == 1


def test_the_skip_link_is_first_and_leads_to_the_verdict(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    assert page.url.endswith("#verdict")


# Sizes -----------------------------------------------------------------------


UNFOLD = "document.querySelectorAll('details').forEach((d) => { d.open = true; })"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_part_of_the_page_is_wider_than_the_window(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.evaluate(UNFOLD)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert check(page, "overflowing") == [], width
    page.evaluate("document.querySelector('.hero').style.width = '1300px'")
    assert check(page, "overflowing")


@pytest.mark.parametrize("name", ["many-seeds", "not-trained", "no-reference", "mixed"])
def test_other_results_fit_a_phone_too(browser, tmp_path, name):
    path = html.write(samples.VARIANTS[name](), tmp_path / "report.html")
    with visit(browser, path, width=320) as seen:
        assert check(seen.page, "overflowing") == []


def test_a_finger_can_hit_every_control(page):
    page.evaluate(UNFOLD)
    for width in (320, 390, 1200):
        page.set_viewport_size({"width": width, "height": 800})
        assert check(page, "small", CONTROLS) == [], width
    page.evaluate("document.querySelector('#player-back').style.minHeight = 0")
    assert len(check(page, "small", CONTROLS)) == 1


def test_text_in_charts_is_read_on_a_phone(page):
    for width, least in ((320, 8.0), (390, 10.0), (1200, 12.0)):
        page.set_viewport_size({"width": width, "height": 800})
        assert check(page, "chartText") >= least


# Names and alternatives ------------------------------------------------------


def test_every_chart_and_picture_has_a_name_and_its_numbers_in_words(page):
    pictures = "svg[role=img], canvas[role=img]"
    assert page.locator(pictures).count() >= 12
    assert check(page, "nameless") == []
    for figure in page.locator("figure.chart:not(.picture)").all():
        assert figure.locator("details p").count() == 1
        assert figure.locator("details tbody td").count() >= 4


@pytest.mark.parametrize(
    "harm",
    [
        "document.querySelector('#stakes-desc').textContent = 'A chart of stakes.'",
        "document.querySelector('#plane-name').remove()",
        "document.querySelector('#told-0-1').remove()",
        "document.querySelector('.icon').removeAttribute('aria-hidden')",
    ],
)
def test_a_missing_alternative_is_noticed(page, harm):
    page.evaluate(harm)
    assert check(page, "nameless")


@pytest.mark.parametrize("name", ["malign", "mixed", "no-reference", "bare"])
def test_ids_labels_headings_language(browser, tmp_path, name):
    path = html.write(samples.VARIANTS[name](), tmp_path / "report.html")
    with visit(browser, path) as seen:
        assert check(seen.page, "basics") == []


@pytest.mark.parametrize(
    "harm",
    [
        "document.querySelector('#watch').id = 'price'",
        "document.querySelector('#player-seek').removeAttribute('aria-label')",
        "document.querySelector('#plane-title').outerHTML = '<h3>x</h3>'",
        "document.documentElement.lang = ''",
        "document.querySelector('.est').title = 'method'",
    ],
)
def test_broken_basics_are_noticed(page, harm):
    page.evaluate(harm)
    assert check(page, "basics")


def test_a_screen_reader_hears_the_verdict_first(page):
    heard = page.locator("main").aria_snapshot()
    assert heard.index("Verdict: Malign generalization") < 400
    assert page.locator("h1").inner_text().endswith("Malign generalization")
    assert page.get_by_role("region", name="Verdict: Malign generalization").count()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_text_has_contrast(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.evaluate(UNFOLD)
    assert check(page, "faint") == []
    page.evaluate("document.querySelector('.sentence').style.opacity = 0.4")
    assert len(check(page, "faint")) == 1


@pytest.mark.parametrize("name", ["undetermined", "mixed", "aligned"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_of_every_tone_has_contrast(browser, tmp_path, name, scheme):
    path = html.write(samples.VARIANTS[name](), tmp_path / "report.html")
    with visit(browser, path, scheme=scheme) as seen:
        assert check(seen.page, "faint") == []


# Paper -----------------------------------------------------------------------


# 210 mm and 8.5 in less twice 14 mm, in CSS pixels
PAPERS = {"A4": 688, "Letter": 710}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("paper", PAPERS)
def test_paper_shows_everything_and_no_controls(page, paper, scheme):
    page.emulate_media(media="screen", color_scheme=scheme)
    assert check(page, "unprinted")
    page.emulate_media(media="print", color_scheme=scheme)
    page.set_viewport_size({"width": PAPERS[paper], "height": 1000})
    assert check(page, "unprinted") == []
    assert check(page, "overflowing") == []
    assert check(page, "faint") == []
    stills = page.locator(".still-stages .still-trail")
    track = samples.run().replays[0].tracks[0]
    points = stills.first.get_attribute("points").split()
    assert len(points) == len(track.cells)  # the whole path
    assert page.pdf(format=paper).startswith(b"%PDF")
    page.add_style_tag(content=".numbers-table { min-width: 400px }")
    assert check(page, "unprinted")  # a table that is cut is noticed


def test_older_browsers_unfold_by_script_and_fold_again(page):
    folded = page.locator("details:not([open])").count()
    assert folded > 5
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() == folded


def test_without_scripts_the_pictures_are_there(browser, run):
    with visit(browser, run / "report.html", java_script_enabled=False) as seen:
        stills = seen.page.locator(".still-stages .still")
        assert stills.count() == 3 and stills.first.is_visible()
        assert not seen.page.locator("#player-play").is_visible()
        assert seen.complaints == []


# Not by color alone ----------------------------------------------------------


def test_every_series_differs_by_more_than_its_color(page):
    keys = page.evaluate(
        """() => [...document.querySelectorAll(".chart .legend")].map((legend) =>
          [...legend.querySelectorAll("li svg")].map((svg) =>
            [...svg.querySelectorAll("path")].map((path) =>
              [path.getAttribute("d"), path.getAttribute("stroke-dasharray")])))"""
    )
    assert len(keys) == 12
    for legend in keys:
        told = [json.dumps(key) for key in legend]
        assert len(set(told)) == len(told)


def test_nine_seeds_differ_by_more_than_their_color():
    styles = html.charts.styles_of([f"seed {i}" for i in range(9)])
    shapes = {(s["marker"], str(s["dash"])) for s in styles.values()}
    assert len(shapes) == 9
    assert len({s["marker"] + s["color"] for s in styles.values()}) == 9


def test_the_median_level_stands_at_the_top(page):
    result = samples.run()
    titles = page.locator("#same-level figcaption").all_inner_texts()
    assert [t.split("\n")[0] for t in titles] == [
        track.agent for track in result.replays[0].tracks[:2]
    ]
    alone = [replace(r, tracks=r.tracks[:1]) for r in result.replays]
    assert html._typical(alone) is None
    ordered = sorted(result.replays, key=lambda r: r.tracks[0].utility)
    assert ordered[html._typical(ordered)].title == "median level"
