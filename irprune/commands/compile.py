"""irprune compile, irprune verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irprune.commands.common import DOES_NOT_FIT, fail, limits, say_unpacked, shapes
from irprune.ir.errors import UsageError
from irprune.options import (
    MODEL,
    CalibrationMethod,
    Channels,
    Compression,
    DeviceName,
    Flash,
    Io,
    Json,
    Numbers,
    RuntimeName,
    Shapes,
    Sram,
)


def compile_(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL, show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .tflite file to write.")],
    calibration: Annotated[
        Path | None,
        typer.Option(help="Samples to take scales from: .npy, .npz or a folder of images."),
    ] = None,
    ranges: Annotated[
        Path | None,
        typer.Option(help="Ranges that training exported, instead of --calibration: .json."),
    ] = None,
    mean: Channels = None,
    std: Channels = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="The most samples to calibrate on; 128 by default."),
    ] = None,
    method: Annotated[
        CalibrationMethod | None,
        typer.Option(help="How samples make ranges; minmax by default."),
    ] = None,
    float_: Annotated[bool, typer.Option("--float", help="Keep 32-bit floats.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="8-bit integers; the default.")] = False,
    int16x8: Annotated[
        bool, typer.Option("--int16x8", help="Activations of 16 bits, weights of 8.")
    ] = False,
    io: Annotated[
        Io, typer.Option(help="The type of inputs and outputs of a quantized model.")
    ] = Io.int8,
    keep_io_layout: Annotated[
        bool, typer.Option("--keep-io-layout", help="Do not put the channels of images last.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Put the memory plan into the file, too.")
    ] = False,
    compress: Annotated[
        Compression | None,
        typer.Option(help="Store weights without their zeros where that is smaller."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="ACCELERATOR",
            help="An Ethos-U, as ethos-u55-128: write OUTPUT_vela.tflite for it, too.",
        ),
    ] = None,
    c_array: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write model.cc and model.h into this folder, too."),
    ] = None,
    device: DeviceName = None,
    sram: Sram = None,
    flash: Flash = None,
    force: Annotated[
        bool, typer.Option("--force", help="Let the output overwrite the model.")
    ] = False,
    shape: Shapes = None,
    json: Json = False,
    per_layer: Annotated[bool, typer.Option("--per-layer", help="Show every layer.")] = False,
    time_limit: Annotated[
        float, typer.Option(min=0, help="Seconds to look for the best order, and the best arena.")
    ] = 10.0,
) -> None:
    """Compile a model to a TFLite file that TFLite-Micro runs, its operators in the best order.

    Exits with 1, and writes nothing, where it does not fit the device or budget.
    """
    chosen = [name for name, is_set in zip(Numbers, (float_, int8, int16x8), strict=True) if is_set]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other")
    if output.suffix != ".tflite":
        raise UsageError("must end in .tflite", where=str(output))
    if float_ and (calibration or ranges):
        raise UsageError("--float takes no --calibration and no --ranges")
    if calibration and ranges:
        raise UsageError("--calibration and --ranges exclude each other")
    if calibration is None and (mean or std):
        raise UsageError("--mean and --std are for images: name a folder with --calibration")
    if calibration is None and (samples or method):
        raise UsageError("--samples and --method are for what --calibration names")
    if target is not None and compress is not None:
        raise UsageError("--target and --compress exclude each other: Vela encodes weights itself")
    if target is not None and plan:
        raise UsageError("--target and --plan exclude each other: Vela makes a plan of its own")
    if target is not None and c_array is not None:
        raise UsageError(
            "--target and --c-array exclude each other: the sources would be of the plain model",
            hint="xxd -i OUTPUT_vela.tflite, and register AddEthosU",
        )
    _, budget = limits(device, sram, flash)
    from irprune.backends import compile as backend
    from irprune.backends import vela
    from irprune.backends.c_array import FILES
    from irprune.backends.files import expect_writable, write_atomically
    from irprune.frontends.load import load_packed
    from irprune.passes.analysis.calibration import Method
    from irprune.report.terminal import console, working

    expect_writable(output, source=Path(model), force=force)
    if c_array is not None and c_array.is_dir():
        for name in FILES:
            expect_writable(c_array / name)
    if target is not None:
        vela.expect_accelerator(target)
        expect_writable(vela.beside(output), source=Path(model), force=force)
    options = backend.CompileOptions(
        numbers=backend.Numbers(chosen[0]) if chosen else None,
        method=Method(method or CalibrationMethod.minmax),
        float_io=io is Io.float,
        keep_io_layout=keep_io_layout,
        plan=plan,
        compress=None if compress is None else backend.Compression(compress),
        time_limit=time_limit,
    )
    with working(f"{model}: compiling"):
        compiled = backend.compile_model(
            model,
            options,
            calibration,
            ranges=ranges,
            mean=mean,
            std=std,
            limit=samples or 128,
            shapes=shapes(shape),
        )
    optimised = None
    if target is not None:
        vela.expect_work(compiled.model.graph, target)
        with working(f"{model}: Vela is at work"):
            optimised = vela.optimise(compiled.data, compiled.model, target, budget.sram)
    excess = (optimised or compiled).excess(budget)
    if excess:
        fail(f"irprune: {model}: {excess}; nothing is written", DOES_NOT_FIT)
    backend.write_compiled(compiled, output, c_array, source=model, force=force)
    if optimised is not None:
        write_atomically(vela.beside(output), optimised.data, source=Path(model), force=force)
    if compress is None and target is None and load_packed(model) is not None:
        say_unpacked(model, output)
    from irprune.report.compiled import compiled_as_json, print_compiled
    from irprune.report.optimised import print_optimised

    if json:
        print(compiled_as_json(compiled, optimised))
        return
    print_compiled(console(), compiled, per_layer=per_layer)
    if optimised is not None:
        print_optimised(console(), compiled.model.graph.name, optimised)


def verify(
    first: Annotated[str, typer.Argument(metavar="A", help=MODEL, show_default=False)],
    second: Annotated[str, typer.Argument(metavar="B", help="The same.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(help="Samples: .npy, .npz or a folder of images; random by default."),
    ] = None,
    mean: Channels = None,
    std: Channels = None,
    samples: Annotated[int, typer.Option(min=1, help="The most samples to run on.")] = 8,
    runtime: Annotated[
        RuntimeName | None, typer.Option(help="What to run in, where it takes the model.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="Fail where a difference is larger.")
    ] = None,
    shape: Shapes = None,
    json: Json = False,
) -> None:
    """Run two models on the same data and say how far apart they are.

    ONNX runs in onnxruntime, TFLite in TFLite-Micro, other models in irprune's interpreter. Exits
    with 1 where a difference is larger than the tolerance.
    """
    if data is None and (mean or std):
        raise UsageError("--mean and --std are for images: name a folder with --data")
    from irprune.backends.runtimes import Kind
    from irprune.backends.verify import compare
    from irprune.report.terminal import console, working
    from irprune.report.verified import comparison_as_json, print_comparison

    with working(f"{first} and {second}: running"):
        found = compare(
            first,
            second,
            data=data,
            count=samples,
            runtime=None if runtime is None else Kind(runtime),
            shapes=shapes(shape),
            mean=mean,
            std=std,
        )
    if json:
        print(comparison_as_json(found))
    else:
        print_comparison(console(), found)
    if tolerance is not None and not found.largest <= tolerance:
        raise typer.Exit(DOES_NOT_FIT)
