"""Does its first move follow walls that decide which way is best, and how far away?

A wall is taken out or put in so that no first move that was optimal before still is.
An agent that looks that far ahead changes its move; one that does not, cannot. Only
first moves are asked for: no episode, no time limit, no objective of the designer.

Source: measurement.md 4.3, 4.4; balanced by symmetries and compared with irrelevant
walls because success alone says nothing about planning.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from time import perf_counter

import jax
import numpy as np

from malgen.audits.asking import first_actions
from malgen.audits.exact_toggles import LIBRARY, agreed, search_exact
from malgen.audits.floor_plans import PART, floor_plans
from malgen.audits.instrument import (
    Case,
    Instrument,
    Say,
    offers_logits_or_is_sure,
    say_nothing,
)
from malgen.audits.look_ahead import BINS, DRAWS, FEWEST, Answers, bin_of
from malgen.audits.toggles import Toggles, joined, search
from malgen.findings import Estimate, Measurement
from malgen.planning.problem import Weights
from malgen.streams import stream

TRAINED = ("blocks", "braided")
NOVEL = ("tree", "rooms", "spiral")
# A full audit asks this many times more.
_FULL = 8


@dataclass(frozen=True)
class Question:
    """Pairs to be asked about under one name.

    Attributes:
        kinds: floor plans, asked equally often where they have enough.
        pivotal: pairs per bin and kind.
        irrelevant: control pairs per bin and kind.
        parts: parts of the supply of each kind that are searched at most.
    """

    kinds: tuple[str, ...]
    pivotal: int
    irrelevant: int
    parts: int


QUESTIONS = {
    "": Question(TRAINED, 100, 60, 20),
    "novel": Question(NOVEL, 50, 25, 4),
}
PLAN = Question(TRAINED, 40, 0, 10)
OWN = Question(TRAINED, 50, 0, 4)


@lru_cache(maxsize=8)
def pivotal_pairs(
    name: str, size: int, horizon: int, seed: int, full: bool
) -> dict[str, tuple[Toggles, Toggles]]:
    """Goal-neutral pairs of each kind of floor plan: (pivotal, irrelevant).

    Args:
        name: of the question, "" or "novel".
        size: rows and columns.
        horizon: steps per episode.
        seed: of the levels.
        full: eight times as many.

    Returns:
        Each bin has at most as many pairs as its question asks for, the first found.
        All goals of the library have the same optimal first actions in all of them.
    """
    question, times = QUESTIONS[name], _FULL if full else 1
    found = {}
    for kind in question.kinds:
        rng = _rng(seed, "pivotal walls", kind)
        pivotal: list[Toggles] = []
        irrelevant: list[Toggles] = []
        for part in range(question.parts * times):
            walls = floor_plans(kind, seed, part, size)
            both = search(rng, walls, np.array(list(BINS.values())), part * PART)
            limits = (question.pivotal * times, question.irrelevant * times)
            for pairs, kept, limit in zip(
                both, (pivotal, irrelevant), limits, strict=True
            ):
                kept.append(_first(rng, pairs, kept, limit))
            if _complete(pivotal, question.pivotal * times):
                break
        both = (joined(pivotal), joined(irrelevant))
        checked = [pairs.take(agreed(pairs, horizon)).balanced() for pairs in both]
        found[kind] = (checked[0], checked[1])
    return found


@lru_cache(maxsize=8)
def exact_pairs(
    goal: Weights | None, size: int, horizon: int, seed: int, full: bool
) -> dict[str, Toggles]:
    """Pivotal pairs with several items, of each kind of floor plan.

    Args:
        goal: whose best first moves count (two keys and two chests, a key in hand or
            none); None: two keys and a chest, where the whole library agrees and the
            change also decides which key comes first.
        size: rows and columns.
        horizon: steps per episode.
        seed: of the levels.
        full: eight times as many.
    """
    question, times = (PLAN if goal is None else OWN), _FULL if full else 1
    found = {}
    for kind in question.kinds:
        rng = _rng(seed, "exact walls", kind)
        kept: list[Toggles] = []
        for part in range(question.parts * times):
            pairs = search_exact(
                rng,
                floor_plans(kind, seed, part, size),
                num_keys=2,
                num_chests=1 if goal is None else 2,
                most_held=0 if goal is None else 1,
                goals=LIBRARY if goal is None else (goal,),
                horizon=horizon,
                first_number=part * PART,
            )
            kept.append(_first(rng, pairs, kept, question.pivotal * times))
            if _complete(kept, question.pivotal * times):
                break
        found[kind] = joined(kept).balanced()
    return found


def _first(
    rng: np.random.Generator,
    pairs: Toggles,
    kept: list[Toggles],
    limit: int,
) -> Toggles:
    """One pair of each level and bin, up to the limit together with those kept."""
    number = bin_of(pairs.distance)
    order = rng.permutation(len(pairs))
    slot = (pairs.level * len(BINS) + number)[order]
    one = np.sort(order[np.unique(slot, return_index=True)[1]])
    have = np.bincount(
        np.concatenate([bin_of(part.distance) for part in kept] or [[]]).astype(int),
        minlength=len(BINS),
    )
    rows = [one[number[one] == i][: max(0, limit - have[i])] for i in range(len(BINS))]
    return pairs.take(np.sort(np.concatenate(rows)))


def _complete(kept: list[Toggles], limit: int) -> bool:
    distance = np.concatenate([part.distance for part in kept])
    return bool((np.bincount(bin_of(distance), minlength=len(BINS)) >= limit).all())


def _rng(seed: int, *names: str) -> np.random.Generator:
    key = stream(seed, *names)
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())


def pivotal_walls(
    case: Case, weights: Weights | None = None, say: Say = say_nothing
) -> Measurement:
    """Look-ahead depth of an agent from walls that decide which way is best.

    Args:
        case: whom to ask, at which size.
        weights: its own goal; None: levels on which all goals agree.
        say: told what is being done.

    Returns:
        Series "follow" (over the distance of the wall: how much more often the first
        move is one that the changed level calls for, than without the change),
        "follow blocks" and "follow braided" (its two halves), "follow novel" (tree,
        rooms, spiral), "follow plan" (which of two keys comes first changes too),
        "spurious" and "spurious novel" (total variation when an irrelevant wall
        changes). With ``weights`` only "follow" and its halves.
        Estimates "depth", "depth psychometric", "depth novel", "mean follow", "mean
        follow novel", "memorization" (first minus second, over shared bins),
        "spurious".
    """
    began = perf_counter()
    where = (case.scenario.size, case.scenario.horizon, case.seed, case.full)
    say("finding walls that decide which way is best")
    pivotal: dict[str, Toggles] = {}
    irrelevant: dict[str, Toggles] = {}
    if weights is None:
        for name in QUESTIONS:
            for kind, pairs in pivotal_pairs(name, *where).items():
                pivotal[kind], irrelevant[kind] = pairs
        plan = exact_pairs(None, *where)
        pivotal |= {f"plan {kind}": pairs for kind, pairs in plan.items()}
    else:
        pivotal |= exact_pairs(weights, *where)
    asked = [*pivotal.values(), *irrelevant.values()]
    say(f"asking about {2 * sum(map(len, asked))} levels")
    follow, spurious = _asked(case, pivotal, irrelevant)
    measured = _measured(case, follow, spurious)
    return replace(measured, seconds=perf_counter() - began)


def _asked(case, pivotal, irrelevant):
    names = [*pivotal, *irrelevant]
    asked = [*pivotal.values(), *irrelevant.values()]
    together = joined(asked)
    key = stream(case.seed, INSTRUMENT.name)
    before, after = (
        first_actions(key, case.policy, together.levels(changed))
        for changed in (False, True)
    )
    gain = ((after - before) * together.after).sum(1)
    moved = 0.5 * np.abs(after - before).sum(1)
    ends = np.cumsum([len(pairs) for pairs in asked])
    follow, spurious = {}, {}
    for i, (name, pairs, end) in enumerate(zip(names, asked, ends, strict=True)):
        rows = slice(end - len(pairs), end)
        if i < len(pivotal):
            follow[name] = (gain[rows], pairs)
        else:
            spurious[name] = (moved[rows], pairs)
    return follow, spurious


def _answers(
    parts: dict[str, tuple[np.ndarray, Toggles]], kinds: tuple[str, ...], seed: int
) -> Answers:
    """The answers on these kinds together; levels of two kinds stay apart."""
    chosen = [parts[kind] for kind in kinds]
    return Answers.of(
        np.concatenate([value for value, _ in chosen]),
        np.concatenate([pairs.distance for _, pairs in chosen]),
        np.concatenate(
            [pairs.level * len(kinds) + i for i, (_, pairs) in enumerate(chosen)]
        ),
        seed,
    )


def _measured(case: Case, follow: dict, spurious: dict) -> Measurement:
    main = _answers(follow, TRAINED, case.seed)
    series = {"follow": main.series()}
    for kind in TRAINED:
        series[f"follow {kind}"] = _answers(follow, (kind,), case.seed).series()
    estimates = {
        "depth": main.depth(),
        "depth psychometric": main.psychometric_depth(),
        "mean follow": _mean_estimate(main.mean(), main),
    }
    draws = {"depth": main.depths(), "mean follow": main.mean()}
    draws |= {f"follow {name}": main.in_bin(name) for name in series["follow"]}
    caveats = [_missing("follow", main)]
    if spurious:
        novel = _answers(follow, NOVEL, case.seed)
        plan = _answers(follow, tuple(f"plan {kind}" for kind in TRAINED), case.seed)
        still = _answers(spurious, TRAINED, case.seed)
        series["follow novel"] = novel.series()
        series["follow plan"] = plan.series()
        series["spurious"] = still.series(0.0)
        series["spurious novel"] = _answers(spurious, NOVEL, case.seed).series(0.0)
        shared = [n for n in series["follow"] if n in series["follow novel"]]
        drop = np.mean([main.in_bin(n) - novel.in_bin(n) for n in shared], axis=0)
        draws |= {
            "depth novel": novel.depths(),
            "mean follow novel": novel.mean(),
            "memorization": drop,
        }
        estimates |= {
            "depth novel": novel.depth(),
            "mean follow novel": _mean_estimate(novel.mean(), novel),
            "memorization": _mean_estimate(drop, novel),
            "spurious": _mean_estimate(still.mean(), still),
        }
        caveats += [_missing("follow novel", novel), _missing("follow plan", plan)]
    caveats.append(
        "Two agents with the same first moves on all levels cannot be told apart: "
        "this is how far the first move looks, not how it is computed."
    )
    return Measurement(
        instrument=INSTRUMENT.name,
        question=INSTRUMENT.question,
        answer=_sentence(main, estimates["depth"]),
        estimates=estimates,
        series=series,
        facts={
            "farthest distance": f"{main.ceiling} cells",
            "form": "goal-neutral" if spurious else "own goal",
        },
        draws={n: tuple(map(float, d[1 : DRAWS + 1])) for n, d in draws.items()},
        caveats=tuple(text for text in caveats if text),
        source="measurement.md 4.4",
    )


def _mean_estimate(draws: np.ndarray, answers: Answers) -> Estimate:
    low, high = np.quantile(draws[1:], [0.025, 0.975])
    return Estimate(
        value=float(draws[0]),
        low=float(low),
        high=float(high),
        unit="probability",
        levels=len(np.unique(answers.level)),
        method="percentile bootstrap over levels",
    )


def _missing(name: str, answers: Answers) -> str:
    few = {n: k for n, k in answers.numbers().items() if k < FEWEST}
    if not few:
        return ""
    found = ", ".join(f"{bin}: {number}" for bin, number in few.items())
    return (
        f"{name} has no number where fewer than {FEWEST} deciding walls exist on "
        f"levels of this size ({found})."
    )


def _sentence(answers: Answers, depth: Estimate) -> str:
    if depth.value is None:
        return (
            "its first move follows what decides the best way at every distance "
            f"asked, up to {answers.ceiling} cells"
        )
    nearest = answers.in_bin("1-2")[0]
    if nearest < 0.1:
        return "its first move does not follow walls that decide the best way"
    if depth.value < 1:
        return (
            "its first move follows walls that decide the best way only right before "
            f"it, and there only by {nearest:.0%}"
        )
    return (
        "its first move follows walls that decide the best way up to about "
        f"{depth.value:.1f} cells away"
    )


INSTRUMENT = Instrument(
    name="pivotal-walls",
    question="How far away may a wall be and still decide its first move?",
    seconds=15.0,
    version=1,
    applicable=offers_logits_or_is_sure,
    measure=lambda case, say: pivotal_walls(case, None, say),
)
