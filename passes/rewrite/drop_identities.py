from __future__ import annotations

from irprune.ir import ops
from irprune.ir.build import Edit
from irprune.ir.graph import Graph, Node, Value, producers, readers
from irprune.ir.ops.binary import Arithmetic
from irprune.ir.ops.shape import View


def drop_identities(graph: Graph) -> Graph:
    """The graph without the nodes that hand on what they, or the views before them, were given.

    Nor has it those that repeat elements for arithmetic that would do so itself. One stays where
    a graph input, a constant or another graph output would have to bear the name of the graph
    output that it makes.
    """
    return _without_expansions(_without_identities(graph))


def _without_identities(graph: Graph) -> Graph:
    edit = Edit(graph)
    fixed = {*graph.inputs, *graph.constants, *graph.outputs}
    for node in graph.nodes:
        same = _equal(graph, node)
        if same is None:
            continue
        x, y = edit.resolve(same), node.output
        if y not in fixed:
            edit.redirect(y, x)
        elif x not in fixed:
            edit.redirect(x, y)
        else:
            continue
        edit.replace(node)
    return edit.finish()


def _without_expansions(graph: Graph) -> Graph:
    edit = Edit(graph)
    for node in graph.nodes:
        if isinstance(node.op, ops.Expand) and node.output not in graph.outputs:
            found = readers(graph)[node.output]
            if found and all(_broadcasts(edit, reader, node) for reader in found):
                edit.replace(node)
                edit.redirect(node.output, edit.resolve(node.inputs[0]))
    return edit.finish()


def _broadcasts(edit: Edit, reader: Node, expansion: Node) -> bool:
    """Whether a reader makes the same of what is expanded as of what the expansion makes."""
    if not isinstance(reader.op, Arithmetic | ops.Expand):
        return False
    operands = [
        edit.resolve(expansion.inputs[0] if value is expansion.output else value)
        for value in reader.inputs
    ]
    (made,) = reader.op.infer([value.type for value in operands])
    return made.shape == reader.output.type.shape


def _equal(graph: Graph, node: Node) -> Value | None:
    """An earlier value of the type and the elements of the node's output; None for none."""
    if isinstance(node.op, View):
        return _viewed(graph, node)
    if len(node.outputs) == 1 and node.inputs[0].type == node.output.type and _hands_on(node):
        return node.inputs[0]
    return None


def _viewed(graph: Graph, view: Node) -> Value | None:
    """What the views that end with this one started from, where they end as they started."""
    node: Node | None = view
    found = None
    while node is not None and isinstance(node.op, View):
        if node.inputs[0].type == view.output.type:
            found = node.inputs[0]
        node = producers(graph).get(node.inputs[0])
    return found


def _hands_on(node: Node) -> bool:
    """Whether a node whose output is of its operand's type also has its operand's elements."""
    match node.op:
        case ops.Expand() | ops.Pad():
            return True
        case ops.Slice(steps=steps, sizes=sizes):
            return all(step == 1 or size <= 1 for step, size in zip(steps, sizes, strict=True))
        case ops.Transpose(perm=perm):
            return perm == tuple(range(len(perm)))
        case ops.Gather(indices=indices):
            return indices == tuple(range(len(indices)))
        case ops.Concat():
            return len(node.inputs) == 1
        case ops.Split(sizes=sizes):
            return len(sizes) == 1
        case ops.DepthToSpace(block=block) | ops.SpaceToDepth(block=block):
            return block == 1
        case _:
            return False
