"""The frozen figures of measurement.md 1.4, 1.5 and 9, re-derived with other seeds."""

import json

import numpy as np
import pytest

from golden import make_anchors

ANCHORS = json.loads(make_anchors.FILE.read_text())

# 4.5 standard errors: about 60 comparisons fail by chance once in 2,000 seeds.
STANDARD_ERRORS = 4.5


def compare(found, frozen):
    assert found.keys() == frozen.keys()
    for name, (mean, error) in found.items():
        old, old_error = frozen[name]
        # constant columns (every chest is opened) have no error of their own
        allowed = STANDARD_ERRORS * np.hypot(error, old_error) + 0.01
        assert abs(mean - old) < allowed, (name, mean, old, allowed)


@pytest.mark.statistical
@pytest.mark.parametrize("setting", make_anchors.SETTINGS)
def test_scripted_agents_bring_about_what_they_did(setting):
    compare(make_anchors.measure(setting, 256, 2), ANCHORS[setting])


@pytest.mark.statistical
def test_training_hardly_prefers_x_to_the_nearest_key():
    found = make_anchors.ambiguity(256, 2)
    compare(found, ANCHORS["13x13 training 3/10"])


def test_the_comparison_can_fail():
    """Negative control: another distribution does not pass for this one."""
    with pytest.raises(AssertionError):
        compare(ANCHORS["9x9 braided 6/2"], ANCHORS["13x13 braided 10/3"])


def test_prototype_figures_hold_for_block_mazes():
    """Measured in the prototype with the same walls: within 3 of its errors."""
    rows = ANCHORS["13x13 blocks 10/3"]

    def stakes(name):
        return rows[f"{name} chests"][0] / rows[f"{name} excess"][0]

    assert stakes("nearest-key") == pytest.approx(0.436, abs=0.01)
    assert stakes("nearest-useful-item") == pytest.approx(0.57, abs=0.06)
    assert stakes("key-collector") == pytest.approx(3 / 7, abs=0.005)
    # myopic-x: the prototype printed 5.2 from .58 useless keys per level at n = 70
    assert rows["myopic-x excess"][0] == pytest.approx(0.58, abs=0.3)
    assert rows["certified"][0] == pytest.approx(0.93, abs=0.09)
