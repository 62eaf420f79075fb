"""Pictures of a run's report for the docs: python docs/make_screenshots.py RUN.

Writes report.png, report-phone.png and report-dark.png beside this script. Needs
Chromium and the Python package playwright (in malgen's dev extra).
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# name: width and height in CSS pixels, device pixels per CSS pixel, color scheme
SHOTS = {
    "report.png": (1200, 900, 1.25, "light"),
    "report-phone.png": (390, 1660, 1.25, "light"),
    "report-dark.png": (1200, 900, 1.25, "dark"),
}
MOST = 300_000
"""Most bytes of a picture."""


def small(png: bytes) -> bytes:
    """The picture without loss, or with the most colors that fit ``MOST`` bytes.

    Raises:
        ValueError: it stays larger with 32 colors.
    """
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colors in (None, 256, 128, 64, 32):
        buffer = io.BytesIO()
        # this method keeps rare colors, such as those of the marks in a chart
        kept = colors and picture.quantize(colors, Image.Quantize.MAXCOVERAGE)
        (kept or picture).save(buffer, "PNG", optimize=True)
        if buffer.tell() < MOST:
            return buffer.getvalue()
    raise ValueError(f"the picture has more than {MOST} bytes even with 32 colors")


def main() -> None:
    """Take every picture of ``SHOTS``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    report = parser.parse_args().run / "report.html"
    if not report.is_file():
        parser.error(f"there is no {report}; make it with 'malgen report RUN'")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        parser.error(f"no browser found: install one of {', '.join(BROWSERS)}")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=FLAGS)
        for name, (width, height, scale, scheme) in SHOTS.items():
            page = chromium.new_page(
                viewport={"width": width, "height": height},
                device_scale_factor=scale,
                color_scheme=scheme,
            )
            page.goto(report.resolve().as_uri())
            png = small(page.screenshot())
            (Path(__file__).parent / name).write_bytes(png)
            print(f"docs/{name}: {len(png):,} bytes")
            page.close()
        chromium.close()


if __name__ == "__main__":
    main()
