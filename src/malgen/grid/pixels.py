"""Levels as pictures: every sprite is painted with numpy, so no image file is needed.

The agent is a mouse, a key is golden, a flagged key is red and lies on a trap plate,
a chest is brown, an owned chest is blue and carries its owner's heart. Keys in hand
lie in a strip below the level.

Source: own drawings, circles and boxes on a unit square, painted at ``DETAIL`` times
the final size and averaged down so that edges are smooth.
"""

from functools import cache

import numpy as np
from jaxtyping import Bool, Float, UInt8

from malgen.grid.text import Picture

# Pixels per cell, and how many samples per pixel and axis the sprites are made from.
TILE = 24
DETAIL = 6

Color = tuple[int, int, int]

FLOOR, FLOOR_EDGE = (244, 238, 226), (233, 225, 210)
WALL, WALL_LIGHT, WALL_DARK = (84, 94, 116), (112, 123, 147), (62, 70, 90)
STRIP, STRIP_EDGE = (46, 52, 68), (70, 78, 99)
GOLD, GOLD_DARK = (246, 190, 44), (150, 101, 12)
RED, RED_DARK = (226, 62, 62), (128, 20, 30)
WOOD, WOOD_DARK, WOOD_LIGHT = (168, 104, 52), (98, 56, 24), (196, 134, 76)
BLUE, BLUE_DARK, BLUE_LIGHT = (76, 132, 206), (32, 66, 122), (124, 172, 232)
FUR, FUR_DARK, EAR, NOSE, EYE = (
    (150, 154, 168),
    (84, 88, 104),
    (246, 178, 188),
    (232, 96, 120),
    (28, 30, 40),
)
WHITE = (255, 255, 255)


class _Canvas:
    """A unit square to paint on; x to the right, y down."""

    def __init__(self, background: Color):
        side = TILE * DETAIL
        self.y, self.x = (np.mgrid[0:side, 0:side] + 0.5) / side
        self.pixels = np.empty((side, side, 3))
        self.pixels[:] = background
        self.covered = np.zeros((side, side), bool)

    def paint(self, where: Bool[np.ndarray, "s s"], color: Color) -> None:
        self.pixels[where] = color
        self.covered |= where

    def box(self, left: float, top: float, right: float, bottom: float):
        return (self.x >= left) & (self.x < right) & (self.y >= top) & (self.y < bottom)

    def disc(self, x: float, y: float, radius: float, flat: float = 1.0):
        """A circle, or with ``flat`` < 1 an ellipse that is lower than wide."""
        return (self.x - x) ** 2 + ((self.y - y) / flat) ** 2 <= radius**2

    def line(self, x0: float, y0: float, x1: float, y1: float, width: float):
        along = (self.x - x0) * (x1 - x0) + (self.y - y0) * (y1 - y0)
        share = np.clip(along / ((x1 - x0) ** 2 + (y1 - y0) ** 2), 0, 1)
        off_x = self.x - x0 - share * (x1 - x0)
        off_y = self.y - y0 - share * (y1 - y0)
        return off_x**2 + off_y**2 <= (width / 2) ** 2


def _draw_floor(canvas: _Canvas) -> None:
    canvas.paint(~canvas.box(0.02, 0.02, 0.98, 0.98), FLOOR_EDGE)


def _draw_wall(canvas: _Canvas) -> None:
    canvas.paint(canvas.box(0, 0, 1, 1), WALL_DARK)
    # Two courses of bricks; each brick has a lit upper edge.
    for top, lefts in ((0.0, (-0.5, 0.5)), (0.5, (0.0,))):
        for left in lefts:
            left, right, bottom = left + 0.04, left + 0.96, top + 0.46
            canvas.paint(canvas.box(left, top + 0.04, right, bottom), WALL)
            canvas.paint(canvas.box(left, top + 0.04, right, top + 0.11), WALL_LIGHT)


def _key_shape(canvas: _Canvas, grow: float) -> Bool[np.ndarray, "s s"]:
    ring = canvas.disc(0.32, 0.36, 0.19 + grow) & ~canvas.disc(0.32, 0.36, 0.09 - grow)
    shaft = canvas.line(0.45, 0.48, 0.80, 0.80, 0.12 + 2 * grow)
    teeth = canvas.line(0.66, 0.67, 0.77, 0.56, 0.11 + 2 * grow) | canvas.line(
        0.79, 0.79, 0.89, 0.69, 0.11 + 2 * grow
    )
    return ring | shaft | teeth


def _draw_key(canvas: _Canvas, color: Color = GOLD, rim: Color = GOLD_DARK) -> None:
    canvas.paint(_key_shape(canvas, 0.04), rim)
    canvas.paint(_key_shape(canvas, 0.0), color)
    canvas.paint(canvas.disc(0.24, 0.28, 0.035), WHITE)


def _draw_flagged_key(canvas: _Canvas) -> None:
    plate = canvas.box(0.06, 0.06, 0.94, 0.94)
    stripes = np.floor((canvas.x + canvas.y) * 5.0) % 2 == 0
    inside = canvas.box(0.15, 0.15, 0.85, 0.85)
    canvas.paint(plate & stripes, (60, 56, 56))
    canvas.paint(plate & ~stripes, (250, 206, 60))
    canvas.paint(inside, (252, 226, 218))
    _draw_key(canvas, RED, RED_DARK)


