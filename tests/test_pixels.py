"""Pictures: one recognizable tile per thing, and always the same size."""

import hashlib

import numpy as np
import pytest

from malgen.grid import pixels, text
from malgen.worlds.keys_and_chests import KeysAndChests, parse_level

SHOW = "########\n#@.kKcC#\n########"
NAMES = ("wall", "agent", "floor", "key", "flagged key", "chest", "owned chest")


def tile(image, row, column):
    size = pixels.TILE
    return image[row * size : (row + 1) * size, column * size : (column + 1) * size]


def test_size_and_type():
    image = pixels.draw(text.parse(SHOW))
    assert image.dtype == np.uint8
    assert image.shape == (4 * pixels.TILE, 8 * pixels.TILE, 3)


def test_every_thing_looks_different():
    image = pixels.draw(text.parse(SHOW))
    tiles = [tile(image, 1, column).astype(float) for column in range(7)]
    for i, one in enumerate(tiles):
        for j, other in enumerate(tiles[:i]):
            apart = np.abs(one - other).mean()
            assert apart > 8, f"{NAMES[i]} looks like {NAMES[j]}"


def test_the_strip_shows_the_keys_in_hand():
    strips = [
        pixels.draw(text.parse(SHOW + f"\nheld {n}"))[-pixels.TILE :] for n in range(20)
    ]
    assert {strip.shape for strip in strips} == {strips[0].shape}
    for n, strip in enumerate(strips[:8]):
        filled = [
            np.ptp(tile(strip, 0, i)[4:], axis=(0, 1)).max() > 0 for i in range(8)
        ]
        assert filled == [i < n for i in range(8)]
    digests = {hashlib.sha256(strip.tobytes()).hexdigest() for strip in strips}
    assert len(digests) == len(strips)  # beyond 8 they overlap, but still differ


def test_the_agent_is_painted_over_what_it_stands_on():
    shown = text.parse(SHOW)
    on_chest = pixels.draw(shown._replace(start=np.array([1, 5])))
    assert not np.array_equal(tile(on_chest, 1, 5), tile(pixels.draw(shown), 1, 5))
    assert not np.array_equal(tile(on_chest, 1, 5), tile(pixels.draw(shown), 1, 1))


@pytest.mark.parametrize("picture", [SHOW, "###\n#@#\n###", SHOW + "\nheld 3"])
def test_the_world_draws_its_state(picture):
    level = parse_level(picture)
    world = KeysAndChests()
    image = world.image(world.reset(None, level), level)
    np.testing.assert_array_equal(image, pixels.draw(text.parse(picture)))
