"""Sphinx. `make docs` builds it without network; the gallery's pages are executed."""

import hashlib
import os
import sys
from pathlib import Path

import airtrack

HERE = Path(__file__).parent
SOURCE = Path(airtrack.__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "airtrack"
author = "the airtrack authors"
copyright = author
version = release = airtrack.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "docstrings"]
exclude_patterns = ["_build", "jupyter_execute", "**.ipynb_checkpoints"]
default_role = "literal"
myst_enable_extensions = ["colon_fence", "deflist", "attrs_block"]
myst_heading_anchors = 3

# The pages are executed again when the package or what draws for them has changed, not when only their text has.
package = (f for f in SOURCE.rglob("*.*") if f.suffix in (".py", ".yaml", ".j2"))
digest = hashlib.sha256(b"".join(f.read_bytes() for f in sorted([*package, *(HERE / "_ext").glob("*.py")])))
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / f"executed-{digest.hexdigest()[:12]}")
nb_execution_timeout = 7200  # the longest study takes ten minutes on two free cores
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
os.environ["AIRTRACK_DOCS"] = str(HERE / "_build")  # pages keep their trials there
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # airtrack itself
os.environ |= {"COLUMNS": "82", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
(HERE / "_build" / "ledger").mkdir(parents=True, exist_ok=True)

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
add_module_names = False

html_theme = "furo"
html_title = "airtrack"
html_static_path = ["_static"]
html_css_files = ["airtrack.css"]
html_show_sourcelink = False
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
