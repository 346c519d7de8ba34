"""Analyses: pure functions of a graph, computed once for each graph."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

G = TypeVar("G")
P = ParamSpec("P")
R = TypeVar("R")


def analysis(function: Callable[Concatenate[G, P], R]) -> Callable[Concatenate[G, P], R]:
    """Cache a pure function of a graph (and hashable arguments) for as long as the graph lives.

    Graphs are never changed, so nothing is ever invalidated. A result must not refer to its graph,
    or the graph would never be freed.
    """
    cache: WeakKeyDictionary[G, dict[Hashable, R]] = WeakKeyDictionary()

    @wraps(function)
    def cached(graph: G, /, *args: P.args, **kwargs: P.kwargs) -> R:
        key = (args, tuple(sorted(kwargs.items())))
        results = cache.setdefault(graph, {})
        if key not in results:
            results[key] = function(graph, *args, **kwargs)
        return results[key]

    return cached
