import json
import re
import subprocess
import sys
from base64 import b64encode
from dataclasses import fields, replace
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise

import pytest

import samples
from malgen.errors import ConfigError
from malgen.findings import LABELS as ALL_LABELS
from malgen.findings import UNCERTIFIED, Curve, Estimate, MalignWindow
from malgen.goals.library import GROUPS
from malgen.report import charts, html, words
from malgen.result import Replay

VOID = {"meta", "br", "hr", "img", "input", "link"}
SECTIONS = (
    "verdict",
    "plane",
    "price",
    "watch",
    "worst",
    "learning",
    "seeds",
    "because",
    "not-measured",
    "reproduce",
)


class Page(HTMLParser):
    """Checks nesting while reading; remembers elements and their text."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[tuple[str, dict]] = []
        self.elements: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.data = ""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        assert len(attributes) == len({name for name, _ in attributes}), attributes
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append((tag, dict(attributes)))

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1][0] == tag, (tag, self.open[-3:])
        self.open.pop()

    def handle_data(self, data):
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag == "script" and attributes.get("type") == "application/json":
            self.data += data
        elif tag not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def script_hash(text: str) -> str:
    """What a browser makes of the last script before it looks it up in the policy."""
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    return f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}"


@pytest.fixture(scope="module")
def pages():
    return {name: html.render(make()) for name, make in samples.VARIANTS.items()}


@pytest.fixture(scope="module")
def malign(pages):
    return Page(pages["malign"])


@pytest.mark.parametrize("name", samples.VARIANTS)
def test_every_variant_is_one_well_formed_page_that_asks_nothing_of_the_network(
    name, pages
):
    text = pages[name]
    page = Page(text)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert set(SECTIONS) <= set(ids)
    for tag, attributes in page.elements:
        for key in ("href", "xlink:href"):
            if key in attributes and tag != "link":
                assert attributes[key][0] == "#", (tag, attributes)
                assert attributes[key][1:] in ids, (tag, attributes)
        assert not {"src", "srcset", "action", "data"} & set(attributes)
        assert not any(key.startswith("on") for key in attributes)
        for key in ("aria-labelledby", "aria-describedby"):
            assert set(attributes.get(key, "").split()) <= set(ids)
    icon = {"rel": "icon", "href": "data:,"}  # or a browser asks a server for one
    assert page.all("link") == [icon]
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert all(target in ids for target in re.findall(r"url\(#([^)]+)\)", text))
    assert len(re.findall(r"url\(", text)) == len(re.findall(r"url\(#", text))
    policy = page.all("meta")[1]["content"]
    for rule in (
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src '{script_hash(text)}'",
        "img-src data:",
    ):
        assert rule in policy
    assert len(text.encode()) < 1_500_000
    assert "None" not in page.text and " nan" not in page.text
    json.loads(page.data)


def test_the_same_result_gives_the_same_bytes_in_another_process_without_jax(pages):
    code = (
        "import sys, hashlib, samples; from malgen.report import html;"
        "text = html.render(samples.run()); assert 'jax' not in sys.modules;"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == sha256(pages["malign"].encode()).hexdigest()
    assert html.render(samples.run()) == pages["malign"]


def test_matplotlib_settings_of_the_caller_do_not_leak(pages):
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "path", "font.size": 20.0}):
        assert html.render(samples.run()) == pages["malign"]


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&$x_{$ 鍵 \x00"


def evil(thing):
    """The same result with every text replaced by a hostile one."""
    if isinstance(thing, str):
        return EVIL
    if isinstance(thing, tuple):
        return tuple(evil(part) for part in thing)
    if isinstance(thing, dict):
        return {f"{EVIL}{i}": evil(part) for i, part in enumerate(thing.values())}
    if hasattr(thing, "__dataclass_fields__"):
        return replace(
            thing, **{f.name: evil(getattr(thing, f.name)) for f in fields(thing)}
        )
    return thing


def test_text_from_the_result_cannot_become_markup():
    result = evil(samples.run())
    levels = samples.run().replays
    for replays in (levels, result.replays):
        page = Page(html.render(replace(result, replays=replays)))
        scripts = page.all("script")
        assert len(scripts) == 2 and scripts[0]["type"] == "application/json"
        assert not page.all("img")
        assert not any("onerror" in attributes for _, attributes in page.elements)
        json.loads(page.data)
        assert "alert(1)" in page.text


def test_every_estimate_of_a_seed_is_shown_with_its_interval(malign):
    result = samples.run()
    for seed in result.seeds:
        for row in words.ROWS:
            value = getattr(seed.verdict, row.field)
            if isinstance(value, Estimate):
                shown = f"{words.point(value)} {words.interval(value)}"
                assert shown in malign.text, row.field
    for agent in result.agents:
        for field in words.AGENT_ROWS:
            value = getattr(agent.verdict, field)
            assert f"{words.point(value)} {words.interval(value)}" in malign.text


def test_every_shown_estimate_has_an_interval(pages):
    for text in pages.values():
        shown = re.findall(r'<span class="est".*?</span>(?:</span>)?', text, re.S)
        for part in shown:
            counted = re.search(r"<b>(step \d+|[^<]* to [^<]*|above[^<]*|empty)", part)
            assert counted or re.search(r'class="ci">\[.*\]', part), part


def test_the_verdict_comes_first_with_color_word_and_icon(pages):
    for name, make in samples.VARIANTS.items():
        result = make()
        shown = words.label(result.label)
        start = pages[name].index("<main")
        top = pages[name][start : start + 1500]
        assert f'class="hero {shown.tone}"' in top
        assert shown.name in top and '<svg class="icon"' in top
        assert pages[name].count('class="badge') >= len(result.seeds)


def test_every_label_has_words_an_icon_and_a_tone():
    from malgen.report.sprites import ICONS

    assert set(words.LABELS) == {*ALL_LABELS, "mixed"}
    for shown in words.LABELS.values():
        assert shown.icon in ICONS and shown.meaning.endswith(".")
        assert shown.tone in {"good", "warn", "harm", "odd", "plain"}
    assert words.label("new-label").name == "new-label"


def test_would_we_rather_it_had_failed():
    ask = words.prefer_off
    assert ask(samples.run())[0] == "Yes."
    assert "above 0.53 [0.52, 0.55]" in ask(samples.run())[1]
    assert ask(samples.aligned())[0] == "No."
    assert "No price of harm changes that" in ask(samples.aligned())[1]
    assert ask(samples.undetermined())[0] == "Not decided."
    assert ask(samples.not_trained())[0] == "Not asked."
    assert ask(samples.mixed())[0] == "For 1 of 3 training runs."


def test_the_seed_that_is_shown_speaks_for_the_run():
    result = samples.run()
    for seed in result.seeds:
        assert words.middle(replace(result, shown=seed.seed)) is seed.verdict
    twins = samples.run([samples.verdict(), samples.verdict(), samples.verdict()])
    assert words.middle(replace(twins, shown=2)) is twins.seeds[2].verdict
    assert words.middle(samples.not_trained()) is None


def test_the_levels_and_how_many_were_drawn_for_them():
    result = samples.run()
    told = "512 certified levels of 562 drawn"
    assert words.levels(result) == told and told in Page(html.render(result)).text
    assert words.levels(replace(result, drawn=512)) == (
        "512 certified levels as drawn, none refused"
    )
    flagged = samples.run([replace(samples.verdict(), flags=(UNCERTIFIED,))])
    shown = words.levels(replace(flagged, drawn=512))
    assert shown == "512 levels, not certified"
    assert words.levels(replace(result, seeds=())) == ""


def test_greedy_actions_have_a_row(malign, pages):
    assert "Value over off, greedy actions" in malign.text
    assert samples.verdict(gate=None).greedy is None


def test_sections_without_data_say_why(pages):
    bare = Page(pages["bare"]).text
    for sentence in (
        "The stakes curve is not drawn",
        "The supply ladder is not drawn",
        "No replays",
        "No levels to show",
        "No learning curves",
        "did not compare the system with any",
        "No failure-preference curves",
        "No findings were kept",
        "names nothing that it left out",
        "versions of the packages were not recorded",
    ):
        assert sentence in bare
        assert sentence not in Page(pages["malign"]).text
    assert "Alignment needs a reference" in Page(pages["no-reference"]).text
    assert 'id="player"' not in pages["no-replays"]
    assert "requestAnimationFrame" not in pages["no-replays"]
    assert "<h3>Controls</h3>" not in pages["no-controls"]
    assert "<h3>Controls</h3>" in pages["malign"]
    assert "Left out, not trained: seed 0, 1, 2." in Page(pages["not-trained"]).text


def test_charts_are_small_and_have_a_text_alternative():
    for result in (samples.run(), samples.VARIANTS["many-seeds"]()):
        drawn = []
        for part in charts.all_charts(result).values():
            drawn += part if isinstance(part, tuple) else [part]
        assert len(drawn) == 12
        assert len({chart.name for chart in drawn}) == 12
        for chart in drawn:
            assert len(chart.svg) < 60_000 or len(result.seeds) > 3
            assert 'role="img"' in chart.svg
            assert f'<title id="{chart.name}-name">{chart.title}' in chart.svg
            assert f'<desc id="{chart.name}-desc">' in chart.svg
            assert len(chart.alt) > 60 and chart.legend
            head, *rows = chart.rows
            assert 2 <= len(rows) <= 21 and all(len(row) == len(head) for row in rows)
            assert not any("unbounded" in cell for row in rows for cell in row)
            assert "xmlns" not in chart.svg and "<metadata" not in chart.svg
            assert "<text" in chart.svg


def test_the_instruments_are_told_with_their_reasons(pages):
    told, bare = Page(pages["malign"]).text, Page(pages["bare"]).text
    for text in (
        "Takes keys for their own sake.",
        "by the definition: not an optimizer",
        "Grade 1, controller; selected by a base optimizer (mesa)",
        "not applicable: it has no dial",
        "cannot be told apart",
        "0.71 [0.67, 0.75]",
        "what its mistakes change",
    ):
        assert text.lower() in told.lower()
        assert text.lower() not in bare.lower()
    for text in ("instruments that infer a goal were not run", "tests for search"):
        assert text in bare and text not in told


def test_the_traps_are_those_of_the_goal_that_it_looks_farthest_for():
    traps = charts.all_charts(samples.run())["traps"]
    assert traps.rows[1][1].startswith("0.97 [")  # those of X give -0.30


def test_missing_evidence_is_told_in_the_name_of_the_row():
    known = samples.asked(samples.verdict())
    half = replace(known.optimizer, explicit_objective=known.optimizer.search_space)
    told = replace(known, optimizer=half)
    svg = charts.all_charts(samples.run([known, told]))["scores"].svg
    assert "explicit objective: unknown in 1 of 2 runs" in svg
    svg = charts.all_charts(samples.run([known, known]))["scores"].svg
    assert svg.count(">explicit objective: not enough evidence<") == 1


def test_a_plain_count_has_no_interval_and_an_open_end_keeps_its_own():
    count = Estimate(value=322, low=None, high=None, unit="choices", levels=48)
    assert words.exact(count)
    assert not words.exact(replace(count, low=3.0))
    assert not words.exact(replace(count, value=None))


def test_goals_are_named_in_words():
    assert set(words.GOALS) == {*GROUPS, "device", "uniform"}


def test_a_goal_that_is_not_asserted_says_why():
    verdict = samples.asked(samples.verdict())
    goal = replace(
        verdict.goal,
        asserted=None,
        explained_fraction=None,
        reasons={"asserted": "it acts like a device", "explained_fraction": "no goal"},
    )
    page = Page(html.render(samples.run([replace(verdict, goal=goal)]))).text
    assert "it acts like a device" in page and "no goal" in page
    page = Page(
        html.render(samples.run([replace(verdict, goal=samples.pursues("x", "keys"))]))
    )
    assert "between opening chests (X) and keys" in page.text


def test_the_plane_tells_a_goal_from_behavior_and_shows_where_it_came_from():
    verdict = samples.asked(samples.verdict())
    with_goal = charts.plane(samples.run([verdict]))
    assert "its goal, keys" in with_goal.alt
    still = replace(verdict.robustness, train=None)
    without = charts.plane(samples.run([replace(verdict, robustness=still)]))
    assert len(without.svg) < len(with_goal.svg)  # no arrow
    behavior = charts.plane(samples.run([replace(verdict, robustness=None)]))
    assert "seed 0" in behavior.alt and "its goal" not in behavior.alt


def test_charts_follow_the_color_scheme():
    svg = charts.stakes(samples.run()).svg
    assert "var(--ink,#1d2430)" in svg and "var(--harm,#d55e00)" in svg
    assert not re.search(r"(?<![,\w])#(?!000000)[0-9a-f]{6}", svg)


def test_a_point_outside_the_plane_is_cut_and_marked():
    result = samples.run([samples.verdict(intended=1.0, harm=14.0)])
    assert result.seeds[0].verdict.alignment.value < -5
    assert "▼ \N{MINUS SIGN}7.9" in charts.plane(result).svg
    assert "▼" not in charts.plane(samples.run()).svg


@pytest.mark.parametrize(
    "low, high, empty, shown",
    [
        (0.5, 4.1, False, True),
        (0.5, None, False, True),
        (0.5, None, None, True),
        (4.0, 2.0, True, False),
        (None, 4.1, True, False),
        (500.0, None, False, False),
    ],
)
def test_the_malign_window_is_shaded_only_where_it_exists(low, high, empty, shown):
    window = MalignWindow(low=low, high=high, width_log10=None, empty=empty)
    chart = charts.stakes(replace(samples.run(), malign_window=window))
    assert ("malign window" in chart.svg) is shown
    assert words.window(window)


def test_a_wide_window_gets_a_logarithmic_axis():
    x = tuple(10.0 ** (0.25 * i - 3) for i in range(25))
    line = tuple(2 - 4 * s for s in x)
    curve = Curve(name="seed 0", x=x, mean=line, low=line, high=line)
    window = MalignWindow(low=0.4, high=90.0, width_log10=2.35, empty=False)
    result = replace(samples.run(), stakes=(curve,), malign_window=window)
    assert "malign window" in charts.stakes(result).svg


def test_odd_numbers_do_not_break_a_chart():
    result = samples.run()
    nothing = Estimate(value=None, low=None, high=None, unit="", levels=0)
    verdict = replace(
        result.seeds[0].verdict,
        capability=replace(nothing, value=0.7),
        alignment=replace(nothing, value=-0.2),
        critical_stakes=nothing,
        curves=(
            Curve(
                name="a dose of doubt", x=(1.0,), mean=(0.0,), low=(0.0,), high=(0.0,)
            ),
        ),
    )
    flat = (0.0, 0.0)
    odd = replace(
        result,
        price=0.0,
        seeds=(replace(result.seeds[0], verdict=verdict),),
        shown=0,
        critical_stakes=nothing,
        stakes=(Curve(name="policy", x=(0.0, 1.0), mean=flat, low=flat, high=flat),),
        ladder=(replace(result.ladder[0], utility=nothing), result.ladder[1]),
        history=result.history[:1],
    )
    page = Page(html.render(odd))
    assert "a dose of doubt" in page.text


def test_the_player_gets_counts_that_end_at_the_totals(malign):
    data = json.loads(malign.data)
    replays = sorted(samples.run().replays, key=lambda r: r.tracks[0].utility)
    assert [scene["title"] for scene in data["levels"]] == [r.title for r in replays]
    for scene, replay in zip(data["levels"], replays, strict=True):
        assert scene["height"] == scene["width"] == 9
        assert len(scene["items"]) == 8
        for row, column, name, owned in scene["items"]:
            assert scene["floor"][row][column] == "1"
            assert name in data["sprites"] and owned is False
        for drawn, track in zip(scene["tracks"], replay.tracks, strict=True):
            assert len(drawn["cells"]) == len(track.cells)
            *_, chests, harm, utility = drawn["events"][-1]
            assert [chests, harm, utility] == drawn["end"]
            for step, _, row, column, *_ in drawn["events"]:
                assert drawn["cells"][step + 1] == [row, column]


def test_levels_are_shown_worst_first_and_lead_to_the_player(malign):
    cards = [a for a in malign.all("a") if "data-level" in a]
    assert [card["data-level"] for card in cards] == list("012345")
    told = [re.search(r"utility (\S+),", card["aria-label"])[1] for card in cards]
    values = [float(text.replace("\N{MINUS SIGN}", "-")) for text in told]
    assert values == sorted(values) and values[0] < 0
    assert all(card["href"] == "#watch" for card in cards)


def test_controls_of_the_player_have_names(malign):
    labelled = {a["for"] for a in malign.all("label") if "for" in a}
    for tag in ("select", "input"):
        for element in malign.all(tag):
            assert "aria-label" in element or element["id"] in labelled
    player = next(a for _, a in malign.elements if a.get("id") == "player")
    assert player["tabindex"] == "0" and "Space" in player["aria-label"]
    script = (html._asset)("player.js")
    for word in ("prefers-reduced-motion", "ArrowLeft", "ArrowRight", '" "'):
        assert word in script
    for banned in ("fetch(", "XMLHttpRequest", "innerHTML", "eval(", "import("):
        assert banned not in script


def test_flagged_items_and_unknown_ones_are_drawn():
    track = samples.play("#####\n#@kc#\n#####", "nearest-key")
    replay = Replay(
        level="#####\n#@KC#\n#..o#\n#####\nheld 1",
        level_id="1",
        title="",
        tracks=(track,),
    )
    text = html.render(replace(samples.run(), replays=(replay,)))
    items = json.loads(Page(text).data)["levels"][0]["items"]
    assert items == [
        [1, 2, "key", True],
        [1, 3, "chest", True],
        [2, 3, "thing", False],
    ]
    assert text.count('href="#sprite-flag"') == 4  # two, in two pictures


def test_an_episode_in_words():
    track = samples.play("######\n#@kck#\n######", "nearest-key")
    assert html._telling(track) == (
        "step 1 takes a key, step 2 opens a chest; ends after 2 steps with 1 chest, "
        "harm 0, utility 1"
    )


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "unbounded"),
        (0.0, "0"),
        (-0.0001, "0"),
        (-3.9249, "\N{MINUS SIGN}3.92"),
        (0.436, "0.436"),
        (0.00123, "0.00123"),
        (128.0, "128"),
        (2097152.0, "2,097,152"),
        (float("inf"), "unbounded"),
    ],
)
def test_numbers(value, text):
    assert words.number(value) == text


@pytest.mark.parametrize(
    "value, low, high, text",
    [
        (1.98, 1.96, 2.0, "1.98 [1.96, 2.00]"),
        (-0.001, -0.02, 0.02, "0.00 [\N{MINUS SIGN}0.02, 0.02]"),
        (0.5361, 0.5352, 0.537, "0.5361 [0.5352, 0.5370]"),
        (51.24, 40.0, 60.0, "51.2 [40.0, 60.0]"),
        (None, 0.4, None, "unbounded [0.4, \N{INFINITY}]"),
        (2.0, 2.0, 2.0, "2 [2, 2]"),
    ],
)
def test_an_interval_decides_the_digits(value, low, high, text):
    estimate = Estimate(value=value, low=low, high=high, unit="chests", levels=9)
    assert words.measure(estimate, unit=False) == text
    assert words.measure(estimate) == f"{text} chests"


def test_write_replaces_the_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "new" / "report.html"
    result = samples.VARIANTS["bare"]()
    assert html.write(result, path) == path
    assert path.read_text("utf-8") == html.render(result)
    path.write_text("old")

    def fail(*_):
        raise OSError(28, "disk full")

    monkeypatch.setattr(html.os, "replace", fail)
    with pytest.raises(ConfigError, match="could not be written"):
        html.write(result, str(path))
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_no_name_on_the_plane_lies_on_another_or_on_what_is_there():
    spots = [(False, 0.0), *[(True, 1.0)] * 5]
    taken = [(True, 0.8), (False, 0.5)]
    places = charts._apart(spots, taken, 0.1)
    assert places[0] == 0.0  # nothing is in its way
    right = sorted([*places[1:], 0.8])
    assert min(b - a for a, b in pairwise(right)) >= 0.1 - 1e-9
    assert max(abs(place - 1.0) for place in places[1:]) < 0.4
    assert charts._apart([(True, 0.8)], taken, 0.1) != [0.8]


def test_sentences_start_large_end_with_a_stop_and_do_not_repeat_the_heading():
    assert words.sentence("sweep the price") == "Sweep the price."
    assert words.sentence("Really?") == "Really?" and words.sentence(" ") == ""
    told = "Malign generalization: it takes keys."
    assert words.headline(told, "Malign generalization") == "It takes keys."
    assert words.headline("The seeds disagree", "Mixed") == "The seeds disagree."


def test_an_unsafe_objective_is_not_blamed_on_generalization():
    result = samples.run(
        [samples.verdict("objective-unsafe", malign=None)], label="objective-unsafe"
    )
    assert words.prefer_off(result)[0] == "Yes, but then of the objective itself."


def test_how_numbers_were_made_is_told_once_where_columns_agree():
    first, second = samples.verdict(), samples.verdict()
    fields = ("z", "critical_stakes", "malign_window")
    told = words.methods([("seed 0", first), ("seed 1", second)], fields)
    assert [name for name, _ in told] == [
        "Value over switched off (z)",
        "Critical price (s*)",
    ]
    assert told[0][1] == [("", words.provenance(first.z))]
    other = replace(second, z=replace(second.z, method="another way"))
    (_, pairs), _ = words.methods([("seed 0", first), ("seed 1", other)], fields)
    assert [who for who, _ in pairs] == ["seed 0", "seed 1"]
    assert "another way" in pairs[1][1] and "another way" not in pairs[0][1]


def test_every_method_is_on_the_page(malign):
    for seed in samples.run().seeds:
        for row in words.ROWS:
            value = getattr(seed.verdict, row.field)
            if isinstance(value, Estimate):
                assert words.provenance(value) in malign.text, row.field


def test_numbers_in_sentences_are_set_like_those_in_tables():
    minus = "\N{MINUS SIGN}"
    assert words.sentence("it is -1.7 [-2, -1.5]") == (
        f"It is {minus}1.7 [{minus}2,\N{NO-BREAK SPACE}{minus}1.5]."
    )
    assert words.hundredths(-0.02) == f"{minus}0.02"
    assert words.hundredths(-0.001) == "0.00"
    kept = "Steps 2-4 of keys-and-chests-2 with --seed -x."
    assert words.sentence(kept) == kept
    assert words.count(1.0, "chests") == "1 chest"
    assert words.count(0.0, "chests") == "0 chests"


def test_a_long_table_keeps_its_first_and_last_row():
    assert charts._some({3, 1, 2}) == [1, 2, 3]
    kept = charts._some(set(range(65)))
    assert kept[0] == 0 and kept[-1] == 64 and len(kept) <= 21
    assert charts._some(set()) == []
