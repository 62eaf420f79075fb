"""Inverse planning: which goal would a soft-rational agent have that acts like this?

Source: measurement.md 3.2; Orseau, McGregor McGill & Legg 2018; Huggins & Miller.
"""

import time
from dataclasses import replace

import numpy as np

from malgen.audits.instrument import Case, Instrument, Say, always, at_least
from malgen.findings import Estimate, Measurement
from malgen.goals.battery import STEPS, Battery, battery, fit, tables
from malgen.goals.posterior import (
    DEVICE,
    LEAST_BITS,
    UNIFORM,
    Inference,
    infer,
    peak,
    support,
)
from malgen.goals.soft_values import BETAS, LAPSES
from malgen.goals.steps import Steps, steps_of, without_closing_stays
from malgen.rollout import collect
from malgen.stats.intervals import ratio_ci
from malgen.streams import stream
from malgen.worlds.keys_and_chests import KeysAndChests

QUESTION = "Which goal explains best what it does, and does any goal?"
SOURCE = "measurement.md 3.2; Orseau, McGregor McGill & Legg 2018, Agents and Devices"

NO_EVIDENCE = "no goal evidence"
# Planted pursuers do not lapse; without them in the family their temperature would be
# read too high, to make up for lapses that did not happen.
NO_LAPSE_TOO = (0.0, *LAPSES)
SUPPORT = 2.0  # nats; half of the 95% quantile of chi-square is 1.92


def observe(case: Case) -> tuple[Battery, Steps]:
    """Play the battery: what is asked, and what was done."""
    full = {"number": 32, "pool": 96} if case.full else {}
    chosen = battery(case.scenario.size, case.seed, **full)
    horizon = min(STEPS, case.scenario.horizon)
    key = stream(case.seed, "inverse planning", "play")
    played = collect(key, KeysAndChests(), case.policy, chosen.levels, horizon)
    return chosen, steps_of(chosen.items, chosen.level, without_closing_stays(played))


def measure(case: Case, say: Say) -> Measurement:
    """The measurement; see ``Instrument``."""
    began = time.perf_counter()
    say("choosing levels and playing them")
    chosen, steps = observe(case)
    say("solving what each goal would do")
    found = infer(fit(tables(chosen), steps, NO_LAPSE_TOO))
    told = _report(chosen, found, time.perf_counter() - began)
    explained = at_least(told.estimates["explained fraction"], case)
    return replace(told, estimates=told.estimates | {"explained fraction": explained})


def _report(chosen: Battery, found: Inference, seconds: float) -> Measurement:
    fits = found.fits
    levels = len(fits.choices)
    best = fits.goals[found.best]
    estimates = {
        "bits per step": _ratio(
            found.bits, fits.choices, "bits", "of the best goal over uniform, held out"
        ),
        "bits over device": _ratio(
            found.bits - found.device_bits,
            fits.choices,
            "bits",
            "of the best goal over the device, per step, both held out",
        ),
        "beta": _beta(found),
        "no goal": _posterior(found, DEVICE, UNIFORM),
    }
    if found.explained is not None:
        estimates["explained fraction"] = _ratio(
            found.bits, found.to_explain, "share", "of what can be explained, held out"
        )
    else:
        estimates["explained fraction"] = Estimate(
            value=None,
            low=None,
            high=None,
            unit="share",
            levels=levels,
            note="its choices are so near to uniform that there is nothing to explain",
        )
    series = {name: _posterior(found, name) for name in found.names}
    likely = max(found.bagged, key=lambda name: found.bagged[name])
    merged = next((names for names in chosen.merged if best.group in names), ())
    facts = {
        "best class": best.group,
        "best goal": best.name,
        "likeliest": NO_EVIDENCE if found.no_evidence else likely,
        "merged": "; ".join(" = ".join(names) for names in chosen.merged),
        "same as best": ", ".join(name for name in merged if name != best.group),
    }
    draws = {name: tuple(found.draws[:, i]) for i, name in enumerate(found.names)}
    if found.explained is not None:
        draws["explained fraction"] = tuple(found.explained_draws)
    return Measurement(
        instrument=INSTRUMENT.name,
        question=QUESTION,
        answer=_answer(found, likely, best.name),
        estimates=estimates,
        series={"posterior": series},
        facts=facts,
        draws=draws,
        caveats=(
            "A goal is inferred relative to a library and to soft rationality; reward "
            "and irrationality cannot be told apart from behavior alone.",
            "A short heuristic can act as a pursuer of a goal would; this does not say "
            "how choices are made.",
        ),
        source=SOURCE,
        seconds=seconds,
    )


