"""A ReLU network: its parameters in one vector, its forward pass, its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import DTypeError, ShapeError
from fastbp.kernels.layer_table import (
    BIASES,
    COLUMNS,
    INPUTS,
    OUTPUTS,
    UNITS_IN,
    UNITS_OUT,
    WEIGHTS,
)
from fastbp.network.gradients import Gradients, Shapes, Views, empty_gradients
from fastbp.network.losses import (
    CustomLoss,
    Loss,
    Objective,
    custom_gradient,
    custom_value,
    require_targets,
)
from fastbp.network.parameters import (
    random_parameters,
    require_biases,
    require_float_dtype,
    require_sizes,
    require_weights,
)
from fastbp.network.passes import Passes
from fastbp.network.schedule import BACKWARD, FORWARD, LOSS
from fastbp.runtime.validation import (
    FloatArray,
    require_array,
    require_choice,
    require_dtype,
    require_finite,
    require_integer,
    require_number,
    require_shape,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAYOUTS = ("book", "torch", "keras")


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

    def __init__(self, preactivations: list[FloatArray], activations: list[FloatArray]) -> None:
        self.preactivations = preactivations
        self.activations = activations

    @property
    def output(self) -> FloatArray:
        """The last pre-activation, which is the output."""
        return self.preactivations[-1]


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
        checked = require_weights(weights, layout)
        checked_biases = require_biases(biases, checked, layout)
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
        self._sizes = (
            int(self.layers[0, INPUTS]),
            *(int(n) for n in self.layers[:, OUTPUTS]),
        )

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
        weights, biases = random_parameters(
            require_sizes(sizes),
            require_integer(seed, "seed", 0),
            require_float_dtype(dtype),
            layout,
        )
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
    def kernel_parameters(self) -> npt.NDArray[Any]:
        """The parameters as kernels take them: a read-only array is another type to numba."""
        return self._parameters if self._parameters.flags.writeable else self._parameters.copy()

    @property
    def weights(self) -> Views:
        """The weights as views of ``parameters``: an edit is seen by all."""
        return self.shapes.weight_views(self._parameters)

    @property
    def biases(self) -> Views | None:
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
        inputs, targets = self.require_arguments(x, y)
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

        Examples
        --------
        >>> import numpy as np, fastbp
        >>> net = fastbp.Network([np.array([[2.0], [-1.0]]), np.array([[1.0, 1.0]])])
        >>> forward = net.forward(np.array([[3.0, -1.0]]))
        >>> forward.output
        array([[6., 1.]])
        >>> forward.activations[1]
        array([[6., 0.],
               [0., 1.]])
        """
        inputs = self._require_inputs(x)
        work = Passes(self, self.batch_of(inputs))
        kept = np.empty_like(work.activations)
        work.forward(inputs, kept)
        features, zero = 1 - self.samples_axis, self.dtype.type(0)
        count = len(self.layers)
        preactivations = [work.level(kept, k, features) for k in range(count)]
        # Kernels mark an inactive unit by -0.0; adding 0 makes it the 0 that a ReLU gives.
        activations = [work.level(work.activations, k, features) + zero for k in range(count - 1)]
        return ForwardPass(preactivations, [np.array(inputs, order="C"), *activations])

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

        Examples
        --------
        >>> import numpy as np, fastbp
        >>> net = fastbp.Network([np.array([[1.0, 2.0]])], reduction="mean")
        >>> net.loss(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 2.0]]))
        4.0
        """
        inputs, targets = self.require_arguments(x, y)
        work = Passes(self, self.batch_of(inputs))
        if self._objective.custom is not None:
            work.forward(inputs)
            return self._custom_loss(work.output(), targets)
        work.run(FORWARD | LOSS, inputs, targets)
        return float(work.losses[-1]) * work.factor + self.decay_term()

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

        Examples
        --------
        >>> import numpy as np, fastbp
        >>> net = fastbp.Network([np.array([[1.0, 2.0]])], [np.array([0.0])])
        >>> loss, gradients = net.loss_and_gradients(np.array([[1.0], [1.0]]), np.array([[2.0]]))
        >>> loss, gradients.biases[0]
        (1.0, array([2.]))
        """
        x_checked, y_checked = self.require_arguments(x, y)
        gradients = self._gradients_for(out)
        work = gradients.passes
        if work is None or work.batch != x_checked.shape[self.samples_axis]:
            work = gradients.passes = Passes(self, self.batch_of(x_checked))
        by_inputs = None
        if inputs:
            by_inputs = gradients.inputs
            if by_inputs is None or by_inputs.shape != x_checked.shape:
                by_inputs = np.empty(x_checked.shape, self.dtype)
        if self._objective.custom is not None:
            total = self._custom_passes(x_checked, y_checked, work, gradients.flat, by_inputs)
        else:
            work.run(
                FORWARD | LOSS | BACKWARD,
                x_checked,
                y_checked,
                gradients.flat,
                by_inputs,
            )
            total = float(work.losses[-1]) * work.factor + self.decay_term()
        gradients.inputs = by_inputs
        return total, gradients

    @property
    def samples_axis(self) -> int:
        """The axis of inputs and outputs that counts examples."""
        return 1 if self._layout == "book" else 0

    def batch_of(self, x: npt.NDArray[Any]) -> int:
        """Number of examples."""
        return int(x.shape[self.samples_axis])

    def _require_inputs(self, x: object) -> FloatArray:
        array = require_dtype(x, "x", self.dtype, "weights[0]")
        features = self._sizes[0]
        wanted = (features, "batch") if self._layout == "book" else ("batch", features)
        if array.ndim != 2 or array.shape[1 - self.samples_axis] != features:
            require_shape(array, "x", wanted)
        if array.shape[self.samples_axis] == 0:
            raise ShapeError(f"x must hold at least one example, not shape {array.shape}.")
        return array

    def require_arguments(self, x: object, y: object) -> tuple[FloatArray, npt.NDArray[Any]]:
        """Check types, shapes and values of inputs and targets; finiteness the kernels see."""
        inputs = self._require_inputs(x)
        batch, outputs = inputs.shape[self.samples_axis], self._sizes[-1]
        shape = (outputs, batch) if self._layout == "book" else (batch, outputs)
        if type(y) is np.ndarray and y.shape == shape and y.dtype == self.dtype:
            if self._objective.loss != "least_squares":
                require_targets(self._objective, y, shape, 1 - self.samples_axis, self.dtype)
            return inputs, y
        return inputs, require_targets(self._objective, y, shape, 1 - self.samples_axis, self.dtype)

    def explain_non_finite(self, x: FloatArray, y: npt.NDArray[Any] | None) -> None:
        """Raise if an argument holds NaN or infinity; otherwise the network itself overflows."""
        if not np.isfinite(self._parameters).all():
            for name, array in zip(self.parameter_names(), self.arrays(), strict=True):
                require_finite(array, name)
        require_finite(x, "x")
        if y is not None:
            require_finite(y, "y")

    def arrays(self) -> Views:
        """All parameter arrays in the order of their names."""
        biases = self.biases
        if biases is None:
            return self.weights
        return tuple(array for pair in zip(self.weights, biases, strict=True) for array in pair)

    def _gradients_for(self, out: Gradients | None) -> Gradients:
        if out is None:
            return empty_gradients(self.shapes, self.dtype)
        if type(out) is not Gradients:
            raise DTypeError(f"out must be Gradients of this network, not {type(out).__name__}.")
        if out.shapes != self.shapes or out.flat.dtype != self.dtype:
            raise ShapeError("out must be Gradients of a network with these shapes and this dtype.")
        return out

    def decay_term(self) -> float:
        """weight_decay / 2 times the sum of all squared weights."""
        decay = self._objective.weight_decay
        if decay == 0.0:
            return 0.0
        with np.errstate(over="ignore"):  # infinity, as the loss
            squares = [float(np.sum(np.square(w, dtype=np.float64))) for w in self.weights]
        return 0.5 * decay * sum(squares)

    def _custom_loss(self, output: FloatArray, y: npt.NDArray[Any]) -> float:
        custom = self._objective.custom
        assert custom is not None
        total = custom_value(custom[0], output, y)
        factor = self._objective.factor(self.batch_of(output), self._sizes[-1])
        return total * factor + self.decay_term()

    def _custom_passes(
        self,
        x: FloatArray,
        y: npt.NDArray[Any],
        work: Passes,
        gradient: npt.NDArray[Any],
        by_inputs: npt.NDArray[Any] | None,
    ) -> float:
        custom = self._objective.custom
        assert custom is not None
        work.forward(x)
        output = work.output()
        total = self._custom_loss(output, y)
        slope = custom_gradient(custom[1], output, y) * self.dtype.type(work.factor)
        work.store_output_sensitivity(slope)
        work.run(BACKWARD, x, None, gradient, by_inputs)
        return total


def book_weight(net: Network, k: int) -> NDArray[np.float64]:
    """View W[k] as (n_out, n_in), whatever the layout."""
    weight: NDArray[np.float64] = net.weights[k].T if net.layout == "keras" else net.weights[k]
    return weight


def float64_copy(network: Network) -> Network:
    """Copy a network; float32 numbers are converted exactly."""
    objective, biases = network.objective, network.biases
    custom = objective.custom
    return Network(
        [w.astype(np.float64) for w in network.weights],
        None if biases is None else [b.astype(np.float64) for b in biases],
        loss=objective.loss if custom is None else _with_float64_gradient(custom),
        reduction=objective.reduction,
        scale=objective.scale,
        weight_decay=objective.weight_decay,
        relu_at_zero=network.relu_at_zero,
        layout=network.layout,
    )


def _with_float64_gradient(loss: CustomLoss) -> CustomLoss:
    """Take the gradient of a custom loss in float64, whatever the user's function computes in."""
    value, gradient = loss
    return value, lambda output, y: np.asarray(gradient(output, y)).astype(np.float64)
