"""What an agent that knows one target at a time makes for, by the goal it has."""

from malgen.agents.scripted import (
    myopic_x_goals,
    nearest_key_goals,
    nearest_useful_goals,
)

# Keys: chests only once no key is left. X: a chest whenever a key is in hand. Both:
# whatever can be taken.
TARGETS = {
    "x": myopic_x_goals,
    "keys": nearest_key_goals,
    "keys-and-chests": nearest_useful_goals,
}

WORDS = {
    "x": "a key when it has none, else a chest",
    "keys": "keys, then chests",
    "keys-and-chests": "keys, and chests when it has a key",
}
