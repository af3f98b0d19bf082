"""Imports an app by its path, and says what is wrong with the path."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .failures import Failure, Status, one_line
from .options import debugging

if TYPE_CHECKING:
    from pyncette import Pyncette

DEFAULT_NAME = "app"


def load(path: str) -> Pyncette:
    """The app at ``module:name`` or ``package.module:function()``; the name is ``app`` by default.

    :raises Failure: there is none; says what to write instead.
    """
    module_name, _, name = path.partition(":")
    if module_name.endswith(".py") or os.sep in module_name:
        meant = module_name.removeprefix("./").removesuffix(".py").replace(os.sep, ".")
        raise Failure(f"{path!r} is a file. Write the module: {meant}:{name or DEFAULT_NAME}", Status.USAGE)
    module = _module(module_name)
    return _app(module, name or DEFAULT_NAME)


def _module(name: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name is not None and (name == e.name or name.startswith(f"{e.name}.")):
            raise Failure(
                f"There is no module {e.name!r}.",
                Status.USAGE,
                f"It is looked for in {os.getcwd()} and among the installed packages.",
            ) from e
        raise _broken(name, e) from e
    except Exception as e:
        raise _broken(name, e) from e


def _broken(name: str, error: Exception) -> Exception:
    if debugging():
        return error
    where = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(os.getcwd() + os.sep):  # the user's own, not what it calls
            where = f" ({os.path.relpath(file)}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return Failure(
        f"Importing {name!r} failed: {type(error).__name__}: {one_line(error)}{where}",
        hint="--debug shows the traceback.",
    )


def _app(module: ModuleType, name: str) -> Pyncette:
    from pyncette import Pyncette

    called = name.endswith("()")
    name = name.removesuffix("()")
    found: Any = getattr(module, name, None)
    if found is None:
        raise Failure(f"The module {module.__name__!r} has no {name!r}.", Status.USAGE, _advice(module, name))
    if called:
        found = found()
    elif not isinstance(found, Pyncette) and callable(found):
        raise Failure(
            f"{module.__name__}:{name} is a function, not an app.",
            Status.USAGE,
            f"If it returns the app, write '{module.__name__}:{name}()'",
        )
    if not isinstance(found, Pyncette):
        raise Failure(
            f"{module.__name__}:{name} is no Pyncette app, but of type {type(found).__name__}.",
            Status.USAGE,
            _advice(module, name),
        )
    return found


def _advice(module: ModuleType, name: str) -> str:
    """What to write instead."""
    from pyncette import Pyncette

    apps = [key for key, value in vars(module).items() if isinstance(value, Pyncette)]
    if apps:
        meant = next(iter(difflib.get_close_matches(name, apps, n=1)), apps[0])
        return f"Did you mean {module.__name__}:{meant}?"
    functions = [key for key, value in vars(module).items() if callable(value) and value.__module__ == module.__name__]
    maker = next((key for key in functions if "app" in key.lower()), None)
    if maker is not None:
        return f"If {maker}() returns the app, write '{module.__name__}:{maker}()'"
    return "An app that is made inside of a function can't be found: make it at the top level of the module."
