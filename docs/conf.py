"""Settings of Sphinx, which builds this folder into a site: `./dev docs`."""

import re
from typing import Any

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib.mermaid"]

project = "Pyncette"
author = "Pyncette contributors"
copyright = "Pyncette contributors"  # noqa: A001 -- the name that Sphinx reads

exclude_patterns = ["README.md", "changelog.d"]
# Signatures name types of the standard library, whose inventory a build without network can not fetch.
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_fence_as_directive = ["mermaid"]  # GitHub draws the same fences
myst_heading_anchors = 3

# The reader's browser fetches the script that draws; without network it shows the text of the drawings.
mermaid_height = "auto"
mermaid_fullscreen_button = "+"

html_theme = "furo"
html_title = "Pyncette"
html_static_path = ["_static"]
html_css_files = ["site.css"]

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100


def setup(app: Any) -> None:
    app.connect("autodoc-process-signature", hide_misplaced)


def hide_misplaced(*event: Any) -> tuple[str | None, str | None]:
    """The decorators take `*misplaced` only to say that they take no arguments by position."""
    signature, annotation = event[-2:]
    return signature and re.sub(r"\*misplaced: [~\w.]+", "*", signature), annotation