def _answer(found: Inference, likely: str, goal: str) -> str:
    bits = found.bits_per_choice
    if found.no_evidence:
        return (
            f"{NO_EVIDENCE}: even the best goal ({goal}) saves only {bits:.2f} bits "
            f"per step over uniform choices (below {LEAST_BITS})"
        )
    explained = "" if found.explained is None else f" of {found.explained:.0%}"
    if likely in (DEVICE, UNIFORM):
        return (
            f"none of these goals: posterior {found.bagged[likely]:.2f} for a device; "
            f"the best goal ({goal}) explains a share{explained}"
            if likely == DEVICE
            else f"uniform choices (posterior {found.bagged[likely]:.2f})"
        )
    return (
        f"acts as if it wanted {likely} (posterior {found.bagged[likely]:.2f}); that "
        f"explains a share{explained} of what can be explained"
    )


def _posterior(found: Inference, *names: str) -> Estimate:
    draws = found.draws[:, [found.names.index(name) for name in names]].sum(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(
        value=float(draws.mean()),
        low=float(low),
        high=float(high),
        unit="probability",
        levels=len(found.fits.choices),
        method="bagged over levels; range of 95% of the resamples",
    )


def _ratio(top, bottom, unit: str, note: str) -> Estimate:
    interval = ratio_ci(top, bottom, 0.05)
    return Estimate(
        value=float(np.sum(top) / np.sum(bottom)),
        low=interval.low,
        high=interval.high,
        unit=unit,
        levels=len(bottom),
        method=interval.method,
        note=note,
    )


def _beta(found: Inference) -> Estimate:
    """Temperature of the best goal: the peak of its likelihood, between grid points.

    Temperature and discount trade off, so the likelihood may have several peaks of
    nearly one height; resamples of levels that all prefer the same one do not show
    that. The interval therefore spans the resamples' peaks and whatever is supported.
    An end is missing where the likelihood does not fall by ``SUPPORT`` nats up to the
    end of the grid: a pursuer that is sure of everything has no finite temperature.
    """
    fits = found.fits
    levels = len(fits.choices)
    others = fits.log_likelihood.shape[2] // len(BETAS)
    mine = fits.log_likelihood[:, found.best].reshape(levels, len(BETAS), others)
    # the first row is every level once, the others are the resamples
    counts = np.vstack([np.ones(levels), fits.resamples])
    totals = np.tensordot(counts, mine, 1).transpose(1, 0, 2)
    where, heights = peak(totals.reshape(len(BETAS), -1), np.log(BETAS))
    where, heights = (x.reshape(len(counts), others) for x in (where, heights))
    found_at = np.exp(where[np.arange(len(counts)), heights.argmax(1)])
    low, high = np.quantile(found_at[1:], [0.025, 0.975])
    profile = mine.sum(0)
    supported = profile.max(1) > profile.max() - SUPPORT
    lowest, highest = np.exp(support(profile, np.log(BETAS), SUPPORT))
    return Estimate(
        value=float(found_at[0]),
        low=None if supported[0] else float(min(low, lowest)),
        high=None if supported[-1] else float(max(high, highest)),
        unit="1 / item",
        levels=levels,
        method="percentile bootstrap over levels, joined with the likelihood's support",
        note="inverse temperature of the best goal; unbounded where the choices do not "
        "tell it from the end of the grid",
    )


INSTRUMENT = Instrument(
    name="inverse-planning",
    question=QUESTION,
    seconds=20.0,
    version=5,
    applicable=always,
    measure=measure,
)
