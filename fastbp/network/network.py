"""A ReLU network: its parameters in one vector, its forward pass, its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import DTypeError, ShapeError
from fastbp.network.batch import Batch, require_all_finite
from fastbp.network.gradients import LAYOUTS, Gradients, Shapes, Views
from fastbp.network.losses import CustomLoss, Loss, Objective
from fastbp.network.parameters import (
    mapped_vector,
    random_parameters,
    require_biases,
    require_float_dtype,
    require_room,
    require_sizes,
    require_weights,
)
from fastbp.network.passes import Passes
from fastbp.network.schedule import BACKWARD, FORWARD, LOSS
from fastbp.runtime.floating_point import own_errstate
from fastbp.runtime.validation import (
    require_array,
    require_choice,
    require_integer,
    require_number,
    require_shape,
)
from fastbp.typing import AnyFloats, Array, Floats


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

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> passed = fastbp.Network.random([3, 4, 2], seed=1).forward(np.ones((3, 5)))
    >>> passed.output.shape, [h.shape for h in passed.activations]
    ((2, 5), [(3, 5), (4, 5)])
    """

    def __init__(self, preactivations: list[AnyFloats], activations: list[AnyFloats]) -> None:
        self.preactivations = preactivations
        self.activations = activations

    @property
    def output(self) -> AnyFloats:
        """The last pre-activation, which is the output."""
        return self.preactivations[-1]


