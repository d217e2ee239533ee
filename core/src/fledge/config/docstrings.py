"""The docstrings of a model's fields.

pydantic's use_attribute_docstrings reads the source of every model when it is imported; only the schema and the
reference need what stands there, so it is read when they ask.
"""

from __future__ import annotations

import ast
import inspect
import textwrap

from pydantic import BaseModel


def class_doc(model: type[BaseModel]) -> str:
    """What the model is, on one line or several."""
    return inspect.cleandoc(model.__doc__ or "")


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """The string below each field, by the field's name, inherited ones too."""
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            docs |= _own_docs(base)
    return {name: doc for name, doc in docs.items() if name in model.model_fields}


def _own_docs(model: type[BaseModel]) -> dict[str, str]:
    definition = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(definition, ast.ClassDef)
    docs = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            docs[field.target.id] = inspect.cleandoc(below.value.value)
    return docs
