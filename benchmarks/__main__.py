"""Run the benchmarks: python -m benchmarks [--only NAME] [--quick] [--dirty]."""

import argparse
import importlib
import time
from pathlib import Path

from benchmarks import competitors, harness, page
from malgen.files import write_atomically

PAGE = harness.HERE.parent / "docs" / "benchmarks.md"

QUESTIONS = (
    "stepping",
    "generation",
    "ppo",
    "oracles",
    "wrapping",
    "foreign",
    "convolution",
    "gate",
    "main_job",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=QUESTIONS, metavar="NAME")
    parser.add_argument(
        "--quick", action="store_true", help="smaller, less exact, not for docs"
    )
    parser.add_argument(
        "--dirty", action="store_true", help="do not wait for an undisturbed machine"
    )
    parser.add_argument("--jaxgmg", metavar="FOLDER", help="source of jaxgmg")
    parser.add_argument("--large", action="store_true", help="larger sizes as well")
    parser.add_argument("--install", action="store_true", help="get competitors, end")
    parser.add_argument(
        "--results", type=Path, default=harness.HERE / "results.jsonl", metavar="FILE"
    )
    options = parser.parse_args()
    options.rounds = 3 if options.quick else harness.ROUNDS
    options.patience = 1 if options.dirty else 4
    if options.install:
        competitors.install()
        return
    print(f"malgen at {harness.commit()}; {harness.machine()}")
    for question in options.only or QUESTIONS:
        print(f"{question} ...", flush=True)
        began = time.monotonic()
        try:
            rows = importlib.import_module(f"benchmarks.{question}").measure(options)
        except harness.Failed as error:
            why = f"failed: {error}"
            rows = [harness.Row(question=question, what=question, ratio=why)]
        seconds = time.monotonic() - began
        harness.append(options.results, rows, quick=options.quick)
        harness.show(f"{question} ({seconds:.0f} s)", rows)
    if not options.quick:
        text = page.page(page.newest(options.results), QUESTIONS)
        write_atomically(PAGE, text.encode())
        print(f"written: docs/{PAGE.name}")


if __name__ == "__main__":
    main()
