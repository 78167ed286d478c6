"""The documentation has a page for every public name, and a checker of links that finds broken ones."""

import importlib.util
import re
from pathlib import Path

import pytest

import sknw

DOCS = Path(__file__).parents[2] / "docs"


def pages():
    """The names that the API page lists, each with a page of its own."""
    listed, module = set(), ""
    for line in (DOCS / "api.rst").read_text().splitlines():
        if found := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.match(r"   ([A-Za-z_]+)$", line):
            listed.add(f"{module}.{found[1]}")
    return listed


def public_objects():
    """Every public class and function once, however many modules offer it."""
    modules = [sknw, sknw.kernels, sknw.displays, sknw.datasets, sknw.inspection, sknw.model_selection, sknw.onnx]
    objects = [getattr(module, name) for module in modules for name in module.__all__]
    return {item for item in objects if callable(item)}


def resolved(name):
    """The object of a dotted name."""
    item = sknw
    for part in name.split(".")[1:]:
        item = getattr(item, part)
    return item


def test_every_public_name_has_a_page():
    assert {resolved(name) for name in pages()} == public_objects()


def test_what_the_mathematics_cites_is_among_its_references():
    text, references = (DOCS / "mathematics.rst").read_text().rsplit("\nReferences\n", 1)
    cited = re.findall(r"([A-Z]\w+)(?: & [A-Z]\w+| et al\.)?,? \(?((?:19|20)\d\d)", " ".join(text.split()))
    works = references.split("\n* ")
    assert len(cited) > 20
    assert not [work for work in cited if not any(work[0] in other and work[1] in other for other in works)]


ESTIMATORS = sorted((item for item in public_objects() if hasattr(item, "get_params")), key=lambda item: item.__name__)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda item: item.__name__)
def test_notebooks_link_to_the_page_of_an_estimator(estimator):
    link = estimator()._get_doc_link()
    address, page = link.rsplit("/", 1)
    assert address == "https://scikit-nw.readthedocs.io/en/stable/api"
    assert page.removesuffix(".html") in pages()
    assert link in estimator()._repr_html_()


def test_a_kernel_from_elsewhere_links_nowhere():
    assert type("Mine", (sknw.Kernel,), {"__module__": "mine"})()._get_doc_link() == ""


@pytest.fixture
def broken_links():
    spec = importlib.util.spec_from_file_location("links", DOCS / "_ext" / "links.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.broken_links


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ('<a href="other.html#there">', None),
        ('<a href="#here" id="here">', None),
        ('<a href="other.html?x=1">', None),
        ('<a href="https://example.org/nothing">', None),
        ('<a href="missing.html">', "no file missing.html"),
        ('<a href="other.html#nowhere">', "no anchor other.html#nowhere"),
        ('<a href="#nowhere">', "no anchor #nowhere"),
        ('<img src="missing.png">', "no file missing.png"),
        ('<img srcset="other.html 1x, missing.png 2x">', "no file missing.png"),
        ('<link rel="stylesheet" href="https://example.org/a.css">', "loads https://example.org/a.css"),
        ('<script src="//example.org/a.js"></script>', "loads //example.org/a.js"),
    ],
)
def test_links_that_lead_nowhere_are_found(tmp_path, broken_links, link, fault):
    (tmp_path / "index.html").write_text(link)
    (tmp_path / "other.html").write_text('<h1 id="there"></h1>')
    assert broken_links(tmp_path) == ([] if fault is None else [f"index.html: {fault}"])
