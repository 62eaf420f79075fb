"""Fair timing on a machine that others use too.

Only ratios of two contestants measured side by side mean anything: absolute figures
drift by a factor of two on shared machines. So every contestant is a process that
lives through the whole contest, they take turns (A B C, A B C, ...), one turn lasts
at least ``TURN`` seconds, and a turn during which anybody else used more than
``OTHERS`` of a core (kernel, other processes, a hypervisor, and the contestants that
should have been waiting) does not count. A ratio is paired: both turns of one round.
"""

import contextlib
import datetime
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from benchmarks.workers.protocol import MARK

HERE = Path(__file__).resolve().parent
WORKERS = HERE / "workers"

TURN = 0.4  # seconds
OTHERS = 0.15  # of one core
ROUNDS = 5  # that count, at least

# The C library hands large buffers back to the system and asks for new pages in the
# next call, or does not, depending on sizes that differ by contestant; on a virtual
# machine the page faults then cost more than the work. So everybody keeps theirs.
KEEP_PAGES = {
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}


class Failed(Exception):
    """A contestant could not do what it was asked; the reason, for a reader."""


# --- who else is busy -----------------------------------------------------------------


def busy_seconds() -> float:
    """Seconds that the cores of this machine were not idle; NaN where unknown."""
    try:
        numbers = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return math.nan
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, numbers)
    busy = user + nice + system + irq + softirq + steal
    return busy / os.sysconf("SC_CLK_TCK")


