"""Sphinx's settings: `make docs` builds the site, and runs the lessons that changed.

Sources are below the root of the repository, so that a link between pages is the same on the
site and where somebody reads the files: `docs/`, `results/` and the pages beside README.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# Lessons call `opt-gym`, which is beside the Python that builds them.
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ["PATH"]]
)

project = "opt-gym"
author = "the authors of opt-gym"
copyright = "the authors of opt-gym, Apache License 2.0"
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx_design",
    "docs.extensions.mathml",
    "docs.extensions.our_docstrings",
    "docs.extensions.our_reference",
    "docs.extensions.pages_elsewhere",
]

root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/**/*.md",
    "docs/reference/generated/*",
    "docs/tutorial/*.py",
    "examples/at_work/*.py",
    "results/*.md",
    "results/talk/*.md",
    "learned/bundled/*.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
exclude_patterns = [
    "**/_build",
    "examples/at_work/__init__.py",
    "examples/at_work/shown.py",
]

# Notebooks are Python files, so that they are linted, and differ line by line.
nb_custom_formats = {".py": "docs.extensions.python_notebooks.read"}
nb_execution_mode = "cache"
nb_execution_excludepatterns = ["examples/*"]  # they take ten minutes each
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_render_markdown_format = "gfm"

myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88

html_title = "opt-gym"
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_extra_path = ["_front"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_theme_options = {
    # Lessons are read from the top, and their lines of code are long.
    "secondary_sidebar_items": {
        **{name: ["page-toc"] for name in ("[!d]*", "docs/[!t]*", "docs/taskset")},
        "docs/tutorial/*": [],
    },
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
ALONE = ("index", "start", "gallery", "design", "words")
html_sidebars = {f"docs/{page}": [] for page in ALONE}
