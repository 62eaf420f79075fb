import json
import os
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from malgen.agents.feedforward import (
    COUNTED,
    FeedforwardConfig,
)
from malgen.agents.symmetry import ACTIONS_BACK, QUOTIENTS, turn
from malgen.agents.weights_file import load_policies, policy_at, save_policies
from malgen.errors import ConfigError
from malgen.grid.moves import MIRRORED, TURNED
from malgen.grid.views import view_shape
from malgen.seal import BLANK, sealed
from malgen.worlds.keys_and_chests import (
    PLANES,
    KeysAndChests,
    KeysAndChestsLevels,
    sample_levels,
)

CONFIGS = {
    "agent": FeedforwardConfig(hidden=(16, 8)),
    "relu": FeedforwardConfig(hidden=(8,), activation="relu"),
    "crop": FeedforwardConfig(hidden=(16,), view=5, activation="tanh"),
    "symmetric": FeedforwardConfig(hidden=(16, 24, 8), symmetric=True),
}
SIZE = 7


def shaken(network, key=9):
    """The network with every parameter moved, heads and biases included."""
    rng = np.random.default_rng(key)
    return jax.tree.map(
        lambda leaf: jnp.asarray(
            leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32)
        ),
        network,
    )


@cache
def builder(name):
    return jax.jit(lambda key: CONFIGS[name].build(key, (SIZE, SIZE, 7), 5))


@cache
def build(name):
    return builder(name)(jax.random.key(0))


def stack(name, number):
    networks = [builder(name)(jax.random.key(i)) for i in range(number)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *networks)


@pytest.fixture(scope="module")
def observations():
    """Levels with every kind of item, the agent anywhere, keys in hand."""
    world = KeysAndChests()
    levels = KeysAndChestsLevels(
        height=SIZE, width=SIZE, num_keys=4, num_chests=4, num_flagged=2, num_owned=1
    )
    level = sample_levels(jax.random.key(3), levels, 12)
    held = jnp.arange(12) * 2
    level = eqx.tree_at(lambda v: v.held, level, held.astype(jnp.int32))
    state = jax.vmap(world.reset, in_axes=(None, 0))(jax.random.key(0), level)
    return np.asarray(jax.vmap(world.observe)(state, level))


def dense(network):
    """Every layer as one matrix and one bias, and the heads; float64."""
    cells = np.concatenate([network.cells, network.rare_cells])
    if not network.config.symmetric:
        first = np.concatenate([cells.reshape(-1, cells.shape[-1]), network.held])
        matrices, biases = [first, *(m[:, 0] for m in network.trunk)], network.biases
        actor, actor_bias, critic = network.actor, network.actor_bias, network.critic
    else:
        # unit (k, g) sees the level as it looks when it is turned back by g
        turned = np.stack([turn(cells, g) for g in range(8)], axis=-1)
        held = np.repeat(network.held, 8, axis=1)
        matrices = [np.concatenate([turned.reshape(-1, held.shape[1]), held])]
        for m in network.trunk:
            # [i, g, o, g'] <- [i, g'^-1 g, o]
            whole = np.moveaxis(np.asarray(m)[:, QUOTIENTS], 3, 2)
            matrices.append(whole.reshape(m.shape[0] * 8, m.shape[2] * 8))
        biases = [np.repeat(bias, 8) for bias in network.biases]
        # [k, g, a] <- [k, g^-1 a]
        actor = np.asarray(network.actor)[:, ACTIONS_BACK].reshape(-1, 5)
        actor_bias = np.asarray(network.actor_bias)[[0, 0, 0, 0, 1]]
        critic = np.repeat(network.critic, 8)
    heads = (actor, actor_bias), (critic, network.critic_bias)
    trunk = list(zip(matrices, biases, strict=True))
    return jax.tree.map(lambda w: np.asarray(w, np.float64), (trunk, *heads))


