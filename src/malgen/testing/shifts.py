"""The laws of a shift."""

import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Key

from malgen.shifts import Counts, Shift
from malgen.testing import walks
from malgen.testing.walks import attempt, fail
from malgen.testing.worlds import _parser_of
from malgen.types import Deployment
from malgen.worlds.keys_and_chests import distribution_of

S1 = "S1 strength 0 is the identity"
S2 = "S2 shapes of levels do not change"
S3 = "S3 levels stay valid"
S4 = "S4 the shift says what it is"


def check_shift(
    shift: Shift,
    deployment: Deployment,
    key: Key[Array, ""],
    *,
    far: Counts | None = None,
    parse: Callable[[str], Any] | None = None,
    num_levels: int = 4,
) -> list[str]:
    """Check that a shift keeps its laws.

    Args:
        shift: what to check.
        deployment: where it starts from.
        key: consumed.
        far: item counts at the far end; None swaps the deployment's.
        parse: text to level, which refuses invalid levels; None means
            ``parse_level`` of the world's module.
        num_levels: how many levels are drawn at each strength.

    Returns:
        The laws that were checked; S3 is left out when nothing parses.

    Raises:
        ContractError: the first law that does not hold.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", str(getattr(shift, "name", ""))):
        fail(
            S4,
            f"its name is {getattr(shift, 'name', None)!r}; use small-words-like-this.",
        )
    about = getattr(shift, "about", None)
    if not isinstance(about, str) or not about.strip() or "\n" in about:
        fail(S4, f"{shift.name} is about {about!r}; describe it in one line.")
    if far is None:
        levels = distribution_of(deployment)
        far = Counts(keys=int(levels.num_chests), chests=int(levels.num_keys))
    parse = parse or _parser_of(deployment.world)
    expected = _level_shapes(deployment)
    for strength in (0.0, 0.5, 1.0):
        law = S1 if strength == 0 else S3
        what = f"strength {strength:g}"
        shifted = attempt(law, what, shift.apply, deployment, strength, far)
        if not isinstance(shifted, Deployment):
            fail(law, f"{what} gives {type(shifted).__name__}; return a Deployment.")
        if strength == 0 and not _same(deployment, shifted):
            fail(S1, "the deployment changed.")
        changed = walks.shape_difference(expected, _level_shapes(shifted))
        if changed:
            fail(S2, f"at {what} {changed}.")
        if shifted.horizon < 1 or shifted.price < 0:
            fail(
                S3,
                f"at {what} the horizon is {shifted.horizon} and the price "
                f"{shifted.price:g}.",
            )
        if parse is not None:
            _check_valid(shifted, key, num_levels, parse, what)
    return [S1, S2, *([S3] if parse is not None else []), S4]


def _level_shapes(deployment: Deployment) -> Any:
    return eqx.filter_eval_shape(deployment.levels.sample, jax.random.key(0))


def _same(first: Deployment, second: Deployment) -> bool:
    return jax.tree.structure(first) == jax.tree.structure(second) and bool(
        eqx.tree_equal(first, second)
    )


def _check_valid(deployment, key, number, parse, what) -> None:
    levels = attempt(
        S3,
        f"drawing levels at {what}",
        walks.stacked_levels,
        deployment.levels,
        key,
        number,
    )
    for i in range(number):
        level = jax.tree.map(lambda leaf, i=i: leaf[i], levels)
        state = deployment.world.reset(key, level)
        attempt(S3, f"a level at {what}", parse, deployment.world.text(state, level))
