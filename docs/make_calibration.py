"""``python docs/make_calibration.py [RESULT.json]``: the numbers of calibration.md.

Puts what ``malgen calibrate`` found between the marks of the page. Without a file it
calibrates in the short form; what is in the cache is not measured again.
"""

import argparse
from pathlib import Path

from malgen import calibration
from malgen.cli import SMALL_SCENARIO
from malgen.files import write_atomically
from malgen.findings import from_json

PAGE = Path(__file__).parent / "calibration.md"
BEGIN, END = "<!-- numbers:", "<!-- end of numbers -->"


def filled(page: str, numbers: str) -> str:
    """The page with these numbers between its marks."""
    head, _, rest = page.partition(BEGIN)
    mark, _, rest = rest.partition("\n")
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}{mark}\n\n{numbers}\n\n{END}{tail}"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path, nargs="?")
    path = parser.parse_args().result
    if path is None:
        result = calibration.calibrate(SMALL_SCENARIO, full=False)
    else:
        result = from_json(calibration.CalibrationResult, path.read_bytes())
    page = filled(PAGE.read_text(), calibration.in_words(result))
    write_atomically(PAGE, page.encode())


if __name__ == "__main__":
    main()
