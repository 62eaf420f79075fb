"""A* through the states of a level, counting the states that it looks at.

The search space is the graph of states (cell, items left, keys in hand). Between two
events the states differ only in the cell, and each step costs the same, so they are
looked at in order of distance (a flood that stops at every item that would be taken).
Of all states at the end of a flood, the most promising one is expanded next. A
state's promise is an upper bound on what can still be earned: first from straight
lines (the heuristic, admissible), then backed up from its successors. The search ends
when the most promising plan is complete, which is then optimal, or when the budget of
states is spent.

Source: A* (Hart, Nilsson & Raphael 1968); rewards are discounted, so values are backed
up where A* adds costs (AO*, Nilsson 1980).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class State(NamedTuple):
    """Where a plan stands; sets of cells are bit sets (cell = row * width + column)."""

    cell: int
    keys: int
    chests: int
    held: int


class Edge(NamedTuple):
    """A way of ``steps`` >= 0 steps to another state, and the reward of its end."""

    steps: int
    reward: float
    end: State


@dataclass
class _Node:
    edges: list[Edge]
    promise: float


@dataclass
class Search:
    """One search from one state of one level.

    Args:
        free: bit set of open cells; the border of the grid is wall.
        width: columns of the grid.
        key: reward of a key, >= 0.
        chest: reward of a chest, >= 0.
        discount: per step, in (0, 1].
        ends_on_completion: nothing counts after the last chest that can be opened.
        budget: states that may be looked at; None: as many as it takes.
    """

    free: int
    width: int
    key: float
    chest: float
    discount: float = 0.99
    ends_on_completion: bool = True
    budget: int | None = None
    looked_at: int = 0
    """States looked at so far."""
    expanded: int = 0
    """States whose successors were looked for."""
    _nodes: dict[State, _Node] = field(default_factory=dict)
    _bounds: dict[State, float] = field(default_factory=dict)
    _lines: dict[int, list[int]] = field(default_factory=dict)

    def run(self, root: State) -> list[Edge]:
        """The best plan known at the end, leg by leg.

        A search that ran out of its budget gives the plan that surely earns most, or,
        if none earns anything yet, the most promising one, which may end between two
        events. Empty if nothing can be earned.
        """
        while True:
            path = self._most_promising(root)
            last = path[-1].end if path else root
            complete = last in self._nodes or self.is_over(last)
            if not complete:
                if self.budget is not None and self.looked_at >= self.budget:
                    return self._secured(root, {})[1] or path
                self._expand(last)
            lowered = self._back_up([root, *(edge.end for edge in path)])
            if complete and not lowered:
                return path

    def value(self, state: State) -> float:
        """No plan from here earns more; exact at the root once ``run`` has ended."""
        node = self._nodes.get(state)
        if node is not None:
            return node.promise
        found = self._bounds.get(state)
        if found is None:
            found = self._bounds[state] = self._bound(state)
        return found

    def route(self, state: State, cell: int) -> list[int]:
        """Actions of a shortest way to a cell that takes no item before it."""
        fronts = []
        for front in self._flood(state):
            fronts.append(front)
            if front >> cell & 1:
                break
        actions = []
        for front in reversed(fronts[:-1]):
            for action, step in enumerate((-self.width, -1, self.width, 1)):
                before = cell - step
                if front >> before & 1 and not self._active(state) >> before & 1:
                    actions.append(action)
                    cell = before
                    break
        return actions[::-1]

    def is_over(self, state: State) -> bool:
        """Nothing more can be earned."""
        openable = state.chests and (state.held or state.keys)
        return not openable and (self.ends_on_completion or not state.keys)

    def _active(self, state: State) -> int:
        """Cells at which something would happen."""
        return state.keys | (state.chests if state.held else 0)

    def _most_promising(self, root: State) -> list[Edge]:
        path, state = [], root
        while state in self._nodes and self._nodes[state].edges:
            edge = max(self._nodes[state].edges, key=self._worth)
            path.append(edge)
            state = edge.end
        return path

    def _secured(self, state: State, known: dict) -> tuple[float, list[Edge]]:
        """The plan that earns most with what was looked at, and what it earns."""
        if state not in known:
            best: tuple[float, list[Edge]] = 0.0, []
            node = self._nodes.get(state)
            for edge in node.edges if node else ():
                then, path = self._secured(edge.end, known)
                earned = self.discount**edge.steps * (edge.reward + then)
                if earned > best[0]:
                    best = earned, [edge, *path]
            known[state] = best
        return known[state]

    def _worth(self, edge: Edge) -> float:
        return self.discount**edge.steps * (edge.reward + self.value(edge.end))

    def _back_up(self, states: list[State]) -> bool:
        """Renew the promises of expanded states, the last first; did one change?

        A state can be reached in several ways, and only those on the way of a search
        learn of it at once, so promises elsewhere may be too high for a while.
        """
        changed = False
        for state in reversed(states):
            node = self._nodes.get(state)
            if node is not None:
                promise = max(map(self._worth, node.edges), default=0.0)
                changed |= promise != node.promise
                node.promise = promise
        return changed

    def _expand(self, state: State) -> None:
        self.expanded += 1
        edges, active = [], self._active(state)
        rim = 0, 0
        for steps, front in enumerate(self._flood(state)):
            new = front.bit_count() if steps else 0
            if self.budget is not None and self.looked_at + new > self.budget:
                # it would go on from the cells that it looked at last
                self.looked_at = self.budget
                here = 1 << state.cell
                for cell in bits(rim[1] & ~active & ~here):
                    edges.append(Edge(rim[0], 0.0, state._replace(cell=cell)))
                break
            self.looked_at += new
            edges += [Edge(steps, *self._event(state, c)) for c in bits(front & active)]
            rim = steps, front
        self._nodes[state] = _Node(edges, self.value(state))

    def _event(self, state: State, cell: int) -> tuple[float, State]:
        here = 1 << cell
        _, keys, chests, held = state
        if keys & here:
            return self.key, State(cell, keys & ~here, chests, held + 1)
        return self.chest, State(cell, keys, chests & ~here, held - 1)

    def _flood(self, state: State) -> Iterator[int]:
        """Bit sets of the cells 0, 1, 2, ... steps away."""
        active, width = self._active(state), self.width
        front = seen = 1 << state.cell
        yield front & ~active
        while front:
            near = front << 1 | front >> 1 | front << width | front >> width
            front = near & self.free & ~seen
            yield front
            seen |= front
            front &= ~active

    # --- the heuristic ---------------------------------------------------------------

    def _bound(self, state: State) -> float:
        """What would be earned if every event came as early as is conceivable.

        The i-th key is not reached before the i-th nearest one could be, nor sooner
        after the one before it than two keys lie apart; a chest beyond the keys in
        hand needs a key first.
        """
        if self.is_over(state):
            return 0.0
        near = self._lines_from(state.cell)
        keys = sorted([near[cell] for cell in bits(state.keys)])
        total = 0.0
        if self.key and keys:
            at = 0
            for steps, gap in zip(keys, [0, *self._gaps(state.keys)], strict=False):
                # the shortest gaps first, so that their sum bounds any order of them
                at = at + gap if gap else steps
                total += self.key * self.discount ** max(steps, at)
        if self.chest:
            chests = sorted([near[cell] for cell in bits(state.chests)])
            at = 0
            for j in range(min(len(chests), state.held + len(keys))):
                events = j + 1 + max(0, j + 1 - state.held)
                at = max(at + 1, chests[j], events)
                if j == state.held:
                    at = max(at, self._by_a_key(state))
                total += self.chest * self.discount**at
        return total

    def _by_a_key(self, state: State) -> int:
        """Steps to a chest by way of a key."""
        near, chests = self._lines_from(state.cell), list(bits(state.chests))
        return min(
            near[key] + min(map(self._lines_from(key).__getitem__, chests))
            for key in bits(state.keys)
        )

    def _gaps(self, cells: int) -> list[int]:
        """How far each of these cells is from the nearest other one, sorted."""
        listed = list(bits(cells))
        if len(listed) < 2:
            return []
        gaps = []
        for one in listed:
            lines = self._lines_from(one)
            gaps.append(min([lines[other] for other in listed if other != one]))
        return sorted(gaps)

    def _lines_from(self, cell: int) -> list[int]:
        """Steps to every cell if there were no walls."""
        found = self._lines.get(cell)
        if found is None:
            rows = np.arange(self.free.bit_length() // self.width + 2)[:, None]
            row, column = divmod(cell, self.width)
            away = abs(rows - row) + abs(np.arange(self.width) - column)
            found = self._lines[cell] = away.ravel().tolist()
        return found


def bits(cells: int) -> Iterator[int]:
    """The cells of a bit set, in order."""
    while cells:
        low = cells & -cells
        yield low.bit_length() - 1
        cells ^= low


def bit_set(plane: np.ndarray) -> int:
    """The cells where bool[h, w] is True."""
    packed = np.packbits(plane.ravel(), bitorder="little")
    return int.from_bytes(packed.tobytes(), "little")


def state_of(observation: np.ndarray) -> State:
    """The state that bool[h, w, 7] shows."""
    return State(
        cell=int(observation[:, :, 1].argmax()),
        keys=bit_set(observation[:, :, 2]),
        chests=bit_set(observation[:, :, 3]),
        held=int(observation[:, :, 6].sum()),
    )


def after(state: State, action: int, free: int, width: int) -> State:
    """The world's rules: the state after an action."""
    to = state.cell + (-width, -1, width, 1, 0)[action]
    cell = to if free >> to & 1 else state.cell
    here, (_, keys, chests, held) = 1 << cell, state
    if keys & here:
        return State(cell, keys & ~here, chests, held + 1)
    if chests & here and held:
        return State(cell, keys, chests & ~here, held - 1)
    return State(cell, keys, chests, held)
