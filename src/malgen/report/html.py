"""The report: one self-contained HTML page from one ``RunResult``.

No request leaves the page: style, script, charts and data are inside it, and a
content security policy refuses everything else, scripts other than its own too. The
same result gives the same bytes. All text from the result is escaped by the template.
"""

import base64
import hashlib
import json
import os
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from malgen.files import write_atomically
from malgen.report import charts, sprites, words
from malgen.result import Replay, RunResult, Track

MARKERS = {
    "o": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "s": "M-3.5-3.5h7v7h-7z",
    "^": "M0-4.5 4.2 3.5h-8.4z",
    "v": "M0 4.5 4.2-3.5h-8.4z",
    "D": "M0-5 5 0 0 5-5 0z",
    "P": "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    "*": "M0-5.5 1.3-1.8H5.2L2.1.6 3.3 4.4 0 2.1-3.3 4.4-2.1.6-5.2-1.8H-1.3z",
    "x": "M-4.5-3.5-3.5-4.5 0-1 3.5-4.5 4.5-3.5 1 0 4.5 3.5 3.5 4.5 0 1-3.5 4.5"
    "-4.5 3.5-1 0z",
}
"""Outlines of legend markers around (0, 0), by matplotlib's letter."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def render(result: RunResult) -> str:
    """The whole page.

    Args:
        result: what a run found.

    Returns:
        HTML; the same text for the same result.
    """
    replays = [replay for replay in result.replays if replay.tracks]
    replays.sort(key=lambda replay: replay.tracks[0].utility)
    script = _asset("page.js") + (_asset("player.js") if replays else "")
    page = _template().render(
        result=result,
        words=words,
        label=words.label(result.label),
        story=words.story_of(result),
        foreign=words.foreign(result),
        middle=words.middle(result),
        prefer_off=words.prefer_off(result),
        charts=charts.all_charts(result),
        replays=replays,
        pictures=[_picture(replay) for replay in replays],
        typical=_typical(replays),
        tellings=[[_telling(track) for track in r.tracks] for r in replays],
        sprites=sprites.SPRITES,
        icons=sprites.ICONS,
        data=_safe_json(
            {
                "price": result.price,
                "sprites": sprites.SPRITES,
                "levels": [_scene(replay, result.price) for replay in replays],
            }
        ),
        style=_asset("style.css"),
        script=script,
        script_hash=_hash(script),
    )
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", page)


def write(result: RunResult, path: str | os.PathLike[str]) -> Path:
    """Write the page; a reader never sees half of it.

    Args:
        result: what a run found.
        path: where to; missing folders are made, an older report is replaced.

    Returns:
        The path written.
    """
    return write_atomically(path, render(result).encode("utf-8", "replace"))


# Template --------------------------------------------------------------------


def _asset(name: str) -> str:
    return (files("malgen.report") / "templates" / name).read_text("utf-8")


@cache
def _template() -> Any:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = words.number
    environment.filters["point"] = words.point
    environment.filters["interval"] = words.interval
    environment.filters["goal"] = words.goal_name
    environment.filters["provenance"] = words.provenance
    # jinja2 leaves the type of globals to be inferred from its defaults
    environment.globals["marker"] = _marker  # pyrefly: ignore[unsupported-operation]
    return environment.get_template("report.html.j2")


def _marker(letter: str) -> str:
    """SVG path of a legend marker around (0, 0)."""
    return MARKERS.get(letter, MARKERS["o"])


def _hash(script: str) -> str:
    """What a content security policy calls this inline script."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _safe_json(thing: Any) -> str:
    """JSON that cannot end its script element."""
    text = json.dumps(thing, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# Levels ----------------------------------------------------------------------


def _rows(level: str) -> list[str]:
    lines = [line.strip() for line in level.strip().splitlines()]
    lines = [line for line in lines if line and not line.lower().startswith("held")]
    width = max(map(len, lines), default=0)
    return [line.ljust(width, "#") for line in lines]


def _items(rows: list[str]) -> list[tuple[int, int, str, bool]]:
    """Row, column, sprite and whether it is somebody's, for each item."""
    return [
        (i, j, *sprites.ITEMS.get(character, ("thing", False)))
        for i, row in enumerate(rows)
        for j, character in enumerate(row)
        if character not in "#.@ "
    ]


def _scene(replay: Replay, price: float) -> dict[str, Any]:
    """What the player draws; every count is already made here."""
    rows = _rows(replay.level)
    return {
        "title": replay.title,
        "height": len(rows),
        "width": len(rows[0]) if rows else 0,
        "floor": ["".join("01"[c != "#"] for c in row) for row in rows],
        "items": _items(rows),
        "tracks": [
            {
                "agent": track.agent,
                "cells": track.cells,
                "events": _counted(track, price),
                "end": [track.intended, track.harm, track.utility],
            }
            for track in replay.tracks
        ],
    }


def _counted(track: Track, price: float) -> list[list[Any]]:
    """Events with the counts after each: keys, chests, harm, utility."""
    total = sum(event.harmful for event in track.events)
    weight = track.harm / total if total else 0.0
    keys = chests = harmful = 0
    told = []
    for event in track.events:
        keys += event.kind == "key"
        chests += event.kind == "chest"
        harmful += event.harmful
        harm = round(weight * harmful, 3)
        utility = round(chests - price * harm, 3)
        what = (event.step, event.kind, *event.cell, int(event.harmful))
        told.append([*what, keys, chests, harm, utility])
    return told


def _typical(replays: list[Replay]) -> int | None:
    """Which replay stands for the run at the top: the median one, else the first.

    One agent alone cannot be compared, so it needs two tracks.
    """
    told = [i for i, replay in enumerate(replays) if len(replay.tracks) > 1]
    middle = [i for i in told if replays[i].title.startswith("median")]
    return next(iter(middle + told), None)


def _picture(replay: Replay) -> dict[str, Any]:
    """A still of the level: walls as one path, items by name, a path per agent."""
    rows = _rows(replay.level)
    walls = "".join(
        f"M{j} {i}h1v1h-1z"
        for i, row in enumerate(rows)
        for j, character in enumerate(row)
        if character == "#"
    )
    start = [
        (i, j)
        for i, row in enumerate(rows)
        for j, character in enumerate(row)
        if character == "@"
    ]
    return {
        "height": len(rows),
        "width": len(rows[0]) if rows else 0,
        "walls": walls,
        "items": _items(rows),
        "start": start,
        "trails": [
            " ".join(f"{j + 0.5:g},{i + 0.5:g}" for i, j in track.cells)
            for track in replay.tracks
        ],
    }


def _telling(track: Track) -> str:
    """An episode in words."""
    verbs = {"key": "takes a key", "chest": "opens a chest"}
    parts = []
    for event in track.events:
        verb = verbs.get(event.kind, f"reaches a {event.kind}")
        parts.append(
            f"step {event.step + 1} {verb}{' (harm)' if event.harmful else ''}"
        )
    steps = max(0, len(track.cells) - 1)
    return (
        (", ".join(parts) or "nothing happens")
        + f"; ends after {steps} steps with {words.count(track.intended, 'chests')}, "
        f"harm {words.number(track.harm)}, utility {words.number(track.utility)}"
    )
