"""Operators without weights, in the forms they take across opsets, and what is folded."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from tests.onnx_models import Form, agrees_with_onnxruntime, floats, ints, node, one, reals, scalar

real = reals(1)

COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
)

POINTWISE = [
    one("clip_7", 7, "Clip", min=-0.5, max=0.25),
    one("clip_7_half", 7, "Clip", max=0.25),
    one("clip_11", 11, "Clip", "x - high", high=scalar(0.25)),
    one("relu6", 13, "Clip", "x l h", l=scalar(0), h=scalar(6)),
    one("pow_int", 12, "Pow", "x e", e=ints(2)),
    one("prelu", 9, "PRelu", "x s", s=real(3, 1, 1)),
    one("prelu_row", 9, "PRelu", "x s", s=real(5)),
    one("max_of_one", 8, "Max"),
    one("min_of_three", 8, "Min", "x a b", a=real(5), b=real(3, 1, 1)),
    one("sum_of_one", 8, "Sum"),
    one("sum_of_three", 8, "Sum", "x a b", a=real(5), b=real(3, 1, 1)),
    one("reciprocal", 13, "Reciprocal"),
    one("selfgelu", 20, "Gelu", approximate="tanh"),
    one("softmax_flat", 11, "Softmax"),
    one("softmax_last", 11, "Softmax", axis=3),
    one("softmax_first", 11, "Softmax", axis=0),
    one("softmax_negative", 11, "Softmax", axis=-2),
    one("softmax_one_pixel", 11, "Softmax", "x", 2, 7, 1, 1),
    one("softmax_13", 13, "Softmax", axis=1),
    one("log_softmax_flat", 12, "LogSoftmax", axis=2),
    one("log_softmax_13", 13, "LogSoftmax"),
    one("dropout_7", 7, "Dropout", ratio=0.3),
    one(
        "dropout_12",
        12,
        "Dropout",
        "x r t",
        r=scalar(0.3),
        t=np.asarray(False),
    ),
    one("lrn", 13, "LRN", "x", 1, 7, 3, 3, size=5, alpha=0.2, beta=0.6, bias=1.5),
    one("layer_norm", 17, "LayerNormalization", "x g b", g=real(6, 5), b=real(6, 5), axis=2),
    one("layer_norm_row", 17, "LayerNormalization", "x g", g=real(5), epsilon=0.1),
    *(
        one(
            f"batch_norm_{opset}_{len(shape)}",
            opset,
            "BatchNormalization",
            "x g b m v",
            *shape,
            g=real(3),
            b=real(3),
            m=real(3),
            v=np.abs(real(3)),
            epsilon=0.01,
            momentum=0.5,
        )
        for opset in (7, 9, 15)
        for shape in ((2, 3), (2, 3, 4), (1, 3, 6, 5))
    ),
]

SHAPES = [
    one("reshape_zero", 13, "Reshape", "x s", s=ints(0, -1, 0)),
    one("flatten_0", 9, "Flatten", axis=0),
    one("flatten_2", 9, "Flatten", axis=2),
    one("flatten_end", 11, "Flatten", axis=-1),
    one("flatten_vector", 9, "Flatten", "x", 4),
    one("squeeze_all", 11, "Squeeze", "x", 1, 3, 1),
    one("squeeze_11", 11, "Squeeze", "x", 1, 3, 1, axes=[-1]),
    one("squeeze_13", 13, "Squeeze", "x a", 1, 3, 1, a=ints(0)),
    one("unsqueeze_11", 11, "Unsqueeze", axes=[-1, 0]),
    one("unsqueeze_13", 13, "Unsqueeze", "x a", a=ints(2, -1)),
    one("transpose", 13, "Transpose"),
    one("expand", 13, "Expand", "x s", 3, 1, s=ints(2, 1, 4)),
    one("slice_9", 9, "Slice", axes=[2, 3], starts=[1, -3], ends=[100, -1]),
    one("slice_7", 7, "Slice", starts=[0, 1], ends=[1, 2]),
    one(
        "slice_back",
        11,
        "Slice",
        "x s e a t",
        s=ints(-1, 4),
        e=ints(-100, 0),
        a=ints(-1, 2),
        t=ints(-2, -1),
    ),
    one("slice_none", 11, "Slice", "x s e", s=ints(0, 2), e=ints(1, 2)),
    one("pad_7", 7, "Pad", pads=[0, 0, 1, 2, 0, 1, 0, 3], value=0.5),
    one("pad_reflect", 7, "Pad", pads=[0, 0, 1, 2, 0, 0, 3, 4], mode="reflect"),
    one("pad_edge", 11, "Pad", "x p", p=ints(0, 0, 1, 2, 0, 0, 3, 4), mode="edge"),
    one("pad_cut", 11, "Pad", "x p", p=ints(0, -1, 1, 0, 0, 0, -2, -1)),
    one("pad_axes", 18, "Pad", "x p v a", p=ints(1, 2), v=scalar(0.5), a=ints(-1)),
    one("gather", 13, "Gather", "x i", i=np.asarray([[0, -1], [2, 1]], np.int64), axis=2),
    one("gather_scalar", 7, "Gather", "x i", i=np.asarray(-1, np.int64), axis=1),
    one("d2s", 11, "DepthToSpace", "x", 1, 8, 2, 3, blocksize=2),
    one("d2s_crd", 11, "DepthToSpace", "x", 1, 8, 2, 3, blocksize=2, mode="CRD"),
    one("s2d", 13, "SpaceToDepth", "x", 1, 2, 4, 6, blocksize=2),
    Form("split_7", 7, [node("Split", "x", "a b", axis=3, split=[2, 3])], outputs="a b"),
    Form("split_13", 13, [node("Split", "x", "a b c", axis=1)], outputs="c a b"),
    Form("split_18", 18, [node("Split", "x", "a b", axis=3, num_outputs=2)], outputs="a b"),
    one("reduce_12", 12, "ReduceMean", axes=[-1, 2], keepdims=0),
    one("reduce_13", 13, "ReduceSum", "x a", a=ints(1)),
    one("reduce_18", 18, "ReduceMax", "x a", a=ints(2, 3), keepdims=0),
    one("reduce_all", 13, "ReduceMean"),
    one("reduce_nothing", 13, "ReduceSum", noop_with_empty_axes=1),
]

RESIZES = [
    one("upsample_7", 7, "Upsample", scales=[1.0, 1.0, 2.0, 3.0]),
    one("upsample_9", 9, "Upsample", "x s", s=floats(1, 1, 2, 1.5), mode="linear"),
    one("resize_10", 10, "Resize", "x s", s=floats(1, 1, 0.5, 2.5)),
    one("resize_10_linear", 10, "Resize", "x s", s=floats(1, 1, 1.5, 2), mode="linear"),
    one("resize_0.7", 13, "Resize", "x - s", 1, 1, 10, 10, s=floats(1, 1, 0.7, 0.7)),
    one("resize_axes", 18, "Resize", "x - - z", z=ints(9, 4), axes=[3, 2], mode="linear"),
    one("resize_same", 13, "Resize", "x - - z", z=ints(1, 3, 6, 5)),
    *(
        one(
            f"resize_{policy}",
            18,
            "Resize",
            "x - - z",
            z=ints(9, 4),
            axes=[2, 3],
            keep_aspect_ratio_policy=policy,
        )
        for policy in ("not_larger", "not_smaller")
    ),
    *(
        one(
            f"resize_{size}_{coordinates}_{rounding}",
            19,
            "Resize",
            "x - - z",
            z=ints(1, 3, size, 7),
            coordinate_transformation_mode=coordinates,
            nearest_mode=rounding,
        )
        for size in (4, 13)
        for coordinates in COORDINATES
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ),
    *(
        one(
            f"resize_linear_{size}_{coordinates}",
            19,
            "Resize",
            "x - - z",
            z=ints(1, 3, size, 7),
            coordinate_transformation_mode=coordinates,
            mode="linear",
        )
        for size in (1, 4, 13)
        for coordinates in COORDINATES
    ),
]


FOLDED = [
    Form(
        "flatten_by_shape",
        13,
        [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n"),
            node("Unsqueeze", "n at", "n1"),
            node("Concat", "n1 rest", "to", axis=0),
            node("Reshape", "x to"),
        ],
        tensors={"zero": np.asarray(0, np.int64), "at": ints(0), "rest": ints(-1)},
    ),
    Form(
        "half_by_shape",
        15,
        [
            node("Shape", "x", "s", start=1, end=2),
            node("Cast", "s", "f", to=TensorProto.FLOAT),
            node("Mul", "f half", "h"),
            node("Floor", "h", "h1"),
            node("Cast", "h1", "end", to=TensorProto.INT64),
            node("Slice", "x start end axis"),
        ],
        tensors={"half": floats(0.5), "start": ints(0), "axis": ints(1)},
    ),
    Form(
        "expand_by_where",
        13,
        [
            node("Shape", "target", "rank"),
            node("ConstantOfShape", "rank", "ones", value=numpy_helper.from_array(ints(1))),
            node("Mul", "ones minus", "negative"),
            node("Equal", "target negative", "open"),
            node("Where", "open ones target", "to"),
            node("Expand", "x to"),
        ],
        tensors={"target": ints(2, -1, -1, -1), "minus": ints(-1)},
    ),
    Form(
        "indices_by_range",
        13,
        [
            node("Range", "zero three one", "r"),
            node("Mod", "r two", "m"),
            node("Gather", "x m", axis=1),
        ],
        tensors={
            "zero": np.asarray(0, np.int64),
            "three": np.asarray(3, np.int64),
            "one": np.asarray(1, np.int64),
            "two": ints(2),
        },
    ),
    Form(
        "normalization_by_hand",
        9,
        [
            node("Conv", "x w", "c"),
            node("Unsqueeze", "scale", "s", axes=[1, 2]),
            node("Unsqueeze", "shift", "t", axes=[1, 2]),
            node("Mul", "s c", "m"),
            node("Add", "m t"),
        ],
        tensors={"w": real(4, 3, 3, 2), "scale": real(4), "shift": real(4)},
    ),
    Form(
        "weights_in_nodes",
        13,
        [
            node("Constant", "", "w", value=numpy_helper.from_array(real(4, 3, 3, 2))),
            node("Constant", "", "h", value_float=0.5),
            node("Conv", "x w", "c"),
            node("Mul", "c h"),
        ],
    ),
    Form(
        "weights_of_one_element",
        9,
        [
            node("ConstantOfShape", "s", "w", value=numpy_helper.from_array(floats(0.25))),
            node("Conv", "x w"),
        ],
        tensors={"s": ints(4, 3, 3, 2)},
    ),
    Form(
        "tiled",
        13,
        [node("Tile", "a n", "t"), node("Add", "x t")],
        tensors={"a": real(1, 5), "n": ints(6, 1)},
    ),
    Form(
        "reduced",
        13,
        [node("ReduceMin", "a", "m", axes=[0], keepdims=0), node("Add", "x m")],
        tensors={"a": real(4, 5)},
    ),
]


@pytest.mark.parametrize(
    "form", [*POINTWISE, *SHAPES, *RESIZES, *FOLDED], ids=lambda form: form.name
)
def test_a_form(form: Form) -> None:
    agrees_with_onnxruntime(form)
