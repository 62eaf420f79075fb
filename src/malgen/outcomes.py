"""The plain table every verdict is computed from: one row per level.

What the policy brought about, what switching it off would have, and what the
policy that really pursues X would have. Nothing here knows a world, so outcomes
of somebody else's environment get the same verdict by the same code.

Source: measurement.md 1.1-1.4.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from malgen.errors import ConfigError, ContractError

Bounds = tuple[float | np.ndarray, float | np.ndarray]

_COLUMNS = (
    "intended",
    "harm",
    "off_intended",
    "off_harm",
    "reference_intended",
    "reference_harm",
    "random_intended",
    "random_harm",
    "greedy_intended",
    "greedy_harm",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """Outcomes of one policy and its baselines on the same n levels.

    Rows are independent draws from the deployment distribution; for the anytime
    engine they are in order of arrival. "Intended" is undiscounted X, "harm" the
    primary harm feature h >= 0; utility at a price is intended - price * harm.

    Attributes:
        intended: X of the policy, intended units, shape [n].
        harm: h of the policy, harm units, shape [n].
        intended_bounds: (low, high) that X of *any* policy respects; numbers, or
            one per level, shape [n].
        harm_bounds: the same for h.
        off_intended: X when switched off from the start, shape [n]; zeros if None.
        off_harm: h when switched off from the start, shape [n]; zeros if None.
        reference_intended: X of the X-optimal policy with worst ties, shape [n];
            None when there is no reference.
        reference_harm: its h, shape [n].
        random_intended: X of uniformly random actions, shape [n] or None.
        random_harm: its h, shape [n] or None.
        greedy_intended: X of the policy when it always takes its likeliest action,
            shape [n] or None.
        greedy_harm: its h, shape [n] or None.
        shutdown_intended: X when switched off from step t on, shape [n, t+1];
            column t: off before action t, last column: never. None if not run.
        shutdown_harm: the same for h.
        shutdown_steps: where only some steps were tried, which one each column stands
            for, increasing; the last is the longest that an episode can be. Empty:
            every step, as above.
        degraded: probability eps that each action is replaced by a uniform one ->
            (intended [n], harm [n]); None if not run.
        train_fraction: fraction of openable chests opened on each *training*
            level, shape [m]; None if the policy was not trained.
        train_intended: X of the policy per *training* level, where harm is zero by
            construction and switched off brings nothing, shape [k] or None.
        train_random_intended: X of uniformly random actions on the same training
            levels, shape [k] or None.
        levels: level ids (content hashes), length n; row numbers if empty.
        certified: True when every level was certified (measurement.md 1.5).
        flags: remarks shown beside the label, e.g. "novel feature".
        intended_words: phrase for the sentence with one {} for the mean X.
        harm_words: phrase for the sentence with one {} for the mean h.
        intended_unit: what X counts.
        harm_unit: what h counts.

    Raises:
        ContractError: in one sentence, for lengths that differ, numbers that are
            not finite or bounds that are not respected.
    """

    intended: np.ndarray
    harm: np.ndarray
    intended_bounds: Bounds
    harm_bounds: Bounds
    off_intended: np.ndarray | None = None
    off_harm: np.ndarray | None = None
    reference_intended: np.ndarray | None = None
    reference_harm: np.ndarray | None = None
    random_intended: np.ndarray | None = None
    random_harm: np.ndarray | None = None
    greedy_intended: np.ndarray | None = None
    greedy_harm: np.ndarray | None = None
    shutdown_intended: np.ndarray | None = None
    shutdown_harm: np.ndarray | None = None
    shutdown_steps: tuple[int, ...] = ()
    degraded: dict[float, tuple[np.ndarray, np.ndarray]] | None = None
    train_fraction: np.ndarray | None = None
    train_intended: np.ndarray | None = None
    train_random_intended: np.ndarray | None = None
    levels: tuple[str, ...] = ()
    certified: bool = False
    flags: tuple[str, ...] = ()
    intended_words: str = "brings about {} of what was intended"
    harm_words: str = "does {} of harm"
    intended_unit: str = "intended units"
    harm_unit: str = "harm units"

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        put("intended", _vector("intended", self.intended))
        n = len(self.intended)
        if n == 0:
            raise ContractError("outcomes need at least one level, got none.")
        for kind in ("intended", "harm"):
            bounds = _bounds(f"{kind}_bounds", getattr(self, f"{kind}_bounds"), n)
            put(f"{kind}_bounds", bounds)
        for name in ("off_intended", "off_harm"):
            if getattr(self, name) is None:
                put(name, np.zeros(n))
        for name in _COLUMNS:
            if getattr(self, name) is not None:
                put(name, self._checked(name, getattr(self, name), n))
        for who in ("reference", "random", "greedy", "shutdown"):
            given = [getattr(self, f"{who}_{k}") is not None for k in _KINDS]
            if given[0] != given[1]:
                raise ContractError(
                    f"{who}_intended and {who}_harm come together; give both or none."
                )
        if self.shutdown_intended is not None and self.shutdown_harm is not None:
            for kind in _KINDS:
                name = f"shutdown_{kind}"
                put(name, self._checked(name, getattr(self, name), n, axes=2))
            if self.shutdown_intended.shape != self.shutdown_harm.shape:
                raise ContractError(
                    "shutdown_intended and shutdown_harm differ in shape: "
                    f"{self.shutdown_intended.shape} and {self.shutdown_harm.shape}."
                )
            put("shutdown_steps", self._checked_steps(self.shutdown_intended.shape[1]))
        if self.degraded is not None:
            put("degraded", self._checked_doses(self.degraded, n))
        if self.train_fraction is not None:
            fraction = _vector("train_fraction", self.train_fraction)
            if len(fraction) == 0 or fraction.min() < 0 or fraction.max() > 1:
                raise ContractError(
                    "train_fraction holds one number in [0, 1] per training level; "
                    "give None for a policy that was not trained."
                )
            put("train_fraction", fraction)
        self._check_training(put)
        put("levels", tuple(map(str, self.levels or range(n))))
        if len(self.levels) != n:
            raise ContractError(
                f"there are {n} rows but {len(self.levels)} level ids; give one each."
            )

    def _check_training(self, put: Callable[[str, object], None]) -> None:
        """X on training levels: finite, at least one level, random on the same."""
        mine, random = self.train_intended, self.train_random_intended
        if mine is None and random is not None:
            raise ContractError(
                "train_random_intended is there to be compared with train_intended; "
                "give both or only the second."
            )
        if mine is None:
            return
        mine = _vector("train_intended", mine)
        if len(mine) == 0:
            raise ContractError(
                "train_intended needs at least one training level; give None if the "
                "policy was not played on any."
            )
        put("train_intended", mine)
        if random is None:
            return
        random = _vector("train_random_intended", random)
        if len(random) != len(mine):
            raise ContractError(
                f"train_random_intended has {len(random)} rows but train_intended has "
                f"{len(mine)}; both are of the same training levels."
            )
        put("train_random_intended", random)

    def _checked(self, name: str, value: object, n: int, axes: int = 1) -> np.ndarray:
        """The array if it is finite, has n rows and respects the bounds."""
        array = _vector(name, value, axes)
        if len(array) != n:
            raise ContractError(
                f"{name} has {len(array)} rows but intended has {n}; every column "
                "needs one row per level."
            )
        kind = "harm" if name.endswith("harm") else "intended"
        low, high = getattr(self, f"{kind}_bounds")
        slack, rows = 1e-9, array.reshape(n, -1)
        bad = (rows < low[:, None] - slack) | (rows > high[:, None] + slack)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ContractError(
                f"{name} is {rows[row, column]:g} in row {row}, outside its known "
                f"bounds [{low[row]:g}, {high[row]:g}]; correct {kind}_bounds or the "
                "outcome."
            )
        return array

    def _checked_steps(self, columns: int) -> tuple[int, ...]:
        """The step that each column of the shutdown runs stands for."""
        steps = tuple(self.shutdown_steps) or tuple(range(columns))
        if len(steps) != columns or list(steps) != sorted(set(steps)):
            raise ContractError(
                f"shutdown_steps is {steps} for {columns} columns of shutdown runs; "
                "give one increasing step for each."
            )
        return steps

    def _checked_doses(self, degraded: dict, n: int) -> dict:
        """Doses in increasing order with checked columns."""
        checked = {}
        for dose in sorted(degraded):
            if not 0 <= dose <= 1:
                raise ContractError(
                    f"degraded has the dose {dose}; a dose is a probability."
                )
            intended, harm = degraded[dose]
            checked[float(dose)] = (
                self._checked(f"degraded[{dose}] intended", intended, n),
                self._checked(f"degraded[{dose}] harm", harm, n),
            )
        return checked

    def __len__(self) -> int:
        return len(self.intended)

    @property
    def has_reference(self) -> bool:
        """Whether an X-reference exists."""
        return self.reference_intended is not None

    @property
    def has_random(self) -> bool:
        """Whether the random policy was run."""
        return self.random_intended is not None

    @property
    def has_greedy(self) -> bool:
        """Whether the policy was also run with its likeliest actions."""
        return self.greedy_intended is not None

    def utility(self, price: float, who: str = "") -> np.ndarray:
        """Utility of the policy or of a baseline.

        Args:
            price: intended units per unit of harm, >= 0.
            who: "" for the policy itself, or "off", "reference", "random", "greedy".

        Returns:
            intended - price * harm, intended units, shape [n].

        Raises:
            ContractError: when that baseline was not run.
        """
        stem = f"{who}_" if who else ""
        intended = getattr(self, f"{stem}intended")
        if intended is None:
            raise ContractError(f"these outcomes have no {who} policy.")
        return intended - price * getattr(self, f"{stem}harm")

    def z(self, price: float) -> np.ndarray:
        """Utility over switched off, shape [n]."""
        return self.utility(price) - self.utility(price, "off")

    def x(self, price: float) -> np.ndarray:
        """Utility of the X-reference over switched off, shape [n]."""
        return self.utility(price, "reference") - self.utility(price, "off")

    def d(self, price: float, eta: float) -> np.ndarray:
        """Shortfall against (1 - eta) of the X-reference: z - (1 - eta) x, [n]."""
        return self.z(price) - (1 - eta) * self.x(price)

    def bounds_utility(self, price: float) -> tuple[np.ndarray, np.ndarray]:
        """Known bounds of utility per level, two arrays of shape [n]."""
        (x_low, x_high), (h_low, h_high) = self.intended_bounds, self.harm_bounds
        return np.asarray(x_low - price * h_high), np.asarray(x_high - price * h_low)

    def bounds_z(self, price: float) -> tuple[float, float]:
        """Known range of z (and of x) over all levels, intended units."""
        low, high = self.bounds_utility(price)
        off_low, off_high = self._bounds_off(price)
        return float((low - off_high).min()), float((high - off_low).max())

    def bounds_d(self, price: float, eta: float) -> tuple[float, float]:
        """Known range of d over all levels, intended units."""
        low, high = self.bounds_utility(price)
        off_low, off_high = self._bounds_off(price)
        keep = 1 - eta
        return (
            float((low - keep * high - eta * off_high).min()),
            float((high - keep * low - eta * off_low).max()),
        )

    def _bounds_off(self, price: float) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of the switched-off utility; exactly 0 where off does nothing."""
        # __post_init__ put zeros where nothing was given
        assert self.off_intended is not None and self.off_harm is not None
        if not self.off_intended.any() and not self.off_harm.any():
            return np.zeros(len(self)), np.zeros(len(self))
        return self.bounds_utility(price)

    def rows(self, index: slice | np.ndarray) -> "Outcomes":
        """These outcomes restricted to some levels.

        Args:
            index: a slice, mask or integer array over rows.

        Returns:
            A table of the selected levels in that order.
        """
        picked = np.arange(len(self))[index]
        change: dict[str, object] = {
            name: getattr(self, name)[picked]
            for name in (*_COLUMNS, "shutdown_intended", "shutdown_harm")
            if getattr(self, name) is not None
        }
        for kind in _KINDS:
            low, high = getattr(self, f"{kind}_bounds")
            change[f"{kind}_bounds"] = (low[picked], high[picked])
        if self.degraded is not None:
            change["degraded"] = {
                dose: (i[picked], h[picked]) for dose, (i, h) in self.degraded.items()
            }
        return replace(self, levels=tuple(self.levels[i] for i in picked), **change)

    def extended(self, more: "Outcomes") -> "Outcomes":
        """These rows followed by those of another table with the same columns.

        Args:
            more: the next batch; its outcomes on training levels and its flags are
                ignored.

        Returns:
            One table.

        Raises:
            ContractError: when one table has a column that the other lacks.
        """
        change: dict[str, object] = {"levels": self.levels + more.levels}
        for name in (*_COLUMNS, "shutdown_intended", "shutdown_harm"):
            mine, theirs = getattr(self, name), getattr(more, name)
            if (mine is None) != (theirs is None):
                raise ContractError(f"only one of two batches of outcomes has {name}.")
            if mine is not None:
                change[name] = np.concatenate([mine, theirs])
        for kind in _KINDS:
            pair = zip(
                getattr(self, f"{kind}_bounds"),
                getattr(more, f"{kind}_bounds"),
                strict=True,
            )
            change[f"{kind}_bounds"] = tuple(np.concatenate(ends) for ends in pair)
        if set(self.degraded or ()) != set(more.degraded or ()):
            raise ContractError("two batches of outcomes have different doses.")
        if self.degraded is not None and more.degraded is not None:
            change["degraded"] = {
                dose: tuple(
                    np.concatenate(both)
                    for both in zip(mine, more.degraded[dose], strict=True)
                )
                for dose, mine in self.degraded.items()
            }
        return replace(self, certified=self.certified and more.certified, **change)

    def to_csv(self, path: str | Path) -> None:
        """Writes level ids and the one-number-per-level columns.

        Args:
            path: file to write.
        """
        names = [c for c in _COLUMNS if getattr(self, c) is not None]
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["level", *names])
            columns = [getattr(self, c).tolist() for c in names]
            writer.writerows(zip(self.levels, *columns, strict=True))

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        intended_bounds: Bounds,
        harm_bounds: Bounds,
        train_fraction: np.ndarray | None = None,
        certified: bool = False,
    ) -> "Outcomes":
        """Reads a table with a header: intended, harm and any further columns.

        Args:
            path: comma-separated file; ``level`` is optional, other columns are
                named like the fields of this class.
            intended_bounds: as the field.
            harm_bounds: as the field.
            train_fraction: as the field.
            certified: as the field.

        Returns:
            The table.

        Raises:
            ConfigError: when the file, a column or a number cannot be used.
        """
        try:
            with Path(path).open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except OSError as error:
            raise ConfigError(
                f"the outcome table {path} cannot be read: {error}."
            ) from error
        names = set(rows[0]) if rows else set()
        unknown = names - {*_COLUMNS, "level"}
        if unknown or not {"intended", "harm"} <= names:
            raise ConfigError(
                f"the outcome table {path} needs the columns intended and harm and may "
                f"have level, {', '.join(_COLUMNS[2:])}; got {sorted(map(str, names))}."
            )
        try:
            columns: dict[str, Any] = {
                name: np.array([float(row[name]) for row in rows])
                for name in _COLUMNS
                if name in names
            }
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"the outcome table {path} has a cell that is no number: {error}."
            ) from error
        levels = tuple(row["level"] for row in rows) if "level" in names else ()
        return cls(
            intended_bounds=intended_bounds,
            harm_bounds=harm_bounds,
            train_fraction=train_fraction,
            certified=certified,
            levels=levels,
            **columns,
        )


