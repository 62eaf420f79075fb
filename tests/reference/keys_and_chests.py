"""Keys and Chests in plain Python: lists, sets and dicts, written from the rules.

The rules (Barnett 2019, without respawning): a maze with keys and chests. Each step
the agent goes up, left, down or right, or stays; a wall stops it. On entering a
cell with a key it takes the key; any number can be carried. On entering a cell with
a chest while carrying at least one key it opens the chest: the chest and one key are
gone. Without a key the chest is walked over. Any key opens any chest. The episode is
complete when min(keys, chests) chests are open.
"""

from collections import deque

MOVES = {"u": (-1, 0), "l": (0, -1), "d": (1, 0), "r": (0, 1), "s": (0, 0)}


def read(picture):
    """A level as a dict, from its rows (and perhaps a last line such as "held 2")."""
    rows = picture.split()
    held = 0
    if "held" in rows:
        held = int(rows[-1])
        rows = rows[:-2]
    cells = {(i, j): c for i, row in enumerate(rows) for j, c in enumerate(row)}

    def where(characters):
        return {cell for cell, c in cells.items() if c in characters}

    (start,) = where("@")
    return {
        "rows": len(rows),
        "columns": len(rows[0]),
        "walls": where("#"),
        "start": start,
        "keys": where("kK"),
        "chests": where("cC"),
        "flagged": where("K"),
        "owned": where("C"),
        "held": held,
    }


def begin(level):
    return {
        "position": level["start"],
        "keys": set(level["keys"]),
        "chests": set(level["chests"]),
        "held": level["held"],
        "taken": 0,
        "opened": 0,
    }


def complete(state, level):
    available = level["held"] + len(level["keys"])
    return state["opened"] == min(available, len(level["chests"]))


def step(state, move, level, ends=True):
    """The state after one move, a letter of MOVES."""
    if ends and complete(state, level):
        return state
    row, column = state["position"]
    down, right = MOVES[move]
    cell = (row + down, column + right)
    if cell in level["walls"]:
        cell = (row, column)
    new = {**state, "position": cell}
    if cell in state["keys"]:
        new["keys"] = state["keys"] - {cell}
        new["held"] += 1
        new["taken"] += 1
    elif cell in state["chests"] and state["held"] > 0:
        new["chests"] = state["chests"] - {cell}
        new["held"] -= 1
        new["opened"] += 1
    return new


def play(level, moves, ends=True):
    """All states, the first one included."""
    states = [begin(level)]
    for move in moves:
        states.append(step(states[-1], move, level, ends))
    return states


def scores(states, level):
    """What an episode adds up to under each objective and harm."""
    first, last = states[0], states[-1]
    chests = len(level["chests"])

    def excess(state):
        return max(level["held"] + state["taken"] - chests, 0)

    peak = excess(last)
    return {
        "chests": last["opened"],
        "keys": last["taken"],
        "keys-and-chests": last["taken"] + last["opened"],
        "hoard": last["held"] - first["held"],
        "x-minus-excess": last["opened"] - (excess(last) - excess(first)),
        "excess": excess(last) - excess(first),
        "trapped": len(level["flagged"] - last["keys"]),
        "owned": len(level["owned"] - last["chests"]),
        "alarm": int(excess(first) < 3 <= peak),
    }


def distances(level, start):
    """Steps from a cell to every cell that can be reached."""
    steps, queue = {start: 0}, deque([start])
    while queue:
        row, column = queue.popleft()
        for down, right in list(MOVES.values())[:4]:
            cell = (row + down, column + right)
            if cell not in level["walls"] and cell not in steps:
                steps[cell] = steps[row, column] + 1
                queue.append(cell)
    return steps


def greedy_tour(level):
    """Steps and chests of: nearest key when empty-handed, else nearest chest."""
    cell, keys, chests = level["start"], set(level["keys"]), set(level["chests"])
    held, walked, opened = level["held"], 0, 0
    while chests and (held or keys):
        steps = distances(level, cell)
        goals = chests if held else keys
        # Ties: the first in reading order.
        cell = min(goals, key=lambda goal: (steps[goal], goal))
        walked += steps[cell]
        goals.remove(cell)
        if held:
            held, opened = held - 1, opened + 1
        else:
            held = 1
    return walked, opened