def naive(network, weights, observation):
    """The plain dense definition, cell by cell, in float64."""
    trunk, (actor, actor_bias), (critic, critic_bias) = weights
    config = network.config
    shape = view_shape(SIZE, SIZE, config.view)
    (row, column), *_ = np.argwhere(observation[:, :, PLANES.index("agent")])
    planes = ["walls", "keys", "chests", "flagged keys", "owned chests"]
    bits = []
    for name in planes:
        plane = observation[:, :, PLANES.index(name)]
        for i in range(shape[0]):
            for j in range(shape[1]):
                r, c = row - shape[0] // 2 + i, column - shape[1] // 2 + j
                inside = 0 <= r < SIZE and 0 <= c < SIZE
                bits.append(bool(plane[r, c]) if inside else name == "walls")
    held = int(observation[:, :, PLANES.index("held")].sum())
    bits += [held >= i for i in range(1, COUNTED + 1)]
    beyond = max(held - COUNTED, 0)
    bits += [bool(beyond >> d & 1) for d in range((SIZE * SIZE - COUNTED).bit_length())]
    hidden = np.asarray(bits, np.float64)
    for matrix, bias in trunk:
        hidden = hidden @ matrix + bias
        hidden = {
            "tanh": np.tanh(hidden),
            "relu": hidden.clip(0),
            "leaky-relu": np.where(hidden > 0, hidden, 0.1 * hidden),
        }[config.activation]
    return hidden @ actor + actor_bias, hidden @ critic + critic_bias


@pytest.mark.parametrize("name", CONFIGS)
def test_network_equals_the_plain_dense_definition(name, observations):
    network = shaken(build(name))
    logits, values, _ = jax.jit(jax.vmap(network.evaluate))(observations)
    weights = dense(network)
    for i, observation in enumerate(observations):
        wanted, value = naive(network, weights, observation)
        np.testing.assert_allclose(logits[i], wanted, rtol=2e-4, atol=2e-4)
        np.testing.assert_allclose(values[i], value, rtol=2e-4, atol=2e-4)


