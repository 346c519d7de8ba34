"""The memory plan in a TFLite file, as TFLite-Micro reads it.

It is the content of the metadata named ``OfflineMemoryAllocation``: 32-bit integers, which are a
version, the number of subgraphs, the number of tensors, and an offset for each tensor
(docs/memory_management.md of tflite-micro). The runtime looks at the third alone, and so does this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irprune.ir.errors import InvalidPlan

PLAN_NAME = b"OfflineMemoryAllocation"
HEADER = 3
"""Numbers before the offsets."""


def parse_plan(content: bytes) -> tuple[int, ...]:
    """The offsets of a plan, one a tensor; InvalidPlan where the bytes are none."""
    numbers = np.frombuffer(content[: len(content) // 4 * 4], "<i4").tolist()
    if len(content) % 4 or len(numbers) < HEADER or numbers[2] != len(numbers) - HEADER:
        raise InvalidPlan(
            f"its memory plan is damaged: {len(content)} bytes do not hold "
            f"{numbers[2] if len(numbers) >= HEADER else 'the'} offsets"
        )
    return tuple(numbers[HEADER:])


def plan_content(offsets: Sequence[int]) -> bytes:
    """The bytes of a plan for the tensors of one subgraph, in the format's first version."""
    return np.array((1, 1, len(offsets), *offsets), "<i4").tobytes()
