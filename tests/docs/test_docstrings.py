"""Every public docstring passes numpydoc's validator, and says what the signature and a fitted object say."""

import inspect

import pandas as pd
import pytest
from numpydoc.docscrape import NumpyDocString, get_doc_object
from numpydoc.validate import validate

import sknw
from sknw.datasets import make_sine_power

MODULES = {
    module.__name__: module
    for module in [sknw.datasets, sknw.displays, sknw.inspection, sknw.kernels, sknw.model_selection, sknw.onnx]
}
PUBLIC = {name: getattr(sknw, name) for name in sknw.__all__ if callable(getattr(sknw, name))}
PUBLIC |= {name: getattr(sknw.inspection, name) for name in sknw.inspection.__all__}
PUBLIC |= {name: getattr(sknw.onnx, name) for name in sknw.onnx.__all__}
CLASSES = {name: public for name, public in PUBLIC.items() if inspect.isclass(public)}

# What scikit-learn's own validation leaves out, too.
LEFT_OUT = {
    "GL01",  # the summary begins beside the opening quotes, as ruff wants it
    "RT02",  # a return value may have a name
}
LEFT_OUT_OF_MEMBERS = {
    "ES01",  # the class has the longer text, where the summary does not say all
    "SA01",  # the class has the references to others
    "EX01",  # the class has the examples
}


def members_of(cls):
    """The public methods and properties of a class by name, each as the base class has it that wrote its docstring."""
    for name, _ in inspect.getmembers(cls, lambda member: callable(member) or isinstance(member, property)):
        owners = [base for base in cls.__mro__ if name in vars(base)]
        owner = next((base for base in owners if vars(base)[name].__doc__), owners[0])
        if not name.startswith("_") and owner.__module__.startswith("sknw."):
            yield f"{owner.__name__}.{name}", getattr(owner, name)


MEMBERS = {name: member for cls in CLASSES.values() for name, member in members_of(cls)}


def errors_of(documented, left_out):
    return [f"{code}: {text}" for code, text in validate(get_doc_object(documented))["errors"] if code not in left_out]


def attributes_of(cls):
    """What the section Attributes lists."""
    return NumpyDocString(inspect.getdoc(cls))["Attributes"]


def test_members_are_found():
    """Of base classes, decorated ones, class methods and properties."""
    expected = {"RegressionMixin.predict", "BaseSmoother.fit", "FitDisplay.from_estimator", "FitDisplay.plot"}
    assert expected | {"Kernel.profile", "Kernel.is_differentiable", "PowerExponential.form"} < set(MEMBERS)


@pytest.mark.parametrize("name", PUBLIC)
def test_classes_and_functions_are_documented(name):
    """Summary, longer text, parameters as in the signature with types and descriptions, references, examples."""
    assert errors_of(PUBLIC[name], LEFT_OUT) == []


@pytest.mark.parametrize("name", MEMBERS)
def test_methods_and_properties_are_documented(name):
    assert errors_of(MEMBERS[name], LEFT_OUT | LEFT_OUT_OF_MEMBERS) == []


# numpydoc finds the source of a module by its first definition, and a package has none
@pytest.mark.parametrize("name", [name for name, module in MODULES.items() if not hasattr(module, "__path__")])
def test_modules_are_documented(name):
    assert errors_of(MODULES[name], LEFT_OUT | LEFT_OUT_OF_MEMBERS) == []


@pytest.mark.parametrize("name", CLASSES)
def test_attributes_have_types_and_descriptions(name):
    for attribute in attributes_of(CLASSES[name]):
        assert attribute.type, attribute.name
        assert " ".join(attribute.desc).endswith("."), attribute.name


X, Y = make_sine_power(40, random_state=0)
FRAME = pd.DataFrame(X, columns=["x"])
FITTED = {
    "NadarayaWatsonRegressor": lambda: sknw.NadarayaWatsonRegressor().fit(FRAME, Y),
    "LocalLinearRegressor": lambda: sknw.LocalLinearRegressor().fit(FRAME, Y),
    "AttentionPoolingRegressor": lambda: sknw.AttentionPoolingRegressor().fit(FRAME, Y),
    "KrigingRegressor": lambda: sknw.KrigingRegressor(max_iter=2).fit(FRAME, Y),
    "NadarayaWatsonClassifier": lambda: sknw.NadarayaWatsonClassifier().fit(FRAME, Y > 4.0),
    "AttentionPoolingClassifier": lambda: sknw.AttentionPoolingClassifier().fit(FRAME, Y > 4.0),
    "AttentionDisplay": lambda: sknw.AttentionDisplay.from_estimator(sknw.NadarayaWatsonRegressor().fit(X, Y), X),
    "EffectDisplay": lambda: sknw.EffectDisplay.from_estimator(sknw.NadarayaWatsonRegressor().fit(X, Y)),
    "FitDisplay": lambda: sknw.FitDisplay.from_estimator(sknw.NadarayaWatsonRegressor().fit(X, Y), X, Y),
    "BandwidthDisplay": lambda: sknw.BandwidthDisplay.from_estimator(sknw.NadarayaWatsonRegressor().fit(X, Y)),
}


@pytest.mark.filterwarnings("ignore:left-out predictions are no better:UserWarning")
@pytest.mark.parametrize("name", FITTED)
def test_documented_attributes_are_those_of_a_fitted_object(name):
    documented = [attribute.name for attribute in attributes_of(CLASSES[name])]
    assert sorted(documented) == sorted(
        attribute for attribute in vars(FITTED[name]()) if attribute.endswith("_") and not attribute.startswith("_")
    )


def test_every_class_with_results_is_fitted_here():
    """Kernels and records have nothing that comes with a fit."""
    others = {name for name, cls in CLASSES.items() if issubclass(cls, sknw.Kernel)} | {
        "BandwidthSearch",
        "SignificanceTest",
        "Summary",
    }
    assert set(CLASSES) == set(FITTED) | others