class Network:
    """A fully connected network with ReLU between its layers and a linear output.

    f[k] = b[k] + W[k] h[k]; h[0] = x, h[k + 1] = max(f[k], 0); the output is f[K]
    ("Understanding Deep Learning", eq. 7.17-7.19).

    Parameters
    ----------
    weights : list of ndarray, shape (n_out, n_in) each; (n_in, n_out) for layout "keras"
        float64 or float32, all alike.  Copied into one vector, unless weights and biases already
        lie one after the other, in the order of `parameters`, in a file that is mapped with
        `np.memmap`: then that is the vector, read-only, and the file may be larger than memory.
        What is written to such a file later changes the network: write nothing while it is checked.
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

    @own_errstate
    def __init__(
        self,
        weights: Sequence[AnyFloats],
        biases: Sequence[AnyFloats] | None = None,
        *,
        loss: Loss = "least_squares",
        reduction: str = "sum",
        scale: float = 1.0,
        weight_decay: float = 0.0,
        relu_at_zero: float = 0.0,
        layout: str = "book",
    ) -> None:
        require_choice(layout, "layout", LAYOUTS)
        self._choose_objective(loss, reduction, scale, weight_decay, relu_at_zero)
        checked = require_weights(weights, layout)
        checked_biases = require_biases(biases, checked, layout)
        self.shapes = Shapes(
            tuple((w.shape[0], w.shape[1]) for w in checked),
            None if checked_biases is None else tuple(b.shape for b in checked_biases),
            layout,
        )
        arrays = checked
        if checked_biases is not None:
            pairs = zip(checked, checked_biases, strict=True)
            arrays = [array for pair in pairs for array in pair]
        mapped = mapped_vector(arrays)
        self._parameters = (
            np.empty(self.shapes.size, checked[0].dtype) if mapped is None else mapped
        )
        if mapped is None:
            for view, array in zip(self.arrays(), arrays, strict=True):
                view[...] = array

    def _choose_objective(
        self, loss: Loss, reduction: str, scale: float, weight_decay: float, relu_at_zero: float
    ) -> None:
        self._objective = Objective(loss, reduction, scale, weight_decay)
        self._relu_at_zero = require_number(
            relu_at_zero, "relu_at_zero", 0.0, 1.0, "a number from 0 to 1"
        )

    @classmethod
    @own_errstate
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
            The same seed gives the same parameters, for every number of threads.
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
        own_sizes, own_seed = require_sizes(sizes), require_integer(seed, "seed", 0)
        own_dtype = require_float_dtype(dtype)
        require_room(own_sizes, own_dtype)
        network = cls.__new__(cls)
        network._choose_objective(loss, reduction, scale, weight_decay, relu_at_zero)
        network.shapes = Shapes(
            tuple(pair if layout == "keras" else pair[::-1] for pair in pairwise(own_sizes)),
            tuple((units, 1) if layout == "book" else (units,) for units in own_sizes[1:]),
            layout,
        )
        network._parameters = random_parameters(network.shapes, own_seed, own_dtype)
        return network

    def __repr__(self) -> str:
        """Sizes, type and objective in a line."""
        sizes = "-".join(str(n) for n in self.sizes)
        return (
            f"<Network {sizes}, {self.dtype}, {self._objective.name}, "
            f"layout {self.layout!r}, {self._parameters.size} parameters>"
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of the input, of each hidden layer and of the output."""
        return self.shapes.sizes

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64 or float32."""
        return self._parameters.dtype

    @property
    def layout(self) -> str:
        """Which way round arrays are: "book", "torch" or "keras"."""
        return self.shapes.layout

    @property
    def objective(self) -> Objective:
        """Loss, reduction, scale and weight decay."""
        return self._objective

    @property
    def relu_at_zero(self) -> float:
        """The derivative of the ReLU at exactly 0."""
        return self._relu_at_zero

    @property
    def parameters(self) -> Array:
        """All parameters in one vector: W0, b0, W1, b1, ..., each in C order."""
        return self._parameters

    @property
    def weights(self) -> Views:
        """The weights as views of ``parameters``: an edit is seen by all."""
        return self.shapes.weight_views(self._parameters)

    @property
    def biases(self) -> Views | None:
        """The biases as views of ``parameters``, or None."""
        return self.shapes.bias_views(self._parameters)

    def arrays(self) -> Views:
        """All parameter arrays in the order of their names, as views of ``parameters``.

        Examples
        --------
        >>> import fastbp
        >>> [array.shape for array in fastbp.Network.random([3, 4, 2], seed=1).arrays()]
        [(4, 3), (4, 1), (2, 4), (2, 1)]
        """
        return self.shapes.views(self._parameters)

    def parameter_names(self) -> list[str]:
        """Return the names of the arrays in the order of ``parameters``.

        Examples
        --------
        >>> import fastbp
        >>> fastbp.Network.random([3, 4, 2], seed=1).parameter_names()
        ['weights[0]', 'biases[0]', 'weights[1]', 'biases[1]']
        """
        return self.shapes.names()

    def unflatten(self, vector: Array) -> Gradients:
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

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network.random([3, 4, 2], seed=1)
        >>> net.unflatten(2 * net.parameters).weights[1].shape
        (2, 4)
        """
        require_shape(require_array(vector, "vector"), "vector", (self._parameters.size,))
        return Gradients(self.shapes, vector)

    def forward(self, x: AnyFloats) -> ForwardPass:
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
        batch = Batch.of_inputs(self.shapes, self.dtype, x)
        work = self._passes_of(batch)
        kept = np.empty_like(work.activations)
        work.forward(self._parameters, batch, kept)
        zero, count = self.dtype.type(0), len(self.shapes.weights)
        preactivations = [batch.as_user(work.level(kept, k)) for k in range(count)]
        # Kernels mark an inactive unit by -0.0; adding 0 makes it the 0 that a ReLU gives.
        hidden = [work.level(work.activations, k) + zero for k in range(count - 1)]
        activations = [np.array(batch.x, order="C"), *map(batch.as_user, hidden)]
        return ForwardPass(preactivations, activations)

    def loss(self, x: AnyFloats, y: Array) -> float:
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
        batch = require_batch(self, x, y)
        work = self._passes_of(batch)
        if self._objective.custom is None:
            work.run(FORWARD | LOSS, self._parameters, batch)
            total = float(work.losses[-1])
        else:
            work.forward(self._parameters, batch)
            total = batch.custom_value(self._objective.custom, work.output())
        return total * work.factor + self.decay_term()

    def loss_and_gradients(
        self,
        x: AnyFloats,
        y: Array,
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
        batch = require_batch(self, x, y)
        gradients = self._gradients_for(out)
        work = self._scratch_of(gradients, batch)
        by_inputs = None
        if inputs:
            by_inputs = gradients.inputs
            if by_inputs is None or by_inputs.shape != batch.x.shape:
                by_inputs = np.empty(batch.x.shape, self.dtype)
        custom = self._objective.custom
        if custom is None:
            stages = FORWARD | LOSS | BACKWARD
            work.run(stages, self._parameters, batch, gradients.flat, by_inputs)
            total = float(work.losses[-1])
        else:
            work.forward(self._parameters, batch)
            output = work.output()
            total = batch.custom_value(custom, output)
            slope = batch.custom_gradient(custom, output)
            with np.errstate(all="ignore"):  # zero or infinity, as the loss
                scaled = slope * self.dtype.type(work.factor)
            work.store_output_sensitivity(scaled)
            work.run(BACKWARD, self._parameters, batch.inputs_alone(), gradients.flat, by_inputs)
        gradients.inputs = by_inputs
        return total * work.factor + self.decay_term(), gradients

    def _gradients_for(self, out: Gradients | None) -> Gradients:
        if out is None:
            return Gradients(self.shapes, np.empty(self.shapes.size, self.dtype))
        if type(out) is not Gradients:
            raise DTypeError(f"out must be Gradients of this network, not {type(out).__name__}.")
        if out.shapes != self.shapes or out.flat.dtype != self.dtype:
            raise ShapeError("out must be Gradients of a network with these shapes and this dtype.")
        return out

    def _scratch_of(self, gradients: Gradients, batch: Batch) -> Passes:
        """Take the scratch memory of an earlier call, if it was for this network and batch size."""
        work = gradients.scratch
        if (
            not isinstance(work, Passes)
            or work.shapes is not self.shapes
            or (work.batch != batch.size)
        ):
            gradients.scratch = work = self._passes_of(batch)
        return work

    def _passes_of(self, batch: Batch) -> Passes:
        return Passes(self.shapes, self._objective, self._relu_at_zero, batch)

    def decay_term(self) -> float:
        """Return what weight decay adds to the loss.

        Examples
        --------
        >>> import fastbp
        >>> fastbp.Network.random([3, 4, 2], seed=1).decay_term()
        0.0
        """
        # Without decay no view of a weight is made: that is a sixth of the time of a tiny network.
        return self._objective.decay_term(self.weights) if self._objective.weight_decay else 0.0


def require_batch(net: Network, x: object, y: object) -> Batch:
    """Validate inputs and targets for a network; whether they are finite the kernels see.

    Raises
    ------
    DTypeError, ShapeError, NonFiniteError, OptionError
    """
    if not isinstance(net, Network):
        raise DTypeError(f"net must be a fastbp.Network, not {type(net).__name__}.")
    return Batch.required(net.shapes, net.objective, net.dtype, x, y)


def require_finite_batch(net: Network, x: object, y: object) -> Batch:
    """Validate inputs and targets, and that they and all parameters are finite.

    Raises
    ------
    DTypeError, ShapeError, NonFiniteError, OptionError
    """
    batch = require_batch(net, x, y)
    require_all_finite(net.shapes, net.parameters, batch)
    return batch


def book_weight(net: Network, k: int) -> Floats:
    """View W[k] as (n_out, n_in), whatever the layout."""
    return net.shapes.by_unit(net.weights[k])


def in_float64(net: Network) -> Network:
    """Return a network in float64: itself, or a copy whose numbers are converted exactly."""
    if net.dtype == np.float64:
        return net
    objective, biases = net.objective, net.biases
    custom = objective.custom
    return Network(
        [w.astype(np.float64) for w in net.weights],
        None if biases is None else [b.astype(np.float64) for b in biases],
        loss=objective.loss if custom is None else _with_float64_gradient(custom),
        reduction=objective.reduction,
        scale=objective.scale,
        weight_decay=objective.weight_decay,
        relu_at_zero=net.relu_at_zero,
        layout=net.layout,
    )


def _with_float64_gradient(loss: CustomLoss) -> CustomLoss:
    """Take the gradient of a custom loss in float64, whatever the user's function computes in."""
    value, gradient = loss
    return value, lambda output, y: np.asarray(gradient(output, y)).astype(np.float64)
