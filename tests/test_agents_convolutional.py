from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen.agents.convolutional import BLOCK, ConvolutionalConfig
from malgen.agents.weights_file import load_policies, save_policies
from malgen.errors import ConfigError, ContractError
from malgen.grid.views import view_shape
from malgen.training.recipes import recipe_of
from test_agents_feedforward import SIZE, observations, shaken  # noqa: F401

CONFIGS = {
    "agent": ConvolutionalConfig(channels=(4, 6), hidden=(8,)),
    "grid": ConvolutionalConfig(channels=(5,), hidden=(8, 6), view="grid"),
    "crop": ConvolutionalConfig(channels=(4,), kernel=5, hidden=(8,), view=3),
}


@cache
def build(name, key=0):
    make = jax.jit(lambda key: CONFIGS[name].build(key, (SIZE, SIZE, 7), 5))
    return shaken(make(jax.random.key(key)))


def direct(network, observation):
    """The same with XLA's own convolution."""
    config = network.config
    bits, held = network.features(network.encode(observation))
    picture = bits.astype(jnp.float32)[None]
    for matrix, bias in zip(network.kernels, network.kernel_biases, strict=True):
        shape = (config.kernel, config.kernel, picture.shape[-1], len(bias))
        picture = jax.lax.conv_general_dilated(
            picture,
            jnp.reshape(matrix, shape),
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        picture = picture + bias
        picture = jnp.where(picture > 0, picture, 0.1 * picture)
    hidden = jnp.concatenate(
        [picture[0].transpose(2, 0, 1).ravel(), held.astype(jnp.float32)]
    )
    for matrix, bias in zip(network.trunk, network.biases, strict=True):
        hidden = hidden @ matrix + bias
        hidden = jnp.where(hidden > 0, hidden, 0.1 * hidden)
    return hidden @ network.actor + network.actor_bias, hidden @ network.critic


@pytest.mark.parametrize("name", CONFIGS)
def test_patches_times_a_matrix_are_a_convolution(name, observations):  # noqa: F811
    network = build(name)
    logits, values, _ = jax.jit(jax.vmap(network.evaluate))(observations)
    wanted, value = jax.jit(jax.vmap(lambda o: direct(network, o)))(observations)
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(
        values, value + network.critic_bias, rtol=1e-4, atol=1e-3
    )
    assert np.ptp(np.asarray(logits), axis=0).min() > 0.01


@pytest.mark.parametrize("name", CONFIGS)
def test_the_picture_shows_every_plane(name, observations):  # noqa: F811
    network = build(name)
    observation = observations[3]
    bits, held = network.features(network.encode(observation))
    planes = list(network._planes())
    if name == "grid":
        np.testing.assert_array_equal(bits, observation)
    else:
        (row, column), *_ = np.argwhere(observation[:, :, 1])
        rows, columns = view_shape(SIZE, SIZE, network.config.view)
        around = np.pad(observation, ((SIZE,) * 2, (SIZE,) * 2, (0, 0)))
        around[:SIZE, :, 0] = around[-SIZE:, :, 0] = True
        around[:, :SIZE, 0] = around[:, -SIZE:, 0] = True
        top, left = row + SIZE - rows // 2, column + SIZE - columns // 2
        wanted = around[top : top + rows, left : left + columns][..., planes]
        np.testing.assert_array_equal(bits, wanted)
    assert int(held.sum()) == int(observation[..., 6].sum()) == 6


def test_policies_survive_the_file(tmp_path):
    stacked = jax.tree.map(
        lambda *leaves: np.stack(leaves), build("agent"), build("agent", 1)
    )
    path = tmp_path / "policies.safetensors"
    save_policies(path, stacked)
    loaded = load_policies(path)
    assert type(loaded) is type(stacked) and loaded.config == CONFIGS["agent"]
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(stacked), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"channels": ()}, "convolution layers"),
        ({"channels": (0,)}, "convolution layers"),
        ({"hidden": ()}, "hidden layers"),
        ({"kernel": 2}, "kernel is 2"),
        ({"kernel": -1}, "kernel is -1"),
        ({"kernel": 3.0}, "kernel is 3.0"),
        ({"activation": "x"}, "Unknown activation"),
        ({"view": 4}, "Unknown view"),
    ],
)
def test_unusable_settings_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        ConvolutionalConfig(**settings).build(jax.random.key(0), (7, 7, 7), 5)


def test_a_larger_grid_is_refused_and_a_smaller_one_is_not():
    network = build("grid")
    with pytest.raises(ContractError, match="made for grids of 7 x 7"):
        network.encode(np.zeros((9, 9, 7), bool))
    seen = np.zeros((5, 5, 7), bool)
    codes = np.asarray(network.encode(seen).codes).reshape(SIZE, SIZE)
    assert codes.sum() == SIZE * SIZE - 25 and not codes[:5, :5].any()


def test_networks_are_chosen_by_name():
    own = recipe_of("keys-and-chests-small")
    assert recipe_of("keys-and-chests-small", "feedforward") == own
    network = recipe_of("keys-and-chests-small", "convolutional").network
    assert isinstance(network, ConvolutionalConfig)
    with pytest.raises(ConfigError, match="did you mean"):
        recipe_of("keys-and-chests-small", "convolutionl")


def test_blocks_of_observations_give_what_each_gives_alone(observations):  # noqa: F811
    network = build("agent")
    many = observations[np.arange(2 * BLOCK + 5) % len(observations)]

    def outputs(network, seen):
        return jax.vmap(lambda one: network.evaluate(one)[:2])(seen)

    def size(network, seen):
        return sum(jnp.mean(each**2) for each in outputs(network, seen))

    def direct_size(network, seen):
        logits, values = jax.vmap(lambda one: direct(network, one))(seen)
        values = values + network.critic_bias
        return jnp.mean(logits**2) + jnp.mean(values**2)

    few = jax.jit(outputs)(network, observations)
    found = jax.jit(outputs)(network, many)
    for a, b in zip(found, few, strict=True):
        wanted = b[np.arange(len(many)) % len(observations)]
        np.testing.assert_allclose(a, wanted, rtol=1e-4, atol=1e-3)
    slopes = jax.jit(jax.grad(size))(network, many)
    wanted = jax.jit(jax.grad(direct_size))(network, many)
    for a, b in zip(jax.tree.leaves(slopes), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max())
