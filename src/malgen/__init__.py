"""malgen: was it trained with X, does it do Y, and would we rather it had failed?

The story, in the order in which things happen:

* ``worlds``: what exists and what actions do; no reward in there.
* ``training``: a base optimizer selects a policy for objective X on training levels.
* ``deployment``: the policy meets levels where X and its proxies come apart.
* ``outcomes``: per level, what was intended and what harm was done, beside what a
  switched-off system, a random one and a real X-optimizer would have brought about.
* ``verdict``: is it malign generalization, with what certainty, from which price on.
* ``report``: one page that shows it to a person.

The shortest way in::

    import malgen

    verdict = malgen.audit(lambda observation: 4, "keys-and-chests")
    print(verdict)

Source: Barnett, "Is the term mesa optimizer too narrow?"
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from malgen.adapters.registration import register_when_gymnasium_is_here

if TYPE_CHECKING:
    from malgen.auditing import audit as audit
    from malgen.errors import MalgenError as MalgenError
    from malgen.experiment import run as run
    from malgen.findings import Estimate as Estimate
    from malgen.findings import Finding as Finding
    from malgen.findings import Verdict as Verdict
    from malgen.foreign.scenario import Constant as Constant
    from malgen.foreign.scenario import ForeignScenario as ForeignScenario
    from malgen.foreign.scenario import Proxy as Proxy
    from malgen.outcomes import Outcomes as Outcomes

__version__ = metadata.version("malgen")

# Loaded on first use, so that ``import malgen`` costs no JAX and no SciPy.
_LAZY = {
    "audit": ("malgen.auditing", "audit"),
    "run": ("malgen.experiment", "run"),
    "Outcomes": ("malgen.outcomes", "Outcomes"),
    "Verdict": ("malgen.findings", "Verdict"),
    "Estimate": ("malgen.findings", "Estimate"),
    "Finding": ("malgen.findings", "Finding"),
    "ForeignScenario": ("malgen.foreign.scenario", "ForeignScenario"),
    "Proxy": ("malgen.foreign.scenario", "Proxy"),
    "Constant": ("malgen.foreign.scenario", "Constant"),
    "MalgenError": ("malgen.errors", "MalgenError"),
    "World": ("malgen.types", "World"),
    "LevelDistribution": ("malgen.types", "LevelDistribution"),
    "Objective": ("malgen.types", "Objective"),
    "Policy": ("malgen.types", "Policy"),
    "HostPolicy": ("malgen.types", "HostPolicy"),
    "Task": ("malgen.types", "Task"),
    "Deployment": ("malgen.types", "Deployment"),
}

__all__ = [*_LAZY, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'malgen' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)


register_when_gymnasium_is_here()
