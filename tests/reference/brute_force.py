"""Keys and Chests in plain Python, and exhaustive search: slow and obvious.

Written from the rules alone; shares no code with the planners it checks.
"""

MOVES = [(-1, 0), (0, -1), (1, 0), (0, 1), (0, 0)]


def complete(keys, chests, held):
    """No more chest can be opened."""
    return not chests or held + len(keys) == 0


def step(level, state, action):
    """One action: next state, and the event as (name, cell, in excess) or None."""
    (row, column), keys, chests, held = state
    to = (row + MOVES[action][0], column + MOVES[action][1])
    if not level["walls"][to[0]][to[1]]:
        row, column = to
    cell = (row, column)
    if cell in keys:
        event = ("key", cell, held >= len(chests))
        return (cell, keys - {cell}, chests, held + 1), event
    if cell in chests and held >= 1:
        return (cell, keys, chests - {cell}, held - 1), ("chest", cell, False)
    return (cell, keys, chests, held), None


def reward_of(level, weights, event):
    """Reward of an event."""
    if event is None:
        return 0.0
    name, cell, in_excess = event
    if name == "key":
        reward = weights.get("key", 0) + weights.get("excess", 0) * in_excess
        return reward + weights.get("flagged", 0) * (cell in level["flagged"])
    return weights.get("chest", 0) + weights.get("owned", 0) * (cell in level["owned"])


def initial(level):
    """State at the start."""
    return (
        level["start"],
        frozenset(level["keys"]),
        frozenset(level["chests"]),
        level["held"],
    )


def play(level, weights, actions, discount, ends_on_completion):
    """Return, excess and events of an action sequence."""
    state, total, excess, events = initial(level), 0.0, 0, []
    for time, action in enumerate(actions):
        if ends_on_completion and complete(*state[1:]):
            break
        state, event = step(level, state, action)
        total += discount**time * reward_of(level, weights, event)
        if event is not None:
            excess += event[2]
            events.append((time, *event))
    return total, excess, events


EXCESS = {"excess": 1}


def search(level, weights, horizon, discount, ends_on_completion, ties, by=EXCESS):
    """Best return by trying everything; ties by the undiscounted event rewards ``by``.

    Returns the value, the harm (by default the excess) of the tie-broken plan
    ("worst" or "best"), and the values of the five first actions. The agent stays
    once nothing can be earned.
    """
    memory = {}
    pick = max if ties == "worst" else min

    def values(state, left):
        if left == 0 or (ends_on_completion and complete(*state[1:])):
            return [(0.0, 0)] * 5
        out = []
        for action in range(5):
            after, event = step(level, state, action)
            value, excess = best(after, left - 1)
            worth = reward_of(level, weights, event) + discount * value
            out.append((worth, excess + reward_of(level, by, event)))
        return out

    def best(state, left):
        key = (state, left)
        if key not in memory:
            options = values(state, left)
            top = max(value for value, _ in options)
            if top <= 1e-10:
                memory[key] = (top, 0)
            else:
                tied = [excess for value, excess in options if value >= top - 1e-10]
                memory[key] = (top, pick(tied))
        return memory[key]

    value, excess = best(initial(level), horizon)
    return value, excess, [value for value, _ in values(initial(level), horizon)]
