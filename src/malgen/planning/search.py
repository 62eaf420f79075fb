"""Exact search for plans that fit a horizon or break ties, with discount.

Labels (state, time, value so far) are extended event by event. The value of a state
without a horizon bounds what can still be earned, so few labels survive: when the
bound is met exactly, only the ties. Source: own; label setting with completion
bounds as in resource-constrained shortest paths (Irnich & Desaulniers 2005).
"""

from dataclasses import dataclass

import numpy as np

from malgen.errors import NotMeasurable
from malgen.planning.values import Chunk, powers

CLOSE = 1e-10
"""Plans whose values differ by no more are tied (objective units)."""

MAX_LABELS = 8_000_000
"""Most labels of one round, about 1 GiB."""


@dataclass(frozen=True, eq=False)
class Problems:
    """Searches side by side: p pairs of a level and a root cell."""

    lane: np.ndarray
    """int[p], level in the chunk."""
    root: np.ndarray
    """int[p], root cell."""
    horizon: np.ndarray
    """int[p], steps available."""


@dataclass(frozen=True, eq=False)
class Found:
    """Result of a search."""

    value: np.ndarray
    """float64[p], best value within the horizon; minus infinity if none was found."""
    order: np.ndarray | None
    """int32[p, m], items of the chosen plan, -1 after the last."""
    steps: np.ndarray | None
    """int[p], steps of the chosen plan."""

    def plan(self) -> tuple[np.ndarray, np.ndarray]:
        """Order and steps of a search with ``ties``, which always has them."""
        assert self.order is not None and self.steps is not None
        return self.order, self.steps


def search(
    chunk: Chunk,
    to_go: np.ndarray,
    discount: float,
    problems: Problems,
    lower: np.ndarray,
    *,
    ties: str | None = None,
    bound_is_exact: bool = False,
    width: int | None = None,
) -> Found:
    """Find the best value, or the tie-broken best plan when its value is known.

    Args:
        chunk: the levels.
        to_go: float64[s, b], values without a horizon: bounds on what can be earned.
        discount: in (0, 1].
        problems: what to solve.
        lower: float64[p], a value known to be attainable (the optimal one when
            breaking ties), or minus infinity.
        ties: None to find the value; "worst" or "best" to choose, among plans worth
            ``lower``, one with most or least harm (``Chunk.tie_score``), then the
            quickest.
        bound_is_exact: ``lower`` is the value without a horizon, so that of two
            labels in one state the earlier one is always as good.
        width: keep only this many labels per problem and event (a heuristic).

    Returns:
        Values, and plans when breaking ties.

    Raises:
        NotMeasurable: too many labels survive.
    """
    graph = chunk.graph
    m, num = graph.num_items, len(problems.lane)
    lower = lower.astype(np.float64).copy()
    horizon = problems.horizon
    longest = int(max(horizon.max(initial=0), 0))
    weight = powers(discount, chunk.far)
    decay = discount ** np.arange(longest + 2, dtype=np.float64)
    items = np.arange(m)
    key_item = items < graph.num_keys
    enough = max(0, graph.num_chests - graph.held)
    sign = {"worst": 1, "best": -1, None: 0}[ties]

    best = np.full(num, -np.inf)
    chosen = np.full(num, -1, np.int64)
    chosen_score = np.full(num, -(1 << 60), np.int64)
    history = []
    total = 0

    lane = problems.lane
    struck = chunk.hit[problems.root, lane]
    stop_first = (struck < 0) & (horizon >= 0)
    best[stop_first] = 0.0
    lower = np.maximum(lower, best)
    if ties is not None:
        idle = stop_first & (lower <= CLOSE)
        chosen_score[idle] = 1 << 60
        best[idle] = 0.0

    prob = np.arange(num)
    if ties is not None:
        prob = prob[chosen_score < (1 << 60)]
    state = np.full(len(prob), -1, np.int64)
    keys = np.zeros(len(prob), np.int64)
    time = np.zeros(len(prob), np.int64)
    earned = np.zeros(len(prob))
    parent = np.full(len(prob), -1, np.int64)
    for event in range(m):
        if not len(prob):
            break
        where = lane[prob]
        if event == 0:
            root = problems.root[prob]
            following = np.broadcast_to(graph.first, (len(prob), m))
            step = chunk.first[root, :, where].astype(np.int64)
            item_struck = struck[prob][:, None]
            step = np.where(
                item_struck >= 0, np.where(items == item_struck, 0, chunk.far), step
            )
        else:
            following = graph.successor[state]
            step = chunk.distance[graph.row(state[:, None], items), where[:, None]]
            step = step.astype(np.int64)
        can = (following >= 0) & (step < chunk.far)
        if chunk.between is not None:
            can[:, : graph.num_keys] &= (keys[:, None] >> items[key_item] & 1) == 0
            came = 0 if event == 0 else graph.last[state] + 1
            crossed = chunk.between[came, :, where]
            plain = problems.root[prob] == 0 if event == 0 else np.True_
            can &= ((crossed & ~keys[:, None]) == 0) | ~np.atleast_1d(plain)[:, None]
        can &= time[:, None] + step <= horizon[prob][:, None]
        row, item = np.nonzero(can)
        then = following[row, item].astype(np.int64)
        step = step[row, item]
        source = prob[row]
        where = lane[source]
        reward = chunk.reward[item, where]
        if chunk.excess:
            taken = np.bitwise_count(keys[row])
            reward = reward + chunk.excess * (key_item[item] & (taken >= enough))
        gained = earned[row] + decay[time[row]] * weight[step] * reward
        at = time[row] + step
        bound = gained + decay[at] * to_go[then, where]
        if ties is None:
            np.maximum.at(lower, source, gained)
        keep = bound >= lower[source] - CLOSE
        row, item, then, at = row[keep], item[keep], then[keep], at[keep]
        source, gained, bound = source[keep], gained[keep], bound[keep]
        grown = keys[row] | np.where(key_item[item], 1 << item, 0)
        order = _undominated(
            (source * len(graph.last) + then) << graph.num_keys | grown,
            at,
            gained,
            bound_is_exact,
        )
        if width is not None:
            order = _widest(order, source, bound, width)
        row, item, then, at = row[order], item[order], then[order], at[order]
        source, gained, grown = source[order], gained[order], grown[order]
        np.maximum.at(best, source, gained)
        number = total + np.arange(len(row))
        history.append((parent[row], item, at))
        total += len(row)
        if total > MAX_LABELS:
            raise NotMeasurable(
                f"More than {MAX_LABELS} partial plans survive for {num} levels with "
                f"{graph.num_keys} keys and {graph.num_chests} chests under a binding "
                "horizon; use fewer items or a longer horizon."
            )
        open_ = np.ones(len(row), bool)
        if ties is not None:
            open_ = gained < lower[source] - CLOSE
            done = np.flatnonzero(~open_)
            over = chunk.tie_score(grown[done], lane[source[done]])
            score = (sign * over << 20) - at[done]
            rank = np.lexsort((-score, source[done]))
            lead = np.ones(len(rank), bool)
            lead[1:] = source[done][rank][1:] != source[done][rank][:-1]
            top = done[rank[lead]]
            top_score = score[rank[lead]]
            better = top_score > chosen_score[source[top]]
            chosen[source[top[better]]] = number[top[better]]
            chosen_score[source[top[better]]] = top_score[better]
        prob, state, keys = source[open_], then[open_], grown[open_]
        time, earned, parent = at[open_], gained[open_], number[open_]
    if ties is None:
        return Found(best, None, None)
    solved = chosen_score > -(1 << 60)
    best = np.where(solved, np.where(chosen >= 0, best, 0.0), -np.inf)
    plan, steps = _unwind(history, chosen, m)
    return Found(best, plan, steps)


