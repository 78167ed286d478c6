"""What users have who install no extras: everything but pictures, and of these a clear error."""

from importlib.util import find_spec

import numpy as np

import sknw

for package in ["matplotlib", "rich", "pandas", "polars"]:
    assert find_spec(package) is None, f"{package} is installed here"

X, y = sknw.make_sine_power(50, random_state=0)
model = sknw.NadarayaWatsonRegressor().fit(X, y)
assert np.allclose(model.attention_weights_(X) @ y, model.predict(X))

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
