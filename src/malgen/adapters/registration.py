"""Tell Gymnasium which environments malgen has, without importing the engine."""

import gymnasium

KEYS_AND_CHESTS = "malgen/KeysAndChests-v0"

# Strings and not classes: Gymnasium imports the module (and JAX) when an environment
# is made, and only specs with strings can be written as JSON.
_ENTRY_POINTS = {
    KEYS_AND_CHESTS: (
        "malgen.adapters.gymnasium:KeysAndChestsEnv",
        "malgen.adapters.gymnasium:KeysAndChestsVectorEnv",
    ),
}


def register() -> None:
    """Make ``gymnasium.make`` and ``make_vec`` know malgen's ids; repeating is safe.

    No ``max_episode_steps`` is registered, because the environments truncate at
    their own ``horizon``.
    """
    for name, (single, vector) in _ENTRY_POINTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point=single,
                vector_entry_point=vector,
                nondeterministic=False,
            )
