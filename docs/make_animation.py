"""Draw docs/malign-agent.gif from a run: ``python docs/make_animation.py RUN``.

Nothing is trained or chosen by hand. The episode is the one on the median level by
utility of the seed that the run's report shows, beside the exact optimizer of X on the
same level; both are read from the run's ``verdict.json``.
"""

import argparse
import io
import sys
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from malgen import store
from malgen.errors import ConfigError, MalgenError
from malgen.files import write_atomically
from malgen.grid import pixels, text
from malgen.result import Replay, RunResult, Track

WIDTH, MARGIN, PANEL = 700, 18, 323
TOP, BELOW = 92, 132
PAPER, INK, MUTED = (255, 255, 255), (32, 38, 50), (96, 104, 120)
RED, GREEN = (190, 30, 45), (20, 120, 60)
STEP_MS, PLAY_MS, HOLD_MS = 220, 7000, 2600
MEDIAN = "median level"


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib, so that every machine draws the same."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(
        Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size
    )


def stand(track: Track, step: int) -> tuple[int, int]:
    """Chests opened and useless keys taken in the first steps of an episode."""
    so_far = [event for event in track.events if event.step < step]
    chests = sum(event.kind == "chest" for event in so_far)
    return chests, sum(event.harmful for event in so_far)


def picture(level: text.Picture, track: Track, step: int) -> np.ndarray:
    """The level after some steps of an episode, as the world draws it."""
    keys, chests = np.array(level.keys), np.array(level.chests)
    held = int(level.held)
    for event in track.events:
        if event.step < step:
            (keys if event.kind == "key" else chests)[event.cell] = False
            held += 1 if event.kind == "key" else -1
    cell = track.cells[min(step, len(track.cells) - 1)]
    return pixels.draw(
        level._replace(start=np.array(cell), keys=keys, chests=chests, held=held)
    )


def frame(replay: Replay, tracks: list[Track], price: float, step: int) -> Image.Image:
    """Both agents after the same number of steps."""
    level = text.parse(replay.level)
    rows = level.walls.shape[0] + 1
    tall = round(PANEL * rows / level.walls.shape[1])
    canvas = Image.new("RGB", (WIDTH, TOP + tall + BELOW), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text(
        (WIDTH // 2, 24),
        "Trained to open chests; deployed where keys are plentiful",
        INK,
        font(19, bold=True),
        anchor="mm",
    )
    openable = min(int(np.sum(level.keys)) + int(level.held), int(np.sum(level.chests)))
    over = step >= max(len(track.cells) for track in tracks) - 1
    names = ("The trained agent", "An agent that really wants chests")
    for i, (name, track) in enumerate(zip(names, tracks, strict=True)):
        left = MARGIN + i * (PANEL + MARGIN)
        middle = left + PANEL // 2
        draw.text((middle, 68), name, INK, font(17), anchor="mm")
        image = Image.fromarray(picture(level, track, step))
        image = image.resize((PANEL, tall), Image.Resampling.LANCZOS)
        canvas.paste(image, (left, TOP))
        chests, useless = stand(track, step)
        worth = chests - price * useless
        y = TOP + tall + 24
        for words, number, color in (
            ("chests opened", f"{chests} of {openable}", INK),
            ("keys it can never use", f"{useless}", RED if useless else INK),
        ):
            draw.text((left + 4, y), words, MUTED, font(16), anchor="lm")
            draw.text((left + PANEL - 4, y), number, color, font(18, True), anchor="rm")
            y += 28
        color = RED if worth < 0 else GREEN if worth > 0 else INK
        words = f"worth at price {price:g} (off: 0)"
        draw.text((left + 4, y), words, MUTED, font(16), anchor="lm")
        shown = f"{worth:g}".replace("-", "\N{MINUS SIGN}")
        draw.text((left + PANEL - 4, y), shown, color, font(20, True), anchor="rm")
        if over:
            draw.text(
                (middle, y + 34),
                "worse than switched off"
                if worth < 0
                else "better than switched off"
                if worth > 0
                else "as good as switched off",
                color,
                font(17, True),
                anchor="mm",
            )
    return canvas


def frames(replay: Replay, tracks: list[Track], price: float) -> list[Image.Image]:
    """Every step, and at the end who was better than nothing."""
    steps = max(len(track.cells) for track in tracks)
    return [frame(replay, tracks, price, step) for step in range(steps)]


def as_gif(images: list[Image.Image]) -> bytes:
    """One looping GIF with a common palette; the last frame is held."""
    # from frames that together show everything: chests are gone in the last one
    width, height = images[0].size
    sample = Image.new("RGB", (width, 3 * height))
    for i, image in enumerate((images[0], images[len(images) // 2], images[-1])):
        sample.paste(image, (0, i * height))
    palette = sample.quantize(
        160, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )
    flat = [
        image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images
    ]
    each = min(STEP_MS, PLAY_MS // len(images)) // 10 * 10
    file = io.BytesIO()
    flat[0].save(
        file,
        "GIF",
        save_all=True,
        append_images=flat[1:],
        duration=[each] * (len(flat) - 1) + [HOLD_MS],
        loop=0,
        optimize=False,
    )
    return file.getvalue()


def _keys(track: Track) -> str:
    return f"{track.harm:g} key{'' if track.harm == 1 else 's'}"


def alt_text(result: RunResult, replay: Replay, tracks: list[Track]) -> str:
    """What the animation shows, for those who cannot see it."""
    mine, ideal = tracks
    return (
        f"Two mice in the same maze with {replay.level.count('k')} keys and "
        f"{replay.level.count('c')} chests. The trained agent opens "
        f"{mine.intended:g} and takes {_keys(mine)} that it can never use: worth "
        f"{mine.utility:g} at price {result.price:g}, "
        f"{'worse' if mine.utility < 0 else 'not worse'} than switched off (0). The "
        f"exact chest-opener opens {ideal.intended:g} and takes {_keys(ideal)} that it "
        f"can never use: worth {ideal.utility:g}. (The level on which the agent's "
        "utility is the median of the run.)"
    )


def main() -> None:
    """Read the run, draw, print the alternative text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--out", type=Path, default=Path("docs/malign-agent.gif"))
    parser.add_argument("--frames", type=Path, help="also write single PNGs there")
    options = parser.parse_args()
    result = store.read_json(RunResult, options.run / store.VERDICT)
    # a level that is also among the worst is listed under that rank alone
    replay = next((r for r in result.replays if r.title == MEDIAN), None)
    if replay is None:
        raise ConfigError(
            f"{options.run} shows no {MEDIAN}; give a run with more levels."
        )
    named = {track.agent: track for track in replay.tracks}
    tracks = [named[f"seed {result.shown}"], named["x-oracle"]]
    images = frames(replay, tracks, result.price)
    data = as_gif(images)
    write_atomically(options.out, data)
    if options.frames:
        options.frames.mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(images):
            image.save(options.frames / f"{i:03}.png")
    print(f"{options.out}: {len(images)} steps, {len(data) / 1e3:.0f} kB")
    print(alt_text(result, replay, tracks))


if __name__ == "__main__":
    try:
        main()
    except MalgenError as error:
        sys.exit(str(error))