def own_seconds(pid: int) -> float:
    """Seconds of processor time of a process, its threads and its ended children."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return math.nan
    return sum(map(int, after_name[11:15])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Turn:
    """One contestant's turn.

    Attributes:
        seconds: per unit of work.
        others: cores that anybody else used meanwhile; NaN where unknown.
    """

    seconds: float
    others: float

    @property
    def clean(self) -> bool:
        """Nobody else used much (an unknown use is not clean)."""
        return self.others <= OTHERS


class Watch:
    """Measures what everybody but the given processes used."""

    def __init__(self, *pids: int) -> None:
        self._pids = (*pids, os.getpid())

    def __enter__(self):
        self._began = time.perf_counter()
        self._busy, self._own = busy_seconds(), self._used()
        return self

    def __exit__(self, *error) -> None:
        self.seconds = time.perf_counter() - self._began
        used = self._used() - self._own
        self.others = max(busy_seconds() - self._busy - used, 0.0) / self.seconds

    def _used(self) -> float:
        return sum(own_seconds(pid) for pid in self._pids)


# --- contestants ----------------------------------------------------------------------


@dataclass
class Worker:
    """A process that runs cases on request.

    Attributes:
        name: as shown to a reader.
        python: interpreter of its environment.
        script: file in ``benchmarks/workers``.
        arguments: of the script.
        environment: variables that differ from this process's; None removes one.
    """

    name: str
    python: str
    script: str
    arguments: tuple[str, ...] = ()
    environment: dict[str, str | None] = field(default_factory=dict)
    case: dict = field(default_factory=dict)
    times: int = 1

    def __post_init__(self):
        log = LOGS / f"{self.name.replace(' ', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log, self.log = log.open("a"), log
        wanted = {**os.environ, **KEEP_PAGES, **self.environment}
        self._process = subprocess.Popen(
            [self.python, str(WORKERS / self.script), *self.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={name: value for name, value in wanted.items() if value is not None},
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, **request) -> dict:
        """One request and its answer.

        Raises:
            Failed: it raised, or died.
        """
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            lines = iter(self._process.stdout.readline, "")
            line = next((each for each in lines if MARK in each), "")
        except (OSError, ValueError):
            line = ""
        if not line:
            raise Failed(f"the process ended (its last words are in {self.log.name})")
        answer = json.loads(line.split(MARK)[1])
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def open(self, case: str, **settings) -> None:
        """Prepare a case, run it once, and find how often to run it in one turn."""
        self.case = self.ask(do="open", case=case, settings=settings)
        self.ask(do="run", times=1)  # compiles
        self.times = calibrated(lambda n: self.ask(do="run", times=n)["seconds"])

    def turn(self) -> Turn:
        """One turn."""
        with Watch(self.pid) as watch:
            seconds = self.ask(do="run", times=self.times)["seconds"]
        return Turn(seconds / (self.times * self.case["work"]), watch.others)

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()


class Local:
    """Work in this process that takes turns like a worker's.

    Args:
        case: does the work n times; what one time is and what is inside, as a
            worker's ``Case``.
        packages: versions told, by name.
    """

    def __init__(self, case, packages: tuple[str, ...] = ("malgen", "numpy")) -> None:
        self._case = case
        versions = {name: metadata.version(name) for name in packages}
        self.case = {"unit": case.unit, "facts": case.facts, "versions": versions}
        self._seconds(1)
        self.times = calibrated(self._seconds)

    def _seconds(self, times: int) -> float:
        began = time.perf_counter()
        self._case.run(times)
        return time.perf_counter() - began

    def turn(self) -> Turn:
        """One turn."""
        with Watch() as watch:
            seconds = self._seconds(self.times)
        return Turn(seconds / (self.times * self._case.work), watch.others)


def calibrated(seconds) -> int:
    """How often to run something in one turn; ``seconds(n)`` runs it n times."""
    times = 1
    while (spent := seconds(times)) < TURN:
        # A little too long rather than too short, but never by a wild guess.
        times = min(math.ceil(1.25 * times * TURN / max(spent, 1e-6)), 20 * times)
    return times


LOGS = Path(os.environ.get("TMPDIR", "/tmp")) / "malgen-benchmarks"


# --- contests -------------------------------------------------------------------------

Round = dict[str, Turn]


def contest(turns: dict, rounds: int = ROUNDS, patience: int = 4) -> list[Round]:
    """Let everybody take turns until enough rounds count.

    Args:
        turns: name -> function that takes one turn.
        rounds: rounds in which every turn must be clean.
        patience: how many times ``rounds`` to try before giving up on clean ones.

    Returns:
        All rounds, clean or not.
    """
    played: list[Round] = []
    while len(played) < rounds * patience:
        played.append({name: turn() for name, turn in turns.items()})
        if sum(_clean(one) for one in played) >= rounds:
            break
    return played


def _clean(turns: Round) -> bool:
    return all(turn.clean for turn in turns.values())


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one contestant was as another.

    Attributes:
        median: of the paired ratios that count.
        low: the smallest of them.
        high: the largest of them.
        counted: how many there are.
        clean: how many rounds were clean.
        rounds: how many there were; all of them count when none was clean.
    """

    median: float
    low: float
    high: float
    counted: int
    clean: int
    rounds: int

    def __str__(self) -> str:
        text = f"{_short(self.median)} [{_short(self.low)}, {_short(self.high)}]"
        return text + self.doubt

    @property
    def doubt(self) -> str:
        """What is wrong with it; empty when nothing is."""
        if self.clean >= ROUNDS:
            return ""
        if self.clean == 0:
            return f" (no clean round: all {self.rounds} counted)"
        return f" (only {self.clean} of {self.rounds} rounds clean)"


def ratio(rounds: list[Round], ours: str, other: str, scale: float = 1.0) -> Ratio:
    """Speed of one contestant over another's, paired by round, times ``scale``."""
    pairs = [(one[ours], one[other]) for one in rounds]
    clean = [pair for pair in pairs if pair[0].clean and pair[1].clean]
    counted = clean or pairs
    values = [scale * b.seconds / a.seconds for a, b in counted]
    return Ratio(
        statistics.median(values),
        min(values),
        max(values),
        len(counted),
        len(clean),
        len(pairs),
    )


def doubt(rounds: list[Round], name: str) -> str:
    """What is wrong with one contestant's rate; empty when nothing is."""
    clean = sum(one[name].clean for one in rounds)
    return Ratio(1, 1, 1, clean or len(rounds), clean, len(rounds)).doubt.strip()


def rate(rounds: list[Round], name: str) -> float:
    """Median units of work per second, of clean turns if there are any."""
    turns = [one[name] for one in rounds]
    counted = [turn for turn in turns if turn.clean] or turns
    return 1 / statistics.median(turn.seconds for turn in counted)


# --- results --------------------------------------------------------------------------