def _undominated(
    label: np.ndarray, time: np.ndarray, value: np.ndarray, earliest: bool
) -> np.ndarray:
    """Rows of labels not beaten by an earlier, better label of the same state."""
    order = np.lexsort((-value, time, label))
    while len(order):
        same = label[order[1:]] == label[order[:-1]]
        if not earliest:
            same &= value[order[1:]] <= value[order[:-1]] + 1e-14
        if not same.any():
            break
        keep = np.ones(len(order), bool)
        keep[1:] = ~same
        order = order[keep]
    return order


def _widest(
    order: np.ndarray, source: np.ndarray, bound: np.ndarray, width: int
) -> np.ndarray:
    """The ``width`` rows of each problem with the best bounds."""
    order = order[np.lexsort((-bound[order], source[order]))]
    begins = np.searchsorted(source[order], source[order], side="left")
    return order[np.arange(len(order)) - begins < width]


def _unwind(history: list, chosen: np.ndarray, m: int):
    """Item orders and lengths of the chosen labels."""
    num = len(chosen)
    plan = np.full((num, m), -1, np.int32)
    steps = np.zeros(num, np.int64)
    if not history:
        return plan, steps
    parent, item, time = (np.concatenate(part) for part in zip(*history, strict=True))
    ends = np.cumsum([len(part[0]) for part in history])
    some = np.flatnonzero(chosen >= 0)
    now = chosen[some]
    steps[some] = time[now]
    depth = np.searchsorted(ends, now, side="right")
    while len(some):
        plan[some, depth] = item[now]
        now, depth = parent[now], depth - 1
        on = now >= 0
        some, now, depth = some[on], now[on], depth[on]
    return plan, steps
