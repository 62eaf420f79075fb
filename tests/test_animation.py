"""The README's animation is drawn from a run, and refuses what is none."""

import io
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import samples
from malgen import store

SCRIPT = Path(__file__).parents[1] / "docs" / "make_animation.py"


def made(monkeypatch, *argv):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, argv)])
    return runpy.run_path(str(SCRIPT), run_name="__main__")


def test_an_animation_of_a_run(monkeypatch, tmp_path, capsys):
    result = samples.run()
    store.write_json(tmp_path / store.VERDICT, result)
    out, frames = tmp_path / "out.gif", tmp_path / "frames"
    script = made(monkeypatch, tmp_path, "--out", out, "--frames", frames)
    replay = next(r for r in result.replays if r.title == script["MEDIAN"])
    tracks = {track.agent: track for track in replay.tracks}
    mine, ideal = tracks[f"seed {result.shown}"], tracks["x-oracle"]
    # the counters end where the run says the episode ended
    for track in (mine, ideal):
        assert script["stand"](track, 10**6) == (track.intended, track.harm)
    image = Image.open(io.BytesIO(out.read_bytes()))
    assert image.width == 700 and image.info["loop"] == 0
    assert image.n_frames == max(len(track.cells) for track in (mine, ideal))
    durations = []
    for i in range(image.n_frames):
        image.seek(i)
        durations.append(image.info["duration"])
    assert sum(durations) <= 10_000 and durations[-1] == script["HOLD_MS"]
    assert len(out.read_bytes()) <= 1_000_000
    first, *_, last = (np.array(Image.open(p)) for p in sorted(frames.iterdir()))
    assert (first != last).any()
    words = capsys.readouterr().out
    assert f"opens {mine.intended:g}" in words and f"worth {ideal.utility:g}" in words


def test_a_folder_without_a_run_is_refused(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match=r"verdict\.json could not be read"):
        made(monkeypatch, tmp_path)
