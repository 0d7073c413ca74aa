"""What is changed in a model file's chat template before it runs: see `sandbox`.

Imports jinja2: load it only when a file's own template is used.
"""

from __future__ import annotations

from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.visitor import NodeTransformer


class Generation(Extension):
    """Hugging Face's mark around what the model is trained to say; it writes nothing itself."""

    tags = {"generation"}  # noqa: RUF012 - as in jinja2

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Metered(NodeTransformer):
    """Sends through the budget what the sandbox itself does not: loops, `~`, comparisons."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise SecurityError("it uses a recursive loop")
        self.generic_visit(node)
        node.iter = _through("counted", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _through("joined", *node.nodes)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _through("comparable", node.expr)
        for operand in node.ops:
            operand.expr = _through("comparable", operand.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _through("paid", node) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        return _through("paid", node)

    visit_Dict = visit_List  # noqa: N815 - as in jinja2

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return _through("paid", node) if node.ctx == "load" else node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.key, nodes.Const):
            node.key = _through("key", node.key)
        return node

    def visit_ScopedEvalContextModifier(self, _node: nodes.Node) -> NoReturn:
        raise SecurityError("it switches escaping on")


def _through(method: str, *arguments: Any) -> nodes.Call:
    line = arguments[0].lineno
    function = nodes.EnvironmentAttribute(method, lineno=line)
    return nodes.Call(function, list(arguments), [], None, None, lineno=line)
