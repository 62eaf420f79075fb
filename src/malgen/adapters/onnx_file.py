"""A policy in an ONNX file: ``obs[, h] -> logits[, value, h]``, run by onnxruntime.

An ONNX file is data: a graph of numbers that onnxruntime interprets. It is the safe way
to audit what somebody else trained.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from malgen.adapters.actor import Actor, Choices
from malgen.adapters.checked import checked_actions, checked_logits, drawn
from malgen.adapters.layout import laid_out, layout
from malgen.adapters.run_limit import RunLimit
from malgen.adapters.time_limit import SECONDS, late
from malgen.errors import ConfigError, ContractError, ForeignError

OBSERVATIONS = ("obs", "observation", "observations", "input", "x")
MEMORIES = ("h", "hidden", "state", "memory", "carry", "h_in", "state_in")
LOGITS = ("logits", "action_logits", "policy", "pi")
PROBABILITIES = ("probabilities", "probs", "action_probs")
ACTIONS = ("action", "actions")
VALUES = ("value", "values", "v")

SILENT = 4
"""Only what is fatal is printed: errors are raised, and told in one sentence."""

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class _Port(NamedTuple):
    """An input or output of the graph; sizes that are not fixed are None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: Any


class OnnxFile:
    """A checked ONNX file.

    Attributes:
        observation_shape: of one observation, None for any size.

    Args:
        path: of the file.

    Raises:
        ConfigError: onnxruntime is missing, no such file, or it cannot be read.
        ContractError: it has other inputs than ``obs[, h]``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            import onnxruntime
        except ImportError:
            raise ConfigError(
                f"{path} is an ONNX file, and onnxruntime is not installed: pip "
                "install 'malgen[onnx]'."
            ) from None
        if not path.is_file():
            raise ConfigError(f"There is no file {path}; give an ONNX file.")
        options = onnxruntime.SessionOptions()
        # small networks gain nothing from more, and other work does
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = SILENT
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has one class per kind of damage
            raise ConfigError(
                f"{path} could not be read as ONNX; it is damaged or made for another "
                f"version ({_first_line(error)})."
            ) from None
        inputs = [_port(found) for found in self.session.get_inputs()]
        self.obs, self.memory = self._inputs(inputs)
        self.observation_shape = self.obs.shape[1:]
        self.batch = self.obs.shape[0]

    def run_options(self) -> Any:
        """Options of a run, with a switch that ends it."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.log_severity_level = SILENT
        return options

    def any_observation(self) -> tuple[int, ...]:
        """Shape of an observation that it takes; 1 where any size will do."""
        return tuple(1 if size is None else size for size in self.observation_shape)

    def action_space(self) -> spaces.Space:
        """The actions it chooses between, as far as its outputs say.

        Raises:
            ContractError: they do not say how many there are.
        """
        ports = {p.name.lower(): p for p in map(_port, self.session.get_outputs())}
        for name in (*LOGITS, *PROBABILITIES):
            shape = ports[name].shape[1:] if name in ports else ()
            if len(shape) == 1 and shape[0]:
                return spaces.Discrete(shape[0])
        for name in ACTIONS:
            if name in ports and ports[name].dtype not in (np.int32, np.int64):
                sizes = [size for size in ports[name].shape[1:] if size]
                if len(sizes) == len(ports[name].shape) - 1:
                    return spaces.Box(-np.inf, np.inf, sizes, np.float32)
        raise ContractError(
            f"{self.path} does not say how many actions there are; give action_space."
        )

    def _inputs(self, ports: list[_Port]) -> tuple[_Port, _Port | None]:
        said = ", ".join(f"{p.name} {_shown(p.shape)}" for p in ports) or "nothing"
        wrong = ContractError(
            f"{self.path} takes {said}; a policy takes obs, whose first axis is the "
            "batch, and if it is recurrent also h."
        )
        if not 1 <= len(ports) <= 2:
            raise wrong
        if len(ports) == 1:
            obs, memory = ports[0], None
        else:
            named = [p for p in ports if p.name.lower() in MEMORIES]
            others = [p for p in ports if p.name.lower() not in MEMORIES]
            if len(named) != 1 or others[0].name.lower() not in OBSERVATIONS:
                raise wrong
            (obs,), (memory,) = others, named
        if not obs.shape or any(p.dtype is None for p in ports):
            raise wrong
        return obs, memory


