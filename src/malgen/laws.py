"""What a check found: laws, and whether something keeps them."""

import json
from dataclasses import asdict, dataclass

from malgen.errors import ContractError, ForeignError


@dataclass(frozen=True, kw_only=True)
class Law:
    """One law and whether something keeps it.

    Attributes:
        thing: what was checked, e.g. "world Forest".
        law: the law's number and text; empty when nothing was checked.
        passed: None when it is no failure not to keep it, or nothing was checked.
        note: what went wrong, or why nothing was checked.
        raised: whether the user's code raised.
    """

    thing: str
    law: str
    passed: bool | None
    note: str = ""
    raised: bool = False


@dataclass(frozen=True, kw_only=True)
class Checked:
    """All laws that were checked in a file."""

    file: str
    laws: tuple[Law, ...]

    @property
    def status(self) -> int:
        """0 all hold, 1 the user's code raised, 2 a law does not hold."""
        if any(law.raised for law in self.laws):
            return ForeignError.exit_code
        broken = any(law.passed is False for law in self.laws)
        return ContractError.exit_code if broken else 0

    @property
    def problem(self) -> str:
        """One sentence about what does not hold; empty when all does."""
        broken = [law for law in self.laws if law.passed is False]
        if not broken:
            return ""
        first, more = broken[0], len(broken) - 1
        return f"{self.file}, {first.thing}: {first.law}: {first.note}" + (
            f" (and {more} more)" if more else ""
        )

    def to_json(self) -> str:
        """As one JSON object."""
        found = {
            "type": "check",
            "file": self.file,
            "passed": self.status == 0,
            "laws": [asdict(law) for law in self.laws],
        }
        return json.dumps(found, indent=2)
