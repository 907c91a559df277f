"""One batch on its way through the kernels: scratch memory, arguments, and the call."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastbp.kernels.backprop.many_samples import passes
from fastbp.kernels.backprop.one_sample import vector_passes
from fastbp.kernels.backprop.phases import S_HERE
from fastbp.kernels.layer_table import OUTPUTS, UNITS_OUT
from fastbp.kernels.machine.cache_sizes import L2_BYTES
from fastbp.kernels.machine.tickets import NON_FINITE
from fastbp.kernels.simd.vectors import panel_width
from fastbp.network.losses import kernel_targets
from fastbp.network.schedule import BACKWARD, FORWARD, Shape, places, plan
from fastbp.runtime.panels import flat_view
from fastbp.runtime.threads import run_team
from fastbp.runtime.validation import FloatArray

if TYPE_CHECKING:
    from fastbp.network.network import Network


class Passes:
    """The passes of one network over batches of one size, with their scratch memory.

    ``activations`` holds all levels in panels; ``losses`` one number for each sample and their
    sum.  The memory is reused from call to call, so one thread at a time may use it.
    """

    def __init__(self, network: Network, batch: int) -> None:
        dtype = network.dtype
        self.empty = np.empty(0, dtype)
        self.width = panel_width(self.empty) if batch > 1 else 1
        self.batch = batch
        self.pitch = -(-batch // self.width) * self.width
        self.features_axis = 1 - network.samples_axis
        sizes = network.sizes
        keras = network.layout == "keras"
        cached = network.parameters.nbytes <= L2_BYTES // 2
        self._shape = Shape(sizes, batch, self.width, keras, cached)
        self._places, sensitivities, left, right = places(self._shape)
        # Zero, since the lanes of a panel that no sample fills may never be written.
        self.activations = np.zeros(sum(sizes) * self.pitch, dtype)
        self.sensitivities = np.zeros(sensitivities, dtype)
        self.left, self.right = np.empty(left, dtype), np.empty(right, dtype)
        self.losses = np.empty(batch + 1, np.float64)
        objective = network.objective
        self.factor = objective.factor(batch, sizes[-1])
        self._network = network
        self._kernel = passes if batch > 1 else vector_passes
        self._schedules: dict[tuple[int, bool], npt.NDArray[np.int64]] = {}
        self._constants = (
            network.layers,
            self._places,
            keras,
            network.relu_at_zero,
            objective.code,
            self.factor,
            objective.weight_decay,
            batch,
        )
        # A batch of fewer than 8 takes the time of 8: it waits for the weights.
        weights = sum(inputs * outputs for inputs, outputs in pairwise(sizes))
        self._operations = 2.0 * max(batch, 8) * weights

    def run(
        self,
        stages: int,
        x: FloatArray,
        y: npt.NDArray[Any] | None,
        gradient: npt.NDArray[Any] | None = None,
        by_inputs: npt.NDArray[Any] | None = None,
        kept: npt.NDArray[Any] | None = None,
    ) -> None:
        """Run stages; where a number is not finite, blame an argument or go on.

        Parameters
        ----------
        stages : int
            FORWARD, LOSS and BACKWARD, added.
        x, y : ndarray
            Checked inputs, and targets for LOSS.
        gradient, by_inputs : ndarray, optional
            Where BACKWARD writes the derivatives by the parameters and the inputs.
        kept : ndarray, optional
            Where FORWARD also writes the pre-activations, like ``activations``.

        Raises
        ------
        NonFiniteError
            If an argument or a parameter holds NaN or infinity; nothing is written then.
        """
        empty = self.empty
        x_flat, x_row, x_column = _by_unit(x, self.features_axis)
        targets, target_row, target_column, labels = kernel_targets(y, self.features_axis, empty)
        g_flat, g_row, g_column = empty, 0, 0
        if by_inputs is not None:
            g_flat, g_row, g_column = _by_unit(by_inputs, self.features_axis)
        wanted = by_inputs is not None
        strides = (x_row, x_column, target_row, target_column, g_row, g_column)
        after = (
            wanted, stages & BACKWARD != 0, kept is not None, self._network.kernel_parameters,
            x_flat, targets, labels, strides, self.activations, empty if kept is None else kept,
            self.sensitivities, self.left, self.right, self.losses,
            empty if gradient is None else gradient, g_flat,
        )  # fmt: skip
        schedule = self._schedule(stages, wanted)
        operations = self._operations * (3 if stages & BACKWARD else 1)
        control = run_team(self._kernel, (schedule, False, *self._constants, *after), operations)
        if control[NON_FINITE]:
            self._network.explain_non_finite(x, y)
            run_team(self._kernel, (schedule, True, *self._constants, *after), operations)

    def _schedule(self, stages: int, inputs: bool) -> npt.NDArray[np.int64]:
        """Plan the phases of a call, once for each kind of call."""
        schedule = self._schedules.get((stages, inputs))
        if schedule is None:
            schedule = plan(stages, self._shape, inputs=inputs)
            self._schedules[stages, inputs] = schedule
        return schedule

    def forward(self, x: FloatArray, kept: npt.NDArray[Any] | None = None) -> None:
        """Run the forward pass alone."""
        self.run(FORWARD, x, None, kept=kept)

    def level(self, buffer: npt.NDArray[Any], k: int, features_axis: int) -> npt.NDArray[Any]:
        """Copy what leaves layer k out of its panels, units along ``features_axis``."""
        layer = self._network.layers[k]
        first, units = int(layer[UNITS_OUT]), int(layer[OUTPUTS])
        part = buffer[first * self.pitch : (first + units) * self.pitch]
        by_unit = part.reshape(-1, units, self.width).transpose(1, 0, 2).reshape(units, -1)
        by_unit = by_unit[:, : self.batch]
        return np.array(by_unit if features_axis == 0 else by_unit.T, order="C")

    def output(self) -> FloatArray:
        """Copy the output, in the user's layout."""
        return self.level(self.activations, len(self._network.layers) - 1, self.features_axis)

    def store_output_sensitivity(self, slope: FloatArray) -> None:
        """Put s[K] where BACKWARD alone expects it; the padded samples are zero."""
        network = self._network
        units = network.sizes[-1]
        start = self._places[-1, S_HERE]
        padded = np.zeros((units, self.pitch), network.dtype)
        padded[:, : self.batch] = slope if self.features_axis == 0 else slope.T
        panels = padded.reshape(units, -1, self.width).transpose(1, 0, 2)
        self.sensitivities[start : start + units * self.pitch] = panels.reshape(-1)


def _by_unit(array: npt.NDArray[Any], features_axis: int) -> tuple[npt.NDArray[Any], int, int]:
    """Lay an array out flat with the strides of units and samples."""
    flat, first, second = flat_view(array)
    return (flat, first, second) if features_axis == 0 else (flat, second, first)
