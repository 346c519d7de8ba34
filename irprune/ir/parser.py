"""Reading the text form of ``irprune.ir.printer``."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, NoReturn, TypeVar

import numpy as np

import irprune.ir.ops  # noqa: F401 - fills the registry
from irprune.ir.attributes import mistyped
from irprune.ir.errors import IrpruneError, ParseError
from irprune.ir.graph import Graph, Node, Source, Value
from irprune.ir.op import OPS, Op
from irprune.ir.printer import BARE_NAME
from irprune.ir.types import Array, DType, Quant, TensorType
from irprune.ir.verify import verify

T = TypeVar("T")

_STRING = r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
_TOKEN = re.compile(
    rf"""\s*(?:
      (?P<value>%(?:{BARE_NAME.pattern}|{_STRING}))
    | (?P<string>{_STRING})
    | (?P<number>-?(?:inf\b|nan\b|[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?))
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<mark>[{{}}\[\]():=,@])
    | (?P<end>\Z)
    | (?P<unknown>\S)
    )""",
    re.VERBOSE,
)
_WORDS = {"True": True, "False": False, "None": None} | {d.value: d for d in DType}
_DEEPEST = 32
"""Attributes are nested no deeper; it keeps the parser from recursing without end."""


def parse(text: str) -> Graph:
    """The graph that a text describes.

    Raises:
        ParseError: the text is not of the form; it says the line and what was expected.
        InvalidGraph: the text describes a graph that breaks invariants.
    """
    graph = _Parser(text).graph()
    verify(graph)
    return graph


class _Parser:
    """Recursive descent over the tokens, the next of which is looked at."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._next = self._scan(0)
        self._at = 0
        self._values: dict[str, Value] = {}
        self._inputs: list[Value] = []
        self._outputs: list[Value] = []
        self._nodes: list[Node] = []
        self._constants: dict[Value, Array] = {}

    def graph(self) -> Graph:
        self._expect("word", "graph")
        name = self._string()
        self._expect("mark", "{")
        while not self._found("mark", "}"):
            self._statement()
        if self._kind != "end":
            self._fail("the end of the text")
        return Graph(
            name, tuple(self._inputs), tuple(self._outputs), tuple(self._nodes), self._constants
        )

    def _statement(self) -> None:
        if self._found("word", "input"):
            self._inputs.append(self._declaration())
        elif self._found("word", "const"):
            value = self._declaration()
            self._expect("mark", "=")
            self._constants[value] = self._elements(value.type)
        elif self._found("word", "output"):
            self._outputs.append(self._operand())
        elif self._kind == "value":
            self._nodes.append(self._node())
        else:
            self._fail("'input', 'const', 'output', a value or '}'")

    def _node(self) -> Node:
        outputs = [self._declaration(define=False)]
        while self._found("mark", ","):
            outputs.append(self._declaration(define=False))
        self._expect("mark", "=")
        op = self._constructed(depth=0)
        if not isinstance(op, Op):
            self._stop(f"{type(op).__name__} is not an operator")
        self._expect("mark", "(")
        inputs = self._until(")", self._operand)
        name = self._string() if self._found("mark", "@") else outputs[0].name
        source = Source()
        if self._found("word", "from"):
            source = Source(self._string(), self._string())
        for value in outputs:
            self._define(value)
        return Node(op, tuple(inputs), tuple(outputs), name, source)

    def _declaration(self, define: bool = True) -> Value:
        name = self._name()
        self._expect("mark", ":")
        value = Value(name, self._type())
        if define:
            self._define(value)
        return value

    def _define(self, value: Value) -> None:
        if value.name in self._values:
            self._stop(f"value '{value.name}' is defined a second time")
        self._values[value.name] = value

    def _operand(self) -> Value:
        name = self._name()
        if name not in self._values:
            self._stop(f"no value '{name}' is defined before this")
        return self._values[name]

    def _type(self) -> TensorType:
        dtype = _WORDS.get(self._token) if self._kind == "word" else None
        if not isinstance(dtype, DType):
            self._fail("an element type")
        self._advance()
        self._expect("mark", "[")
        shape = self._until("]", self._integer)
        quant = None
        if (self._kind, self._token) == ("word", "Quant"):
            quant = self._constructed(depth=0)
        return self._built(lambda: TensorType(tuple(shape), dtype, quant))

    def _elements(self, t: TensorType) -> Array:
        """The array of a constant, in one of its three forms."""
        if self._found("word", "splat"):
            element = self._element(t.dtype)
            return np.full(t.shape, element, t.dtype.numpy)
        if self._found("mark", "["):
            elements = self._until("]", lambda: self._element(t.dtype))
            array = np.array(elements, t.dtype.numpy)
        elif self._found("word", "base64"):
            array = self._decoded(self._string(), t.dtype)
        else:
            self._fail("'splat', '[' or 'base64'")
        if array.size != t.elements:
            self._stop(f"expected {t.elements} elements of {t}, found {array.size}")
        return array.reshape(t.shape)

    def _element(self, dtype: DType) -> Any:
        """One element, exactly representable or (of a float type) rounded to the nearest."""
        value = self._expression()
        kinds = (bool,) if dtype is DType.BOOL else (int,) if dtype.is_integer else (int, float)
        if type(value) not in kinds:
            self._stop(f"expected an element of {dtype.value}, found {value!r}")
        try:
            with np.errstate(over="raise"):
                return dtype.numpy.type(value)
        except (OverflowError, FloatingPointError):
            self._stop(f"{value!r} is no element of {dtype.value}")

    def _decoded(self, text: str, dtype: DType) -> Array:
        little = dtype.numpy.newbyteorder("<")
        try:
            return np.frombuffer(b64decode(text, validate=True), little).astype(dtype.numpy)
        except ValueError as error:
            self._stop(f"base64 of {dtype.value}: {error}")

    def _expression(self, depth: int = 0) -> Any:
        """An attribute: a number, string, name of a constant, tuple or constructor call."""
        if depth > _DEEPEST:
            self._stop(f"attributes are nested more than {_DEEPEST} deep")
        if self._found("mark", "("):
            return tuple(self._until(")", lambda: self._expression(depth + 1)))
        match self._kind:
            case "number":
                return self._number()
            case "string":
                return self._string()
            case "word" if self._token in _WORDS:
                return _WORDS[self._advance()]
            case "word":
                return self._constructed(depth)
        self._fail("an attribute")

    def _constructed(self, depth: int) -> Any:
        """The operator or quantization that a constructor call makes."""
        classes: Mapping[str, type[Any]] = {**OPS, "Quant": Quant}
        cls = classes.get(self._token)
        if cls is None:
            self._fail("the name of an operator")
        self._advance()
        self._expect("mark", "(")
        given: dict[str, object] = {}

        def argument() -> None:
            name = self._expect("word")
            if name in given:
                self._stop(f"attribute '{name}' is given twice")
            self._expect("mark", "=")
            given[name] = self._expression(depth + 1)

        self._until(")", argument)
        known = {f.name: f.default is MISSING for f in fields(cls)}
        wrong = [f"{cls.__name__} has no attribute '{name}'" for name in given.keys() - known]
        wrong += [
            f"{cls.__name__} needs attribute '{name}'"
            for name, required in known.items()
            if required and name not in given
        ]
        wrong = wrong or list(mistyped(cls, given))
        if wrong:
            self._stop("; ".join(wrong))
        return self._built(lambda: cls(**given))

    def _built(self, build: Callable[[], T]) -> T:
        """What ``build`` makes; an error it raises is placed at this line."""
        try:
            return build()
        except IrpruneError as error:
            self._stop(error.what)

    def _until(self, mark: str, item: Callable[[], T]) -> list[T]:
        """Items up to a closing mark, with commas between (and perhaps after) them."""
        items: list[T] = []
        while not self._found("mark", mark):
            items.append(item())
            if not self._found("mark", ","):
                self._expect("mark", mark)
                break
        return items

    def _number(self) -> int | float:
        token = self._expect("number")
        try:
            return int(token) if token.lstrip("-").isdigit() else float(token)
        except ValueError:  # Python reads no integer of more than 4,300 digits
            self._stop("the number has too many digits")

    def _integer(self) -> int:
        number = self._number()
        if not isinstance(number, int):
            self._stop(f"expected an integer, found {number}")
        return number

    def _string(self) -> str:
        return self._unquoted(self._expect("string"))

    def _name(self) -> str:
        token = self._expect("value")[1:]
        return self._unquoted(token) if token.startswith('"') else token

    def _unquoted(self, token: str) -> str:
        try:
            return str(json.loads(token))
        except ValueError:
            self._stop(f"{token} is not a string")

    @property
    def _kind(self) -> str:
        return self._next.lastgroup or ""

    @property
    def _token(self) -> str:
        return self._next[self._kind]

    def _scan(self, start: int) -> re.Match[str]:
        found = _TOKEN.match(self._text, start)
        assert found is not None, "the last alternatives match anything"
        return found

    def _advance(self) -> str:
        """The next token, which is then behind."""
        token, self._at = self._token, self._next.start(self._kind)
        self._next = self._scan(self._next.end())
        return token

    def _found(self, kind: str, token: str) -> bool:
        """Whether the next token is this one; if so it is then behind."""
        found = (self._kind, self._token) == (kind, token)
        if found:
            self._advance()
        return found

    def _expect(self, kind: str, token: str = "") -> str:
        if self._kind != kind or (token and self._token != token):
            self._fail(f"'{token}'" if token else _ARTICLES[kind])
        return self._advance()

    def _fail(self, expected: str) -> NoReturn:
        """Stop at the next token, which is not what was expected."""
        found = "the end of the text" if self._kind == "end" else f"'{self._token[:40]}'"
        self._at = self._next.start(self._kind)
        self._stop(f"expected {expected}, found {found}")

    def _stop(self, what: str) -> NoReturn:
        """Stop at the token just read."""
        line = self._text.count("\n", 0, self._at) + 1
        raise ParseError(what, where=f"line {line}")


_ARTICLES = {"value": "a %value", "string": "a string", "number": "a number", "word": "a name"}
