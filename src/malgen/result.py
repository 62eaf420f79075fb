"""What a run found, as one object: the command line prints it, the report draws it."""

from dataclasses import dataclass

from malgen.findings import Curve, Estimate, Finding, MalignWindow, Recipe, Verdict


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something an agent did to an item.

    Attributes:
        step: the item was taken by the action with this index (0 is the first).
        kind: "key" or "chest".
        cell: (row, column).
        harmful: True when the harm feature grew in this step.
    """

    step: int
    kind: str
    cell: tuple[int, int]
    harmful: bool


@dataclass(frozen=True, kw_only=True)
class Track:
    """One agent's episode on a level, ready to be drawn without knowing any rules.

    Attributes:
        agent: its name.
        cells: (row, column) before the first action and after each action, until
            the episode ended.
        events: in order.
        intended: chests opened.
        harm: harm done.
        utility: intended - price * harm.
    """

    agent: str
    cells: tuple[tuple[int, int], ...]
    events: tuple[Event, ...]
    intended: float
    harm: float
    utility: float


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The same level under several agents.

    Attributes:
        level: ASCII picture.
        level_id: content hash.
        title: why this level is shown ("worst of 512", "median", ...).
        tracks: first the audited agent, then the references.
    """

    level: str
    level_id: str
    title: str
    tracks: tuple[Track, ...]


@dataclass(frozen=True, kw_only=True)
class HistoryPoint:
    """One evaluation during training, on fixed levels that training never sees.

    Attributes:
        seed: index of the training run.
        step: environment steps so far.
        train_fraction: openable chests opened on training levels, in [0, 1].
        deploy_fraction: the same on deployment levels.
        deploy_harm: harm per deployment level.
        deploy_utility: chests - price * harm per deployment level.
    """

    seed: int
    step: int
    train_fraction: float
    deploy_fraction: float
    deploy_harm: float
    deploy_utility: float


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """The verdict on one training run.

    Attributes:
        seed: index of the training run.
        verdict: on it.
        name: of a policy that malgen did not train; "" for malgen's own runs.
    """

    seed: int
    verdict: Verdict
    name: str = ""

    @property
    def called(self) -> str:
        """What it is called."""
        return self.name or f"seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class AgentResult:
    """A scripted agent on the same levels, for comparison (no train gate)."""

    agent: str
    about: str
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class ControlResult:
    """A control arm: what it is for, and its verdicts.

    Attributes:
        name: short name.
        about: what the arm rules out.
        seeds: one verdict per training run (one entry for scripted arms).
        recipe: k of R; None for scripted arms.
    """

    name: str
    about: str
    seeds: tuple[SeedResult, ...]
    recipe: Recipe | None


@dataclass(frozen=True, kw_only=True)
class LadderPoint:
    """Mean utility of one agent at one rung of the supply ladder.

    Attributes:
        agent: "seed 0", "nearest-key", "x-oracle", ...
        keys: keys per level at this rung.
        utility: mean over levels.
    """

    agent: str
    keys: int
    utility: Estimate


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One side of the shift, for the reader.

    Attributes:
        describe: one line, e.g. "9x9 braided mazes, 2 keys, 4 chests, horizon 64".
        keys: per level; this and the next three are None in foreign environments.
    """

    describe: str
    keys: int | None = None
    chests: int | None = None
    height: int | None = None
    width: int | None = None
    horizon: int


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """What an instrument shows on an agent whose answer is known, for comparison.

    Attributes:
        agent: its name.
        instrument: which instrument.
        values: bin -> value, as in the instrument's series.
    """

    agent: str
    instrument: str
    values: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The whole story: trained on X, deployed, priced, judged.

    Attributes:
        label: the common label of the trained seeds, or "mixed".
        sentence: the verdict in one sentence with its numbers.
        shown: index of the seed whose numbers stand for the run, the median one by
            z; see ``seeds`` for each.
        drawn: levels drawn to get the certified ones that the seeds were judged on;
            as many as those if none had to be certified.
        critical_stakes: of the seed ``shown``.
        malign_window: of the same seed.
        capability: of the same seed.
        seeds: one verdict per training run.
        recipe: k malign of R with its exact interval.
        stakes: per seed and for the X-oracle, mean utility against the price.
        ladder: utility against supply.
        not_measured: questions this run does not answer, and why.
        reproduce: the command that gives this result again.
        versions: package versions.
        yardsticks: what the instruments show on agents whose answer is known.
        about: what the scenario is about, where malgen does not know it.
    """

    scenario: str
    seed: int
    price: float
    label: str
    sentence: str
    next_step: str
    shown: int
    drawn: int
    critical_stakes: Estimate | None
    malign_window: MalignWindow | None
    capability: Estimate | None
    seeds: tuple[SeedResult, ...]
    recipe: Recipe
    training: Setting
    deployment: Setting
    agents: tuple[AgentResult, ...]
    controls: tuple[ControlResult, ...]
    stakes: tuple[Curve, ...]
    ladder: tuple[LadderPoint, ...]
    history: tuple[HistoryPoint, ...]
    replays: tuple[Replay, ...]
    not_measured: tuple[Finding, ...]
    reproduce: str
    versions: dict[str, str]
    yardsticks: tuple[Yardstick, ...] = ()
    about: str = ""
    type: str = "run-result"
