"""Play episodes of a foreign environment, several at once.

An episode is exactly ``reset(seed)`` to terminated, truncated, or the horizon. The
environments are stepped one by one and not by a vector environment, because episodes
that have ended must not be stepped or reset on their own, and because what goes wrong
belongs to one seed; only the policy is asked for all of them at once.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from zlib import crc32

import numpy as np

from malgen.foreign.environments import Episode, Side
from malgen.foreign.players import Player

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
        while queue and idle:
            level, watched = queue.popleft(), idle.popleft()
            rng = np.random.default_rng([seed, name, level])
            fresh.append((watched, partial(watched.begin, level, rng)))
        side.do(fresh)
        live += [watched for watched, _ in fresh]
        actions = player.act(live)
        calls = [
            (watched, partial(watched.act, action))
            for watched, action in zip(live, actions, strict=True)
        ]
        try:
            side.do(calls)
        finally:
            # also when one fails: the episodes that ended beside it are not lost
            for watched in live:
                if watched.ended:
                    finished(watched.seed, watched.episode())
                    idle.append(watched)
        live = [watched for watched in live if not watched.ended]
