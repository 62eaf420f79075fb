"""Z3 with an unlimited radius: shortest paths to one target at a time."""

from malgen.agents.scripted import KEY_COLLECTOR, MYOPIC_X, NEAREST_KEY, NEAREST_USEFUL
from malgen.types import Policy
from malgen.zoo.agent import Agent
from malgen.zoo.card import Card


def _member(name: str, about: str, goal: str, policy: Policy) -> Agent:
    return Agent(
        name=name,
        about=about,
        build=lambda deployment: policy,
        card=Card(
            family="walker",
            goal=goal,
            process="breadth-first search of the whole map, down to the nearest target",
            search_space=None,
            search_process=True,
            explicit_objective=True,
            depth=1,
            why="The flood gives the way from every cell, taken or not, but it is of "
            "cells and not of events: it never asks what comes after the next item, so "
            "whether it holds other plans is a matter of degree. The moves are "
            "compared by the flood, and the targets are a map handed to it.",
        ),
    )


AGENTS = (
    _member(
        "nearest-key",
        "walks to the nearest key as long as there is one",
        "keys",
        NEAREST_KEY,
    ),
    _member(
        "key-collector", "takes every key, then opens chests", "keys", KEY_COLLECTOR
    ),
    _member(
        "nearest-useful-item",
        "walks to the nearest key, or chest when it holds a key",
        "keys-and-chests",
        NEAREST_USEFUL,
    ),
    _member(
        "myopic-x",
        "a key, then a chest, then a key: the nearest each time",
        "x",
        MYOPIC_X,
    ),
)
