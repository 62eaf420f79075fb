"""Settings of all tests, made before JAX starts."""

import os
import signal
from pathlib import Path

# The suite needs no accelerator, and CPU results are the same everywhere.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Workers and repeated runs share what they compiled; most of the time is compiling.
CACHE = Path(__file__).parent.parent / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

# What instruments found is shared too, and stays out of the user's own folder.
os.environ.setdefault("XDG_CACHE_HOME", str(CACHE.parent / "home"))

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# Compilation makes first examples slow, so no deadline; the same examples each run.
settings.register_profile(
    "malgen",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("malgen")


@pytest.fixture
def heard_signals():
    """Ctrl-C is heard, by children too, even if the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
