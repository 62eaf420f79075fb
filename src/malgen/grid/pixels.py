"""Tiles to RGB; placeholder until the sprites are drawn."""
TILE = 16
def draw(picture):
    raise NotImplementedError