class OnnxActor(Actor):
    """What an ONNX file chooses.

    Args:
        file: the file.
        observation_shape: of one observation of the environment; None if that is not
            one array.
        action_space: of the environment.
        name: how reports call it.
        seconds: how long one call may take.

    Raises:
        ContractError: it takes other observations, or gives neither logits,
            probabilities nor actions of this action space.
    """

    def __init__(
        self,
        file: OnnxFile,
        observation_shape: tuple[int, ...] | None,
        action_space: spaces.Space,
        *,
        name: str = "",
        seconds: float = SECONDS,
    ) -> None:
        self.name = name or str(file.path)
        self._file, self._space, self._seconds = file, action_space, seconds
        self._who = f"The policy {self.name!r}"
        taken = file.observation_shape
        how = None if observation_shape is None else layout(taken, observation_shape)
        if how is None:
            here = "a dictionary" if observation_shape is None else observation_shape
            raise ContractError(
                f"{self._who} takes observations of shape {_shown(taken)}, but here "
                f"they have shape {_shown(here)}; audit it where it was trained."
            )
        self._how = how
        self._limit = RunLimit(seconds, self._stop)
        self._options = self._file.run_options()
        self._outputs()
        self.memoryless = file.memory is None
        self._axis = 0
        if file.memory is not None:
            self._axis = _batch_axis(file.memory.shape, file.batch)
            sizes = [n for i, n in enumerate(file.memory.shape) if i != self._axis]
            if any(n is None for n in sizes):
                raise ContractError(
                    f"{self._who} has the memory {file.memory.name} of shape "
                    f"{_shown(file.memory.shape)}; give every axis but the batch a "
                    "fixed size."
                )

    def _outputs(self) -> None:
        """Which output is what, by name first and then by shape and type."""
        ports = [_port(found) for found in self._file.session.get_outputs()]
        by_name = {p.name.lower(): p for p in ports}
        discrete = isinstance(self._space, spaces.Discrete)
        size = int(self._space.n) if isinstance(self._space, spaces.Discrete) else 0

        def find(names: tuple[str, ...]) -> _Port | None:
            return next((by_name[name] for name in names if name in by_name), None)

        self._memory_out = None
        if self._file.memory is not None:
            wanted = self._file.memory.name.lower()
            names = (wanted, "h", "h_out", "state_out", "hidden_out", "next_h")
            new = find((*names, *(n.replace("_in", "_out") for n in (wanted,))))
            others = [p for p in ports if len(p.shape) == len(self._file.memory.shape)]
            if new is None and len(others) == 1:
                new = others[0]
            if new is None:
                raise self._no_output(ports, "no memory h for its input of that name")
            self._memory_out = new.name
        rest = [
            p
            for p in ports
            if p.name != self._memory_out and p.name.lower() not in VALUES
        ]
        self._kind, chosen = "actions", find(ACTIONS)
        if discrete:
            if (found := find(LOGITS)) is not None:
                self._kind, chosen = "logits", found
            elif (found := find(PROBABILITIES)) is not None:
                self._kind, chosen = "probabilities", found
            elif chosen is None:
                fitting = [
                    p
                    for p in rest
                    if len(p.shape) == 2
                    and p.shape[1] in (size, None)
                    and p.dtype in (np.float32, np.float64, np.float16)
                ]
                if len(fitting) == 1:
                    self._kind, chosen = "logits", fitting[0]
        elif chosen is None and len(rest) == 1:
            chosen = rest[0]
        if chosen is None:
            raise self._no_output(ports, "no logits")
        if self._kind != "actions" and chosen.shape[1:] not in ((size,), (None,)):
            raise ContractError(
                f"{self._who} gives {chosen.name} of shape {_shown(chosen.shape)}, but "
                f"there are {size} actions here; audit it where it was trained."
            )
        self._out = chosen.name
        self.offers_logits = self._kind != "actions"

    def _no_output(self, ports: list[_Port], missing: str) -> ContractError:
        said = ", ".join(f"{p.name} {_shown(p.shape)}" for p in ports)
        return ContractError(
            f"{self._who} gives {said}, so {missing}; name its outputs logits (one "
            "number per action), value and h, or actions."
        )

    def begin(self, number: int) -> Any:
        """Zeros."""
        memory = self._file.memory
        if memory is None:
            return None
        shape = [size or 0 for size in memory.shape]
        shape[self._axis] = number
        return np.zeros(shape, memory.dtype)

    def act(self, observations, memory, starts, rng, greedy=False):
        """As few calls as the file's batch allows; see ``Actor``."""
        number = len(starts)
        seen = np.asarray(laid_out(observations, self._how), self._file.obs.dtype)
        if memory is not None and starts.any():
            memory = np.moveaxis(memory.copy(), self._axis, 0)
            memory[starts] = 0
            memory = np.moveaxis(memory, 0, self._axis)
        size = self._file.batch or max(number, 1)
        if size == number:  # as it is: copies cost as much as a small network
            found, memory = self._run(seen, memory)
            self._check_memory(memory)
            return self._choices(found, number, rng, greedy), memory
        parts, memories = [], []
        for start in range(0, number, size):
            index = np.minimum(np.arange(start, start + size), number - 1)
            end = min(size, number - start)
            answer, new = self._run(
                seen[index], None if memory is None else memory.take(index, self._axis)
            )
            parts.append(answer[:end])
            if new is not None:
                memories.append(new.take(np.arange(end), self._axis))
        found = np.concatenate(parts) if parts else np.zeros((0,))
        if memories:
            memory = np.concatenate(memories, axis=self._axis)
            self._check_memory(memory)
        return self._choices(found, number, rng, greedy), memory

    def _check_memory(self, memory: np.ndarray | None) -> None:
        if memory is not None and np.isnan(memory).any():
            raise ContractError(f"{self._who} has NaN in its memory.")

    def _choices(self, found: np.ndarray, number: int, rng, greedy: bool) -> Choices:
        if self._kind == "actions":
            found = checked_actions(self._who, found, number, self._space)
            return Choices(actions=found)
        if not isinstance(self._space, spaces.Discrete):
            raise AssertionError("logits belong to discrete actions")
        if self._kind == "probabilities":
            found = _log_of(self._who, found)
        logits = checked_logits(self._who, found, number, int(self._space.n))
        actions = logits.argmax(axis=1) if greedy else drawn(logits, rng)
        return Choices(actions=actions + int(self._space.start), logits=logits)

    def _stop(self) -> None:
        """Make the run in progress end after its present node."""
        self._options.terminate = True

    def _run(self, seen: np.ndarray, memory: np.ndarray | None):
        inputs = {self._file.obs.name: seen}
        wanted = [self._out]
        if self._file.memory is not None and self._memory_out is not None:
            inputs[self._file.memory.name] = np.asarray(memory, self._file.memory.dtype)
            wanted.append(self._memory_out)
        try:
            with self._limit:
                found = self._file.session.run(wanted, inputs, self._options)
        except Exception as error:
            if self._limit.is_up:
                raise late(self._who, self._seconds) from None
            raise ForeignError(
                f"{self._who} could not be run: {_first_line(error)}."
            ) from error
        finally:
            if self._limit.is_up:  # or all later runs would end at once
                self._options = self._file.run_options()
        answer = np.asarray(found[0])
        if answer.shape[:1] != seen.shape[:1]:
            raise ContractError(
                f"{self._who} returned {self._out} of shape {list(answer.shape)} for "
                f"{len(seen)} observations; its first axis must be the batch."
            )
        if memory is None:
            return answer, None
        new = np.asarray(found[1])
        if new.shape != memory.shape:
            raise ContractError(
                f"{self._who} returned the memory {self._memory_out} of shape "
                f"{list(new.shape)}, expected {list(memory.shape)}."
            )
        return answer, new


