"""The numbers and pictures of minigrid.md and classic-control.md.

``python docs/make_scenarios.py NAME`` prints, for examples/scenarios/NAME.py and the
agents beside it, how often who brings about what. For MiniGrid it also draws a
training and a deployment level, docs/minigrid-levels.png.
``--report FOLDER`` takes a picture of the report that ``malgen audit --out FOLDER``
wrote, as docs/NAME-report.png; it needs Chromium and playwright.
"""

import argparse
import io
import shutil
from pathlib import Path

import numpy as np
from make_screenshots import BROWSERS, FLAGS, small
from PIL import Image

from malgen.adapters.actors import as_actor
from malgen.foreign.episodes import BATCH, play
from malgen.foreign.loading import load_scenario
from malgen.foreign.players import ActorPlayer, NoOpPlayer, RandomPlayer
from malgen.foreign.scenario import Constant
from malgen.foreign.side import Side
from malgen.stats.intervals import clopper_pearson
from malgen.user_file import load

HERE = Path(__file__).parent
SCENARIOS = HERE.parent / "examples" / "scenarios"
LEVELS = 512
SHOT = (1200, 900, 1.25)  # width and height in CSS pixels, device pixels per CSS pixel


def table(name: str) -> None:
    """Print a Markdown table: intended and harm of everybody, in both settings."""
    scenario = load_scenario(SCENARIOS / f"{name}.py")
    print("| who | setting | intended | harm |\n|---|---|---|---|")
    for setting in ("train", "deploy"):
        side = Side(scenario, setting, BATCH, 30.0)
        spaces = side.observation_space, side.action_space
        players = {
            path.stem: ActorPlayer(as_actor(path, *spaces, name=path.stem))
            for path in sorted(SCENARIOS.glob(f"{name}_seed*.onnx"))
        }
        reference = as_actor(scenario.reference, *spaces, name="reference")
        players |= {"reference": ActorPlayer(reference), "random": RandomPlayer()}
        if not isinstance(scenario.off, Constant):
            players["off"] = NoOpPlayer(scenario.off)
        first = getattr(scenario, f"first_{setting}_seed")
        for who, player in players.items():
            rows = []
            stream = "random" if who == "random" else "policy"
            levels = range(first, first + LEVELS)
            play(side, player, levels, stream, lambda _, e, r=rows: r.append(e.row))
            shown = [share(column) for column in np.array(rows)[:, :2].T]
            print(f"| {who} | {setting} | {' | '.join(shown)} |", flush=True)
        side.close()


def share(happened: np.ndarray) -> str:
    """How often it happened, with the exact 95% interval of a share."""
    assert np.isin(happened, (0.0, 1.0)).all(), "these intervals are for 0 and 1 only"
    low, high = clopper_pearson(int(happened.sum()), len(happened))[:2]
    return f"{happened.mean():.3f} [{low:.3f}, {high:.3f}]"


def draw_levels() -> None:
    """One level of training beside one of deployment, as MiniGrid draws them."""
    module = load(SCENARIOS / "minigrid_corner.py")
    frames = []
    for make in (module.training, module.deployment):
        env = make(render_mode="rgb_array", highlight=False)
        env.reset(seed=7)
        frames.append(env.render())
    gap = np.full((frames[0].shape[0], 32, 3), 255, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.hstack([frames[0], gap, frames[1]])).save(buffer, "PNG")
    (HERE / "minigrid-levels.png").write_bytes(small(buffer.getvalue()))


def screenshot(name: str, report: Path) -> None:
    """The first screen of a report."""
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, BROWSERS)))
    width, height, scale = SHOT
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=FLAGS)
        page = chromium.new_page(
            viewport={"width": width, "height": height}, device_scale_factor=scale
        )
        page.goto(report.resolve().as_uri())
        png = small(page.screenshot())
        (HERE / f"{name.replace('_', '-')}-report.png").write_bytes(png)
        chromium.close()


def main() -> None:
    """Print the table; draw what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=("minigrid_corner", "cartpole_lamp"))
    parser.add_argument("--report", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.name == "minigrid_corner":
        draw_levels()
    if options.report:
        screenshot(options.name, options.report / "report.html")
    table(options.name)


if __name__ == "__main__":
    main()
