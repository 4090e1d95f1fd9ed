# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""What a `.pt2` archive would run when torch loads it, read beforehand.

`torch.export.load` (torch 2.13, torch/export/pt2_archive/_package.py and
torch/_export/serde/serialize.py) unpickles constants, weights and example inputs that say so, loads
shared libraries of AOTInductor, calls any function below `torch`, `math` and `operator` that a node
names, evaluates the sizes of tensors by `sympy.sympify`, imports what the description of a
`defaultdict` or an enumeration names, and puts names and guards into Python code. A program as
`torch.export.save` writes it needs none of that: here each such place is held to what it needs.
"""

from __future__ import annotations

import json
import re
import zipfile
from typing import TYPE_CHECKING, Any

from torch.export.pt2_archive import PT2ArchiveReader

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OPS = re.compile(
    r"torch\.ops\.(aten|prims|quantized|quantized_decomposed|onnx|onnx_symbolic|torchvision)"
    r"\.(?!from_file\b)\w+\.\w+"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|associative_scan|map_impl|invoke_subgraph"
    r"|wrap_with_set_grad_enabled|wrap_with_autocast|flex_attention)"
    r"|_operator\.(eq|ne|le|ge|lt|gt|neg|pos|mul|add|sub|floordiv|truediv|mod|pow|and_|or_|lshift"
    r"|rshift|getitem)"
    r"|math\.(trunc|ceil|floor)|torch\.sym_\w+"
)
# Sizes are sympy's own words for integers: Mul(Integer(2), Symbol('s77', positive=True)).
_WORD = re.compile(r"[^\W\d]\w*")
_EXPRESSION = re.compile(r"(?:[\w\s(),=*+/<>!&|~-]|\d\.\d|'[\w.]+')*")
_EXPRESSION_WORDS = re.compile(
    r"[a-z]{1,3}\d+|True|False|positive|nonnegative|integer|nonzero|real|Symbol|Integer|Float|"
    r"precision|Rational|Add|Mul|Pow|Max|Min|Eq|Ne|Equality|Unequality|Lt|Le|Gt|Ge|GreaterThan|"
    r"LessThan|StrictLessThan|StrictGreaterThan|And|Or|Not|Abs|oo|int_oo|FloorDiv|ModularIndexing|"
    r"Where|PythonMod|Mod|CleanDiv|CeilToInt|FloorToInt|CeilDiv|LShift|RShift|PowByNatural|FloatPow|"
    r"FloatTrueDiv|IntTrueDiv|IsNonOverlappingAndDenseIndicator|TruncToFloat|TruncToInt|"
    r"RoundToInt|RoundDecimal|ToFloat|Identity"
)
# Guards compare sizes of inputs: L['x'].size()[0] != 9.
_GUARD = re.compile(
    r"(?:L\['\w+'\](?:\['?\w+'?\])*\.size\(\)\[\d+\]|\d+|and|or|not|[\s()+*/%<>=!-])*"
)
_NAME = re.compile(r"\w*")
_PLACE = re.compile(r"[\w.:/\[\] -]*")
_TREES = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict"})
_NAMES = ("name", "as_name")
_PLACES = ("parameter_name", "buffer_name", "tensor_constant_name", "custom_obj_name")
_OBJECTS = ("as_custom_obj", "custom_obj")
_PAYLOAD = re.compile(r"(weight|tensor)_\d+")


def fault(path: Path) -> str | None:
    """What in this archive could run code when it is loaded; None if nothing could.

    Raises:
        SourceModelError: it cannot be read, and so not judged.
    """
    try:
        with zipfile.ZipFile(path) as members:
            if "version" in members.namelist():
                return "it is in the format of torch 2.7 and before, which is a pickle"
        with PT2ArchiveReader(str(path)) as reader:
            return next(_faults(reader), None)
    except (zipfile.BadZipFile, RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), "")
        msg = f"{path} is no archive of torch.export.save, or is damaged: {reason}"
        raise errors.SourceModelError(msg, mend="copy or export the file again") from error


def _faults(reader: Any) -> Iterator[str]:
    for name in reader.get_file_names():
        if name.startswith("data/aotinductor/"):
            yield f"it holds compiled code, {name}"
        if re.fullmatch(r"data/(weights|constants)/.*\.pt", name):
            yield f"it holds a pickle, {name}"  # the format of torch 2.8
        if name.startswith("models/") or name.endswith(".json"):
            yield from _within(json.loads(reader.read_bytes(name).decode()), name)


def _within(document: Any, name: str) -> Iterator[str]:
    todo: list[Any] = [document]
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo += item
        elif isinstance(item, dict):
            todo += item.values()
            for key, value in item.items():
                if value is not None and (found := _judge(key, value)):
                    yield f"{name} in it {found}"


def _judge(key: str, value: Any) -> str | None:
    """What is wrong with a value, if its key is one whose value torch runs."""
    text = value if isinstance(value, str) else ""
    wrong, words = False, ""
    if key == "use_pickle":
        wrong, words = bool(value), "names a pickle"
    elif key in _OBJECTS:
        wrong, words = True, "names a custom object"
    elif key in ("target", "as_operator") and text:
        wrong, words = not _OPS.fullmatch(text), f"calls {text!r}, no operator of torch's own"
    elif key == "expr_str":
        wrong, words = not _is_expression(text), f"has the size {value!r}, no whole number"
    elif key == "path_name":
        wrong, words = not _PAYLOAD.fullmatch(text), f"names {value!r}, which is no tensor"
    elif key in ("in_spec", "out_spec"):
        wrong, words = not _is_tree(text), f"has a type that is no tuple, list or dict: {value}"
    elif key == "guards_code":
        wrong = not all(map(_GUARD.fullmatch, map(str, value)))
        words = f"checks its inputs by code that is no comparison of sizes: {value}"
    elif key in _NAMES or key in _PLACES:
        allowed = _NAME if key in _NAMES else _PLACE
        wrong, words = not allowed.fullmatch(text), f"has the name {value!r}, no name in Python"
    elif key == "forward_arg_names":
        wrong = not all(map(_NAME.fullmatch, map(str, value)))
        words = f"has the names {value!r}, no names in Python"
    return words if wrong else None


def _is_expression(text: str) -> bool:
    words = _WORD.findall(text)
    return bool(_EXPRESSION.fullmatch(text)) and all(map(_EXPRESSION_WORDS.fullmatch, words))


def _is_tree(text: str) -> bool:
    """Whether it describes nested tuples, lists and dictionaries with names as keys."""
    try:
        todo = [json.loads(text)[1]]
        while todo:
            node = todo.pop()
            keys = json.loads(node["context"] or "null") or []
            if node["type"] not in _TREES or not all(map(_is_key, keys)):
                return False
            todo += node["children_spec"]
    except (ValueError, TypeError, LookupError):
        return False
    return True


def _is_key(key: Any) -> bool:
    return isinstance(key, int) or (isinstance(key, str) and bool(_PLACE.fullmatch(key)))
