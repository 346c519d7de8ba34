"""Vela in a process of its own: its compiler crashes on some of what it does not take.

    python -m irprune.backends.vela.worker FOLDER ACCELERATOR SRAM

reads ``model.tflite`` in the folder, and writes ``optimised.tflite`` and ``report.json``, or
``error`` and exits with 1. SRAM is the most bytes to use, or 0 for the accelerator's default.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ethosu import regor
from ethosu.vela.architecture_features import ArchitectureFeatures
from ethosu.vela.errors import VelaError
from ethosu.vela.tflite.Model import Model

from irprune.backends.vela.command_stream import stored_weights

DEFAULT = "internal-default"
"""Vela's name of what it assumes of a system that is not described."""
TABLES = ("source", "perf", "perf_debug")
OPERATOR = b"ethos-u"
"""The TFLite operator that stands for what the accelerator runs."""


def main(folder: Path, accelerator: str, sram: int) -> int:
    """Compile the model in a folder; the process's exit code."""
    data = (folder / "model.tflite").read_bytes()
    try:
        system, limit = _system(accelerator)
        made = regor.compile(
            "".join(part.capitalize() for part in accelerator.split("-")[:-1]),
            data,
            "TFLITE",
            system,
            options=_options(sram or limit),
        )
    except (RuntimeError, ValueError, VelaError) as error:
        (folder / "error").write_text(getattr(error, "error_msg", str(error)))
        return 1
    (folder / "report.json").write_text(json.dumps(_report(made, accelerator)))
    (folder / "optimised.tflite").write_bytes(made.model)
    return 0


def _system(accelerator: str) -> tuple[str, int]:
    """Vela's description of the system it assumes, and the most bytes of its fast memory."""
    features = ArchitectureFeatures(
        vela_config_files=None,
        accelerator_config=accelerator,
        system_config=DEFAULT,
        memory_mode=DEFAULT,
        max_blockdep=3,
        verbose_config=False,
        arena_cache_size=None,
    )
    chosen = (
        f"[architecture]\nmacs={features.num_macs_per_cycle}\ncores={features.ncores}\n"
        f"[vela]\nsystem_config_name={features.system_config}\n"
        f"memory_mode_name={features.memory_mode}\n"
    )
    described = (Path(file).read_text() for file in features.vela_config_files)
    return "\n".join([chosen, *described]), features.arena_cache_size


def _options(sram: int) -> str:
    return (
        "[compiler]\nenable_db=true\noutput_format=TFLite\n"
        f"[scheduler]\noptimize=Performance\narena_size_limit={sram}\n"
    )


def _report(made: Any, accelerator: str) -> dict[str, Any]:
    found, tables = made.perf_report, made.opt_database.tables
    return {
        "memories": {name: memory.peakUsage for name, memory in found.memories.items()},
        "read_only": found.readOnlyPeakUsage,
        "weights": stored_weights(_streams(made.model), accelerator),
        "cycles": found.totalCycles,
        **{
            name: [dict(zip(tables[name].header, row, strict=True)) for row in tables[name].data]
            for name in TABLES
        },
    }


def _streams(data: bytes) -> Iterator[bytes]:
    """The commands of each operator on the accelerator, which are its first input."""
    model = Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    for operator in map(graph.Operators, range(graph.OperatorsLength())):
        if model.OperatorCodes(operator.OpcodeIndex()).CustomCode() == OPERATOR:
            tensor = graph.Tensors(operator.Inputs(0))
            yield model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