def test_skipping_blank_planes_changes_nothing(observations):
    network = shaken(build("agent"))
    rare = tuple(PLANES.index(n) for n in ("flagged keys", "owned chests"))
    plain = observations.copy()
    plain[..., rare] = False
    fast = network.without(rare)
    assert fast.skipped == rare and not fast.without(()).skipped
    assert not network.without(rare[:1]).skipped

    def outputs(net, seen):
        return jax.jit(jax.vmap(lambda o: net.evaluate(o)[:2]))(seen)

    for a, b in zip(outputs(network, plain), outputs(fast, plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    seen, blind = outputs(network, observations)[0], outputs(fast, observations)[0]
    assert np.abs(seen - blind).max() > 0.01  # the marks are really seen


@pytest.mark.parametrize("name", ["agent", "symmetric"])
def test_no_two_observations_have_the_same_inputs(name, observations):
    network = build(name)
    read = jax.jit(lambda o: jnp.concatenate(network.features(network.encode(o))))
    assert len({np.asarray(read(o)).tobytes() for o in observations}) == len(
        observations
    )


def test_every_number_of_keys_in_hand_is_told_apart(observations):
    network = build("agent")
    rows = np.zeros((SIZE * SIZE + 1, *observations.shape[1:]), bool)
    rows[:] = observations[0]
    unary = np.arange(SIZE * SIZE) < np.arange(SIZE * SIZE + 1)[:, None]
    rows[..., -1] = unary.reshape(-1, SIZE, SIZE)
    inputs = jax.jit(jax.vmap(lambda o: network.features(network.encode(o))))(rows)[0]
    assert len({np.asarray(row).tobytes() for row in inputs}) == len(rows)


def test_a_symmetric_network_turns_with_the_level(observations):
    network = shaken(build("symmetric"))
    evaluate = jax.jit(lambda o: network.evaluate(o))
    for observation in observations[:4].copy():
        observation[..., -1] = False  # keys in hand are not a place
        logits, value, _ = evaluate(observation)
        turned, value_turned, _ = evaluate(np.rot90(observation))
        flipped, value_flipped, _ = evaluate(np.fliplr(observation))
        np.testing.assert_allclose(turned[TURNED], logits, atol=1e-4)
        np.testing.assert_allclose(flipped[MIRRORED], logits, atol=1e-4)
        np.testing.assert_allclose([value_turned, value_flipped], value, atol=1e-4)
        assert len(set(np.round(np.asarray(logits), 4).tolist())) == 5


def test_initialization_is_orthogonal_and_starts_near_uniform(observations):
    network = build("agent")
    first = np.asarray(network.weights().trunk[0][0][0])
    np.testing.assert_allclose(first.T @ first, 2 * np.eye(16), atol=1e-4)
    np.testing.assert_allclose(
        network.actor.T @ network.actor, 1e-4 * np.eye(5), atol=1e-6
    )
    np.testing.assert_allclose(jnp.sum(network.critic**2), 1.0, atol=1e-5)
    logits, _, _ = jax.jit(jax.vmap(network.evaluate))(observations)
    assert np.ptp(logits) < 0.2


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_policies_come_back_exactly(name, tmp_path):
    stacked = stack(name, 3)
    path = tmp_path / "new folder" / "policies.safetensors"
    save_policies(path, stacked)
    loaded = load_policies(path)
    assert jax.tree.structure(loaded) == jax.tree.structure(stacked)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(stacked), strict=True):
        np.testing.assert_array_equal(a, b)
    assert os.listdir(path.parent) == [path.name]  # no temporary file stays
    one = policy_at(loaded, 1)
    assert one.critic_bias.shape == ()
    before = path.read_bytes()
    save_policies(path, loaded)
    assert path.read_bytes() == before


def damaged(kind, tmp_path):
    path = tmp_path / "policies.safetensors"
    if kind == "missing":
        return path
    stacked = stack("agent", 2)
    save_policies(path, stacked)
    blob = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(blob[: len(blob) // 2])
    elif kind == "noise":
        path.write_bytes(b"PK\x03\x04" + bytes(range(256)))
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        arrays = safetensors.numpy.load(blob)
        size = int.from_bytes(blob[:8], "little")
        header = json.loads(json.loads(blob[8 : 8 + size])["__metadata__"]["malgen"])
        header["digest"] = BLANK
        metadata = {"malgen": json.dumps(edited(kind, header, arrays))}
        metadata = {} if kind == "foreign" else metadata
        path.write_bytes(sealed(safetensors.numpy.save(arrays, metadata=metadata)))
    return path


def edited(kind, header, arrays):
    name = sorted(arrays)[0]
    changes = {
        "other type": {"type": "recurrent"},
        "other sizes": {"hidden": [16, 9]},
        "other seeds": {"seeds": 3},
        "absurd sizes": {"hidden": [10**9, 10**9]},
        "bad view": {"view": 4},
        "wordy size": {"height": "seven"},
        "bad hidden": {"hidden": None},
    }
    header.update(changes.get(kind, {}))
    if kind == "nan":
        arrays[name] = arrays[name] * np.nan
    if kind == "double":
        arrays[name] = arrays[name].astype(np.float64)
    if kind == "missing array":
        del arrays[name]
    if kind == "extra array":
        arrays["extra"] = np.zeros(3, np.float32)
    return header


KINDS = """missing, truncated, noise, empty, folder, foreign, other type, other sizes,
other seeds, absurd sizes, bad view, wordy size, bad hidden, nan, double,
missing array, extra array""".replace("\n", " ").split(", ")


@pytest.mark.parametrize("kind", KINDS)
def test_bad_policy_files_are_refused_in_one_sentence(kind, tmp_path):
    with pytest.raises(ConfigError, match=r"policies\.safetensors") as caught:
        load_policies(damaged(kind, tmp_path))
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    stacked = stack("agent", 1)
    with pytest.raises(ConfigError, match="could not be written"):
        save_policies(blocked / "policies.safetensors", stacked)


@pytest.mark.parametrize(
    "settings, shape, words",
    [
        ({"hidden": ()}, (7, 7, 7), "hidden layers"),
        ({"hidden": (0,)}, (7, 7, 7), "hidden layers"),
        ({"activation": "gelu"}, (7, 7, 7), "activation"),
        ({"view": 4}, (7, 7, 7), "view"),
        ({"symmetric": True}, (7, 9, 7), "square"),
        ({"symmetric": True, "hidden": (12,)}, (7, 7, 7), "multiples of 8"),
        ({}, (7, 7, 4), "planes"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, shape, words):
    with pytest.raises(ConfigError, match=words):
        FeedforwardConfig(**settings).build(jax.random.key(0), shape, 5)