def _log_of(who: str, odds: np.ndarray) -> np.ndarray:
    if np.isnan(odds).any():
        raise ContractError(f"{who} returned NaN (check its weights and inputs).")
    sums = odds.sum(axis=-1)
    if (odds < 0).any() or not np.allclose(sums, 1.0, atol=1e-3):
        raise ContractError(
            f"{who} returned probabilities that are negative or do not sum to 1; name "
            "the output logits if that is what they are."
        )
    with np.errstate(divide="ignore"):
        return np.log(odds)


def _batch_axis(shape: tuple[int | None, ...], batch: int | None) -> int:
    """Which axis of a memory is the batch: the open one; as torch has it if none is."""
    if batch is None:
        open_ = [i for i, size in enumerate(shape) if size is None]
        if open_:
            return open_[0]
    return 1 if len(shape) == 3 and shape[1] == (batch or 1) else 0


def _port(found: Any) -> _Port:
    sizes = tuple(
        n if isinstance(n, int) and n > 0 else None for n in (found.shape or ())
    )
    return _Port(found.name, sizes, _TYPES.get(found.type))


def _shown(shape: Any) -> str:
    if isinstance(shape, str):
        return shape
    return "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    # the name of the error and its path are said already
    return text.splitlines()[0].rpartition(" : ")[2].rstrip(".")[:160]
