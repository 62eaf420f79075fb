"""ASCII levels: what is drawn can be read, and what cannot be read says where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgen.errors import LevelError
from malgen.grid import text
from malgen.worlds.keys_and_chests import draw_level, parse_level
from test_world_keys_and_chests import pictures


def indented(picture):
    return "\n".join("   " + row + "  " for row in picture.splitlines())


@given(picture=pictures())
def test_round_trip(picture):
    assert text.draw(text.parse(picture)) == picture.strip()
    assert draw_level(parse_level(picture)) == picture.strip()


@given(picture=pictures())
def test_indentation_blank_lines_and_line_ends_do_not_matter(picture):
    expected = text.parse(picture)
    for variant in (
        f"\n\n{picture}\n\n",
        indented(picture),
        picture.replace("\n", "\r\n"),
    ):
        for part, again in zip(expected, text.parse(variant), strict=True):
            np.testing.assert_array_equal(part, again)


SENTENCES = [
    ("", "The level is empty; draw it with the characters # . @ k c."),
    (" \n ", "The level is empty; draw it with the characters # . @ k c."),
    ("held 2", "The level is empty; draw it with the characters # . @ k c."),
    (
        "####\n#@#\n####",
        "Row 2 of the level has 3 characters but row 1 has 4; make every row equally "
        "long.",
    ),
    (
        "#####\n#@.x#\n#####",
        "Unknown character 'x' at row 2, column 4; use one of # . @ k c K C.",
    ),
    (
        "####\n#@ #\n####",
        "Unknown character ' ' at row 2, column 3; use one of # . @ k c K C.",
    ),
    ("####\n#..#\n####", "The level has 0 agents; draw exactly one @."),
    (
        "#####\n#@k@#\n#####",
        "The level has 2 agents (row 2 column 2, row 2 column 4); draw exactly one @.",
    ),
    (
        "#####\n#@k.#\n###.#",
        "The border is open at row 3, column 4; put a # there (the outermost rows and "
        "columns are walls).",
    ),
    (
        "@",
        "The border is open at row 1, column 1; put a # there (the outermost rows and "
        "columns are walls).",
    ),
    (
        "######\n#@.#k#\n######",
        "The key at row 2, column 5 cannot be reached from the agent; open a way to it "
        "or remove it.",
    ),
    (
        "######\n#@.#C#\n######",
        "The chest at row 2, column 5 cannot be reached from the agent; open a way to "
        "it or remove it.",
    ),
    (
        "####\n#@.#\n####\nheld two",
        "The last line says 'held two'; write 'held' and a whole number of keys, for "
        "example 'held 2'.",
    ),
    (
        "####\n#@.#\n####\nheld -1",
        "The last line says 'held -1'; write 'held' and a whole number of keys, for "
        "example 'held 2'.",
    ),
    (
        "####\n#@k#\n####\nheld 12",
        "The level has 13 keys, in hand and on the floor, but only 12 cells; use at "
        "most one key per cell.",
    ),
]


@pytest.mark.parametrize("picture, sentence", SENTENCES)
def test_what_is_wrong_and_where(picture, sentence):
    with pytest.raises(LevelError) as caught:
        text.parse(picture)
    assert str(caught.value) == sentence


@given(st.text(alphabet="#.@kcKC \nheld0123456789x", max_size=60))
def test_any_text_is_read_or_refused_with_a_sentence(picture):
    try:
        parsed = text.parse(picture)
    except LevelError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
    else:
        again = text.parse(text.draw(parsed))
        for part, other in zip(parsed, again, strict=True):
            np.testing.assert_array_equal(part, other)


def test_keys_in_hand_are_told_on_the_last_line():
    assert text.parse("####\n#@.#\n####\nheld 2").held == 2
    assert text.parse("####\n#@.#\n####").held == 0
    assert draw_level(parse_level("####\n#@.#\n####\nheld 0")) == "####\n#@.#\n####"
