from __future__ import annotations

import logging
import logging.handlers
import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irprune.frontends.torch_export import exporting, read_torch
from irprune.frontends.torch_export.call import LOWERINGS
from irprune.ir.errors import InvalidModel, InvalidType, IrpruneError, UnsupportedOp, UsageError
from irprune.ir.ops import Flatten
from tests.torch_models import Function

aten = torch.ops.aten
loop = torch.ops.higher_order.while_loop
IMAGE = torch.randn((1, 4, 6, 6), generator=torch.Generator().manual_seed(0))
SPARSE = IMAGE[0, 0].to_sparse()
INDICES = torch.tensor([[0, 1]])


def almost_safe_softmax(x: Tensor) -> Tensor:
    """What attention decomposes to, but for ones in the place of zeros."""
    masked = torch.logical_not(torch.any(torch.logical_not(x == -torch.inf), -1, True))
    return torch.where(masked, torch.full_like(x, 1), aten._softmax(x, -1, False))


UNSUPPORTED: dict[str, tuple[Callable[..., object], str]] = {
    "data decide": (lambda x: x * (x > 0), r"no lowering for aten\.gt\.Scalar"),
    "random": (lambda x: x + torch.rand(6), r"no lowering for aten\.rand\.default"),
    "decomposed": (F.softplus, r"aten\.log1p\.default, a part of aten\.softplus\.default"),
    "indices": (lambda x: x.argmax(1), r"no lowering for aten\.argmax\.default"),
    "where max is": (lambda x: x.max(1)[1], r"output 1 of aten\.max\.dim is read"),
    "divisor": (
        lambda x: F.avg_pool2d(x, 2, divisor_override=3),
        r"aten\.avg_pool2d\.default that has a divisor of its own",
    ),
    "adaptive": (
        lambda x: F.adaptive_avg_pool2d(x, 4),
        r"adaptive_avg_pool2d\.default that takes 6x6 to 4x4",
    ),
    "pool indices": (
        lambda x: F.max_pool2d(x, 2, return_indices=True),
        r"output 1 of aten\.max_pool2d_with_indices\.default is read",
    ),
    "three dimensions": (
        lambda x: F.conv3d(x[None], torch.ones(2, 1, 1, 1, 1)),
        r"aten\.convolution\.default that has 3 spatial dimensions",
    ),
    "volume": (lambda x: F.avg_pool3d(x, 2), r"avg_pool3d\.default that pools three"),
    "rounding": (
        lambda x: torch.div(x, 2, rounding_mode="floor"),
        r"aten\.div\.Tensor_mode that rounds by 'floor'",
    ),
    "cast": (lambda x: x.half(), r"aten\.to\.dtype that casts f32"),
    "integer cast": (lambda x: x * x.int(), r"aten\.to\.dtype that casts f32"),
    "computed mask": (
        lambda x: F.scaled_dot_product_attention(x, x, x, x > 0),
        r"no lowering for aten\.gt\.Scalar",
    ),
    "masked row": (
        lambda x: F.scaled_dot_product_attention(x, x, x, torch.arange(6)[:, None] > 2),
        r"attention\.default that masks every position of a row",
    ),
    "dropping attention": (
        lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
        r"attention\.default that drops out",
    ),
    "grouped attention": (
        lambda x: F.scaled_dot_product_attention(x, x[:, :2], x[:, :2], enable_gqa=True),
        r"attention\.default that shares key heads",
    ),
    "paired indices": (lambda x: x[:, INDICES[0], INDICES[0]], r"index\.Tensor that pairs"),
    "computed indices": (
        lambda x: F.embedding(INDICES + x.int().sum(), torch.ones(3, 2)),
        r"casts f32",
    ),
    "strided assignment": (
        lambda x: torch.slice_scatter(x, x[..., ::2], -1, 0, 6, 2),
        r"slice_scatter\.default that replaces every other index",
    ),
    "training dropout": (
        lambda x: F.dropout(x, 0.5, True),
        r"aten\.dropout\.default that is in training mode \(call eval\(\)",
    ),
    "training norm": (
        lambda x: F.batch_norm(x, torch.zeros(4), torch.ones(4), training=True),
        r"that is in training mode|is changed each time the model runs",
    ),
    "almost prelu": (lambda x: torch.where(x > 1, x, x * 0.5), r"aten\.gt\.Scalar"),
    "almost prelu too": (lambda x: torch.where(x > 0, x, x.exp() * 0.5), r"aten\.gt\.Scalar"),
    "almost attention": (almost_safe_softmax, r"no lowering for aten\.eq\.Scalar"),
    "norm of order 1": (lambda x: F.normalize(x, p=1.0), r"takes the norm of order 1"),
    "complex": (lambda x: torch.fft.fft(x).real, r"a part of aten\.fft_fft\.default"),
    "computed slopes": (lambda x: F.prelu(x, x[0, :, 0, 0]), r"prelu\.default that computes"),
    "cubic": (
        lambda x: F.softplus(F.interpolate(x, scale_factor=2, mode="bicubic")),
        r"no lowering for aten\.upsample_bicubic2d\.vec; node .* a part of aten\.softplus",
    ),
    "output padding": (
        lambda x: F.conv_transpose2d(x, torch.ones(4, 1, 2, 2), output_padding=1),
        r"conv_transpose2d\.input that pads its output by its stride or more",
    ),
    "to nothing": (
        lambda x: F.interpolate(x[..., :1], scale_factor=0.5),
        r"upsample_nearest2d\.vec that makes nothing",
    ),
    "branches": (
        lambda x: torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,)),
        r"aten\.gt\.Scalar; node 'cond': no lowering for cond",
    ),
    "a loop": (
        lambda x: loop(lambda y: y.sum() < 3, lambda y: (y + 1,), (x,), ())[0].sign(),
        r"no lowering for while_loop; .*no lowering for aten\.sign\.default",
    ),
    "a number": (
        lambda x: (x.clamp(x.sum().item(), 2) * x.sum().item()).sign(),
        r"a part of aten\.item\.default;.*no lowering for aten\.sign\.default",
    ),
    "unbatched shuffle": (
        lambda x: F.pixel_shuffle(x[0], 2),
        r"shuffle\.default that has no batch",
    ),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_form_without_lowering_is_refused_with_its_reason(name: str) -> None:
    function, reason = UNSUPPORTED[name]
    with pytest.raises(UnsupportedOp, match=reason) as caught:
        read_torch(Function(function), (IMAGE,))
    assert caught.value.where == "Function"
    assert "\n" not in str(caught.value)


