"""``docs/benchmarks.md``: the newest row of every comparison, from a results file."""

import json
from pathlib import Path

HEAD = """# How fast it is

<!-- Written by `python -m benchmarks`; edit benchmarks/page.py instead. -->

Every figure below was measured by `make bench` (`python -m benchmarks`).
Contestants are processes that live through a whole run and take turns (A B, A B,
...); a turn lasts at least 0.4 s. A ratio is malgen's speed over the other's, paired
by turn: **median [smallest, largest]**. Turns during which anybody else used more
than 15% of a core do not count, and where fewer than five clean rounds were had, the
row says so. Every contestant's C library is told to keep its pages
(`MALLOC_TRIM_THRESHOLD_`), because page faults of large outputs would otherwise
decide. Absolute figures drift by a factor of two on shared machines: only the
ratios mean anything.
"""


def newest(results: Path) -> list[dict]:
    """The last row of each comparison, in the order in which they first appear.

    Rows of other machines than the last one's are left out, because they cannot be
    compared, and so are those of ``--quick``.
    """
    rows = [json.loads(line) for line in results.read_text().splitlines() if line]
    rows = [row for row in rows if not row.get("quick")]
    if not rows:
        return []
    machine = rows[-1]["machine"]
    latest: dict[tuple, dict] = {}
    for row in rows:
        if row["machine"] == machine:
            # who is compared, without its figure, which differs every time
            who = row["other"].split(":", 1)[0]
            latest[row["question"], row["what"], who] = row
    return list(latest.values())


def page(rows: list[dict], questions: tuple[str, ...]) -> str:
    """The whole page in Markdown."""
    out = [HEAD]
    if not rows:
        return HEAD + "\nNothing has been measured yet.\n"
    about = rows[-1]["machine"]
    out.append(
        f"Machine: {about['cpu']}, {about['cores']} cores, {about['memory_GiB']} GiB, "
        f"{about['system']}, Python {about['python']}.\n"
    )
    versions = _versions(rows)
    for name, found in versions.items():
        listed = ", ".join(f"{package} {v}" for package, v in found.items())
        out.append(f"- {name}: {listed}")
    out.append("")
    aims = [row for row in rows if row["target"]]
    if aims:
        out += ["## Targets", "", "| what | against | measured | target | reached |"]
        out.append("|---|---|---|---|---|")
        for row in aims:
            measured = row["ratio"] if row["other"] else _joined(row)
            out.append(
                f"| {row['what']} | {row['other'].split(':', 1)[0]} | {measured} | "
                f"{row['target']} | {_mark(row['reached'])} |"
            )
        out.append("")
    for question in questions:
        mine = [row for row in rows if row["question"] == question]
        if not mine:
            continue
        out += [f"## {question.replace('_', ' ').capitalize()}", ""]
        out += ["| what | malgen | against | ratio | commit |", "|---|---|---|---|---|"]
        for row in mine:
            cells = (row["what"], row["malgen"], row["other"], row["ratio"])
            out.append(f"| {' | '.join(cells)} | {row['commit']} |")
        out += ["", "What is timed:", ""]
        told = dict.fromkeys(
            (row["other"].split(":", 1)[0], row["timed"]) for row in mine
        )
        for who, timed in told:
            if timed:
                out.append(f"- {'against ' + who if who else 'malgen'}: {timed}")
        out.append("")
    return "\n".join(out)


def _joined(row: dict) -> str:
    return " ".join(part for part in (row["malgen"], row["ratio"]) if part)


def _mark(reached: bool | None) -> str:
    return {None: "not measured", True: "yes", False: "**no**"}[reached]


def _versions(rows: list[dict]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        for name, versions in row["numbers"].get("versions", {}).items():
            found[name] = versions
    return found
