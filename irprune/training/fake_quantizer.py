"""Quantization-aware training on the grid of the compiled model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from irprune.frontends.torch_export import Traced
from irprune.ir import ops
from irprune.ir.errors import UsageError
from irprune.ir.types import DType, Quant, dims
from irprune.passes.analysis.calibration import Range, calibrate, real_activations
from irprune.passes.rewrite.scales import WEIGHT_LIMIT
from irprune.training.folding import LAYERS, effective, folded
from irprune.training.grid import Weights, grid_of, lower, placed
from irprune.training.replay import (
    Replay,
    first_nodes,
    shapes_of,
    trace_without_hooks,
)

MOMENTUM = 0.99
"""How much of a moving average stays at each step."""


class FakeQuantizer(nn.Module):
    """A module that computes with the numbers that its compiled form can represent.

    >>> quantized = FakeQuantizer(model, example_inputs)
    >>> for x, y in loader:
    ...     loss = criterion(quantized(x), y); loss.backward(); optimizer.step()
    ...     optimizer.zero_grad()
    >>> compiled = compile_tflite(load(model, example_inputs), ranges=quantized.ranges())

    What is rounded is what the compiler stores as integers, in the forms that it gives the layers:
    weights to symmetric integers, of one scale a channel in convolutions; the activations that are
    left once batch normalization and activation functions are in the layers before them to the
    moving averages of their least and greatest elements (Jacob et al., Quantization and Training
    of Neural Networks for Efficient Integer-Arithmetic-Only Inference, section 3.1). Gradients go
    straight through. Where TFLite-Micro rounds twice, so does this. Biases, which have 32 bits,
    stay reals; so does what is within one operator of torch and is several in the compiled form:
    the parts of an activation function or of a normalization over groups, and the gates, states
    and weights of a recurrent cell.

    The module runs operator by operator, as torch.export traces it in evaluation mode, once for
    each shape of inputs. Batch normalization and dropout do in training what they do there; other
    code that asks whether it trains does not.

    Args:
        module: the module, whose parameters these are; it is ``module`` here.
        example_inputs: the arguments of its ``forward``, as it will be deployed.
        start: the passes in training that only observe ranges.
        dtype: the integers of activations, I8 or I16.

    Raises:
        UsageError: weights are computed from parameters, or the module cannot be quantized.
        InvalidModel, UnsupportedOp: the module cannot be read.
    """

    low: Tensor
    high: Tensor
    steps: Tensor
    frozen: Tensor

    def __init__(
        self,
        module: nn.Module,
        example_inputs: tuple[object, ...],
        *,
        start: int = 0,
        dtype: DType = DType.I8,
    ) -> None:
        super().__init__()
        self.module = module
        self._example_inputs = example_inputs
        self._start = start
        traced = trace_without_hooks(module, example_inputs)
        self._grid = grid_of(traced, dtype)
        self._weights: dict[str, Weights] = {w.path: w for w in self._grid.weights}
        self._folded = folded(traced, set(self._grid.points.values()))
        self._traced = {shapes_of(example_inputs): traced}
        self._makers = self._grid.makers()
        self._place = {name: i for i, name in enumerate(dict.fromkeys(self._grid.points.values()))}
        # By operators: the graph of a batch of another size may count its values otherwise.
        makes = first_nodes(traced)
        self._points = {makes[name].name: name for name in self._place}
        self.register_buffer("low", torch.full((len(self._place),), torch.inf))
        self.register_buffer("high", torch.full((len(self._place),), -torch.inf))
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("frozen", torch.tensor(False))

    def forward(self, *inputs: Any) -> Any:
        """The module's output; all of them as a tuple where there are several."""
        traced = self._traced_for(inputs)
        learns = self.training and not bool(self.frozen)
        begun = bool(self.frozen) or int(self.steps) >= self._start
        rounds = begun and self._has_ranges
        grid = self._grid.quants(self._known()) if rounds else {}
        quants = {name: grid[value] for value, name in self._grid.points.items() if rounds}
        corrections: dict[str, Tensor] = {}
        scales: dict[str, Tensor] = {}

        def made(node: fx.Node, tensor: Any) -> Any:
            if node.name in corrections:
                tensor = tensor + along(corrections[node.name], tensor, LAYERS[str(node.target)])
            name = self._points.get(node.name)
            if name is None:
                return tensor
            if learns:
                self._observe(self._place[name], tensor)
            if not quants:
                return tensor
            maker = self._makers.get(name)
            if maker is not None and self._grid.dtype is DType.I8 and maker.path in scales:
                multiplier = scales[maker.path] * grid[maker.layer.inputs[0]].scale[0]
                axis = -1 if isinstance(maker.layer.op, ops.Dense) else 1
                multiplier = along(multiplier, tensor, axis)
                tensor = rounded_first(tensor, multiplier, quants[name].scale[0])
            return self._rounded(tensor, quants[name])

        def parameter(path: str, tensor: Tensor) -> Tensor:
            weights = self._weights.get(path)
            if weights is None or not quants:
                return tensor
            rounded, scales[path] = self._as_stored(tensor, weights)
            for part in self._folded.get(path, ()):
                if part.is_before:
                    corrections[part.layer] = part.left_out(self._tensor, tensor, rounded)
            return rounded

        replay = Replay(self.module, traced, tensor=parameter, made=made, learns=learns)
        # The module is called, with another forward, so that its hooks do what they do.
        attributes = vars(self.module)
        before = {"forward": attributes["forward"]} if "forward" in attributes else {}
        attributes["forward"] = lambda *given: replay.outputs(given)
        try:
            result = self.module(*inputs)
        finally:
            del attributes["forward"]
            attributes.update(before)
        if learns:
            self.steps += 1
        return result

    def freeze(self) -> None:
        """Let ranges and the statistics of batch normalization stay as they are from now on.

        What has not begun to round does so, too.

        Raises:
            UsageError: nothing has been observed yet.
        """
        self._expect_ranges()
        self.frozen.fill_(True)

    def ranges(self, inputs: tuple[object, ...] | None = None) -> Mapping[str, Range]:
        """The range of each real activation of the lowered model, by its name.

        Args:
            inputs: a batch on which that is observed which the lowered model computes and the
                module does not, such as the parts of an activation function; for most models
                there is nothing.

        Raises:
            UsageError: nothing has been observed yet, or inputs are needed.
        """
        where = type(self.module).__name__
        self._expect_ranges()
        found = self._grid.completed(self._known())
        graph = trace_without_hooks(self.module, self._example_inputs).graph
        lowered = lower(graph)
        missing = [v.name for v in real_activations(lowered) if v.name not in found]
        if not missing:
            return found
        if inputs is None:
            raise UsageError(
                f"the module does not compute {len(missing)} activations of its lowered form, "
                f"such as '{missing[0]}'",
                where=where,
                hint="give a batch of inputs to observe them on",
            )
        batch = [x.detach().cpu() for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor)]
        samples = [
            placed([x[i : i + 1].numpy() for x in batch], graph, lowered)
            for i in range(len(batch[0]))
        ]
        observed = {value.name: seen for value, seen in calibrate(lowered, samples).items()}
        return {**observed, **found}

    @property
    def _has_ranges(self) -> bool:
        return bool(self.low.isfinite().all())

    def _expect_ranges(self) -> None:
        if not self._has_ranges:
            raise UsageError(
                "no ranges have been observed yet",
                where=type(self.module).__name__,
                hint="train with the quantizer",
            )

    def _traced_for(self, inputs: tuple[object, ...]) -> Traced:
        key = shapes_of(inputs)
        if key not in self._traced:
            traced = trace_without_hooks(self.module, inputs)
            missing = self._points.keys() - {node.name for node in traced.program.graph.nodes}
            if missing:
                shapes = ", ".join(dims(tuple(shape)) for shape, _ in key)
                raise UsageError(
                    f"'{min(missing)}' is not computed of inputs of shape {shapes}, and is of the "
                    "example inputs",
                    where=type(self.module).__name__,
                    hint="let forward do the same to batches of all sizes",
                )
            self._traced[key] = traced
        return self._traced[key]

    def _known(self) -> Mapping[str, Range]:
        low, high = self.low.tolist(), self.high.tolist()
        return {name: Range(low[i], high[i]) for name, i in self._place.items()}

    @torch.no_grad()
    def _observe(self, place: int, tensor: Tensor) -> None:
        least, most = torch.aminmax(tensor.detach().float())
        if bool(self.low[place].isfinite()):
            least = MOMENTUM * self.low[place] + (1 - MOMENTUM) * least
            most = MOMENTUM * self.high[place] + (1 - MOMENTUM) * most
        self.low[place], self.high[place] = least, most

    def _rounded(self, tensor: Tensor, quant: Quant) -> Tensor:
        """An activation on its grid."""
        least, most = self._grid.dtype.limits
        return torch.fake_quantize_per_tensor_affine(
            tensor.float(), quant.scale[0], quant.zero_point[0], least, most
        )

    def _as_stored(self, tensor: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        """Weights as they come from their grid, on which they are with all that is folded in.

        Beside them the scales of that, (outputs,) or (1,).
        """
        axis = weights.axis or 0
        parts = self._folded.get(weights.path, ())
        with torch.no_grad():
            factors = effective(tensor, parts, self._tensor)
            largest = (tensor * factors).abs().amax([a for a in range(tensor.ndim) if a != axis])
            if weights.axis is None:
                largest = largest.max().expand(largest.shape)
            largest = torch.where(largest == 0, largest.max(), largest)
            scales = largest.clamp_min(torch.finfo(torch.float32).tiny) / WEIGHT_LIMIT
            zeros = torch.zeros_like(scales, dtype=torch.int32)
        rounded = torch.fake_quantize_per_channel_affine(
            tensor * factors, scales, zeros, axis, -WEIGHT_LIMIT, WEIGHT_LIMIT
        )
        return rounded / factors, scales[:1] if weights.axis is None else scales

    def _tensor(self, path: str) -> Tensor:
        """A parameter or buffer of the module."""
        owner, _, name = path.rpartition(".")
        found = getattr(self.module.get_submodule(owner), name)
        assert isinstance(found, Tensor)
        return found


def along(each: Tensor, tensor: Tensor, axis: int) -> Tensor:
    """What belongs to each index of an axis of a tensor, to be broadcast over the tensor."""
    shape = [1] * tensor.ndim
    shape[axis] = -1
    return each.reshape(shape)


def rounded_first(tensor: Tensor, multiplier: Tensor, scale: float) -> Tensor:
    """What a layer makes, as TFLite-Micro's kernels have it before they round it to 8 bits.

    They multiply sums by an integer of 31 bits and round, and shift that to the right and round,
    halves away from zero (TFLite's common.h, MultiplyByQuantizedMultiplier); so what is a little
    less than half a step becomes a whole one.

    Args:
        tensor: what the layer makes.
        multiplier: the scale of the sums, to be broadcast over the tensor.
        scale: that of what is made.
    """
    with torch.no_grad():
        _, exponent = torch.frexp(multiplier / scale)
        parts = torch.ldexp(torch.ones_like(multiplier), (-exponent).clamp_min(0))
        steps = tensor.float() / scale
        first = torch.round(steps * parts)
        # Halves of steps go away from zero, which rounding to even would not do with all.
        first = (first + torch.sign(first) * 0.25 * (parts > 1)) / parts
    return tensor + (first * scale - tensor).detach()
