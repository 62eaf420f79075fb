"""Audit one policy: anything that acts in, a verdict out.

The levels, the reference and the random baseline come from a named stream of the
seed, so two policies audited with the same seed meet the same levels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from malgen import limits, store
from malgen.adapters.actors import is_foreign
from malgen.adapters.policies import ActorPolicy, as_policy
from malgen.adapters.time_limit import SECONDS
from malgen.adapters.views import INFERRED, View, observation_shape
from malgen.agents.weights_file import load_policies, number_of, policy_at
from malgen.audit_folder import digest, opened
from malgen.audits import battery
from malgen.audits.asking import first_observations
from malgen.audits.examination import examine
from malgen.audits.instrument import Case
from malgen.deployment import baselines, draw_levels, observe, training_side
from malgen.errors import ConfigError
from malgen.evidence import GATE_LEVELS, tables
from malgen.findings import Verdict
from malgen.foreign.audit import audit_foreign
from malgen.foreign.scenario import ForeignScenario
from malgen.judging import HAND_WRITTEN, SKIPPED
from malgen.looks import Asked, Looks
from malgen.progress import Progress, Silent
from malgen.registry import look_up
from malgen.scenarios import SCENARIOS, find_scenario, find_shift
from malgen.shifts import Shift
from malgen.streams import stream
from malgen.types import Deployment, HostPolicy, Policy
from malgen.verdict import Rule, sequential_verdict, verdict
from malgen.worlds.keys_and_chests import sample_levels
from malgen.zoo.catalog import AGENTS

# Levels on which a foreign policy is asked twice, to see whether it draws.
MET = 64

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
    view: View = INFERRED,
    trust: bool = False,
    seconds: float = SECONDS,
    out: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Verdict:
    """Would we rather this policy had failed completely?

    Args:
        policy: the name of a scripted agent; a malgen ``Policy``; a function from an
            observation Bool[h, w, 7] to an action 0..4 (or to five logits); an object
            with Stable-Baselines3's ``predict``; the path of an ONNX file, or of a
            ``policies.safetensors`` with one policy; or "package.module:factory",
            where the factory returns a function, a model, the path of an ONNX file or
            a malgen policy. See docs/foreign-policies.md.
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
        view: what a policy that is not malgen's own sees, as the Gymnasium
            environment ``malgen/KeysAndChests-v0`` shows it: None for the whole level,
            "agent" or an odd number for what is around the agent; "inferred": what
            the shape of its observations says, the whole level for a function.
        trust: files that run code when they are loaded (Stable-Baselines3's ``.zip``,
            pickles, torch files) may be loaded.
        seconds: how long one call of foreign code may take.
        out: folder for the finished episodes of a policy that is not malgen's, and
            for the verdict; None: nothing is kept.
        resume: go on with the audit in ``out``.
        progress: where long work reports to.

    Returns:
        The verdict; ``print`` it, or read ``label`` and ``critical_stakes``.

    Raises:
        ConfigError: unknown names, numbers out of range, unreadable files.
        ContractError: a policy that returns NaN or anything that is no action, or
            that was made for other observations or actions.
        ForeignError: a policy that raises, or does not answer in time.

    Example:
        >>> import malgen
        >>> verdict = malgen.audit("key-collector", "keys-and-chests-small", levels=64)
        >>> verdict.label
        'malign-generalization'
    """
    progress = progress or Silent()
    seconds = limits.seconds(seconds)
    if not isinstance(scenario, ForeignScenario | Path | str):
        raise ConfigError(
            f"A {type(scenario).__name__} is no scenario; give the name of one, a "
            "malgen.ForeignScenario, or the path of the Python file that defines one."
        )
    if isinstance(scenario, ForeignScenario | Path) or scenario.endswith(".py"):
        if shifts:
            raise ConfigError(
                "A foreign scenario has its own deployment; leave shifts out, or "
                "describe another deployment in another scenario."
            )
        if view != INFERRED:
            raise ConfigError(
                "A foreign scenario makes its own observations; leave view out."
            )
        result = audit_foreign(
            [policy],
            scenario,
            price=price,
            gate=gate,
            seed=seed,
            levels=levels,
            confidence=confidence,
            trust=trust,
            seconds=seconds,
            out=out,
            resume=resume,
            progress=progress,
        )
        return result.seeds[0].verdict
    where = find_scenario(scenario)
    price, seed = limits.price(1.0 if price is None else price), limits.seed(seed)
    if levels is not None:
        levels = limits.whole("levels", levels, 2)
    pairs = [_shift(pair) for pair in shifts]
    deployment = where.shifted(pairs, price)
    asked = battery.select(instruments)
    subject = _resolve(
        policy,
        deployment,
        (where.size, where.size),
        view=view,
        trust=trust,
        seconds=seconds,
        where=f"on levels of seed {seed}",
    )
    if isinstance(subject.policy, ActorPolicy):
        subject.policy.meet(_starts(where.training(), seed))
    elif out is not None or resume:
        raise ConfigError(
            "Only episodes of policies that are not malgen's own are kept; leave the "
            "folder out (--out and --resume)."
        )
    asked_for = Asked(
        scenario=where.name,
        shifts=tuple((shift.name, strength) for shift, strength in pairs),
        policy=str(policy) if isinstance(policy, str | Path) else _name(subject),
        policy_hash=_hash(policy),
        view=str(getattr(subject.policy, "view", None)),
        seed=seed,
        levels=levels,
        versions=store.versions(),
    )
    with opened(out, asked_for, resume) as folder:
        looks = Looks(folder)
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
            side = looks.side() or training_side(
                stream(seed, "gate"), agent, where.training(), GATE_LEVELS
            )
            looks.put_side(side)
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
            found = draw_levels(
                stream(seed, "levels", start), deployment, size, tell(0.1)
            )
            base = baselines(stream(seed, "random", start), found, tell(0.4))
            tell(0.8)("playing")
            player = looks.player(start, size, agent)
            if isinstance(player, ActorPolicy):
                player.where = f"on levels of seed {seed}, from number {start} on"
            seen = observe(stream(seed, "play", start), player, found, base, side)
            looks.put(start, seen)
            return tables(seen, found, base)

        if levels is not None:
            outcomes, behavior = judged(0, levels)
            result = verdict(outcomes, behavior=behavior, engine="fixed", **settings)
        else:
            result = sequential_verdict(
                judged, batch=BATCH, n_max=MOST_LEVELS, **settings
            )
        progress.update("audit", 1.0, f"it on {result.levels} levels")
        result = examination.attached(result)
        if folder is not None:
            store.write_json(folder / store.VERDICT, result)
    return result


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


def _resolve(
    policy: Any, deployment: Deployment, size: tuple[int, int], **foreign: Any
) -> _Subject:
    """The policy as something deployable."""
    if isinstance(policy, str) and policy in AGENTS:
        agent = AGENTS[policy]
        dial = agent.dial(deployment) if agent.dial else None
        found = _Subject(agent.build(deployment), "hand-written", dial)
    elif isinstance(policy, str | Path) and not is_foreign(policy):
        path = Path(policy)
        if path.suffix != ".safetensors" and not path.exists():
            look_up("agent", str(policy), AGENTS)
        found = _Subject(_load_one(path), "trained")
    else:
        agent = as_policy(policy, size, **foreign)
        if isinstance(agent, ActorPolicy) and foreign["view"] == INFERRED:
            _refuse_two_readings(agent, size)
        return _Subject(agent, "unknown")
    as_policy(found.policy, view=foreign["view"])  # refuses a view
    return found


def _refuse_two_readings(agent: ActorPolicy, size: tuple[int, int]) -> None:
    """A crop of these levels may be all that there is on those of another scenario.

    Raises:
        ConfigError: the shape of what the policy takes can mean either.
    """
    if not isinstance(agent.view, int):
        return
    shape = observation_shape(*size, agent.view)
    others = [
        each.name
        for each in SCENARIOS.values()
        if observation_shape(each.size, each.size, "agent") == shape
    ]
    if others:
        raise ConfigError(
            f"The policy {agent.name!r} sees {shape[0]}x{shape[1]} cells, which is "
            f"everything around the agent on levels of {others[0]} but a crop here; "
            f"give --scenario {others[0]} if it was trained there, or else --view "
            f"{agent.view} (in Python view={agent.view})."
        )


def _name(subject: _Subject) -> str:
    return getattr(subject.policy, "name", type(subject.policy).__name__)


def _hash(policy: Any) -> str:
    """Of the file of a policy; "" where there is none."""
    is_file = isinstance(policy, str | Path) and Path(policy).is_file()
    return digest(Path(policy)) if is_file else ""


def _starts(deployment: Deployment, seed: int) -> np.ndarray:
    """Observations at the start of some levels, Bool[b, h, w, 7]."""
    levels = sample_levels(stream(seed, "meeting"), deployment.levels, MET)
    return np.asarray(first_observations(levels))


def _load_one(path: Path) -> Policy:
    policies = load_policies(path)
    number = number_of(policies)
    if number != 1:
        raise ConfigError(
            f"{path} holds {number} policies; audit the run's folder for all of them, "
            "or save the one you mean."
        )
    return policy_at(policies, 0)
