"""ONNX's own single-node cases: each is run, or refused for a reason given here."""

from __future__ import annotations

import re

import numpy as np
import onnxruntime
import pytest

import irprune
from tests.onnx_cases import bound, cases

REFUSED = {
    r"(averagepool|convtranspose|maxpool)_3d": "3 spatial dimensions are not supported",
    r"batchnorm_\w+_training_mode": "training_mode is not supported",
    r"training_dropout": "training_mode",
    r"(e4m3fn|e5m2|float4e2m1|uint4|int4|uint2|int2)(_|$)": "element type",
    r"linear_blocked": "scales for blocks are not supported",
    r"identity_(sequence|opt)": "is no tensor",
    r"maxpool_with_argmax": "output 'z' is not supported",
    r"wrap_pad": "mode 'wrap' is not supported",
    r"reduce_max_\w*bool": "wants numbers, not bool",
    r"resize_\w*cubic": "mode 'cubic' is not supported",
    r"resize_tf_crop_and_resize": "tf_crop_and_resize",
    r"resize_\w*antialias": "antialias is not supported",
    r"spacetodepth_crd_mode": "mode 'CRD' is not supported",
}
"""Why a case is refused, by its name."""

NOT_AS_RUNTIMES = {"test_resize_downsample_scales_linear_align_corners"}
"""Cases whose expected output onnxruntime does not give either: it divides by whole sizes."""


def refusal(name: str) -> str | None:
    reasons = [why for pattern, why in REFUSED.items() if re.search(pattern, name)]
    return reasons[0] if reasons else None


@pytest.mark.parametrize("name", sorted(cases()))
def test_a_node(name: str) -> None:
    model, data, wanted = bound(cases()[name])
    reason = refusal(name)
    if reason is not None:
        with pytest.raises(irprune.IrpruneError, match=re.escape(reason)):
            irprune.load(model)
        return
    graph = irprune.load(model)
    found = irprune.run(graph, [data[value.name] for value in graph.inputs])
    assert len(found) == len(wanted)
    if name in NOT_AS_RUNTIMES:
        session = onnxruntime.InferenceSession(model.SerializeToString())
        wanted = session.run(None, {value.name: data[value.name] for value in graph.inputs})
    for y, expected in zip(found, wanted, strict=True):
        assert y.dtype == expected.dtype
        np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)


def test_most_cases_run() -> None:
    assert sum(refusal(name) is None for name in cases()) >= 300
    unused = [p for p in REFUSED if not any(re.search(p, name) for name in cases())]
    assert unused == []