def test_a_row_masked_whole_is_refused_of_decomposed_attention_too() -> None:
    function, _ = UNSUPPORTED["masked row"]
    exported = exporting.export(Function(function), (IMAGE,))
    with pytest.raises(UnsupportedOp, match="masks every position of a row"):
        read_torch(exporting.decompose(exported, (), ""))


def test_a_lowering_that_contradicts_torch_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        LOWERINGS, "aten.relu.default", lambda call, self: call.add(Flatten(), self)
    )
    with pytest.raises(InvalidModel, match=r"makes f32\[1,144\] here, not f32\[1,4,6,6\]"):
        read_torch(Function(F.relu), (IMAGE,))


class Bad(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.act = nn.Softplus()
        self.act2 = nn.LogSigmoid()

    def forward(self, x: Tensor) -> Tensor:
        signs: Tensor = torch.sign(self.act2(self.act(self.pool(x))))
        return torch.atan(signs) + 1


def test_all_that_a_model_has_unsupported_is_named_at_once_by_module() -> None:
    with pytest.raises(UnsupportedOp) as caught:
        read_torch(nn.Sequential(nn.Conv2d(4, 2, 1), Bad()), (IMAGE,))
    assert str(caught.value) == (
        "Sequential: node '1.pool': no lowering for aten.adaptive_avg_pool2d.default that takes "
        "6x6 to 4x4, no multiple of it; node '1.act': no lowering for aten.log1p.default, a part "
        "of aten.softplus.default; node '1.act2': no lowering for aten.log1p.default, a part of "
        "aten.log_sigmoid.default; node '1': no lowering for aten.sign.default; node '1': no "
        "lowering for aten.atan.default"
    )


def raises(error: Exception) -> Callable[[Tensor], object]:
    def forward(x: Tensor) -> object:
        raise error

    return forward


FAILURES: dict[str, tuple[Callable[..., object], str]] = {
    "branch": (lambda x: x if x.sum() > 0 else -x, r"data-dependent expression.*lambda x: x if"),
    "shapes": (lambda x: x @ torch.ones(5, 5), r"same reduction dim.*test_torch_refusals\.py:\d+"),
    "value": (raises(ValueError("no such thing")), r"no such thing, at .*: raise error"),
    "silent": (raises(AssertionError()), r"AssertionError, at "),
    "name": (raises(NameError("name 'y' is not defined")), r"name 'y' is not defined"),
    "numpy": (lambda x: torch.from_numpy(x.numpy()), r"\.numpy\(\) is not supported"),
    "long": (raises(RuntimeError("very long " * 100)), r"very long very l.* \.\.\., at "),
    "object": (lambda x: object(), r"not a known type"),
    "arguments": (lambda x, y: x, r"missing 1 required positional argument: 'y'"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_to_export_is_one_line_with_its_cause(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    function, reason = FAILURES[name]
    module = Function(function)
    with pytest.raises(InvalidModel, match=reason) as caught:
        read_torch(module, (IMAGE,))
    assert str(caught.value).startswith("Function: torch.export cannot trace it: ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert module.training


def test_torch_logs_no_traceback_before_it_fails() -> None:
    handler = logging.handlers.BufferingHandler(capacity=100)
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    logger.addHandler(handler)
    try:
        with pytest.raises(InvalidModel):
            read_torch(Function(FAILURES["shapes"][0]), (IMAGE,))
    finally:
        logger.removeHandler(handler)
    assert handler.buffer == []


def test_what_a_model_prints_is_not_swallowed(capfd: pytest.CaptureFixture[str]) -> None:
    def function(x: Tensor) -> Tensor:
        print("to the console", file=sys.stderr)
        return x + 1

    read_torch(Function(function), (IMAGE,))
    assert capfd.readouterr().err == "to the console\n"
    assert not any(logging.getLogger(name).filters for name in exporting._LOGGERS)


def test_symbolic_dimensions_are_asked_for() -> None:
    batch = torch.export.Dim("batch", min=2, max=8)
    exported = torch.export.export(
        nn.ReLU(), (torch.ones(3, 4),), dynamic_shapes={"input": {0: batch}}
    )
    with pytest.raises(UsageError, match=r"input 'input' has symbolic dimensions s\d+x4"):
        read_torch(exported)


@pytest.mark.parametrize(
    ("function", "operator"),
    [(lambda x: x[x > 0], "index.Tensor"), (torch.nonzero, "nonzero.default")],
)
def test_a_shape_that_data_decide_is_refused(
    function: Callable[[Tensor], Tensor], operator: str
) -> None:
    with pytest.raises(UnsupportedOp, match=f"data decide the shape that aten.{operator} makes"):
        read_torch(Function(function), (IMAGE,))


def test_a_module_exported_in_training_mode_is_refused() -> None:
    exported = torch.export.export(nn.BatchNorm2d(4).train(), (IMAGE,))
    with pytest.raises(UnsupportedOp, match=r"changed each time the model runs .*evaluation mode"):
        read_torch(exported)


def meta_module() -> nn.Module:
    with torch.device("meta"):
        return nn.Conv2d(4, 2, 1)


MISUSES: dict[str, tuple[object, object, type[IrpruneError], str]] = {
    "no module": ("resnet18", (IMAGE,), UsageError, "a str is neither an nn.Module nor"),
    "no inputs": (nn.ReLU(), None, UsageError, "ReLU: a module needs example inputs"),
    "no tuple": (nn.ReLU(), IMAGE, UsageError, r"pass the arguments of its forward as a tuple"),
    "no tensor in": (nn.ReLU(), ("text",), InvalidModel, "torch.export cannot trace it"),
    "no output": (Function(lambda x: None), (IMAGE,), InvalidModel, "no output is a tensor"),
    "meta device": (meta_module(), (IMAGE,), InvalidModel, "Conv2d: 'weight' has no plain"),
    "brain float": (
        nn.Conv2d(4, 2, 1).bfloat16(),
        (IMAGE.bfloat16(),),
        InvalidType,
        r"torch\.bfloat16 is not supported \(convert the module with \.float\(\)",
    ),
    "complex": (
        nn.Identity(),
        (IMAGE.to(torch.complex64),),
        InvalidType,
        r"torch\.complex64 is not",
    ),
    "sparse": (
        Function(lambda x: torch.sparse.mm(SPARSE, x[0, 0])),
        (IMAGE,),
        InvalidModel,
        "has no plain data: it is torch.sparse_coo",
    ),
    "giant": (
        Function(lambda x: x + torch.zeros(1, 1).expand(10**6, 10**6)[:6, :6]),
        (IMAGE,),
        InvalidModel,
        "a constant of 1000000000000 elements",
    ),
}


@pytest.mark.parametrize("name", MISUSES)
def test_what_cannot_be_read_is_said(name: str) -> None:
    model, inputs, kind, reason = MISUSES[name]
    with pytest.raises(kind, match=reason):
        read_torch(model, inputs)  # type: ignore[arg-type]


def test_a_program_has_its_own_inputs() -> None:
    exported = exporting.export(nn.ReLU(), (IMAGE,))
    with pytest.raises(UsageError, match="an exported program has its own inputs"):
        read_torch(exported, (IMAGE,))
