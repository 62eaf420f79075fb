"""What a policy sees of Keys and Chests: the whole level, around itself, or a crop.

The Gymnasium adapter shows these views; a policy that was trained on one of them is
audited on the same, inferred from the shape of what it takes.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from malgen.adapters.layout import takes
from malgen.errors import ConfigError, ContractError
from malgen.grid import views
from malgen.worlds.keys_and_chests import PLANES

View = str | int | None

INFERRED = "inferred"
"""Not a view: it follows from the shape of the observations that a policy takes."""

# The agent's own plane is left out of a view: it is always in the middle.
_NEAR = tuple(i for i, name in enumerate(PLANES) if name not in ("agent", "held"))
_HELD, _AGENT = PLANES.index("held"), PLANES.index("agent")


def seen(
    planes: Bool[Array, "h w c"], position: Int[Array, "2"], view: View
) -> Bool[Array, "H W d"]:
    """The observation of one view; walls fill what lies beyond the level.

    Keys in hand are written in unary, row-major, over the cells of the view.

    Args:
        planes: the whole level as the world shows it.
        position: of the agent.
        view: None for the planes as they are; "agent" or an odd number of cells for
            what is around the agent.
    """
    if view is None:
        return planes
    shape = views.view_shape(planes.shape[0], planes.shape[1], view)
    near = [
        views.centered(planes[:, :, i], position, shape, PLANES[i] == "walls")
        for i in _NEAR
    ]
    count = jnp.sum(planes[:, :, _HELD])
    held = jnp.arange(shape[0] * shape[1]).reshape(shape) < count
    return jnp.stack([*near, held], axis=-1)


@partial(jax.jit, static_argnames="view")
def _seen_by_each(planes, *, view):
    def one(planes):
        return seen(planes, views.position_of(planes[:, :, _AGENT]), view)

    return jax.vmap(one)(planes)


def seen_by_each(planes: Bool[np.ndarray, "b h w c"], view: View) -> np.ndarray:
    """The observations of one view, Bool[b, H, W, d]."""
    if view is None or not len(planes):
        return planes
    # as many rows as the next power of two, so that few shapes are compiled
    number = len(planes)
    width = 1 << (number - 1).bit_length()
    padded = np.concatenate([planes, np.repeat(planes[-1:], width - number, axis=0)])
    return np.asarray(_seen_by_each(padded, view=view))[:number]


def observation_shape(height: int, width: int, view: View) -> tuple[int, int, int]:
    """Rows, columns and planes of a view of a level.

    Raises:
        ConfigError: a view that does not exist.
    """
    if view is None:
        return height, width, len(PLANES)
    return (*views.view_shape(height, width, view), len(_NEAR) + 1)


def parse_view(text: str) -> View:
    """A view as it is written on the command line: "none", "agent" or a number.

    Raises:
        ConfigError: anything else.
    """
    if text == "none":
        return None
    view = int(text) if text.isdecimal() else text
    views.view_shape(9, 9, view)
    return view


def view_of(taken: tuple[int | None, ...], height: int, width: int, who: str) -> View:
    """The view whose observations a policy takes.

    The shapes of different views never coincide, flat or not, except for crops that
    show everything, which equal "agent" up to walls.

    Args:
        taken: shape of one observation that the policy takes, planes or flat; None
            for a size that may be anything.
        height: rows of the level.
        width: columns of the level.
        who: the policy, in words.

    Raises:
        ContractError: no view has such observations, or several have.
    """
    most = 2 * max(height, width) + 1
    found = [
        view
        for view in (None, "agent", *range(1, most, 2))
        if takes(taken, observation_shape(height, width, view))
    ]
    if "agent" in found:
        shown = observation_shape(height, width, "agent")
        found = [v for v in found if not _same(v, shown, height, width)]
    if len(found) == 1:
        return found[0]
    size = "x".join("?" if n is None else str(n) for n in taken)
    if found:
        raise ConfigError(
            f"{who} takes observations of shape {size}, which may be any of the views "
            f"{', '.join(map(repr, found))}; say which it was trained on, with view= "
            "in Python or --view on the command line."
        )
    whole, agent = (
        "x".join(map(str, observation_shape(height, width, v))) for v in (None, "agent")
    )
    raise ContractError(
        f"{who} takes observations of shape {size}, which no view of a {height}x{width}"
        f" level has (whole: {whole}, agent: {agent}, a crop of n cells: nxnx"
        f"{len(_NEAR) + 1}, each also flat); name the scenario in whose size it was "
        "trained, or audit it in an environment of its own."
    )


def _same(view: View, shown: tuple[int, ...], height: int, width: int) -> bool:
    """Whether it is a crop that equals the lossless view."""
    if not isinstance(view, int):
        return False
    return observation_shape(height, width, view) == shown
