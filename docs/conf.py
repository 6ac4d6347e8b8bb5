"""Settings of the pages that `make docs` builds out of this folder."""

project = "avloc-bench"
extensions = ["myst_parser"]
html_theme = "sphinx_rtd_theme"
html_title = "avloc-bench"
myst_heading_anchors = 4
exclude_patterns = ["conf.py"]
