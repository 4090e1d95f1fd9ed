# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""YAML as DVC reads it, with the line and column of every key and value.

DVC parses params.yaml with `ruamel.yaml.YAML(typ="safe")`, which is YAML 1.2. Values here come from
the very same loader; it is only stopped half-way, where the nodes still know their place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ruamel.yaml.nodes import Node

_STR = "tag:yaml.org,2002:str"
# `<<` merges, and `=` is text once it is a key: both as in DVC.
_TEXT_KEYS = (_STR, "tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")
# Far above any honest file; aliases of aliases can expand a few lines to gigabytes.
_MOST_VALUES = 100_000
_DEEPEST = 64
_CONTROL = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CONFLICT = re.compile(r"^<{7}( |$)", re.MULTILINE)


@dataclass(frozen=True, order=True)
class Fault:
    """Something wrong at a place of the file; line and column count from 1."""

    line: int
    column: int
    text: str


class MalformedError(Exception):
    """The text has no value at all: not YAML, or nothing that DVC could construct."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


@dataclass(frozen=True, eq=False)
class Marked:
    """A parsed file.

    Attributes:
        data: what DVC sees; dicts, lists and scalars.
        faults: duplicate keys, and keys that are not text; `data` is a guess where there are any.
        root: the node tree.
    """

    data: Any
    faults: tuple[Fault, ...]
    root: Node

    def where(self, path: tuple[str | int, ...], key: str | None = None) -> tuple[int, int]:
        """Line and column of the value at `path`, or of one of its keys; the nearest there is.

        A block that begins below its key counts as being where the key is.
        """
        mark, node = self.root.start_mark, self.root
        for part in path:
            found = _entry(node, part)
            if found is None:
                break
            key_node, node = found
            below = (
                not isinstance(node, ScalarNode)
                and node.start_mark.line != key_node.start_mark.line
            )
            mark = (key_node if below else node).start_mark
        if key is not None and (found := _entry(node, key)):
            mark = found[0].start_mark
        return mark.line + 1, mark.column + 1

    def scalar(self, path: tuple[str | int, ...]) -> tuple[str, bool] | None:
        """The scalar at `path` as it was typed, and whether in quotes; None for no scalar."""
        node = self.root
        for part in path:
            found = _entry(node, part)
            if found is None:
                return None
            node = found[1]
        return (node.value, bool(node.style)) if isinstance(node, ScalarNode) else None


def parse(text: str) -> Marked:
    """Parse `text`.

    Raises:
        MalformedError: it is empty, or not YAML, or holds what DVC could not read.
    """
    constructor, parser = YAML(typ="safe").get_constructor_parser(text)
    try:
        root = constructor.composer.get_single_node()
        if root is None:
            raise MalformedError(Fault(1, 1, "the file is empty"))
        faults: list[Fault] = []
        _inspect(root, faults, {}, ())
        # What is wrong with keys has been noted; go on, to find the rest as well.
        constructor.allow_duplicate_keys = bool(faults)
        return Marked(_construct(constructor, root), tuple(faults), root)
    except MarkedYAMLError as error:
        raise MalformedError(_syntax(error, text)) from None
    except YAMLError:
        raise MalformedError(_control(text)) from None
    finally:
        parser.dispose()


def _construct(constructor: Any, root: Node) -> Any:
    try:
        return constructor.construct_document(root)
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
        # Such as the date 2001-99-99: ruamel raises without a mark, so find the scalar.
        for node in _scalars(root):
            constructor.recursive_objects.clear()
            try:
                constructor.construct_object(node)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                kind = str(node.tag).rpartition(":")[2]
                text = (
                    f"{node.value!r} is no valid {kind} ({error}); put it in quotes if it is text"
                )
                raise MalformedError(_fault(node.start_mark, text)) from None
        raise


def _inspect(node: Node, faults: list[Fault], sizes: dict[int, int], above: tuple[int, ...]) -> int:
    """Note bad keys below `node`; return the number of values that it expands to."""
    if id(node) in above:
        raise MalformedError(_fault(node.start_mark, "this value contains itself, by an alias"))
    if len(above) > _DEEPEST:
        raise MalformedError(_fault(node.start_mark, f"nested deeper than {_DEEPEST} levels"))
    if id(node) not in sizes:
        if isinstance(node, MappingNode):
            _check_keys(node, faults)
        sizes[id(node)] = 1 + sum(
            _inspect(child, faults, sizes, (*above, id(node))) for child in _children(node)
        )
        if sizes[id(node)] > _MOST_VALUES:
            raise MalformedError(_fault(node.start_mark, "aliases expand this to too many values"))
    return sizes[id(node)]


def _check_keys(node: Node, faults: list[Fault]) -> None:
    first: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            raise MalformedError(
                _fault(key.start_mark, "a key must be text, not a list or mapping")
            )
        if key.tag not in _TEXT_KEYS:
            kind = str(key.tag).rpartition(":")[2]
            text = f"the key {key.value} is not text ({kind}), and DVC drops such keys in silence"
            faults.append(_fault(key.start_mark, f'{text}; put it in quotes: "{key.value}"'))
            key.tag = _STR
        if key.value in first:
            text = f"duplicate key {key.value!r}: it is already in line {first[key.value]}"
            faults.append(_fault(key.start_mark, text))
        first.setdefault(key.value, key.start_mark.line + 1)


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, SequenceNode):
        yield from node.value


def _scalars(node: Node) -> Iterator[Node]:
    if isinstance(node, ScalarNode):
        yield node
    for child in _children(node):
        yield from _scalars(child)


def _entry(node: Node, part: str | int) -> tuple[Node, Node] | None:
    """Key node and value node of a part of `node`; an item of a list is its own key."""
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    if isinstance(node, MappingNode):
        # After construction what `<<` merged stands first, and own keys override it.
        merge: Any = node.merge
        merged = len(merge or ())
        own, inherited = node.value[merged:], node.value[:merged]
        return next((pair for pair in [*own, *inherited[::-1]] if pair[0].value == part), None)
    return None


def _fault(mark: Any, text: str) -> Fault:
    return Fault(mark.line + 1, mark.column + 1, text)


def _syntax(error: MarkedYAMLError, text: str) -> Fault:
    if conflict := _CONFLICT.search(text):
        line = text.count("\n", 0, conflict.start()) + 1
        return Fault(line, 1, "not YAML: a Git merge conflict that nobody has resolved")
    mark: Any = error.problem_mark or error.context_mark
    problem = str(error.problem).removeprefix("but ")
    if "".join(text.split("\n")[mark.line : mark.line + 1]).startswith("\t"):
        hint = "this line begins with a tab; YAML indents with spaces"
    elif "tag" in problem:
        hint = "values have no tags here; put the value in quotes if it is text"
    else:
        hint = "look at indentation, quotes and brackets, here and just above"
    opened = error.context_mark
    since = f", {error.context} in line {opened.line + 1}" if error.context and opened else ""
    return _fault(mark, f"not YAML: {problem}{since}; {hint}")


def _control(text: str) -> Fault:
    found = _CONTROL.search(text)
    before = text[: found.start()] if found else ""
    what = f"the control character {found[0]!r} is not allowed" if found else "not YAML"
    return Fault(before.count("\n") + 1, len(before) - before.rfind("\n"), what)
