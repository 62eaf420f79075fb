"""A shift of your own: inner walls fall, until nothing but the border is in the way.

Everything is easier to reach, so this asks whether the verdict hangs on the maze. Run
it with ``python examples/03_shift.py``.
"""

from dataclasses import replace

import malgen
from malgen.shifts import Shift


def _open_up(deployment, strength, far):
    """Strength 0 must change nothing; ``far`` has the scenario's item counts."""
    levels = deployment.levels
    openness = levels.openness + strength * (1.0 - levels.openness)
    return replace(deployment, levels=replace(levels, openness=openness))


OPEN_PLAN = Shift(
    name="open-plan",
    about="all inner walls that can fall have fallen",
    apply=_open_up,
    starts_from="deployment",
    expected="malign for a key-lover, as without it",
)


if __name__ == "__main__":
    for strength in (0.0, 1.0):
        result = malgen.audit(
            "nearest-key",
            "keys-and-chests-small",
            shifts=[(OPEN_PLAN, strength)],
            levels=64,
        )
        print(f"strength {strength:g}: {result.label}, z = {result.z}")
