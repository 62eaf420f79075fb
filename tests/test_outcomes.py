"""The outcome table refuses what cannot be, and computes what it says."""

import numpy as np
import pytest

from malgen.errors import ConfigError, ContractError
from malgen.outcomes import Outcomes, halves

RANGES = {"intended_bounds": (0, 3), "harm_bounds": (0, 7)}


def outcomes(**change):
    given = {"intended": [3, 2, 1], "harm": [0, 1, 7], **RANGES, **change}
    return Outcomes(**given)


def test_utilities_and_differences():
    table = outcomes(
        off_intended=[1, 0, 0],
        off_harm=[0, 0, 2],
        reference_intended=[3, 3, 3],
        reference_harm=[0, 1, 0],
    )
    assert table.utility(2.0).tolist() == [3, 0, -13]
    assert table.z(2.0).tolist() == [2, 0, -9]
    assert table.x(2.0).tolist() == [2, 1, 7]
    assert table.d(2.0, 0.5).tolist() == [1, -0.5, -12.5]


def test_known_ranges_contain_every_difference():
    rng = np.random.default_rng(0)
    draw = {
        f"{who}{kind}": rng.integers(0, top + 1, 500)
        for who in ("", "off_", "reference_")
        for kind, top in (("intended", 3), ("harm", 7))
    }
    table = Outcomes(**draw, **RANGES)
    for price in (0.0, 0.3, 5.0):
        low, high = table.bounds_z(price)
        assert low <= table.z(price).min() and table.z(price).max() <= high
        low, high = table.bounds_d(price, 0.1)
        assert low <= table.d(price, 0.1).min() and table.d(price, 0.1).max() <= high


def test_the_range_of_z_is_that_of_the_specification_when_off_does_nothing():
    assert outcomes().bounds_z(1.0) == (-7.0, 3.0)
    per_level = outcomes(harm_bounds=(0, np.array([0, 1, 7])), harm=[0, 1, 7])
    assert per_level.bounds_z(2.0) == (-14.0, 3.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"harm": [0, 1]}, "harm has 2 rows but intended has 3"),
        ({"harm": [0, 1, np.nan]}, "NaN or infinity in row 2"),
        ({"intended": [0, np.inf, 1]}, "NaN or infinity in row 1"),
        ({"intended": []}, "at least one level"),
        ({"intended": [[1, 2, 3]]}, "1 axis"),
        ({"intended": ["a", 1, 2]}, "not an array of numbers"),
        ({"harm": [0, 1, 8]}, "outside its known bounds"),
        ({"off_intended": [0, 0, -1]}, "off_intended is -1 in row 2"),
        ({"intended_bounds": (3, 0)}, "low <= high"),
        ({"intended_bounds": 3}, "must be"),
        ({"reference_intended": [3, 3, 3]}, "come together"),
        ({"train_fraction": [0.5, 1.5]}, r"in \[0, 1\]"),
        ({"greedy_harm": [0, 0, 0]}, "come together"),
        (
            {"greedy_intended": [0, 0, 0], "greedy_harm": [0, 9, 0]},
            "greedy_harm is 9 in row 1",
        ),
        ({"train_intended": []}, "at least one training level"),
        ({"train_intended": [1, np.nan]}, "NaN or infinity in row 1"),
        ({"train_random_intended": [1, 1]}, "only the second"),
        (
            {"train_intended": [4, 4, 3, 4], "train_random_intended": [1, 1]},
            "2 rows but train_intended has 4",
        ),
        ({"levels": ("a",)}, "3 rows but 1 level ids"),
        ({"degraded": {2.0: ([1, 1, 1], [1, 1, 1])}}, "dose 2.0"),
        (
            {"shutdown_intended": np.zeros((3, 2)), "shutdown_harm": np.zeros((3, 4))},
            "differ in shape",
        ),
    ],
)
def test_impossible_tables_are_refused_in_one_sentence(change, words):
    with pytest.raises(ContractError, match=words) as caught:
        outcomes(**change)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_rows_and_extended_undo_each_other():
    table = outcomes(
        shutdown_intended=np.ones((3, 5)),
        shutdown_harm=np.zeros((3, 5)),
        degraded={0.5: ([1, 2, 3], [0, 0, 1])},
        levels=("a", "b", "c"),
    )
    whole = table.rows(slice(0, 1)).extended(table.rows([1, 2]))
    assert whole.levels == table.levels
    assert whole.intended.tolist() == table.intended.tolist()
    assert whole.degraded[0.5][1].tolist() == [0, 0, 1]
    assert whole.shutdown_harm.shape == (3, 5)
    with pytest.raises(ContractError, match="only one of two"):
        table.extended(outcomes())


def test_training_levels_are_kept_as_they_are_and_greedy_rows_are_picked():
    given = {
        "greedy_intended": [3, 3, 2],
        "greedy_harm": [0, 2, 7],
        "train_intended": [4, 9, 4, 3],  # bounds are those of deployment levels
        "train_random_intended": [1, 0, 0, 1],
    }
    table = outcomes(**given)
    part = table.rows([2, 0])
    assert part.greedy_intended.tolist() == [2, 3]
    assert table.utility(2.0, "greedy").tolist() == [3, -1, -12]
    for same in (part, part.extended(table.rows([1]))):
        assert same.train_intended.tolist() == [4, 9, 4, 3]
        assert same.train_random_intended.tolist() == [1, 0, 0, 1]
    with pytest.raises(ContractError, match=r"only one of two .* greedy_intended"):
        table.extended(outcomes())
    assert outcomes(train_intended=[4]).train_random_intended is None


def test_halves_follow_the_level_and_not_its_place():
    levels = tuple(f"level-{i}" for i in range(200))
    first = halves(levels)
    assert 60 < first.sum() < 140
    order = np.random.default_rng(0).permutation(200)
    assert (halves(tuple(levels[i] for i in order)) == first[order]).all()
    assert halves(("a", "b")).sum() == 1  # never an empty half


def test_table_file_round_trip(tmp_path):
    table = outcomes(
        random_intended=[0, 1, 0],
        random_harm=[0, 0, 1],
        greedy_intended=[3, 3, 1],
        greedy_harm=[0, 0, 7],
        levels="abc",
    )
    table.to_csv(tmp_path / "table.csv")
    again = Outcomes.from_csv(tmp_path / "table.csv", **RANGES)
    assert again.levels == ("a", "b", "c")
    assert again.harm.tolist() == table.harm.tolist()
    assert again.random_harm.tolist() == [0, 0, 1]
    assert again.greedy_harm.tolist() == [0, 0, 7]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("intended,harm,typo\n1,1,1\n", "typo"),
        ("intended\n1\n", "needs the columns"),
        ("", "needs the columns"),
        ("intended,harm\n1,much\n", "no number"),
    ],
)
def test_bad_table_files_are_refused(tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ConfigError, match=words):
        Outcomes.from_csv(tmp_path / "t.csv", **RANGES)
    with pytest.raises(ConfigError, match="cannot be read"):
        Outcomes.from_csv(tmp_path / "missing.csv", **RANGES)
