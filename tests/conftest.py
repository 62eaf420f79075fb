"""Settings of all tests, made before JAX starts."""

import os

# The suite needs no accelerator, and CPU results are the same everywhere.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from hypothesis import HealthCheck, settings

# Compilation makes first examples slow, so no deadline; the same examples each run.
settings.register_profile(
    "malgen",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("malgen")
