"""Play episodes of a foreign environment, several at once.

An episode is exactly ``reset(seed)`` to terminated, truncated, or the horizon. The
policy is asked for all that run at once.
"""

from collections import deque
from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np

from malgen.foreign.players import Player
from malgen.foreign.side import Side
from malgen.foreign.watched import Episode

BATCH = 16
"""Environments that run at once unless the caller says otherwise."""


def play(
    side: Side,
    player: Player,
    seeds: Sequence[int],
    stream: str,
    finished: Callable[[int, Episode], None],
    *,
    seed: int = 0,
) -> None:
    """One episode per seed.

    Args:
        side: the environments.
        player: who acts.
        seeds: of the levels, each once.
        stream: names the randomness of the player; the same name, level and ``seed``
            give the same draws.
        finished: told of each episode as soon as it has ended, in no certain order.
        seed: of all streams.

    Raises:
        ForeignError: an environment, feature or policy failed; all episodes that ended
            before were told of.
        ContractError: one of them broke its contract.
    """
    player.start(side)
    name = crc32(f"{side.name} {stream}".encode())
    queue, idle, live = deque(seeds), deque(side.watched), []
    while queue or live:
        fresh = []
        while queue and idle and not (side.in_step and live):
            level, watched = queue.popleft(), idle.popleft()
            rng = np.random.default_rng([seed, name, level])
            fresh.append((watched, level, rng))
        side.begin(fresh)
        live += [watched for watched, _, _ in fresh]
        actions = player.act(live)
        try:
            side.act(live, actions)
        finally:
            # also when one fails: the episodes that ended beside it are not lost
            for watched in live:
                if watched.ended:
                    finished(watched.seed, watched.episode())
                    idle.append(watched)
        live = [watched for watched in live if not watched.ended]
