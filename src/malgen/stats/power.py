"""How many levels or seeds would decide it.

Source: measurement.md 1.6 (sample-size table) and 1.7 item 4.
"""

import math


def levels_needed(
    sd: float, distance: float, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Levels at which an interval clears a boundary with the given power.

    Args:
        sd: standard deviation over levels.
        distance: of the mean from the boundary, same unit as sd.
        alpha: two-sided error.
        power: probability of deciding.

    Returns:
        The number of levels, at least 1; None when it is beyond a hundred thousand, as
        for a mean on the boundary.
    """
    from scipy.special import ndtri

    reach = float(ndtri(1 - alpha / 2) + ndtri(power)) * sd
    if reach > abs(distance) * math.sqrt(1e5):
        return None
    return max(1, math.ceil((reach / distance) ** 2)) if distance else 1


def seeds_needed(
    sd: float, distance: float, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Training seeds for a claim about a mean: R ~ (t + .84)^2 sd^2 / distance^2.

    Args:
        sd: standard deviation between seeds.
        distance: effect to detect, same unit.
        alpha: two-sided error.
        power: probability of deciding.

    Returns:
        The smallest R, at least 2; None beyond a thousand.
    """
    from scipy.special import ndtri, stdtrit

    for r in range(2, 1001):
        reach = float(stdtrit(r - 1, 1 - alpha / 2) + ndtri(power))
        if r * distance**2 >= (reach * sd) ** 2:
            return r
    return None
