"""What users have who install no extras: everything but pictures, of these a clear error, and types."""

from importlib.resources import files
from importlib.util import find_spec

import numpy as np
from sklearn.base import is_classifier

import sknw

for package in ["matplotlib", "rich", "pandas", "polars"]:
    assert find_spec(package) is None, f"{package} is installed here"

assert files("sknw").joinpath("py.typed").is_file(), "no type checker will look at the annotations"

X, y = sknw.make_sine_power(60, random_state=0)
X = np.column_stack([X, np.arange(60) % 3])
model = sknw.NadarayaWatsonRegressor().fit(X, y)
assert np.allclose(model.attention_weights_(X) @ y, model.predict(X))

for smoother in [
    *(sknw.NadarayaWatsonRegressor("tricube", 1.0, algorithm=name) for name in ("dense", "fused", "pruned")),
    sknw.NadarayaWatsonRegressor(bandwidth=1.0, algorithm="expansion"),
    sknw.NadarayaWatsonRegressor(categorical_features=[1]),
    sknw.LocalLinearRegressor(),
    sknw.AttentionPoolingRegressor(),
    sknw.KrigingRegressor(),
    sknw.NadarayaWatsonClassifier(),
    sknw.AttentionPoolingClassifier(),
]:
    smoother.fit(X, y > np.median(y) if is_classifier(smoother) else y)
    assert 0.2 < smoother.score(X, smoother.y_train_) <= 1.0, smoother
print(sknw.inspection.summary(sknw.NadarayaWatsonRegressor().fit(X, y)))

for display, arguments in {
    sknw.AttentionDisplay: (model, X),
    sknw.FitDisplay: (model, X, y),
    sknw.BandwidthDisplay: (model,),
}.items():
    try:
        display.from_estimator(*arguments)
    except ImportError as error:
        assert str(error) == "Drawing needs matplotlib: pip install matplotlib.", error
    else:
        raise AssertionError(f"{display.__name__} has drawn without matplotlib")

print(f"sknw {sknw.__version__} in {sknw.__path__[0]}: complete without matplotlib, rich, pandas and polars")
