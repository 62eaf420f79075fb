"""The convolutional policy: time per floating point operation, against the MLP's."""

import importlib.util

from benchmarks import competitors, harness
from benchmarks.harness import Failed, Row

SIZE, BATCH = 13, 1024
MOST = 3.0


def measure(options) -> list[Row]:
    """Acting and a gradient."""
    rows = []
    names = {"feedforward": "MLP", "convolutional": "convolutional"}
    here = importlib.util.find_spec("malgen.agents.convolutional")
    workers = {}
    try:
        if here is not None:
            workers = {name: competitors.malgen(name) for name in names}
        for gradient in (False, True):
            what = "a gradient step" if gradient else "acting"
            what = f"convolutional policy per FLOP, {what}, batch {BATCH}"
            row = Row(question="convolution", what=what, other="MLP")
            rows.append(row)
            row.target = f"at most {MOST:g}x the MLP's cost"
            if here is None:
                row.ratio = "malgen.agents.convolutional is not there yet"
                continue
            try:
                for name, worker in workers.items():
                    worker.open(
                        "network",
                        kind=name,
                        size=SIZE,
                        batch=256 if options.quick else BATCH,
                        gradient=gradient,
                    )
            except Failed as error:
                row.ratio = f"failed: {error}"
                continue
            _measured(row, workers, options)
    finally:
        for worker in workers.values():
            worker.close()
    return rows


def _measured(row: Row, workers, options) -> None:
    turns = {name: worker.turn for name, worker in workers.items()}
    rounds = harness.contest(turns, options.rounds, options.patience)
    # How many times as long one operation takes.
    cost = harness.ratio(rounds, "feedforward", "convolutional")
    speed = {name: harness.rate(rounds, name) for name in workers}
    work = {name: worker.case["work"] for name, worker in workers.items()}
    row.malgen = f"convolutional: {harness.short(speed['convolutional'])} FLOP/s"
    row.other = f"MLP: {harness.short(speed['feedforward'])} FLOP/s"
    row.ratio = f"cost {cost}"
    row.timed = (
        f"{workers['feedforward'].case['facts']['inside']}; products only are counted: "
        f"{work['convolutional'] / work['feedforward']:.2g} times as many as the MLP's"
    )
    row.reached = cost.median <= MOST
    row.numbers = {"cost_per_flop": cost.median, "work": work}
