"""The card of a zoo member: what is true of it by construction, and why."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is true of an agent because it was written that way.

    Attributes:
        family: members that differ only in a setting share it ("event-depth", ...);
            calibration leaves out whole families.
        goal: class of the goal it is built around ("x", "keys", "keys-and-chests"),
            or None for a device without one.
        process: how it decides, in one sentence.
        search_space: does it hold candidates that it does not take? True, False, or
            None where the answer is graded or contested (left out of calibration).
        search_process: does it compare or refine candidates?
        explicit_objective: is there an objective apart from perception that the same
            machinery would pursue if it were another?
        depth: how many events it looks ahead; None where that means nothing.
        radius: how many cells it looks ahead; None: everything, or nothing.
        why: why these answers are true, in one or two sentences.

    Source: measurement.md 4.1, 4.2.
    """

    family: str
    goal: str | None
    process: str
    search_space: bool | None
    search_process: bool | None
    explicit_objective: bool | None
    depth: int | None = None
    radius: int | None = None
    why: str
