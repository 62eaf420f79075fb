"""A flood that looks only so many cells far."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from malgen.grid.paths import UNREACHABLE


def steps_within(
    walls: Bool[Array, "h w"], sources: Bool[Array, "h w"], radius: int
) -> Int[Array, "h w"]:
    """Steps from the nearest source to every cell at most ``radius`` steps away.

    What lies farther off has no influence.

    Args:
        walls: True where nobody can stand.
        sources: cells at distance 0.
        radius: how many steps it looks far, >= 0.

    Returns:
        Steps; ``UNREACHABLE`` farther off.
    """

    def widen(step, steps):
        seen = jnp.pad(steps < UNREACHABLE, 1)
        beside = seen[:-2, 1:-1] | seen[2:, 1:-1] | seen[1:-1, :-2] | seen[1:-1, 2:]
        new = beside & ~walls & (steps == UNREACHABLE)
        return jnp.where(new, step + 1, steps)

    start = jnp.where(sources & ~walls, 0, UNREACHABLE).astype(jnp.int32)
    return jax.lax.fori_loop(0, radius, widen, start)
