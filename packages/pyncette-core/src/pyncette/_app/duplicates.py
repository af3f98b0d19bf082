"""Detects a program whose module was imported twice: once as ``__main__``, and once by name."""

from __future__ import annotations

import logging
import sys

from .declaring import Declarations

logger: logging.Logger = logging.getLogger(__name__)


def warn(app: Declarations) -> None:
    """Log a warning if a second copy of the program has an app with tasks that this one lacks.

    Modules that import the app by the program's name declare their tasks on that copy, which isn't running.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if file is None or all(value is not app for value in vars(main).values()):
        return
    for name, module in list(sys.modules.items()):
        if module is main or getattr(module, "__file__", None) != file:
            continue
        copies = [value for value in vars(module).values() if isinstance(value, Declarations)]
        missing = {task.name for copy in copies for task in copy.declared} - {task.name for task in app.declared}
        if missing:
            logger.warning(
                "The program was imported a second time, as %r, and tasks were declared on the app of that copy (%s): "
                "they will never run here. Move the app into a module that is only imported, and call its main() from "
                "another one, which imports the tasks too.",
                name,
                ", ".join(map(repr, sorted(missing)[:5])),
            )
