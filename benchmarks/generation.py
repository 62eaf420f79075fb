"""Level generation: levels per second, drawn in bulk."""

from benchmarks.entrants import Entrants
from benchmarks.harness import Row

SIZE = {"size": 13, "num_keys": 3, "num_chests": 10}
BATCH = 4096
TARGETS = {"jaxgmg": 5.0}
OTHERS = ("jaxgmg", "navix", "xminigrid", "minigrid")


def measure(options) -> list[Row]:
    """One row per competitor."""
    what = f"level generation, 13x13, 3 keys / 10 chests, {BATCH} at once"
    with Entrants("generation", options, OTHERS) as field:
        field.open("generation", **SIZE, batch=BATCH)
        rounds = field.play()
        return field.rows(what, rounds, TARGETS)
