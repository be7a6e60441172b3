"""A Jinja environment as chat templates expect it, whose texts are traced (see `traced_text`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, wraps
from string import Formatter
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes, pass_environment
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter

from blendin_local.templates.traced_text import TracedText, adopt, as_text, concat, from_template


@lru_cache(maxsize=16)
def compile_template(source: str) -> jinja2.Template:
    """Compile a chat template. That takes longer than rendering, and evaluations render thousands."""
    return _Environment().from_string(source)


class _Generation(Extension):
    """`{% generation %}`, which other tools use to mark replies for training; renders its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _TracingGenerator(CodeGenerator):
    """Generate code that keeps traced texts traced, where Jinja's own would call `str` and `"".join`."""

    environment: _Environment

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:
        if isinstance(node.value, str):
            self.write(self._literal(node.value))
        else:
            super().visit_Const(node, frame)

    def visit_TemplateData(self, node: nodes.TemplateData, frame: Frame) -> None:
        self.write(self._literal(node.data))

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concat((")
        for each in node.nodes:
            self.visit(each, frame)
            self.write(", ")
        self.write("))")

    def _literal(self, text: str) -> str:
        literals = self.environment.literals
        literals.append(from_template(text))
        return f"environment.literals[{len(literals) - 1}]"

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        return self._literal("".join(group))

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> str:
        if isinstance(node, nodes.TemplateData):
            return node.data
        raise nodes.Impossible

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        self.write("environment.as_text(")

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        self.write(")")


class _Environment(ImmutableSandboxedEnvironment):
    code_generator_class = _TracingGenerator
    concat = staticmethod(concat)
    as_text = staticmethod(as_text)

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # what is computed while compiling would not be traced
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        self.literals: list[TracedText] = []
        self.filters |= {"tojson": _to_json, "join": _join}
        self.filters = {name: _traced(each) for name, each in self.filters.items()}
        self.globals["raise_exception"] = _raise_exception

    def call(__self, __context: Context, __obj: Any, *args: Any, **options: Any) -> Any:
        result = super().call(__context, __obj, *args, **options)
        return adopt(result, getattr(__obj, "__self__", None), *args, *options.values())

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if super().wrap_str_format(value) is None:
            return None
        template = as_text(value.__self__)

        def format_text(*args: Any, **options: Any) -> str:
            return _TracingFormatter(self).vformat(template, args, options)

        def format_map(values: Mapping[str, Any]) -> str:
            return _TracingFormatter(self).vformat(template, (), values)

        return format_map if value.__name__ == "format_map" else format_text


class _TracingFormatter(SandboxedFormatter):
    """`str.format`, whose plain fields keep their sources."""

    def vformat(self, format_string: str, args: Any, kwargs: Any) -> TracedText:
        parts: list[object] = []
        count = 0
        for literal, name, spec, conversion in Formatter.parse(self, format_string):
            parts.append(adopt(str(literal), format_string))
            if name is None:
                continue
            if name == "" or name[0] in ".[":
                name, count = f"{count}{name}", count + 1
            value, _ = self.get_field(name, args, kwargs)
            if spec or conversion not in (None, "s") or not isinstance(value, str):
                field = f"{{0{'!' + conversion if conversion else ''}:{spec}}}"
                value = adopt(
                    str(super().vformat(field, (value, *args), kwargs)), format_string, value, args, kwargs
                )
            parts.append(value)
        return concat(parts)


def _traced(apply: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter: its new texts came from all of its arguments."""

    first = int(hasattr(apply, "jinja_pass_arg"))

    @wraps(apply)
    def call(*args: Any, **options: Any) -> Any:
        return adopt(apply(*args, **options), *args[first:], *options.values())

    return call


@pass_environment
def _join(
    environment: jinja2.Environment, value: Iterable[Any], d: str = "", attribute: str | int | None = None
) -> TracedText:
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), value)
    return as_text(d).join(map(as_text, value))


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, **options)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(str.__str__(message))
