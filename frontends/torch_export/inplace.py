"""Operators that change a tensor in place, made pure where that is a matter of renaming."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import fx

from irprune.frontends.lowering import Unsupported
from irprune.frontends.torch_export.nodes import examples, is_mutating, schema_of
from irprune.ir.graph import Source

# These may return a view of their operand, or itself, and do not declare it. torch's own
# functionalization, which goes by the declarations, takes what they return for a copy.
UNDECLARED_VIEWS = frozenset(
    {
        "aten._unsafe_view.default",
        "aten.alpha_dropout.default",
        "aten.dropout.default",
        "aten.feature_dropout.default",
        "aten.type_as.default",
        "aten.unsafe_chunk.default",
        "aten.unsafe_split.Tensor",
    }
)


def make_pure(graph: fx.Graph, constants: Mapping[fx.Node, str], name: str) -> bool:
    """Replace each in-place operator by its functional form, where nobody can tell the difference.

    ``y = relu_(x)`` becomes ``y = relu(x)``, and who reads x later reads y. That is right unless a
    later node reads another name of the same memory: a view of x made before, or what x is a view
    of.

    Args:
        graph: the graph to change.
        constants: its placeholders that are parameters, buffers or literals, with their paths.
        name: the model's name, for errors.

    Returns:
        Whether no in-place operator is left; if one is, torch must functionalize the program.

    Raises:
        UnsupportedOp: a constant is changed, or memory is shared that torch takes for a copy.
    """
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.detach_.default):
        node.target = torch.ops.aten.detach.default  # it changes no element
    order = {node: i for i, node in enumerate(graph.nodes)}
    aliases = _Aliases(graph)
    changed_states: list[str] = []
    unsupported = Unsupported()
    pure = True
    for node in filter(is_mutating, graph.nodes):
        shared = aliases.of(node)
        states = [path for constant, path in constants.items() if constant in shared]
        changed_states += states
        if states:
            continue
        functional = _functional(node)
        changed = node.args[0]
        read_later = any(
            order[user] > order[node]
            for other in shared - {node, changed}
            for user in other.users
            if order[other] < order[node] and user is not node
        )
        if functional is None or not isinstance(changed, fx.Node) or read_later:
            pure = False
            views = [other for other in shared if str(other.target) in UNDECLARED_VIEWS]
            if views or _overlaps(node):
                how = f"what {views[0].target} may share" if views else "an element in many places"
                unsupported.add(Source(name, node.name), f"{node.target} changes {how}")
            continue
        node.target = functional
        later = {user for user in changed.users if order[user] > order[node]}
        changed.replace_all_uses_with(node, delete_user_cb=later.__contains__)
    expect_stateless(changed_states, name)
    unsupported.raise_if_any(name, hint="compute out of place what has to be kept")
    return pure


def expect_stateless(changed: Iterable[str], name: str) -> None:
    """Raise UnsupportedOp where running the model changes any of its own tensors.

    Args:
        changed: the paths of the tensors that it changes.
        name: the model's name.
    """
    unsupported = Unsupported()
    for path in dict.fromkeys(changed):
        unsupported.add(Source(name, path), "is changed each time the model runs")
    unsupported.raise_if_any(
        name, hint="export in evaluation mode; make a state an input and an output"
    )


class _Aliases:
    """Sets of nodes whose tensors may lie on the same memory.

    The operators' schemas declare it, but for those above, and for some that have no lowering;
    these torch decomposes first, and functionalizes their parts.
    """

    def __init__(self, graph: fx.Graph) -> None:
        self._sets: dict[fx.Node, set[fx.Node]] = {}
        for node in graph.nodes:
            self._sets[node] = {node}
            for operand in _shared(node):
                self._join(node, operand)

    def of(self, node: fx.Node) -> set[fx.Node]:
        """Every node that may share memory with this one, itself included."""
        return self._sets[node]

    def _join(self, a: fx.Node, b: fx.Node) -> None:
        if self._sets[a] is self._sets[b]:
            return
        joined = self._sets[a] | self._sets[b]
        for node in joined:
            self._sets[node] = joined


def _shared(node: fx.Node) -> list[fx.Node]:
    """The operands whose memory the node's outputs may share."""
    if node.op == "output":
        return []
    schema = schema_of(node)
    if schema is None or str(node.target) in UNDECLARED_VIEWS:
        return list(node.all_input_nodes)
    shared = [a.name for a in schema.arguments if a.alias_info is not None]
    values = dict(zip((a.name for a in schema.arguments), node.args, strict=False))
    operands: list[fx.Node] = []
    fx.node.map_arg([({**values, **node.kwargs}).get(name) for name in shared], operands.append)
    return operands


def _overlaps(node: fx.Node) -> bool:
    """Whether elements of the node's output lie on one another, as an expanded tensor's do.

    torch calls it undefined to write to them, and functionalizes it wrongly.
    """
    return any(
        stride == 0 and size > 1
        for example in examples(node)
        for size, stride in zip(example.shape, example.stride(), strict=True)
    )


def _functional(node: fx.Node) -> torch._ops.OpOverload | None:
    """The operator that computes what an in-place one writes into its first operand."""
    overload = node.target
    schema = schema_of(node)
    if schema is None or not isinstance(overload, torch._ops.OpOverload):
        return None
    written = [a.alias_info is not None and a.alias_info.is_write for a in schema.arguments]
    packet, _, variant = str(overload).removeprefix(f"{overload.namespace}.").partition(".")
    namespace = getattr(torch.ops, overload.namespace)
    if written.count(True) != 1 or not written[0] or not packet.endswith("_"):
        return None
    found = getattr(getattr(namespace, packet[:-1], None), variant, None)
    return found if isinstance(found, torch._ops.OpOverload) else None