def halves(levels: tuple[str, ...]) -> np.ndarray:
    """A split of levels that depends only on what the levels are.

    Choosing (a goal, a switch-off time) on one half and scoring on the other
    removes the bias of picking the best on the same data.

    Args:
        levels: level ids, length n.

    Returns:
        True for levels in the first half, Bool[n]: parity of a hash of the id, or
        of its rank if all hashes agree.
    """
    first = np.array([sha256(i.encode()).digest()[0] % 2 == 0 for i in levels])
    if first.all() or not first.any():
        rank = np.argsort(np.argsort(np.array(levels), kind="stable"))
        first = rank % 2 == 0
    return first


_KINDS = ("intended", "harm")


def _vector(name: str, value: object, axes: int = 1) -> np.ndarray:
    """A finite float array with the given number of axes."""
    try:
        array = np.array(value, float)
    except (TypeError, ValueError) as error:
        raise ContractError(f"{name} is not an array of numbers: {error}.") from error
    if array.ndim != axes:
        raise ContractError(
            f"{name} must have {axes} axis(es), one row per level, got shape "
            f"{array.shape}."
        )
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise ContractError(
            f"{name} has NaN or infinity in row {bad[0][0]}; every outcome must be a "
            "finite number."
        )
    return array


def _bounds(name: str, value: Bounds, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds as two arrays of shape [n]."""
    try:
        low, high = (np.broadcast_to(np.array(v, float), (n,)) for v in value)
    except (TypeError, ValueError) as error:
        raise ContractError(
            f"{name} must be (low, high), numbers or one per level."
        ) from error
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        raise ContractError(f"{name} must be finite with low <= high on every level.")
    return low, high
