"""The text form: printer and parser together."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.errors import InvalidGraph, InvalidType, IrpruneError, ParseError
from irprune.ir.graph import Graph, Node, Value, values
from irprune.ir.op import OPS
from irprune.ir.parser import parse
from irprune.ir.printer import expression, show
from irprune.ir.types import DType, Quant, TensorType
from tests.strategies import graphs

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.ir"))


def assert_same(one: Graph, other: Graph) -> None:
    """Names, structure, types, sources and every bit of the constants agree."""
    assert one.name == other.name
    where = {value: i for i, value in enumerate(values(one))}
    there = {value: i for i, value in enumerate(values(other))}
    assert [(v.name, v.type) for v in where] == [(v.name, v.type) for v in there]
    for a, b in ((one.inputs, other.inputs), (one.outputs, other.outputs)):
        assert [where[v] for v in a] == [there[v] for v in b]
    for array, back in zip(one.constants.values(), other.constants.values(), strict=True):
        assert (array.shape, array.dtype) == (back.shape, back.dtype)
        assert array.tobytes() == back.tobytes()
    for m, n in zip(one.nodes, other.nodes, strict=True):
        assert (m.op, m.name, m.source) == (n.op, n.name, n.source)
        assert [where[v] for v in m.inputs] == [there[v] for v in n.inputs]
        assert [where[v] for v in m.outputs] == [there[v] for v in n.outputs]


@given(graphs(frozenset(OPS)))
def test_a_graph_comes_back_the_same(graph: Graph) -> None:
    text = show(graph)
    back = parse(text)
    assert_same(graph, back)
    assert show(back) == text


@given(st.data(), st.sampled_from(DType))
def test_constants_come_back_bit_by_bit(data: st.DataObject, dtype: DType) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=0, min_side=0, max_side=5))
    raw = hnp.arrays(np.uint8, (*shape, dtype.itemsize))
    stored = data.draw(raw) if dtype is not DType.BOOL else data.draw(raw) % 2
    array = np.ascontiguousarray(stored).view(dtype.numpy).reshape(shape)
    b = Builder("constant")
    graph = b.finish([b.constant("c", array)])
    assert_same(graph, parse(show(graph)))


@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00000, 0x7FC00001, 0x7F800001, 0x80000000])
def test_signs_and_payloads_come_back(bits: int) -> None:
    b = Builder("constant")
    array = np.array([bits] * 3, np.uint32).view(np.float32)
    graph = b.finish([b.constant("c", array)])
    assert_same(graph, parse(show(graph)))


def test_arrays_come_back_in_row_major_order() -> None:
    b = Builder("transposed")
    graph = b.finish([b.constant("c", np.arange(6, dtype=np.int32).reshape(2, 3).T)])
    assert "[0, 3, 1, 4, 2, 5]" in show(graph)
    assert_same(graph, parse(show(graph)))


@given(st.text(min_size=1), st.text())
def test_any_name_comes_back(name: str, graph_name: str) -> None:
    b = Builder(graph_name)
    graph = b.finish([b.add(ops.Relu(), b.input(name, (1,)), name=name[::-1] + name)])
    assert_same(graph, parse(show(graph)))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_text_is_what_the_printer_writes(path: Path) -> None:
    text = path.read_text(encoding="ascii")
    assert show(parse(text)) == text


def test_the_golden_forms_mean_what_they_say() -> None:
    graph = parse((GOLDEN[0].parent / "forms.ir").read_text(encoding="ascii"))
    arrays = {value.name: array for value, array in graph.constants.items()}
    assert arrays["conv/weights.0"].tolist() == np.full((4, 3, 3, 3), np.float32(0.1)).tolist()
    assert np.signbit(arrays["scalar"])
    assert arrays["scalar"].shape == ()
    assert arrays["none"].shape == (0, 3)
    assert arrays["half"].tolist() == [float(np.float16(0.1)), 65504.0, float("-inf")]
    assert arrays["double"].tolist() == [0.1, 5e-324]
    assert arrays["unsigned"].tolist() == [0, 2**64 - 1]
    assert arrays["payload"].view(np.uint32).tolist() == [0x7FC00001]
    assert arrays["long"].tolist() == list(range(17))
    assert graph.inputs[1].name == 'two words, "quoted"\n'
    assert graph.inputs[1].type == TensorType((1, 3, 8, 8), DType.I8, Quant((0.5,), (-3,)))
    conv, quantize, split, _ = graph.nodes
    assert conv.op == ops.Conv2d(stride=(2, 2), activation=ops.Clip(low=-1.5))
    assert (conv.name, str(conv.source)) == ("conv", "")
    assert quantize.op == ops.Quantize(DType.U8, Quant((0.25,), (128,)))
    assert str(quantize.source) == "model.onnx: node 'Q_1'"
    assert split.name == "split"
    assert split.source.name == "chunk é"
    assert graph.outputs[0] is graph.outputs[-1] is conv.output


NODE = 'graph "g" {\n  input %x : f32[4]\n  %y : f32[4] = '


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "line 1", "expected 'graph', found the end of the text"),
        ("\n\ngraf", "line 3", "expected 'graph', found 'graf'"),
        ("graph g", "line 1", "expected a string, found 'g'"),
        ('graph "g" {\n', "line 2", "expected 'input', 'const', 'output', a value or '}', found"),
        ('graph "g" {} x', "line 1", "expected the end of the text, found 'x'"),
        ('graph "g" {\n input x : f32[]', "line 2", "expected a %value, found 'x'"),
        ('graph "g" {\n input %x : i4[]', "line 2", "expected an element type, found 'i4'"),
        ('graph "g" {\n input %x : f32[1,-1]', "line 2", "shape 1x-1 has a negative dimension"),
        ('graph "g" {\n input %x : f32[1.5]', "line 2", "expected an integer, found 1.5"),
        ('graph "g" {\n input %x : f32["', "line 2", "expected a number, found '\"'"),
        ('graph "g" {\n input %x : f32[$]', "line 2", "expected a number, found '$'"),
        ('graph "g" {\n output %x\n}', "line 2", "no value 'x' is defined before this"),
        ('graph "\\x"', "line 1", '"\\x" is not a string'),
        (
            'graph "g" {\n input %x : f32[]\n input %x : f32[]\n}',
            "line 3",
            "value 'x' is defined a second time",
        ),
        (
            'graph "g" {\n input %x : i8[] Quant(scale=(0.0,), zero_point=(1,))}',
            "line 2",
            "a quantization scale is not a positive number",
        ),
        (NODE + "relu() (%x)", "line 3", "expected the name of an operator, found 'relu'"),
        (NODE + "Quant(scale=(1.0,), zero_point=(0,)) (%x)", "line 3", "Quant is not an operator"),
        (NODE + "Relu() (%y)\n}", "line 3", "no value 'y' is defined before this"),
        (NODE + "Relu(alpha=1) (%x)", "line 3", "Relu has no attribute 'alpha'"),
        (NODE + "Concat() (%x)", "line 3", "Concat needs attribute 'axis'"),
        (NODE + "Concat(axis=0, axis=1) (%x)", "line 3", "attribute 'axis' is given twice"),
        (
            NODE + 'Concat(axis="0") (%x)',
            "line 3",
            "attribute 'axis' of Concat is '0', not int",
        ),
        (NODE + "Concat(0) (%x)", "line 3", "expected a name, found '0'"),
        (NODE + "Concat(axis=)", "line 3", "expected an attribute, found ')'"),
        (NODE + "Concat(axis=" + "(" * 99, "line 3", "attributes are nested more than 32 deep"),
        (NODE + "Concat(axis=" + "9" * 5000, "line 3", "the number has too many digits"),
        (NODE + "Relu() (%x %x)", "line 3", "expected ')', found '%x'"),
        (NODE + 'Relu() (%x) from "file"\n}', "line 4", "expected a string, found '}'"),
        ('graph "g" {\n const %c : f32[2] = 1', "line 2", "expected 'splat', '[' or 'base64'"),
        (
            'graph "g" {\n const %c : f32[2] = [1]\n}',
            "line 2",
            "expected 2 elements of f32[2], found 1",
        ),
        (
            'graph "g" {\n const %c : i8[2] = splat 1.5\n}',
            "line 2",
            "expected an element of i8, found 1.5",
        ),
        ('graph "g" {\n const %c : i8[] = splat 128\n}', "line 2", "128 is no element of i8"),
        ('graph "g" {\n const %c : f16[] = splat 1e9\n}', "line 2", "1000000000.0 is no element"),
        (
            'graph "g" {\n const %c : f32[] = splat True\n}',
            "line 2",
            "expected an element of f32, found True",
        ),
        ('graph "g" {\n const %c : i8[1] = base64 "?"\n}', "line 2", "base64 of i8: "),
        (
            'graph "g" {\n const %c : f32[1] = base64 "AAA="\n}',
            "line 2",
            "base64 of f32: buffer size must be a multiple of element size",
        ),
    ],
)
def test_errors_say_the_line_and_what_was_expected(text: str, where: str, what: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert caught.value.where == where
    assert caught.value.what.startswith(what)


def test_parsing_verifies() -> None:
    with pytest.raises(InvalidGraph, match="declared f32\\[4\\] and inferred f32\\[2,2\\]"):
        parse(NODE + "Reshape(shape=(2, 2)) (%x)\n output %y\n}")


@given(st.data(), graphs(frozenset(OPS), max_nodes=3))
def test_damaged_text_makes_no_error_but_ours(data: st.DataObject, graph: Graph) -> None:
    text = show(graph)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    middle = data.draw(st.text('%"(){}[],=:@ \n\\-0159aefinNRx.', max_size=6))
    try:
        back = parse(text[:start] + middle + text[end:])
    except IrpruneError:
        return
    assert_same(back, parse(show(back)))


def test_what_has_no_text_form_is_refused() -> None:
    with pytest.raises(InvalidType, match="has no text form"):
        expression([1, 2])
    y = Value("y", TensorType((2,), DType.F32))
    x = Value("x", TensorType((2,), DType.F32))
    graph = Graph("g", (x,), (y,), (Node(ops.Reshape([2]), (x,), (y,), "n"),))  # type: ignore[arg-type]  # what mypy forbids is the point
    with pytest.raises(InvalidType, match="has no text form"):
        show(graph)
