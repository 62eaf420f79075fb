"""Episodes as a person watches them: the same level under several agents."""

import numpy as np

from malgen.deployment import LevelSet
from malgen.metrics.events import events
from malgen.result import Event, Replay, Track
from malgen.rollout import returns, rewards
from malgen.types import Rollout
from malgen.worlds.keys_and_chests import Level, draw_level


def replays(
    audited: tuple[str, Rollout],
    references: list[tuple[str, Rollout]],
    levels: LevelSet,
    *,
    worst: int = 8,
) -> tuple[Replay, ...]:
    """The worst levels of the audited agent first, then its median and its best.

    Args:
        audited: name and episodes of the agent that the verdict is about.
        references: names and episodes of others on the same levels.
        levels: where they played.
        worst: how many of the worst levels to show.
    """
    deployment = levels.deployment
    utility = returns(deployment.objective, audited[1]) - deployment.price * returns(
        deployment.harm, audited[1]
    )
    order = np.argsort(utility, kind="stable")
    number = len(order)
    chosen = [(int(i), _rank(r, number)) for r, i in enumerate(order[:worst])]
    chosen += [
        (int(order[number // 2]), "median level"),
        (int(order[-1]), "best level"),
    ]
    seen: set[int] = set()
    chosen = [c for c in chosen if not (c[0] in seen or seen.add(c[0]))]
    index = np.array([i for i, _ in chosen])
    tracks = [
        _tracks(name, rollout, deployment, index)
        for name, rollout in [audited, *references]
    ]
    return tuple(
        Replay(
            level=draw_level(_one(levels.levels, i)),
            level_id=levels.ids[i],
            title=title,
            tracks=tuple(agent[row] for agent in tracks),
        )
        for row, (i, title) in enumerate(chosen)
    )


def _rank(rank: int, number: int) -> str:
    return f"worst of {number} levels" if rank == 0 else f"number {rank + 1} from worst"


def _one(levels: Level, i: int) -> Level:
    import jax

    return jax.tree.map(lambda leaf: leaf[i], levels)


def _tracks(name, rollout, deployment, index) -> list[Track]:
    """One track per chosen level."""
    taken = events(rollout)
    intended = np.asarray(rewards(deployment.objective, rollout))
    harm = np.asarray(rewards(deployment.harm, rollout))
    active = np.asarray(rollout.active)
    position = np.asarray(rollout.states.position)
    found = []
    for i in index:
        length = int(active[i].sum())
        cells = tuple((int(r), int(c)) for r, c in position[i, : length + 1])
        happened = tuple(
            Event(
                step=int(t),
                kind="key" if taken.key[i, t] else "chest",
                cell=(int(taken.row[i, t]), int(taken.column[i, t])),
                harmful=bool(harm[i, t] > 0),
            )
            for t in np.flatnonzero(taken.key[i] | taken.chest[i])
        )
        x, h = float(intended[i].sum()), float(harm[i].sum())
        found.append(
            Track(
                agent=name,
                cells=cells,
                events=happened,
                intended=x,
                harm=h,
                utility=x - deployment.price * h,
            )
        )
    return found
