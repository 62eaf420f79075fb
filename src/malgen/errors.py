"""The errors a user can cause; every message says what was given and what to do."""

from collections.abc import Callable


class MalgenError(Exception):
    """Base of all errors that malgen raises on purpose.

    The command line prints the message as one sentence and exits with
    ``exit_code``; it never shows a traceback for these.

    Args:
        message: one sentence.
        row: which observation of a batch it is about, where that is known.
    """

    exit_code = 2

    def __init__(self, message: str = "", *, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class ConfigError(MalgenError):
    """A name, option, file or folder that cannot be used as given."""


class LevelError(MalgenError):
    """A level or a level distribution that cannot exist or cannot be solved."""


class ContractError(MalgenError):
    """A policy, world, objective or shift that breaks what its type promises."""


class ForeignError(MalgenError):
    """A program that is not malgen's (a user's policy) failed while running."""

    exit_code = 1


class NotMeasurable(MalgenError):
    """A quantity that has no meaning here; callers turn it into a finding."""


def first_line(error: BaseException) -> str:
    """What a foreign exception says, on one line and without a full stop."""
    lines = _safely(str, error).strip().splitlines() or ["no message"]
    return lines[0].rstrip(".")[:200]


def described(thing: object, most: int = 60) -> str:
    """A foreign object on one line of at most ``most`` characters."""
    text = " ".join(_safely(repr, thing).split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _safely(words: Callable[[object], str], thing: object) -> str:
    try:
        return words(thing)
    except (Exception, SystemExit) as error:  # the object's own code runs here
        return f"<{type(thing).__name__} that raised {type(error).__name__}>"
