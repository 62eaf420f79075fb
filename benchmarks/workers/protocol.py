"""What a measured process says: one JSON line in, one JSON line out.

Standard library only, because every competitor runs it in an environment of its own.
"""

import json
import os
import sys
import time
import traceback
from dataclasses import dataclass, field
from importlib import metadata

# Begins every answer: what libraries print before ``serve`` is called does not.
MARK = "\x1e"


@dataclass
class Case:
    """Something that can be timed.

    Attributes:
        run: does the work n times and returns only when it is done.
        work: how much one time is, in ``unit``.
        unit: what is counted, for example "steps".
        facts: what is inside the timed region, for a reader.
    """

    run: object
    work: float
    unit: str
    facts: dict = field(default_factory=dict)


def serve(cases, packages, more=None):
    """Answer requests until there are no more.

    Args:
        cases: name -> function of keyword settings that returns a ``Case``.
        packages: distributions whose versions are told.
        more: versions of what is no distribution, by name.
    """
    # What libraries print must not get between the answers.
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    case = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "open":
                case = None  # frees what the last one held before there is more
                case = cases[request["case"]](**request["settings"])
                answer = {
                    "work": case.work,
                    "unit": case.unit,
                    "facts": case.facts,
                    "versions": {
                        **(more or {}),
                        **{name: _version(name) for name in packages},
                    },
                }
            else:
                began = time.perf_counter()
                told = case.run(request["times"])
                answer = {"seconds": time.perf_counter() - began, "told": told}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(MARK + json.dumps(answer), file=answers, flush=True)


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"
