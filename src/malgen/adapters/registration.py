"""Tell Gymnasium which environments malgen has, without importing the engine."""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec

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
    import gymnasium

    for name, (single, vector) in _ENTRY_POINTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point=single,
                vector_entry_point=vector,
                nondeterministic=False,
            )


def register_when_gymnasium_is_here() -> None:
    """Register now if Gymnasium is loaded, else in the moment it gets loaded.

    Importing Gymnasium takes longer than all of ``malgen --help`` may, and nobody can
    call ``gymnasium.make`` without importing it.
    """
    if "gymnasium" not in sys.modules:
        sys.meta_path.insert(0, _Watch())
    elif hasattr(sys.modules["gymnasium"], "register"):
        register()
    # else: gymnasium is being imported right now by whoever imports us; it is our
    # own adapter or a plugin, and registers through ``register`` itself


class _Watch(MetaPathFinder):
    """Lets Gymnasium load as usual and registers right afterwards."""

    def find_spec(self, fullname, path=None, target=None):
        """Step aside for everything but the first import of Gymnasium."""
        if fullname != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = find_spec("gymnasium")
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenRegister(spec.loader)
        return spec


class _ThenRegister(Loader):
    """The real loader, followed by ``register``."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec):
        """As the real loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module):
        """Load Gymnasium, then tell it about malgen."""
        self._loader.exec_module(module)
        register()

    def __getattr__(self, name):
        return getattr(self._loader, name)
