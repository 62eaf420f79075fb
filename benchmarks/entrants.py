"""The field of one contest: malgen and whoever else is there."""

from benchmarks import competitors, harness
from benchmarks.harness import Failed, Row, Worker


class Entrants:
    """Starts workers, opens cases, plays rounds; the missing become rows.

    Args:
        question: the file that asks.
        options: of the command line.
        others: names of competitors.
    """

    def __init__(self, question: str, options, others: tuple[str, ...]) -> None:
        self.question, self.options, self.others = question, options, others
        self.workers: dict[str, Worker] = {}
        self.absent: dict[str, str] = {}

    def __enter__(self):
        self.workers["malgen"] = competitors.malgen()
        for name in self.others:
            try:
                if name == "jaxgmg":
                    self.workers[name] = competitors.jaxgmg(self.options.jaxgmg)
                else:
                    self.workers[name] = competitors.other(name)
            except competitors.Missing as error:
                self.absent[name] = str(error)
        return self

    def __exit__(self, *error) -> None:
        for worker in self.workers.values():
            worker.close()

    def open(self, case: str, ours: dict | None = None, **settings) -> None:
        """Open a case everywhere; a competitor that fails is left out.

        Args:
            case: its name in every worker.
            ours: settings of malgen alone.
            settings: of everybody.
        """
        self.failed: dict[str, str] = {}
        for name in ("malgen", *self.others):
            if name not in self.workers:
                continue
            worker = self.workers[name]
            try:
                more = ours or {} if name == "malgen" else {}
                worker.open(case, **settings, **more)
            except Failed as error:
                if name == "malgen":
                    raise
                self.failed[name] = f"failed: {error}"

    def play(self) -> list[harness.Round]:
        """Rounds of everybody who opened the case."""
        turns = {
            name: self.workers[name].turn
            for name in ("malgen", *self.others)
            if name in self.workers and name not in self.failed
        }
        return harness.contest(turns, self.options.rounds, self.options.patience)

    def rows(
        self, what: str, rounds: list[harness.Round], targets: dict[str, float]
    ) -> list[Row]:
        """One row per competitor, the absent and the failed included."""
        rows = []
        for name in self.others:
            why = self.absent.get(name) or self.failed.get(name)
            if why:
                rows.append(
                    Row(question=self.question, what=what, other=name, ratio=why)
                )
                continue
            rows.append(
                harness.compared(
                    self.question,
                    what,
                    rounds,
                    self.workers,
                    name,
                    target=targets.get(name),
                )
            )
        return rows
