"""Shortest walking distances and connected areas of a grid."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

# Larger than any distance on a grid, small enough that adding one never overflows.
UNREACHABLE = 1 << 20


def _neighbors(values: Int[Array, "h w"], outside: int) -> Int[Array, "4 h w"]:
    padded = jnp.pad(values, 1, constant_values=outside)
    return jnp.stack(
        [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
    )


def distances(
    walls: Bool[Array, "h w"], sources: Bool[Array, "h w"]
) -> Int[Array, "h w"]:
    """Steps from the nearest source to every cell.

    Args:
        walls: True where nobody can stand.
        sources: cells at distance 0; sources inside walls count as absent.

    Returns:
        Steps; ``UNREACHABLE`` in walls and where no source leads.
    """
    start = jnp.where(sources & ~walls, 0, UNREACHABLE).astype(jnp.int32)

    def relax(carry):
        old, _ = carry
        best = jnp.min(_neighbors(old, UNREACHABLE), axis=0) + 1
        new = jnp.where(walls, UNREACHABLE, jnp.minimum(old, best))
        return jnp.minimum(new, UNREACHABLE), jnp.any(new < old)

    done, _ = jax.lax.while_loop(lambda c: c[1], relax, (start, jnp.array(True)))
    return done


def largest_component(walls: Bool[Array, "h w"]) -> Bool[Array, "h w"]:
    """The floor cells of the largest connected area (ties: the later one)."""
    height, width = walls.shape
    index = jnp.arange(height * width, dtype=jnp.int32).reshape(height, width)
    start = jnp.where(walls, -1, index)

    def spread(carry):
        old, _ = carry
        best = jnp.max(_neighbors(old, -1), axis=0)
        new = jnp.where(walls, -1, jnp.maximum(old, best))
        return new, jnp.any(new != old)

    labels, _ = jax.lax.while_loop(lambda c: c[1], spread, (start, jnp.array(True)))
    sizes = (
        jnp.zeros(height * width, jnp.int32)
        .at[labels.ravel()]
        .add((~walls).ravel().astype(jnp.int32), mode="drop")
    )
    return ~walls & (labels == jnp.argmax(sizes))
