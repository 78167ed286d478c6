"""The order of the rooms: which module may import which, read from the source."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "sknw"
# From below: a module imports from its own layer and those before it.
LAYERS = [
    {"_version", "_sklearn_compat", "_retired"},
    {"kernels"},
    {"_kernel_sums"},
    {"_smoothing"},
    {"_selection", "_metric", "_predictive", "_kriging", "model_selection"},
    {"estimators"},
    {"displays", "inspection", "datasets", "onnx"},
    {""},
]
# Within a layer: what the rooms may import of each other.
NEIGHBOURS = {("_metric", "_selection"), ("_kriging", "_predictive")}
ENGINES = ["tiled", "sweep", "fast_gauss", "tree", "cluster"]


def name_of(path):
    """The dotted name within sknw, "" for sknw itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


@cache
def imports_of(module):
    """(imported module or name, whether it is imported when the module is, and not later by a function)."""
    tree = ast.parse(MODULES[module].read_text())
    lazy = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in lazy) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            found += [(f"{node.module}.{alias.name}", id(node) not in lazy) for alias in node.names]
    return found


@cache
def modules_imported_by(module, at_once=False):
    """The modules of sknw that a module imports, itself left out; `from package import module` is that module."""
    found = set()
    for name, is_at_once in imports_of(module):
        if name.split(".")[0] == "sknw" and (is_at_once or not at_once):
            within = name.removeprefix("sknw").lstrip(".")
            found.add(within if within in MODULES else within.rpartition(".")[0])
    return found - {module}


def room(module):
    return module.split(".")[0]


def layer(module):
    return next(i for i, rooms in enumerate(LAYERS) if room(module) in rooms)


def test_every_module_has_a_layer():
    assert {room(module) for module in MODULES} == set().union(*LAYERS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    for imported in modules_imported_by(module):
        if room(imported) == room(module):
            continue
        if layer(imported) == layer(module):
            assert (room(module), room(imported)) in NEIGHBOURS, f"{module} imports {imported}"
        else:
            assert layer(imported) < layer(module), f"{module} imports {imported}"


def test_no_modules_import_each_other_in_a_circle():
    """Imports by functions included."""
    left = {module: set(modules_imported_by(module)) for module in MODULES}
    while left:
        free = {module for module, imported in left.items() if not imported & set(left)}
        assert free, f"a circle among {sorted(left)}"
        left = {module: imported for module, imported in left.items() if module not in free}


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_imports_no_other_engine(engine):
    for module in MODULES:
        if module.startswith(f"_kernel_sums.{engine}"):
            others = {other for other in ENGINES if other != engine}
            imported = {of.split(".")[1] for of in modules_imported_by(module) if of.startswith("_kernel_sums.")}
            assert not imported & others, module


def test_only_the_engine_room_knows_its_engines():
    """The others ask by capability; only loops are compiled into those of an engine. All know the NumPy of `dense`."""
    for module in MODULES:
        if room(module) != "_kernel_sums" and not is_compiled(module):
            known = {of.split(".")[1] for of in modules_imported_by(module) if of.startswith("_kernel_sums.")}
            assert not known & set(ENGINES), module


def test_private_names_of_scikit_learn_are_imported_in_one_place():
    for module in MODULES:
        if module != "_sklearn_compat":
            private = [name for name, _ in imports_of(module) if name.startswith("sklearn") and "._" in name]
            assert not private, f"{module} imports {private}"


def test_compilers_and_plots_are_imported_when_they_are_needed():
    """numba by the modules of compiled loops only."""
    late = {"matplotlib", "pandas", "polars", "rich", "torch", "dask", "distributed", "onnx", "skl2onnx"}
    for module in MODULES:
        at_once = {name.split(".")[0] for name, is_at_once in imports_of(module) if is_at_once}
        assert not at_once & late, module
        assert is_compiled(module) or not at_once & {"numba", "llvmlite"}, module


def test_importing_the_package_loads_no_compiled_loops():
    loaded, new = set(), {""}
    while new:
        loaded |= new
        imported = set().union(*(modules_imported_by(module, at_once=True) for module in new))
        new = imported | {room(module) for module in imported}  # with the package that a module is in
        new = (new & set(MODULES)) - loaded
    assert not [module for module in loaded if is_compiled(module)]
    assert "_kernel_sums.tiled.engine" in loaded


def is_compiled(name):
    """Whether a module, or a name in it, is of compiled loops."""
    return any(part == "numba" or part.endswith("loops") for part in name.split("."))
