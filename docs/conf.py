"""How Sphinx builds these pages; README.md has the command."""

import os
import sys
from importlib.metadata import version as installed_version
from importlib.resources import files
from pathlib import Path
from urllib.request import urlopen

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads: threads that wait for each other slow the examples

import matplotlib as mpl

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "scikit-nw"
author = "The sknw developers"
copyright = author
version = release = installed_version("scikit-nw")

extensions = [
    "benchmark",
    "links",
    "mathml",
    "matplotlib.sphinxext.figmpl_directive",
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "promises",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "**.ipynb", "**.json", "**.py", "**.pyc"]
templates_path = ["_templates"]
nitpicky = True

# API pages: signatures without type hints, which the sections of the docstrings spell out.
autodoc_typehints = "none"
autosummary_generate = True
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False


def inventory_answers(address):
    """Whether another project's pages can be asked for their names now."""
    try:
        urlopen(address + "objects.inv", timeout=3).close()
    except OSError:
        return False
    return True


# Names of other projects are links where these answer, and plain text in a build without network.
others = {
    "joblib": "https://joblib.readthedocs.io/en/stable/",
    "matplotlib": "https://matplotlib.org/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
    "sklearn": "https://scikit-learn.org/stable/",
}
intersphinx_mapping = {name: (address, None) for name, address in others.items() if inventory_answers(address)}
nitpick_ignore_regex = [("py:.*", rf"({'|'.join(others)})(\..*)?")]

# The gallery: every example is run, and one that fails, or breaks a promise of its text, fails the build.
mpl.use("Agg")
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_.*\.py",
    "abort_on_example_error": True,
    "backreferences_dir": "api/examples",
    "doc_module": ("sknw",),
    "download_all_examples": False,
    "image_srcset": ["2x"],
    "remove_config_comments": True,
    "show_memory": False,
    "thumbnail_size": (560, 392),
    "within_subsection_order": "gallery.order",
    "write_computation_times": False,
}

# Pictures of the guide: drawn by the code in the page, which the tests run too.
plot_include_source = False
plot_html_show_formats = False
plot_html_show_source_link = False
plot_formats = [("png", 100)]
plot_srcset = ["2x"]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "scikit-nw"
# ziamath brings the font of the formulas, STIX Two Math
html_static_path = ["_static", str(files("ziamath") / "fonts")]
html_favicon = "_static/logo.svg"
html_context = {"default_mode": "auto"}
html_css_files = ["site.css"]
html_show_sourcelink = False
html_sidebars = {page: [] for page in ("benchmarks", "mathematics")}  # one page each: nothing to list beside them
html_theme_options = {
    "footer_start": ["copyright"],
    "footer_end": [],
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "logo": {"text": "scikit-nw", "image_light": "_static/logo.svg", "image_dark": "_static/logo.svg"},
}


def is_of_scikit_learn(app, what, name, member, skip, options):
    """Leave out what scikit-learn gives to every estimator: its pages describe it."""
    return True if str(getattr(member, "__module__", "")).startswith("sklearn.") else None


def setup(app):
    app.connect("autodoc-skip-member", is_of_scikit_learn)
