"""Independent random streams from one seed, by name.

Adding a consumer does not disturb the others, because each stream is derived from
its own name and not from how many came before it.
"""

from zlib import crc32

import jax
from jaxtyping import Array, Key


def stream(seed: int, *names: str | int) -> Key[Array, ""]:
    """The random key of a named use of a seed.

    Args:
        seed: whole number >= 0.
        names: what the key is for, from coarse to fine.
    """
    key = jax.random.key(seed)
    for name in names:
        number = name if isinstance(name, int) else crc32(name.encode())
        key = jax.random.fold_in(key, number)
    return key
