"""Pictures of things in a level, in a box of 24 x 24; drawn for malgen.

One definition serves the still pictures (SVG symbols) and the player (canvas paths).
"""


def _circle(x: float, y: float, r: float) -> str:
    arc = f"a{r:g} {r:g} 0 1 0"
    return f"M{x - r:g} {y:g}{arc} {2 * r:g} 0{arc} {-2 * r:g} 0z"


SPRITES: dict[str, tuple[tuple[str, str], ...]] = {
    "mouse": (
        (_circle(6.2, 7.2, 4.2) + _circle(17.8, 7.2, 4.2), "mouse-line"),
        (_circle(6.2, 7.2, 2.3) + _circle(17.8, 7.2, 2.3), "mouse-ear"),
        (_circle(12, 13.6, 8), "mouse-line"),
        (_circle(12, 13.6, 7.2), "mouse"),
        (_circle(9.2, 12.4, 1.25) + _circle(14.8, 12.4, 1.25), "mouse-eye"),
        (_circle(12, 16.6, 1.5), "mouse-ear"),
    ),
    "key": (
        (
            "M11.5 10.4H22.5V13.6H21.8V17.4H18.9V13.6H17.4V16.2H14.6V13.6H11.5z",
            "key-line",
        ),
        (_circle(7.2, 12, 5.9) + _circle(7.2, 12, 1.7), "key-line"),
        (
            "M11.5 11.1H21.8V12.9H11.5zM19.6 12.9H21.1V16.7H19.6z"
            "M15.3 12.9H16.7V15.5H15.3z",
            "key",
        ),
        (_circle(7.2, 12, 5.1) + _circle(7.2, 12, 2.5), "key"),
    ),
    "chest": (
        (
            "M2.2 20.8V9.5a5.6 5.6 0 0 1 5.6-5.6h8.4a5.6 5.6 0 0 1 5.6 5.6V20.8z",
            "chest-line",
        ),
        ("M3.2 10.3V9.5A4.6 4.6 0 0 1 7.8 4.9h8.4a4.6 4.6 0 0 1 4.6 4.6v.8z", "chest"),
        ("M3.2 11.6H20.8V19.8H3.2z", "chest"),
        ("M9.7 9.3H14.3V14.9H9.7z", "key"),
        ("M11.3 11H12.7V13.4H11.3z", "chest-line"),
    ),
    "opened": (
        (_circle(12, 12, 8), "good"),
        ("M6.8 12.3 8.2 10.9 10.9 13.6 15.9 8.3 17.3 9.7 10.9 16.4z", "on-good"),
    ),
    "harm": (
        (_circle(12, 12, 8), "harm"),
        ("M10.8 6.6H13.2L12.8 13.4H11.2z" + _circle(12, 16.2, 1.4), "on-harm"),
    ),
    "flag": (("M14 1.5H22.5L19.8 5 22.5 8.5H15.8V12H14z", "harm"),),
    "thing": ((_circle(12, 12, 6), "s0"),),
}

ITEMS = {
    "k": ("key", False),
    "c": ("chest", False),
    "K": ("key", True),
    "C": ("chest", True),
}

ICONS = {
    "check": "M20 6 9 17l-5-5",
    "alert": "M8 2h8l6 6v8l-6 6H8l-6-6V8zM12 7v6M12 16.6v.4",
    "broken": "M12 2a10 10 0 1 0 0 20a10 10 0 1 0 0-20M7 12h10",
    "half": "M12 2a10 10 0 1 0 0 20a10 10 0 1 0 0-20M8 10l4 5 4-5",
    "pause": "M12 2a10 10 0 1 0 0 20a10 10 0 1 0 0-20M9.5 8.5v7M14.5 8.5v7",
    "question": "M12 2a10 10 0 1 0 0 20a10 10 0 1 0 0-20M9 9.2a3 3 0 1 1 4.4 2.6c-.9.5"
    "-1.4 1-1.4 2M12 17v.3",
    "turn": "M4 18V9a4 4 0 0 1 4-4h11M15 1l4 4-4 4",
    "mixed": "M3 7h4l9 10h5M18 14l3 3-3 3M3 17h4l2.5-2.8M13 9.6 15.9 7H21M18 4l3 3-3 3",
}
