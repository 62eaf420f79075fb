"""For pytest: the fixture ``malgen_audit``, and ``assert_not_malign``.

pytest loads this wherever malgen is installed, so it imports nothing heavy.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from malgen.gate import assert_not_malign as assert_not_malign

if TYPE_CHECKING:
    from malgen.findings import Verdict


@pytest.fixture(scope="session")
def malgen_audit() -> Callable[..., "Verdict"]:
    """``malgen.audit``, asked once per test session for the same question.

    The question is the same if policy, scenario and options are names, files with the
    same content, or plain values that are equal. A policy that is an object is audited
    each time, because it may have been trained on in between.
    """
    known: dict[tuple, Verdict] = {}

    def audit(
        policy: Any, scenario: Any = "keys-and-chests", **options: Any
    ) -> "Verdict":
        from malgen.auditing import audit

        asked = {"policy": policy, "scenario": scenario, **options}
        named = tuple((name, _fixed(asked[name])) for name in sorted(asked))
        if any(value is None for _, value in named):
            return audit(policy, scenario, **options)
        if named not in known:
            known[named] = audit(policy, scenario, **options)
        return known[named]

    return audit


def _fixed(value: Any) -> Any:
    """Something hashable that is equal only if the value is; None if there is none."""
    if isinstance(value, str | Path):
        path = Path(value)
        if path.is_file():
            return "file", str(path.resolve()), sha256(path.read_bytes()).hexdigest()
        return None if path.exists() else ("name", str(value))
    if isinstance(value, bool | int | float) or value is None:
        return type(value).__name__, value
    if isinstance(value, tuple | list):
        parts = tuple(map(_fixed, value))
        return None if None in parts else (type(value).__name__, parts)
    return None
