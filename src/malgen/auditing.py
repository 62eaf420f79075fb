"""Audit one policy: anything that acts in, a verdict out.

The levels, the reference and the random baseline come from a named stream of the
seed, so two policies audited with the same seed meet the same levels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malgen import limits
from malgen.adapters.policies import as_policy
from malgen.agents.weights_file import load_policies, number_of, policy_at
from malgen.audits import battery
from malgen.audits.examination import examine
from malgen.audits.instrument import Case
from malgen.deployment import baselines, draw_levels, observe, training_side
from malgen.errors import ConfigError
from malgen.evidence import GATE_LEVELS, tables
from malgen.findings import Verdict
from malgen.foreign.audit import audit_foreign
from malgen.foreign.scenario import ForeignScenario
from malgen.judging import HAND_WRITTEN, SKIPPED
from malgen.progress import Progress, Silent
from malgen.registry import look_up
from malgen.scenarios import find_scenario, find_shift
from malgen.shifts import Shift
from malgen.streams import stream
from malgen.types import Deployment, HostPolicy, Policy
from malgen.verdict import Rule, sequential_verdict, verdict
from malgen.zoo.catalog import AGENTS

# Levels per look of the anytime engine, and the most it may use.
BATCH = 64
MOST_LEVELS = 4096


def audit(
    policy: Any,
    scenario: str | Path | ForeignScenario = "keys-and-chests",
    *,
    price: float | None = None,
    gate: bool = True,
    seed: int = 0,
    levels: int | None = None,
    shifts: Sequence[tuple[str | Shift, float]] = (),
    instruments: str | Sequence[str] = battery.VERDICT,
    use_cache: bool = True,
    confidence: float = 0.95,
    progress: Progress | None = None,
) -> Verdict:
    """Would we rather this policy had failed completely?

    Args:
        policy: the name of a scripted agent, a malgen ``Policy``, the path of a
            ``policies.safetensors`` with one policy, or a callable from an
            observation Bool[h, w, 7] to an action 0..4.
        scenario: name of the training and deployment setting; or a
            ``ForeignScenario`` or the path of a ``.py`` file with one, for an
            environment of your own. Shifts, instruments and the cache are for malgen's
            own worlds.
        price: chest-equivalents (units of X) per unit of harm, >= 0; None: 1, or the
            foreign scenario's own.
        gate: demand competence on the training distribution first. Scripted agents
            are never gated.
        seed: of the levels and of the policy's own randomness.
        levels: this many levels and fixed-n intervals; None: as few as a decision
            takes, with anytime-valid intervals.
        shifts: (name or ``Shift``, strength) pairs that replace the scenario's own
            deployment.
        instruments: which of them are asked beside: "all" (about two minutes), those
            that the label rests on ("verdict"), names, or none of them: (). They ask
            on levels of their own, of the scenario's size, whatever the shifts.
        use_cache: look for what the instruments found before, and keep what is new.
        confidence: of every interval that the label rests on, > 0.5 and < 1; the
            instruments' own have 95%.
        progress: where long work reports to.

    Returns:
        The verdict; ``print`` it, or read ``label`` and ``critical_stakes``.

    Raises:
        ConfigError: unknown names, numbers out of range, unreadable files.
        ContractError: a policy that returns NaN or anything that is no action.
        ForeignError: a policy that raises.

    Example:
        >>> import malgen
        >>> verdict = malgen.audit("key-collector", "keys-and-chests-small", levels=64)
        >>> verdict.label
        'malign-generalization'
    """
    progress = progress or Silent()
    if isinstance(scenario, ForeignScenario | Path) or scenario.endswith(".py"):
        if shifts:
            raise ConfigError(
                "A foreign scenario has its own deployment; leave shifts out, or "
                "describe another deployment in another scenario."
            )
        result = audit_foreign(
            [policy],
            scenario,
            price=price,
            gate=gate,
            seed=seed,
            levels=levels,
            confidence=confidence,
            progress=progress,
        )
        return result.seeds[0].verdict
    where = find_scenario(scenario)
    price, seed = limits.price(1.0 if price is None else price), limits.seed(seed)
    if levels is not None:
        levels = limits.whole("levels", levels, 2)
    deployment = where.shifted([_shift(pair) for pair in shifts], price)
    asked = battery.select(instruments)
    subject = _resolve(policy, deployment)
    agent, hand_written = subject.policy, subject.provenance == "hand-written"
    reason = HAND_WRITTEN if hand_written else "" if gate else SKIPPED
    case = Case(
        policy=agent,
        scenario=where,
        seed=seed,
        provenance=subject.provenance,
        dial=subject.dial,
    )
    gated = gate and not hand_written
    stages = ({"gate": 1.0} if gated else {}) | {"audit": 3.0}
    examination = examine(
        case, asked, use_cache=use_cache, progress=progress, then=stages
    )
    side = None
    if gated:
        progress.update("gate", 0.0)
        side = training_side(stream(seed, "gate"), agent, where.training(), GATE_LEVELS)
        progress.update("gate", 1.0)
    settings = {
        "price": deployment.price,
        "goal": examination.goal,
        "gate": gated,
        "gate_reason": reason,
        "seed": seed,
        "rule": Rule(alpha=limits.alpha(confidence)),
    }

    def judged(start: int, size: int):
        so_far = f"it, {start} levels so far" if levels is None else "it"

        def tell(share: float) -> Callable[[str], None]:
            # nobody knows how many levels a decision takes
            done = None if levels is None else share
            return lambda what: progress.update("audit", done, f"{so_far}: {what}")

        tell(0.0)("drawing levels")
        found = draw_levels(stream(seed, "levels", start), deployment, size, tell(0.1))
        base = baselines(stream(seed, "random", start), found, tell(0.4))
        tell(0.8)("playing")
        seen = observe(stream(seed, "play", start), agent, found, base, side)
        return tables(seen, found, base)

    if levels is not None:
        outcomes, behavior = judged(0, levels)
        progress.update("audit", 1.0, f"it on {levels} levels")
        result = verdict(outcomes, behavior=behavior, engine="fixed", **settings)
        return examination.attached(result)

    result = sequential_verdict(judged, batch=BATCH, n_max=MOST_LEVELS, **settings)
    progress.update("audit", 1.0, f"it on {result.levels} levels")
    return examination.attached(result)


def _shift(pair: tuple[str | Shift, float]) -> tuple[Shift, float]:
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise ConfigError(
            f"The shift {pair!r} is not a pair; give (name, strength), for example "
            "('supply', 0.5)."
        )
    name, strength = pair
    shift = name if isinstance(name, Shift) else find_shift(name)
    return shift, limits.strength(shift.name, strength)


@dataclass(frozen=True)
class _Subject:
    """Who is audited, where it comes from, and how much it may compute."""

    policy: Policy | HostPolicy
    provenance: str
    dial: dict[int, Policy | HostPolicy] | None = None


def _resolve(policy: Any, deployment: Deployment) -> _Subject:
    """The policy as something deployable."""
    if isinstance(policy, str) and policy in AGENTS:
        agent = AGENTS[policy]
        dial = agent.dial(deployment) if agent.dial else None
        return _Subject(agent.build(deployment), "hand-written", dial)
    if isinstance(policy, str | Path):
        path = Path(policy)
        if path.suffix != ".safetensors" and not path.exists():
            look_up("agent", str(policy), AGENTS)
        return _Subject(_load_one(path), "trained")
    return _Subject(as_policy(policy), "unknown")


def _load_one(path: Path) -> Policy:
    policies = load_policies(path)
    number = number_of(policies)
    if number != 1:
        raise ConfigError(
            f"{path} holds {number} policies; audit the run's folder for all of them, "
            "or save the one you mean."
        )
    return policy_at(policies, 0)
