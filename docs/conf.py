"""How Sphinx makes a site of these pages: `make docs`, then open build/docs/index.html.

Every warning is an error, a broken link too. No network, neither while building nor for a reader:
the pages and their search work from files.
"""

import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "src"))

from fewmask.version import __version__  # noqa: E402

project = "fewmask"
author = "the authors of fewmask"
project_copyright = "the authors of fewmask, Apache-2.0"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "literal"  # docstrings say `name`
napoleon_google_docstring = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
myst_heading_anchors = 4
highlight_language = "text"
maximum_signature_line_length = 80
html_theme = "furo"
html_title = f"fewmask {__version__}"
html_show_sourcelink = False
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Figures are named in HTML (one for light, one for dark), which Sphinx does not follow."""
    app.connect("build-finished", _copy_figures)


def _copy_figures(app: Sphinx, error: Exception | None) -> None:
    if error is None:
        shutil.copytree(HERE / "figures", app.outdir / "figures", dirs_exist_ok=True)
