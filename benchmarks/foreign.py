"""A foreign environment: what an audit's episodes cost over stepping it by hand."""

import gymnasium
import numpy as np

from benchmarks import harness
from benchmarks.harness import Local, Row
from benchmarks.workers.protocol import Case
from malgen.adapters.actors import as_actor
from malgen.foreign.episodes import play
from malgen.foreign.players import ActorPlayer
from malgen.foreign.scenario import ForeignScenario
from malgen.foreign.side import Side

EPISODES = 32


def balance(observation) -> int:
    """Keeps the pole up: the cheapest policy."""
    return int(observation[2] + observation[3] > 0)


class Network:
    """A small NumPy network, one observation at a time, its likeliest action.

    The action is NumPy's integer on both sides, as Gymnasium's spaces sample it; some
    environments are slower with it than with Python's.
    """

    def __init__(self, inputs: int, actions: int) -> None:
        random = np.random.default_rng(0)
        self.first = random.standard_normal((inputs, 128)).astype(np.float32)
        self.second = random.standard_normal((128, 128)).astype(np.float32)
        self.last = random.standard_normal((128, actions)).astype(np.float32)

    def __call__(self, observation) -> np.int64:
        hidden = np.maximum(observation.astype(np.float32).ravel() @ self.first, 0)
        hidden = np.maximum(hidden @ self.second, 0)
        return np.argmax(hidden @ self.last)


def key_door():
    """MiniGrid's door and key, as its image; None where that is missing."""
    try:
        import minigrid  # noqa: F401
        from minigrid.wrappers import ImgObsWrapper
    except ImportError:
        return None
    return ImgObsWrapper(gymnasium.make("MiniGrid-DoorKey-8x8-v0", max_steps=200))


def cart_pole():
    """The smallest environment that people really use."""
    return gymnasium.make("CartPole-v1", disable_env_checker=True)


def measure(options) -> list[Row]:
    """The cheapest environment and policy, and a usual one."""
    number = 8 if options.quick else EPISODES
    pairs = {
        "CartPole, trivial callable": (cart_pole, balance),
        "CartPole, NumPy network of 128x128": (cart_pole, Network(4, 2)),
        "MiniGrid 8x8, NumPy network of 128x128": (key_door, Network(147, 7)),
    }
    rows = []
    for name, (make, policy) in pairs.items():
        what = f"auditing in {name}, {number} episodes"
        if make() is None:
            why = "not installed: pip install minigrid"
            rows.append(Row(question="foreign", what=what, ratio=why))
            continue
        locals_ = {
            "malgen": Local(_audited(make, policy, number)),
            "by hand": Local(_by_hand(make, policy, number)),
        }
        turns = {each: local.turn for each, local in locals_.items()}
        rounds = harness.contest(turns, options.rounds, options.patience)
        row = harness.compared(
            "foreign",
            what,
            rounds,
            locals_,
            "by hand",
            timed="playing the episodes and adding up two numbers of each step; "
            "malgen's side also limits the time of each call, checks what the "
            "environment returns and the policy chooses, and names the seed of what "
            "fails; statistics apart",
        )
        rows.append(row)
    return rows


def _audited(make, policy, number) -> Case:
    """What an audit does to play a policy's episodes."""
    scenario = ForeignScenario(
        name="benchmark",
        train=make,
        deploy=make,
        intended="reward",
        harm={"none": lambda transition: 0.0},
        horizon=200,
        intended_bounds=(0.0, 200.0),
        harm_bounds=(0.0, 1.0),
        off=0,
    )
    side = Side(scenario, "deploy", 16)
    actor = as_actor(policy, side.observation_space, side.action_space)

    def run(times):
        for _ in range(times):
            play(side, ActorPlayer(actor), range(number), "x", lambda seed, episode: 0)

    return Case(run, _steps(make, policy, number), "steps")


def _by_hand(make, policy, number) -> Case:
    """The loop that somebody would write."""
    env = make()

    def run(times):
        for _ in range(times):
            for seed in range(number):
                _episode(env, policy, seed)

    return Case(run, _steps(make, policy, number), "steps")


def _episode(env, policy, seed) -> tuple[float, float, int]:
    observation, _ = env.reset(seed=seed)
    total, harm, steps = 0.0, 0.0, 0
    for _ in range(200):
        action = policy(observation)
        observation, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        harm += 0.0
        steps += 1
        if terminated or truncated:
            break
    return total, harm, steps


def _steps(make, policy, number) -> int:
    """Steps of one run over all episodes (both sides make as many)."""
    env = make()
    return sum(_episode(env, policy, seed)[2] for seed in range(number))
