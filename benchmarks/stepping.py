"""Stepping: transitions per second of a random policy, observations written out."""

from benchmarks.entrants import Entrants
from benchmarks.harness import Row

SIZE = {"size": 13, "num_keys": 3, "num_chests": 10}
BATCHES = (32, 256, 1024, 4096)
OTHERS = ("jaxgmg", "navix", "xminigrid", "minigrid")


def measure(options) -> list[Row]:
    """One row per competitor and batch."""
    rows = []
    with Entrants("stepping", options, OTHERS) as field:
        for batch in (256,) if options.quick else BATCHES:
            targets = {"jaxgmg": 3.5} if batch == 256 else {}
            field.open("stepping", **SIZE, batch=batch, fresh=False)
            what = f"stepping, 13x13, batch {batch}"
            rows += field.rows(what, field.play(), targets)
        field.others = ("jaxgmg",)
        field.open("stepping", **SIZE, batch=128, fresh=True)
        what = "stepping, 13x13, batch 128, levels drawn inside"
        rows += field.rows(what, field.play(), {})
        field.open("stepping", {"plain": True}, **SIZE, batch=256, fresh=False)
        what = "stepping, 13x13, batch 256, by World.step"
        rows += field.rows(what, field.play(), {})
    return rows