@dataclass(kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        question: the file it comes from.
        what: what is compared, and at which size.
        malgen: malgen's figure, with its unit.
        other: whom it is compared with, and its figure.
        ratio: malgen's speed over the other's, with spread and doubts; or why none.
        timed: what is inside the timed region, or other things one must know.
        target: from the design; None where there is none.
        reached: None where there is no target or no measurement.
        numbers: for machines.
    """

    question: str
    what: str
    malgen: str = ""
    other: str = ""
    ratio: str = ""
    timed: str = ""
    target: str = ""
    reached: bool | None = None
    numbers: dict = field(default_factory=dict)


def compared(
    question: str,
    what: str,
    rounds: list[Round],
    workers: dict[str, Worker] | dict[str, Local],
    other: str,
    *,
    ours: str = "malgen",
    timed: str = "",
    target: float | None = None,
) -> Row:
    """The row of one contest against one other contestant."""
    found = ratio(rounds, ours, other)
    ours_rate, other_rate = rate(rounds, ours), rate(rounds, other)
    unit = workers[ours].case["unit"]
    return Row(
        question=question,
        what=what,
        malgen=f"{_short(ours_rate)} {unit}/s",
        other=f"{other}: {_short(other_rate)} {unit}/s",
        ratio=str(found),
        timed=timed or inside(workers, ours, other),
        target="" if target is None else f"{target:g}x",
        reached=None if target is None else found.median >= target,
        numbers={
            **asdict(found),
            "rates": {ours: ours_rate, other: other_rate},
            "versions": {n: workers[n].case["versions"] for n in (ours, other)},
        },
    )


def inside(workers: dict[str, Worker] | dict[str, Local], ours: str, other: str) -> str:
    """What is timed, told once where both do the same."""
    mine, theirs = workers[ours].case["facts"], workers[other].case["facts"]
    parts = []
    for name in dict.fromkeys([*mine, *theirs]):
        a, b = mine.get(name), theirs.get(name)
        if a == b or b is None:
            parts.append(f"{name}: {a}")
        elif a is None:
            parts.append(f"{name}: {other}: {b}")
        else:
            parts.append(f"{name}: {a} ({other}: {b})")
    return "; ".join(parts)


def _short(number: float) -> str:
    """Three digits, with k or M."""
    for least, suffix in ((1e6, "M"), (1e3, "k")):
        if number >= least:
            return f"{number / least:.3g}{suffix}"
    return f"{number:.3g}"


short = _short


def machine() -> dict:
    """Processor, cores, memory, system; nothing that names the machine."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(x.split(":", 1)[1].strip() for x in lines if "model name" in x)
    memory = None
    with contextlib.suppress(ValueError, OSError):
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        memory = round(pages / 2**30)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_GiB": memory,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def commit(folder: str | Path = HERE.parent) -> str:
    """Of a working tree, with a plus sign when files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    # results and docs may differ, code may not
    code = ("--", ".", ":!docs")
    changed = git("status", "--porcelain", "--untracked-files=no", *code)
    return (git("rev-parse", "--short", "HEAD") or "unknown") + "+" * bool(changed)


def append(path: Path, rows: list[Row], **more) -> None:
    """Add rows to a results file, one JSON line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    here = {"when": when, "commit": commit(), "machine": machine(), **more}
    with path.open("a") as file:
        for row in rows:
            file.write(json.dumps({**asdict(row), **here}) + "\n")


def show(title: str, rows: list[Row]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, show_lines=False)
    for column in ("what", "malgen", "compared with", "ratio [range]", "target"):
        table.add_column(column, overflow="fold")
    for row in rows:
        mark = {None: "", True: " yes", False: " no"}[row.reached]
        table.add_row(row.what, row.malgen, row.other, row.ratio, row.target + mark)
    width = None if sys.stdout.isatty() else 150
    console = Console(width=width, highlight=False, markup=False)
    console.print(table)
    for timed in dict.fromkeys(row.timed for row in rows if row.timed):
        console.print(f"timed: {timed}")
    versions = {}
    for row in rows:
        versions |= row.numbers.get("versions", {})
    for name, found in versions.items():
        told = ", ".join(f"{package} {version}" for package, version in found.items())
        console.print(f"{name}: {told}")
