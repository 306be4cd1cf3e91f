"""Every statement that the suite keeps as a constant, and functions that put some together.

A statement is found by itself; `support.statement_values` says with which values it is called.
A name that has none there is a new one: give it a value.
"""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import TextClause

import draw_api.adapters
import draw_dicomweb.adapters
import draw_indexer.adapters
import draw_qr_worker.adapters
import draw_scp.adapters
import draw_shared.db
import draw_shared.runtime
from support.statement_values import OF_MODULE, OF_STATEMENT, VALUES

PACKAGES = (
    draw_shared.db, draw_shared.runtime, draw_scp.adapters, draw_indexer.adapters,
    draw_qr_worker.adapters, draw_dicomweb.adapters, draw_api.adapters,
)  # fmt: skip


def modules() -> Iterator[ModuleType]:
    """Yield every module that may speak to PostgreSQL."""
    for package in PACKAGES:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations" not in found.name:
                yield importlib.import_module(found.name)


def constants() -> dict[str, TextClause]:
    """Return every statement by the name of the constant that holds it."""
    found: dict[int, tuple[str, TextClause]] = {}
    for module in modules():
        for name, value in _named(module):
            if isinstance(value, TextClause):
                own = f"{module.__name__}.{name}"
                # The module that makes it is where its text is; others import it.
                if id(value) not in found or f"\n{name}: Final = " in _source(module):
                    found[id(value)] = own, value
    return dict(found.values())


def _named(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yield the constants of a module, and those within its tuples of statements."""
    for name, value in vars(module).items():
        yield name, value
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            for field, inner in value._asdict().items():
                yield f"{name}_{field}", inner


def calls(name: str, statement: TextClause) -> Iterator[dict[str, Any]]:
    """Yield the sets of values with which a statement is called."""
    common = VALUES | OF_MODULE.get(name.rpartition(".")[0], {})
    for special in OF_STATEMENT.get(name, ({},)):
        known = common | dict(special)
        yield {parameter: known[parameter] for parameter in parameters(statement)}


def parameters(statement: TextClause) -> list[str]:
    """Return the names of a statement's parameters."""
    return sorted(statement.compile().params)


def composed() -> set[str]:
    """Return the functions that put statements together themselves, or execute foreign text."""
    found = set()
    for module in modules():
        for outer in ast.walk(ast.parse(_source(module))):
            if isinstance(outer, ast.FunctionDef) and _composes(outer):
                found.add(f"{module.__name__}.{outer.name}")
    return found


def _composes(function: ast.FunctionDef) -> bool:
    return any(
        isinstance(inner, ast.Call)
        and isinstance(inner.func, ast.Name)
        and inner.func.id in {"text", "select", "literal_column"}
        for inner in ast.walk(function)
    )


def _source(module: ModuleType) -> str:
    return Path(str(module.__file__)).read_text(encoding="utf-8")
