"""A ReLU network: its parameters in one vector, its forward pass, its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import DTypeError, NonFiniteError, OptionError, ShapeError
from fastbp.gradients import Gradients, Shapes, empty_gradients
from fastbp.kernels.backprop import BACKWARD, FORWARD, LOSS, TOLERATE, passes
from fastbp.kernels.layers import BIASES, COLUMNS, INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT, WEIGHTS
from fastbp.kernels.simd import panel_width
from fastbp.kernels.team import NON_FINITE
from fastbp.losses import (
    NO_LABELS,
    Loss,
    Objective,
    Targets,
    check_targets,
    kernel_targets,
)
from fastbp.threads import run_team
from fastbp.validate import (
    FloatArray,
    flat_view,
    require_array,
    require_choice,
    require_dtype,
    require_finite,
    require_floats,
    require_number,
    require_shape,
)

LAYOUTS = ("book", "torch", "keras")


class Workspace:
    """Scratch memory of the passes for one batch size, reused by ``out=``."""

    def __init__(self, network: Network, batch: int) -> None:
        dtype = network.dtype
        empty = np.empty(0, dtype)
        width = panel_width(empty)
        pitch = 1 if batch == 1 else -(-batch // width) * width
        largest = max(network.sizes)
        self.batch = batch
        self.pitch = pitch
        self.activations = np.empty(sum(network.sizes) * pitch, dtype)
        self.sensitivities = np.empty(2 * largest * pitch, dtype)
        packs = batch > 1
        self.left = np.empty(largest * pitch if packs else 0, dtype)
        self.right = np.empty(-(-largest // width) * width * batch if packs else 0, dtype)
        self.losses = np.empty(batch, np.float64)


class ForwardPass:
    """What a forward pass computed, in the shapes of the user's layout.

    Attributes
    ----------
    output : ndarray
        f[K], the network's output.
    preactivations : list of ndarray
        f[0], ..., f[K].
    activations : list of ndarray
        h[0] = x, h[1] = max(f[0], 0), ..., h[K]: h[k] feeds layer k.
    """

    def __init__(
        self, preactivations: list[FloatArray], activations: list[FloatArray]
    ) -> None:
        self.preactivations = preactivations
        self.activations = activations

    @property
    def output(self) -> FloatArray:
        """The last pre-activation, which is the output."""
        return self.preactivations[-1]


def _check_weights(weights: object, layout: str) -> list[FloatArray]:
    if isinstance(weights, np.ndarray) or not isinstance(weights, Sequence):
        raise DTypeError(f"weights must be a list of arrays, not {type(weights).__name__}.")
    if not weights:
        raise ShapeError("weights must hold at least one array, not none.")
    arrays: list[FloatArray] = []
    for k, value in enumerate(weights):
        name = f"weights[{k}]"
        array = (
            require_floats(value, name)
            if k == 0
            else require_dtype(value, name, arrays[0].dtype, "weights[0]")
        )
        if array.ndim != 2 or 0 in array.shape:
            raise ShapeError(
                f"{name} must have two dimensions of at least 1, not shape {array.shape}."
            )
        if k > 0:
            before = arrays[-1].shape[1 if layout == "keras" else 0]
            wanted = (before, "n_out") if layout == "keras" else ("n_out", before)
            require_shape(array, name, wanted)
        arrays.append(array)
    for k, array in enumerate(arrays):
        require_finite(array, f"weights[{k}]")
    return arrays


def _check_biases(
    biases: object, weights: list[FloatArray], layout: str
) -> list[FloatArray] | None:
    if biases is None:
        return None
    if isinstance(biases, np.ndarray) or not isinstance(biases, Sequence):
        raise DTypeError(f"biases must be a list of arrays or None, not {type(biases).__name__}.")
    if len(biases) != len(weights):
        raise ShapeError(
            f"biases must hold {len(weights)} arrays like weights, not {len(biases)}."
        )
    arrays = []
    for k, (value, weight) in enumerate(zip(biases, weights, strict=True)):
        name = f"biases[{k}]"
        array = require_dtype(value, name, weights[0].dtype, "weights[0]")
        units = weight.shape[1 if layout == "keras" else 0]
        if array.shape not in ((units,), (units, 1)):
            raise ShapeError(
                f"{name} must have shape ({units}, 1) or ({units},), not {array.shape}."
            )
        require_finite(array, name)
        arrays.append(array)
    return arrays


class Network:
    """A fully connected network with ReLU between its layers and a linear output.

    f[k] = b[k] + W[k] h[k]; h[0] = x, h[k + 1] = max(f[k], 0); the output is f[K]
    ("Understanding Deep Learning", eq. 7.17-7.19).

    Parameters
    ----------
    weights : list of ndarray, shape (n_out, n_in) each; (n_in, n_out) for layout "keras"
        float64 or float32, all alike.  Copied into one vector.
    biases : list of ndarray, shape (n_out, 1) or (n_out,) each, or None
        None: a network without biases.
    loss : str or (value, gradient)
        "least_squares" (the sum of (output - y) ** 2), "softmax_cross_entropy",
        "sigmoid_cross_entropy", or two callables of (output, y) in the user's layout: the loss
        summed over the given samples, and its derivative in the shape of output.
    reduction : {"sum", "mean", "mean_entries"}
        "mean" divides by the batch, "mean_entries" by batch times outputs.
    scale : float
        Multiplies the reduced loss.
    weight_decay : float
        Adds weight_decay / 2 times the sum of all squared weights.
    relu_at_zero : float from 0 to 1
        The derivative of the ReLU where a pre-activation is exactly 0.
    layout : {"book", "torch", "keras"}
        "book": weights (n_out, n_in), columns of x, y and output are examples; "torch": weights
        (n_out, n_in), rows are examples; "keras": weights (n_in, n_out), rows are examples.

    Raises
    ------
    DTypeError, ShapeError, NonFiniteError, OptionError
        Naming the argument, what was expected and what came.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> net = fastbp.Network([np.array([[1.0, -1.0]])], [np.array([0.5])])
    >>> net.forward(np.array([[3.0], [1.0]])).output
    array([[2.5]])
    >>> loss, gradients = net.loss_and_gradients(np.array([[3.0], [1.0]]), np.array([[0.5]]))
    >>> loss, gradients.weights[0], gradients.inputs.ravel()
    (4.0, array([[12.,  4.]]), array([ 4., -4.]))
    """

    def __init__(
        self,
        weights: Sequence[FloatArray],
        biases: Sequence[FloatArray] | None = None,
        *,
        loss: Loss = "least_squares",
        reduction: str = "sum",
        scale: float = 1.0,
        weight_decay: float = 0.0,
        relu_at_zero: float = 0.0,
        layout: str = "book",
    ) -> None:
        self._layout = require_choice(layout, "layout", LAYOUTS)
        self._objective = Objective(loss, reduction, scale, weight_decay)
        self._relu_at_zero = require_number(
            relu_at_zero, "relu_at_zero", 0.0, 1.0, "a number from 0 to 1"
        )
        checked = _check_weights(weights, layout)
        checked_biases = _check_biases(biases, checked, layout)
        self.shapes = Shapes(
            tuple((w.shape[0], w.shape[1]) for w in checked),
            None if checked_biases is None else tuple(b.shape for b in checked_biases),
        )
        self._parameters = np.empty(self.shapes.size, checked[0].dtype)
        for view, array in zip(self.weights, checked, strict=True):
            view[...] = array
        for view, array in zip(self.biases or (), checked_biases or (), strict=True):
            view[...] = array
        self.layers = self._describe_layers()
        self._sizes = (int(self.layers[0, INPUTS]), *(int(n) for n in self.layers[:, OUTPUTS]))
        self._operations_per_sample = 2 * sum(w.size for w in checked)

    @classmethod
    def random(
        cls,
        sizes: Sequence[int],
        *,
        seed: int = 0,
        dtype: npt.DTypeLike = np.float64,
        loss: Loss = "least_squares",
        reduction: str = "sum",
        scale: float = 1.0,
        weight_decay: float = 0.0,
        relu_at_zero: float = 0.0,
        layout: str = "book",
    ) -> Network:
        """Make a network with He initialisation and small random biases.

        Parameters
        ----------
        sizes : sequence of int
            Units of the input, of each hidden layer, and of the output.
        seed : int
            The same seed gives the same parameters.
        dtype : float64 or float32
        loss, reduction, scale, weight_decay, relu_at_zero, layout
            As for ``Network``.

        Returns
        -------
        Network
            Weights normal with variance 2 / n_in (He et al., 2015), biases normal with
            standard deviation 0.1, in the shape (n_out, 1), or (n_out,) where rows are examples.

        Raises
        ------
        OptionError, DTypeError

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network.random([784, 512, 512, 10], seed=1)
        >>> net.parameters.size
        669706
        """
        require_choice(layout, "layout", LAYOUTS)
        counts = _check_sizes(sizes)
        if np.dtype(dtype) not in (np.dtype(np.float64), np.dtype(np.float32)):
            raise DTypeError(f"dtype must be float64 or float32, not {np.dtype(dtype)}.")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise OptionError(f"seed must be an integer of at least 0, not {seed!r}.")
        generator = np.random.default_rng(seed)
        weights, biases = [], []
        for inputs, outputs in zip(counts[:-1], counts[1:], strict=True):
            weight = generator.standard_normal((outputs, inputs)) * np.sqrt(2.0 / inputs)
            bias = 0.1 * generator.standard_normal((outputs, 1))
            weights.append((weight.T if layout == "keras" else weight).astype(dtype))
            biases.append((bias if layout == "book" else bias[:, 0]).astype(dtype))
        return cls(
            weights,
            biases,
            loss=loss,
            reduction=reduction,
            scale=scale,
            weight_decay=weight_decay,
            relu_at_zero=relu_at_zero,
            layout=layout,
        )

    def _describe_layers(self) -> npt.NDArray[np.int64]:
        layers = np.empty((len(self.shapes.weights), COLUMNS), np.int64)
        units = 0
        for k, (rows, columns) in enumerate(self.shapes.weights):
            outputs, inputs = (columns, rows) if self._layout == "keras" else (rows, columns)
            layers[k, OUTPUTS], layers[k, INPUTS] = outputs, inputs
            layers[k, WEIGHTS] = self.shapes.weight_offsets[k]
            layers[k, BIASES] = self.shapes.bias_offsets[k]
            layers[k, UNITS_IN], layers[k, UNITS_OUT] = units, units + inputs
            units += inputs
        return layers

    def __repr__(self) -> str:
        """Sizes, type and objective in a line."""
        sizes = "-".join(str(n) for n in self._sizes)
        return (
            f"<Network {sizes}, {self.dtype}, {self._objective.name}, "
            f"layout {self._layout!r}, {self._parameters.size} parameters>"
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of the input, of each hidden layer and of the output."""
        return self._sizes

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64 or float32."""
        return self._parameters.dtype

    @property
    def layout(self) -> str:
        """Which way round arrays are: "book", "torch" or "keras"."""
        return self._layout

    @property
    def objective(self) -> Objective:
        """Loss, reduction, scale and weight decay."""
        return self._objective

    @property
    def relu_at_zero(self) -> float:
        """The derivative of the ReLU at exactly 0."""
        return self._relu_at_zero

    @property
    def parameters(self) -> npt.NDArray[Any]:
        """All parameters in one vector: W0, b0, W1, b1, ..., each in C order."""
        return self._parameters

    @property
    def weights(self) -> list[npt.NDArray[Any]]:
        """The weights as views of ``parameters``: an edit is seen by all."""
        return self.shapes.weight_views(self._parameters)

    @property
    def biases(self) -> list[npt.NDArray[Any]] | None:
        """The biases as views of ``parameters``, or None."""
        return self.shapes.bias_views(self._parameters)

    def parameter_names(self) -> list[str]:
        """Return the names of the arrays in the order of ``parameters``."""
        return self.shapes.names()

    def unflatten(self, vector: npt.NDArray[Any]) -> Gradients:
        """View a vector as long as ``parameters`` in the parameters' shapes.

        Parameters
        ----------
        vector : ndarray, shape (parameters,)
            Contiguous, of any type.

        Returns
        -------
        Gradients
            Views of ``vector``.

        Raises
        ------
        ShapeError
            If the vector has another shape.
        """
        require_shape(require_array(vector, "vector"), "vector", (self._parameters.size,))
        return Gradients(self.shapes, vector)

    def validated(self, x: object, y: object) -> tuple[FloatArray, npt.NDArray[Any]]:
        """Check parameters, inputs and targets as every public call does.

        Parameters
        ----------
        x, y : ndarray
            Inputs and targets in the layout of the network.

        Returns
        -------
        x, y : ndarray
            The same arrays.

        Raises
        ------
        DTypeError, ShapeError, NonFiniteError, OptionError
        """
        inputs, targets = self.check_arguments(x, y)
        self.explain_non_finite(inputs, targets)
        return inputs, targets

    def forward(self, x: FloatArray) -> ForwardPass:
        """Run the network on a batch.

        Parameters
        ----------
        x : ndarray, shape (n_in, batch), or (batch, n_in) where rows are examples
            Of the network's dtype.

        Returns
        -------
        ForwardPass
            Output, pre-activations and activations, all new arrays.

        Raises
        ------
        DTypeError, ShapeError, NonFiniteError

        Notes
        -----
        Eq. 7.17-7.19 of "Understanding Deep Learning"; 2 P batch operations.
        """
        inputs = self._check_inputs(x)
        work = Workspace(self, self.batch_of(inputs))
        kept = np.empty_like(work.activations)
        self.run_passes(FORWARD, inputs, None, work, kept=kept)
        features = 1 - self.samples_axis
        preactivations, activations = [], [np.array(inputs, order="C")]
        for k, layer in enumerate(self.layers):
            f = copy_level(kept, int(layer[UNITS_OUT]), int(layer[OUTPUTS]), work, features)
            preactivations.append(f)
            if k < len(self.layers) - 1:
                activations.append(
                    copy_level(
                        work.activations, int(layer[UNITS_OUT]), int(layer[OUTPUTS]), work, features
                    )
                    + self.dtype.type(0)
                )
        return ForwardPass(preactivations, activations)

    def loss(self, x: FloatArray, y: npt.NDArray[Any]) -> float:
        """Compute the loss of a batch.

        Parameters
        ----------
        x : ndarray, shape (n_in, batch), or (batch, n_in) where rows are examples
        y : ndarray, in the shape of the output, or class indices of shape (batch,)

        Returns
        -------
        float
            scale * reduction(loss) + weight_decay / 2 * sum of W ** 2, summed in float64.

        Raises
        ------
        DTypeError, ShapeError, NonFiniteError, OptionError
        """
        inputs, targets = self.check_arguments(x, y)
        work = Workspace(self, self.batch_of(inputs))
        if self._objective.custom is not None:
            self.run_passes(FORWARD, inputs, None, work)
            return self._custom_loss(self._output_of(work), targets)
        self.run_passes(FORWARD | LOSS, inputs, targets, work)
        return self._total(work)

    def loss_and_gradients(
        self,
        x: FloatArray,
        y: npt.NDArray[Any],
        out: Gradients | None = None,
        *,
        inputs: bool = True,
    ) -> tuple[float, Gradients]:
        """Compute the loss and its derivatives by every parameter (and input).

        Parameters
        ----------
        x : ndarray, shape (n_in, batch), or (batch, n_in) where rows are examples
        y : ndarray, in the shape of the output, or class indices of shape (batch,)
        out : Gradients, optional
            From an earlier call on this network: overwritten and returned, so that a training
            step allocates nothing.
        inputs : bool
            Whether dL/dx is wanted too; it takes one more product.

        Returns
        -------
        loss : float
        gradients : Gradients
            ``.weights``, ``.biases``, ``.inputs``, ``.flat``.

        Raises
        ------
        DTypeError, ShapeError, NonFiniteError, OptionError

        Notes
        -----
        Eq. 7.22-7.25 of "Understanding Deep Learning", with the row sums that a batch adds;
        6 P batch operations.
        """
        x_checked, y_checked = self.check_arguments(x, y)
        batch = self.batch_of(x_checked)
        gradients = self._gradients_for(out)
        work = gradients._workspace
        if not isinstance(work, Workspace) or work.batch != batch:
            work = Workspace(self, batch)
        by_inputs = self._input_gradient(gradients, x_checked) if inputs else None
        if self._objective.custom is not None:
            total = self._custom_passes(x_checked, y_checked, work, gradients, by_inputs)
        else:
            self.run_passes(
                FORWARD | LOSS | BACKWARD, x_checked, y_checked, work, gradients.flat, by_inputs
            )
            total = self._total(work)
        gradients._workspace = work
        gradients.inputs = by_inputs
        return total, gradients

    @property
    def samples_axis(self) -> int:
        return 1 if self._layout == "book" else 0

    def batch_of(self, x: npt.NDArray[Any]) -> int:
        return int(x.shape[self.samples_axis])

    def _check_inputs(self, x: object) -> FloatArray:
        array = require_dtype(x, "x", self.dtype, "weights[0]")
        features = self._sizes[0]
        if (
            array.ndim != 2
            or array.shape[1 - self.samples_axis] != features
            or array.shape[self.samples_axis] == 0
        ):
            if array.ndim == 2 and array.shape[1 - self.samples_axis] == features:
                raise ShapeError(f"x must hold at least one example, not shape {array.shape}.")
            wanted = (features, "batch") if self._layout == "book" else ("batch", features)
            require_shape(array, "x", wanted)
        return array

    def check_arguments(self, x: object, y: object) -> tuple[FloatArray, npt.NDArray[Any]]:
        inputs = self._check_inputs(x)
        batch = self.batch_of(inputs)
        outputs = self._sizes[-1]
        shape = (outputs, batch) if self._layout == "book" else (batch, outputs)
        return inputs, check_targets(
            self._objective, y, shape, 1 - self.samples_axis, self.dtype
        )

    def explain_non_finite(self, x: FloatArray, y: npt.NDArray[Any] | None) -> None:
        """Raise if an argument holds NaN or infinity; otherwise the network itself overflows."""
        for name, array in zip(self.parameter_names(), self.arrays(), strict=True):
            require_finite(array, name)
        require_finite(x, "x")
        if y is not None:
            require_finite(y, "y")

    def arrays(self) -> list[npt.NDArray[Any]]:
        """All parameter arrays in the order of their names."""
        biases = self.biases
        if biases is None:
            return self.weights
        return [array for pair in zip(self.weights, biases, strict=True) for array in pair]

    def _gradients_for(self, out: Gradients | None) -> Gradients:
        if out is None:
            return empty_gradients(self.shapes, self.dtype)
        if not isinstance(out, Gradients):
            raise DTypeError(f"out must be Gradients of this network, not {type(out).__name__}.")
        if out.shapes != self.shapes or out.flat.dtype != self.dtype:
            raise ShapeError("out must be Gradients of a network with these shapes and this dtype.")
        return out

    def _input_gradient(self, gradients: Gradients, x: FloatArray) -> npt.NDArray[Any]:
        kept = gradients.inputs
        if kept is not None and kept.shape == x.shape:
            return kept
        return np.empty(x.shape, self.dtype)

    def _output_of(self, work: Workspace) -> FloatArray:
        last = self.layers[-1]
        return copy_level(
            work.activations, int(last[UNITS_OUT]), int(last[OUTPUTS]), work,
            1 - self.samples_axis,
        )  # fmt: skip

    def _total(self, work: Workspace) -> float:
        total = float(work.losses.sum()) * self._objective.factor(work.batch, self._sizes[-1])
        return total + self.decay_term()

    def decay_term(self) -> float:
        decay = self._objective.weight_decay
        if decay == 0.0:
            return 0.0
        return 0.5 * decay * sum(
            float(np.sum(np.square(w, dtype=np.float64))) for w in self.weights
        )

    def _custom_loss(self, output: FloatArray, y: npt.NDArray[Any]) -> float:
        value, _ = self._objective.custom or (None, None)
        assert value is not None
        total = custom_value(value, output, y)
        factor = self._objective.factor(self.batch_of(output), self._sizes[-1])
        return total * factor + self.decay_term()

    def _custom_passes(
        self,
        x: FloatArray,
        y: npt.NDArray[Any],
        work: Workspace,
        gradients: Gradients,
        by_inputs: npt.NDArray[Any] | None,
    ) -> float:
        custom = self._objective.custom
        assert custom is not None
        self.run_passes(FORWARD, x, None, work)
        output = self._output_of(work)
        total = self._custom_loss(output, y)
        slope = custom_gradient(custom[1], output, y)
        slope = slope * self.dtype.type(self._objective.factor(work.batch, self._sizes[-1]))
        self._store_output_sensitivity(slope, work)
        self.run_passes(BACKWARD, x, None, work, gradients.flat, by_inputs)
        return total

    def _store_output_sensitivity(self, slope: FloatArray, work: Workspace) -> None:
        """Put s[K] where the backward stage expects it, padded samples zero."""
        units = self._sizes[-1]
        half = work.sensitivities.size // 2
        start = (len(self.layers) - 1) % 2 * half
        by_unit = slope if self.samples_axis == 1 else slope.T
        width = 1 if work.batch == 1 else panel_width(work.activations)
        padded = np.zeros((units, work.pitch), self.dtype)
        padded[:, : work.batch] = by_unit
        panels = padded.reshape(units, -1, width).transpose(1, 0, 2)
        work.sensitivities[start : start + units * work.pitch] = panels.reshape(-1)

    def run_passes(
        self,
        stages: int,
        x: FloatArray,
        y: npt.NDArray[Any] | None,
        work: Workspace,
        gradient: npt.NDArray[Any] | None = None,
        by_inputs: npt.NDArray[Any] | None = None,
        kept: npt.NDArray[Any] | None = None,
    ) -> None:
        """Run the passes; where a number is not finite, blame an argument or go on."""
        empty = work.left[:0]
        features = 1 - self.samples_axis
        flat_x, first, second = flat_view(x)
        x_row, x_column = (first, second) if features == 0 else (second, first)
        targets = (
            Targets(empty, 0, 0, NO_LABELS)
            if y is None
            else kernel_targets(y, features, self.dtype)
        )
        flat_inputs, g_row, g_column = empty, 0, 0
        if by_inputs is not None:
            flat_inputs = by_inputs.reshape(-1)
            g_row, g_column = (by_inputs.shape[1], 1) if features == 0 else (1, by_inputs.shape[1])
        objective = self._objective

        def task(control: npt.NDArray[np.int64], stages: int = stages) -> None:
            passes(
                stages, self.layers, self._layout == "keras", self._relu_at_zero,
                objective.code, objective.factor(work.batch, self._sizes[-1]),
                objective.weight_decay, work.batch, int(by_inputs is not None), kept is not None,
                self._parameters, flat_x, x_row, x_column,
                targets.values, targets.row, targets.column, targets.labels,
                control, work.activations, empty if kept is None else kept, work.sensitivities,
                work.left, work.right, work.losses, empty if gradient is None else gradient,
                flat_inputs, g_row, g_column,
            )  # fmt: skip

        operations = self._operations_per_sample * work.batch
        operations *= (1 if stages & FORWARD else 0) + (2 if stages & BACKWARD else 0)
        control = run_team(task, operations)
        if control[NON_FINITE]:
            self.explain_non_finite(x, y)
            run_team(lambda control: task(control, stages | TOLERATE), operations)


def _check_sizes(sizes: object) -> list[int]:
    if not isinstance(sizes, Sequence) or isinstance(sizes, str):
        raise DTypeError(f"sizes must be a sequence of integers, not {type(sizes).__name__}.")
    if len(sizes) < 2:
        raise ShapeError(f"sizes must name at least an input and an output, not {list(sizes)}.")
    for k, size in enumerate(sizes):
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise OptionError(f"sizes[{k}] must be an integer of at least 1, not {size!r}.")
    return [int(size) for size in sizes]


def copy_level(
    buffer: npt.NDArray[Any], units_before: int, units: int, work: Workspace, features_axis: int
) -> npt.NDArray[Any]:
    """Copy one level out of its panels into an array of the user's layout."""
    part = buffer[units_before * work.pitch : (units_before + units) * work.pitch]
    width = 1 if work.batch == 1 else panel_width(buffer)
    by_unit = part.reshape(-1, units, width).transpose(1, 0, 2).reshape(units, -1)[:, : work.batch]
    return np.array(by_unit if features_axis == 0 else by_unit.T, order="C")


def custom_value(value: Any, output: FloatArray, y: npt.NDArray[Any]) -> float:
    """Call a user's loss on copies and insist on one finite-or-not number."""
    result = value(output.copy(), y.copy())
    array = np.asarray(result)
    if array.size != 1 or array.dtype.kind not in "fiu":
        raise ShapeError(
            f"loss[0](output, y) must return one real number, not {type(result).__name__} "
            f"of shape {array.shape}."
        )
    return float(array.reshape(()))


def custom_gradient(gradient: Any, output: FloatArray, y: npt.NDArray[Any]) -> FloatArray:
    """Call a user's loss gradient on copies and insist on the output's shape and type."""
    result = require_dtype(
        gradient(output.copy(), y.copy()), "loss[1](output, y)", output.dtype, "weights[0]"
    )
    require_shape(result, "loss[1](output, y)", output.shape)
    if not np.isfinite(result).all():
        raise NonFiniteError("loss[1](output, y) must be finite.")
    return result
