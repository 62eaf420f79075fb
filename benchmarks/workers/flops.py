"""Floating point operations of matrix products and convolutions in a JAX function."""

import math

import jax


def count(function, *arguments) -> float:
    """Multiplications and additions of the products that a function spells out.

    Loops of unknown length count once.
    """
    return _of(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of(jaxpr) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        name, given = equation.primitive.name, equation.params
        out = equation.outvars[0].aval if equation.outvars else None
        if name == "dot_general":
            (contracted, _), _ = given["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * math.prod(out.shape) * math.prod(left[i] for i in contracted)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = kernel[given["dimension_numbers"].rhs_spec[0]]
            total += 2 * math.prod(out.shape) * math.prod(kernel) / outputs
        inner = sum(_of(each) for each in _inside(given))
        total += inner * (given["length"] if name == "scan" else 1)
    return total


def _inside(parameters):
    for value in parameters.values():
        for each in value if isinstance(value, list | tuple) else (value,):
            if hasattr(each, "eqns"):
                yield each
            elif hasattr(getattr(each, "jaxpr", None), "eqns"):
                yield each.jaxpr
