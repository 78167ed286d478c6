"""Export to ONNX: fitted models as graphs that predict without Python.

Weighted means of the Gaussian and the exponential kernel can be exported, with all their samples: of regressors and of
classifiers, alone or at the end of a pipeline. :func:`register` makes skl2onnx know them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sknw._smoothing.smoother import coordinates
from sknw.estimators.attention_pooling import AttentionPoolingRegressor
from sknw.estimators.base import BaseSmoother
from sknw.estimators.classifiers import AttentionPoolingClassifier, NadarayaWatsonClassifier
from sknw.estimators.kriging import KrigingRegressor
from sknw.estimators.local_linear import LocalLinearRegressor
from sknw.estimators.nadaraya_watson import NadarayaWatsonRegressor
from sknw.kernels import ExponentialForm

__all__ = ["register"]

_REGRESSORS = (NadarayaWatsonRegressor, AttentionPoolingRegressor, LocalLinearRegressor, KrigingRegressor)
_CLASSIFIERS = (NadarayaWatsonClassifier, AttentionPoolingClassifier)

# With at most this many columns bandwidths are small, which is where products lose digits, and differences are quick.
_FEW_COLUMNS = 8
# The error that matrix products may put on the exponent of a Gaussian.
_PRODUCT_TOLERANCE = {"float64": 1e-11, "float32": 1e-5}
# Queries farther from the centre, in bandwidths, are drawn nearer, and keys are refused: their squares, and products of
# the two, are finite.
_FARTHEST = {"float64": 1e140, "float32": 1e16}


def register() -> None:
    """Make skl2onnx know the estimators, so that ``skl2onnx.to_onnx`` takes them and pipelines that end in them.

    Exported are weighted means of all training samples::

        f(x) = sum_j a_j(x) y_j,   a(x) = softmax_j(log K(||z - z_j||) + log w_j),   z = (x - center) / h

    of :class:`~sknw.NadarayaWatsonRegressor`, :class:`~sknw.AttentionPoolingRegressor`,
    :class:`~sknw.NadarayaWatsonClassifier` and :class:`~sknw.AttentionPoolingClassifier`, with kernels
    ``exp(-rate u^2)`` and ``exp(-rate u)``. The softmax gives a query far from all samples the nearest one. Conversion
    raises NotImplementedError, which says why, for everything else: local lines, kriging, other kernels, an `outside`
    other than "nearest", features that are not numbers.

    The graph computes in the type of its input. Its predictions agree with those of the model to about 1e-10 in float64
    and 1e-4 in float32, in units of the range of y, where no bandwidth is below a thousandth of the range of its
    feature. A batch of m queries takes memory for m times n numbers. Conversion raises ValueError where numbers are too
    large for the type.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    See Also
    --------
    sknw.TRUSTED_TYPES : Files of skops, which hold the model itself.

    Examples
    --------
    .. code-block:: python

        sknw.onnx.register()
        graph = skl2onnx.to_onnx(model, X[:1], options={"zipmap": False})
    """
    try:
        from skl2onnx import update_registered_converter
    except ImportError as error:
        raise ImportError("ONNX export needs skl2onnx: pip install skl2onnx.") from error
    for regressor in _REGRESSORS:
        update_registered_converter(regressor, f"Sknw{regressor.__name__}", _set_regression_shape, _write_regression)
    for classifier in _CLASSIFIERS:
        update_registered_converter(
            classifier,
            f"Sknw{classifier.__name__}",
            _set_classification_shapes,
            _write_classification,
            options={"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [False, True]},
        )


def _check_exportable(model: BaseSmoother) -> None:
    """Refuse what is no softmax over the samples, by a NotImplementedError with the reason."""
    check_is_fitted(model)
    if isinstance(model, KrigingRegressor):
        reason = "the weights of kriging are signed, and only weighted means"
    elif model._fitted.smoother.line is not None:
        reason = "it fits local lines, and only weighted means"
    elif not model._fitted.smoother.features.is_identity:
        reason = "it has categories or periodic features, and only models of numbers"
    elif _form(model) is None:
        reason = f"its kernel is {model.kernel_!r}, and only Gaussian and exponential kernels"
    elif (outside := model._fitted.smoother.outside) != "nearest":
        reason = f"it was fitted with outside={outside!r}, and only models with outside='nearest'"
    else:
        return
    raise NotImplementedError(f"{type(model).__name__} cannot be exported to ONNX: {reason} can.")


def _form(model: BaseSmoother) -> ExponentialForm | None:
    """The kernel as exp(-rate u) or exp(-rate u^2); None for others."""
    form = model.kernel_.form
    return form if isinstance(form, ExponentialForm) and form.power in (1, 2) else None


def _set_regression_shape(operator: Any) -> None:
    """Say the type and the shape of the output, (m, k)."""
    from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes

    _check_exportable(operator.raw_operator)
    calculate_linear_regressor_output_shapes(operator)
    m, k = operator.inputs[0].get_first_dimension(), len(operator.raw_operator._fitted.training.y_scales)
    operator.outputs[0].type.shape = [m, k]


def _set_classification_shapes(operator: Any) -> None:
    """Say the types and the shapes of the outputs, labels (m,) and probabilities (m, C)."""
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    _check_exportable(operator.raw_operator)
    calculate_linear_classifier_output_shapes(operator)


def _write_regression(scope: Any, operator: Any, container: Any) -> None:
    """Write y_center + y_scales * means."""
    graph, model = _Graph(scope, operator, container), operator.raw_operator
    training = model._fitted.training
    means = graph.add("Mul", graph.means(model), graph.constant(training.y_scales))
    graph.add("Add", means, graph.constant(training.y_center), output=operator.outputs[0].full_name)


def _write_classification(scope: Any, operator: Any, container: Any) -> None:
    """Write the probabilities (1 - s) q + s / C of pooled indicators q, and the classes of the largest."""
    from skl2onnx.common.utils_classifier import get_label_classes

    graph, model = _Graph(scope, operator, container), operator.raw_operator
    label, probabilities = (output.full_name for output in operator.outputs)
    s, classes = model.smoothing_, np.asarray(get_label_classes(scope, model))
    pooled = graph.add("Mul", graph.means(model), graph.constant(1.0 - s))
    graph.add("Add", pooled, graph.constant(s / len(classes)), output=probabilities)
    code = graph.add("ArgMax", probabilities, axis=1, keepdims=0)
    graph.add("Gather", graph.labels(classes), code, output=label)


class _Graph:
    """Nodes and constants that are added to the graph of an operator, in the number type of its output."""

    def __init__(self, scope: Any, operator: Any, container: Any):
        from skl2onnx.common.data_types import guess_numpy_type, guess_proto_type
        from skl2onnx.proto import onnx_proto

        self.scope, self.container, self.types = scope, container, onnx_proto.TensorProto
        self.dtype = np.dtype(guess_numpy_type(operator.outputs[-1].type))
        self.proto_type = guess_proto_type(operator.outputs[-1].type)
        self.input = self.add("Cast", operator.inputs[0].full_name, to=self.proto_type)

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        output = self.scope.get_unique_variable_name(kind.lower()) if output is None else output
        name = self.scope.get_unique_operator_name(kind)
        self.container.add_node(kind, list(inputs), [output], name=name, **attributes)
        return output

    def constant(self, numbers: np.ndarray | float) -> str:
        """Add numbers, and return their name."""
        array = self.rounded(numbers)
        return self._constant(self.proto_type, array.shape, array.ravel())

    def rounded(self, numbers: np.ndarray | float) -> np.ndarray:
        """The numbers in the type of the graph; those too large for it are refused."""
        with np.errstate(over="ignore"):
            array = np.asarray(numbers, dtype=self.dtype)
        self._refuse_unless(bool(np.isfinite(array).all()))
        return array

    def _refuse_unless(self, is_possible: bool) -> None:
        if not is_possible:
            raise ValueError(
                f"X, y, or X in bandwidths, is too large for a graph in {self.dtype}: give to_onnx an array of "
                "float64, or divide X and y by constants."
            )

    def labels(self, classes: np.ndarray) -> str:
        """Add labels of classes, integers or strings, and return their name."""
        if all(isinstance(label, str) for label in classes.tolist()):
            return self._constant(self.types.STRING, classes.shape, [label.encode() for label in classes.tolist()])
        return self._constant(self.types.INT64, classes.shape, classes.astype(np.int64))

    def _constant(self, proto_type: int, shape: tuple[int, ...], content: Any) -> str:
        name: str = self.scope.get_unique_variable_name("constant")
        self.container.add_initializer(name, proto_type, list(shape), content)
        return name

    def means(self, model: BaseSmoother) -> str:
        """Add sum_j softmax_j(log K(||z - z_j||) + log w_j) v_j for standardised targets or indicators v."""
        training, smoother, form = model._fitted.training, model._fitted.smoother, _form(model)
        assert form is not None
        # keys as far from the rounded centre, in units of the rounded w, as queries will be
        center, w = (self.rounded(numbers).astype(np.float64) for numbers in (smoother.center, smoother.w))
        keys, farthest = coordinates(training.X, center, w), _FARTHEST[self.dtype.name]
        self._refuse_unless(bool(np.abs(keys).max() <= farthest))
        z = self.add("Sub", self.input, self.constant(center))
        z = self.add("Mul" if w.ndim == 1 else "MatMul", z, self.constant(w))
        z = self.add("Min", self.add("Max", z, self.constant(-farthest)), self.constant(farthest))
        if form.power == 2 and self._products_are_accurate(keys):
            exponents = self._by_products(z, keys, form.rate)
        else:
            exponents = self._by_differences(z, keys, form)
        exponents = self.add("Add", exponents, self.constant(np.log(training.sample_weight)))
        return self.add("MatMul", self.add("Softmax", exponents, axis=1), self.constant(training.values))

    def _products_are_accurate(self, keys: np.ndarray) -> bool:
        """Whether the error of ||z - z_j||^2 by matrix products, about eps max_j ||z_j||^2, does not show."""
        error = np.finfo(self.dtype).eps * np.einsum("ij,ij->i", keys, keys).max()
        return keys.shape[1] > _FEW_COLUMNS and bool(error <= _PRODUCT_TOLERANCE[self.dtype.name])

    def _by_products(self, z: str, keys: np.ndarray, rate: float) -> str:
        """Add rate (2 z.z_j - ||z_j||^2), the exponents -rate ||z - z_j||^2 but for what they have in common."""
        products = self.add("MatMul", z, self.constant(2.0 * rate * keys.T))
        return self.add("Sub", products, self.constant(rate * np.einsum("ij,ij->i", keys, keys)))

    def _by_differences(self, z: str, keys: np.ndarray, form: ExponentialForm) -> str:
        """Add the exponents but for what they have in common, so that far queries cost no digits.

        With p the point nearest to z in the box of the keys, and e = z - p::

            ||z - z_j||^2 = s_j + ||e||^2,   s_j = sum_k (p_k - z_jk) (p_k - z_jk + 2 e_k),

        where no term is negative. The exponents are -rate s_j for exp(-rate u^2), and for exp(-rate u)
        -rate (sqrt(s_j + ||e||^2) - ||e||) = -rate s_j / (sqrt(s_j + ||e||^2) + ||e||).
        """
        box = self.constant(keys.min(axis=0)), self.constant(keys.max(axis=0))
        p = self.add("Min", self.add("Max", z, box[0]), box[1])
        e = self.add("Sub", z, p)
        twice_e, squares = self.add("Add", e, e), ""
        for k, column in enumerate(keys.T):
            at = self._constant(self.types.INT64, (1,), [k])
            near = self.add("Sub", self.add("Gather", p, at, axis=1), self.constant(column))
            far = self.add("Add", near, self.add("Gather", twice_e, at, axis=1))
            term = self.add("Mul", near, far)
            squares = self.add("Add", squares, term) if squares else term
        if form.power == 2:
            return self.add("Mul", squares, self.constant(-form.rate))
        beyond = self.add("MatMul", self.add("Mul", e, e), self.constant(np.ones((keys.shape[1], 1))))
        u = self.add("Add", self.add("Sqrt", self.add("Add", squares, beyond)), self.add("Sqrt", beyond))
        u = self.add("Max", u, self.constant(float(np.finfo(self.dtype).tiny)))
        return self.add("Div", self.add("Mul", squares, self.constant(-form.rate)), u)
