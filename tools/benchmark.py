"""Time irprune against baselines in the same run, and count beside a peer.

Bounds are stated beside each figure; the exit code is 1 where one is not met. Timings are medians
of interleaved runs, so that a ratio holds when the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from tests.processes import peak_memory

MAIN = "import sys; from irprune.cli import main; sys.argv[0] = 'irprune'; main()"
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
TABLE_3 = (
    "mobilenet_v2?classes=2&input=3x50x50",
    "vgg16",
    "resnet18",
    "ds_cnn?widths=84-112-84-84-84-196",
    "res8",
)


@dataclass(frozen=True)
class Timing:
    """Median whole-process seconds of a command and of the baseline it was interleaved with."""

    seconds: float
    baseline: float

    @property
    def ratio(self) -> float:
        """The command's seconds over the baseline's."""
        return self.seconds / self.baseline


def python(*args: str) -> list[str]:
    return [sys.executable, *args]


def irprune(*args: str) -> list[str]:
    return python("-c", MAIN, *args)


def seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def interleaved(command: Sequence[str], baseline: Sequence[str], runs: int) -> Timing:
    """Both commands in turn, after one warm-up each."""
    seconds(command), seconds(baseline)
    pairs = [(seconds(command), seconds(baseline)) for _ in range(runs)]
    return Timing(*(statistics.median(side) for side in zip(*pairs, strict=True)))


def export_mobilenet(path: Path) -> None:
    """MobileNetV2 of Table 3 as an ONNX file, made in a process of its own."""
    code = (
        "import sys, torch; from irprune import zoo\n"
        "module, inputs = zoo.build('mobilenet_v2', classes=2, input=(3, 50, 50))\n"
        "torch.onnx.export(module, inputs, sys.argv[1], dynamo=False)"
    )
    command = python("-W", "ignore", "-c", code, str(path))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def weights_in(model: Path) -> int:
    """Bytes of a light model's weights once ConstantOfShape has made them."""
    done = subprocess.run(irprune("analyze", str(model), "--json"), capture_output=True, check=True)
    return 4 * int(json.loads(done.stdout)["parameters"])


def check(label: str, figure: float, bound: float, unit: str, note: str = "") -> bool:
    met = figure < bound
    print(
        f"{label:<52}{figure:>9.3f} {unit:<3} bound {bound:g}  {'met' if met else 'MISSED'}  {note}"
    )
    return met


def measure_processes(runs: int, folder: Path) -> list[bool]:
    model = folder / "mobilenet_v2.onnx"
    export_mobilenet(model)
    started = interleaved(irprune("--help"), python("-c", "pass"), runs)
    analyzed = interleaved(irprune("analyze", str(model)), python("-c", "import onnx, numpy"), runs)
    densenet = LIGHT / "light_densenet121.onnx"
    dense = interleaved(irprune("analyze", str(densenet)), python("-c", "import onnx, numpy"), 3)
    return [
        check("irprune --help", started.seconds, 0.3, "s", f"{started.ratio:.1f} x bare python"),
        check(
            "irprune analyze mobilenet_v2.onnx",
            analyzed.seconds,
            1.5,
            "s",
            f"{analyzed.ratio:.1f} x importing onnx",
        ),
        check(
            "irprune analyze light_densenet121.onnx",
            dense.seconds,
            3.0,
            "s",
            f"{dense.ratio:.1f} x importing onnx",
        ),
    ]


def measure_memory() -> list[bool]:
    densenet = LIGHT / "light_densenet121.onnx"
    analysis = "import sys, irprune; irprune.analyze(irprune.load(sys.argv[1]))"
    imports = (
        "import irprune, onnx, onnx_graphsurgeon; irprune.load; irprune.analyze\n"
        "import irprune.frontends.onnx"
    )
    used = peak_memory(analysis, str(densenet)) - peak_memory(imports)
    return [
        check(
            "memory over imports / weights, light_densenet121", used / weights_in(densenet), 2, "x"
        )
    ]


def compare_with_peer() -> list[bool]:
    """Counting by fvcore, on the same modules: the same weights-only MACs, and the time of both."""
    from fvcore.nn import FlopCountAnalysis

    import irprune as compiler
    from irprune import zoo

    print(f"\n{'model':<40}{'irprune macs_weights':>22}{'fvcore':>16}{'time ratio':>12}")
    agreed = []
    for spec in TABLE_3:
        name, parameters = zoo.parse_spec(spec)
        module, inputs = zoo.build(name, **parameters)
        start = time.perf_counter()
        ours = compiler.analyze(compiler.load(module, inputs)).costs.macs_weights
        middle = time.perf_counter()
        counter = FlopCountAnalysis(module, inputs)
        counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        by_op = counter.by_operator()
        theirs = int(sum(by_op[op] for op in ("conv", "linear", "addmm", "matmul")))
        ratio = (middle - start) / (time.perf_counter() - middle)
        print(f"{spec:<40}{ours:>22,}{theirs:>16,}{ratio:>12.2f}")
        agreed.append(ours == theirs)
    return agreed


def main() -> int:
    """Run every measurement; 1 where a bound was missed."""
    from tools.benchmark_channels import measure_channels
    from tools.benchmark_compile import measure_compiling
    from tools.benchmark_memory import measure_schedules
    from tools.benchmark_training import measure_training

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="counted runs of each process")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        met = measure_processes(runs, Path(folder))
    met += measure_memory()
    met += compare_with_peer()
    met += measure_schedules()
    met += measure_compiling()
    met += measure_channels()
    met += measure_training()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    print(f"\n{sum(met)} of {len(met)} bounds met; {children:.0f} s of processor time")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
