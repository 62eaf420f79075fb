"""Does a part keep the laws of its type? What ``malgen check`` and the tests run.

Each function returns the laws it checked, and raises ``ContractError`` with one
sentence at the first one that does not hold.
"""

from malgen.testing.objectives import check_objective
from malgen.testing.policies import check_policy
from malgen.testing.shifts import check_shift
from malgen.testing.worlds import check_world

__all__ = ["check_objective", "check_policy", "check_shift", "check_world"]
