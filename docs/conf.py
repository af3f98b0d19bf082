"""Settings of Sphinx, which builds this folder into a site: `./dev docs`."""

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib.mermaid"]

project = "Pyncette"
author = "Pyncette contributors"
copyright = "Pyncette contributors"  # noqa: A001 -- the name that Sphinx reads

exclude_patterns = ["README.md"]
# Signatures name types of the standard library, whose inventory a build without network can not fetch.
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_fence_as_directive = ["mermaid"]  # GitHub draws the same fences
myst_heading_anchors = 3

html_theme = "furo"
html_title = "Pyncette"

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
