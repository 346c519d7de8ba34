"""The order of a file's operators, from that of some of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def completed(order: Iterable[int], needs: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Every item once: those of ``order`` as they come, each preceded by what it needs.

    Args:
        order: items, whose needs form no cycle.
        needs: for each item, the items that must come before it.

    Returns:
        All the items; those that nothing in the order needs are at the end.
    """
    done: dict[int, None] = {}
    for item in (*order, *range(len(needs))):
        waiting = [item]
        while waiting:
            missing = [other for other in needs[waiting[-1]] if other not in done]
            if missing:
                waiting += reversed(missing)
            else:
                done.setdefault(waiting.pop())
    return tuple(done)