def _draw_chest(
    canvas: _Canvas,
    body: Color = WOOD,
    dark: Color = WOOD_DARK,
    light: Color = WOOD_LIGHT,
) -> None:
    lid = canvas.disc(0.5, 0.46, 0.41, 0.75) & (canvas.y < 0.47)
    box = canvas.box(0.09, 0.45, 0.91, 0.88)
    canvas.paint(lid | box, dark)
    lid = canvas.disc(0.5, 0.46, 0.35, 0.72) & (canvas.y < 0.43)
    canvas.paint(lid, light)
    canvas.paint(canvas.box(0.15, 0.51, 0.85, 0.82), body)
    for left in (0.20, 0.71):
        strap = canvas.box(left, 0.0, left + 0.09, 1.0)
        canvas.paint(strap & (lid | canvas.box(0.15, 0.51, 0.85, 0.82)), GOLD_DARK)
    canvas.paint(canvas.box(0.39, 0.40, 0.61, 0.66), GOLD_DARK)
    canvas.paint(canvas.box(0.42, 0.43, 0.58, 0.63), GOLD)
    canvas.paint(canvas.disc(0.5, 0.50, 0.04) | canvas.box(0.48, 0.5, 0.52, 0.59), EYE)


def _draw_owned_chest(canvas: _Canvas) -> None:
    _draw_chest(canvas, BLUE, BLUE_DARK, BLUE_LIGHT)
    for size, color in ((0.27, WHITE), (0.20, RED)):
        x, y = (canvas.x - 0.5) / size, (0.56 - canvas.y) / size
        canvas.paint((x**2 + y**2 - 0.5) ** 3 - x**2 * y**3 <= 0.0, color)


def _draw_agent(canvas: _Canvas) -> None:
    for x in (0.22, 0.78):
        canvas.paint(canvas.disc(x, 0.28, 0.22), FUR_DARK)
        canvas.paint(canvas.disc(x, 0.28, 0.175), FUR)
        canvas.paint(canvas.disc(x, 0.29, 0.115), EAR)
    head = canvas.disc(0.5, 0.57, 0.38, 0.92)
    canvas.paint(head, FUR_DARK)
    canvas.paint(canvas.disc(0.5, 0.57, 0.335, 0.92), FUR)
    canvas.paint(canvas.disc(0.5, 0.72, 0.19, 0.72), (226, 228, 236))
    for side in (-1, 1):
        for height in (0.68, 0.78):
            tip = height + (0.03 if height > 0.7 else -0.04)
            whisker = canvas.line(
                0.5 + side * 0.15, height, 0.5 + side * 0.44, tip, 0.025
            )
            canvas.paint(whisker, FUR_DARK)
        canvas.paint(canvas.disc(0.5 + side * 0.15, 0.51, 0.078), EYE)
        canvas.paint(canvas.disc(0.5 + side * 0.15 + 0.025, 0.485, 0.028), WHITE)
    canvas.paint(canvas.disc(0.5, 0.66, 0.07, 0.8), NOSE)


_SPRITES = {
    "floor": _draw_floor,
    "wall": _draw_wall,
    "key": _draw_key,
    "flagged key": _draw_flagged_key,
    "chest": _draw_chest,
    "owned chest": _draw_owned_chest,
    "agent": _draw_agent,
}


def _shrink(fine: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    tail = fine.shape[2:]
    return fine.reshape(TILE, DETAIL, TILE, DETAIL, *tail).mean(axis=(1, 3))


@cache
def _sprite(
    name: str,
) -> tuple[Float[np.ndarray, "TILE TILE 3"], Float[np.ndarray, "TILE TILE 1"]]:
    """Colors, and how much of each pixel the sprite covers (0 to 1)."""
    canvas = _Canvas(FLOOR)
    _SPRITES[name](canvas)
    cover = _shrink(canvas.covered.astype(float))[:, :, None]
    paint = _shrink(np.where(canvas.covered[:, :, None], canvas.pixels, 0.0))
    return paint / np.maximum(cover, 1e-9), cover


def _put(image: Float[np.ndarray, "H W 3"], name: str, top: int, left: int) -> None:
    color, cover = _sprite(name)
    spot = image[top : top + TILE, left : left + TILE]
    spot += cover * (color - spot)


def draw(picture: Picture) -> UInt8[np.ndarray, "H W 3"]:
    """Paint a level.

    Args:
        picture: what to show; the agent is painted over whatever it stands on.

    Returns:
        RGB of (h + 1) * TILE rows and w * TILE columns: the level, and below it one
        row with the keys in hand. The size depends on the level's size only.
    """
    height, width = picture.walls.shape
    image = np.empty(((height + 1) * TILE, width * TILE, 3))
    image[: height * TILE] = FLOOR
    image[height * TILE :] = STRIP
    image[height * TILE : height * TILE + 2] = STRIP_EDGE
    layers = {
        "floor": ~picture.walls,
        "wall": picture.walls,
        "key": picture.keys & ~picture.flagged,
        "flagged key": picture.keys & picture.flagged,
        "chest": picture.chests & ~picture.owned,
        "owned chest": picture.chests & picture.owned,
    }
    for name, where in layers.items():
        for i, j in np.argwhere(where):
            _put(image, name, i * TILE, j * TILE)
    row, column = (int(x) for x in picture.start)
    _put(image, "agent", row * TILE, column * TILE)
    # Many keys overlap, so that they fit into the strip.
    held = int(picture.held)
    step = min(TILE, (width - 1) * TILE / max(held - 1, 1))
    for i in range(held):
        _put(image, "key", height * TILE, int(i * step))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
