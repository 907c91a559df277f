"""One batch on its way through the kernels: scratch memory, arguments, and the call."""

from __future__ import annotations

import numpy as np

from fastbp.kernels.backprop.many_samples import passes
from fastbp.kernels.backprop.one_sample import vector_passes
from fastbp.kernels.backprop.phases import S_HERE
from fastbp.kernels.layer_table import UNITS_OUT
from fastbp.kernels.machine.cache_sizes import L2_BYTES
from fastbp.kernels.machine.tickets import NON_FINITE
from fastbp.kernels.simd.vectors import panel_width
from fastbp.network.batch import Batch, require_all_finite
from fastbp.network.gradients import Shapes
from fastbp.network.losses import Objective
from fastbp.network.schedule import BACKWARD, FORWARD, LOSS, Shape, places, plan
from fastbp.runtime.panels import aligned_zeros, block_count, from_panels, to_panels, writable
from fastbp.runtime.threads import run_team
from fastbp.typing import AnyFloats, Array, Indices


class Passes:
    """The passes of one network over batches of one size, with their scratch memory.

    ``activations`` holds all levels in panels; ``losses`` one number for each sample and their
    sum.  The memory is reused from call to call, so one thread at a time may use it.

    Parameters
    ----------
    shapes : Shapes
    objective : Objective
    relu_at_zero : float
    batch : Batch
        Its size and type are those of every batch to come.
    """

    def __init__(
        self, shapes: Shapes, objective: Objective, relu_at_zero: float, batch: Batch
    ) -> None:
        dtype = batch.x.dtype
        self.shapes, self.batch = shapes, batch.size
        self.empty = np.empty(0, dtype)
        self.width = panel_width(self.empty) if self.batch > 1 else 1
        self.pitch = block_count(self.batch, self.width) * self.width
        cached = shapes.size * dtype.itemsize <= L2_BYTES // 2
        self._shape = Shape(shapes.sizes, self.batch, self.width, shapes.transposed, cached)
        self._places, sensitivities, left, right = places(self._shape)
        # Zero, since the lanes of a panel that no sample fills may never be written.
        self.activations, self.sensitivities, self.left, self.right = aligned_zeros(
            [sum(shapes.sizes) * self.pitch, sensitivities, left, right], dtype
        )
        self.losses = np.empty(self.batch + 1, np.float64)
        self.factor = objective.factor(self.batch, shapes.sizes[-1])
        self._kernel = passes if self.batch > 1 else vector_passes
        self._schedules: dict[tuple[int, bool], Indices] = {}
        self._constants = (
            shapes.layers,
            self._places,
            shapes.transposed,
            relu_at_zero,
            objective.code,
            self.factor,
            objective.weight_decay,
            self.batch,
        )
        # A batch of fewer than 8 takes the time of 8: it waits for the weights.
        self._operations = 2.0 * max(self.batch, 8) * shapes.size

    def run(
        self,
        stages: int,
        parameters: AnyFloats,
        batch: Batch,
        gradient: AnyFloats | None = None,
        by_inputs: AnyFloats | None = None,
        kept: AnyFloats | None = None,
    ) -> None:
        """Run stages; where a number is not finite, blame an argument or go on.

        Parameters
        ----------
        stages : int
            FORWARD, LOSS and BACKWARD, added.
        parameters : ndarray, shape (parameters,)
        batch : Batch
            With targets for LOSS.
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
        x_flat, x_row, x_column = batch.flat(batch.x)
        targets, target_row, target_column, labels = batch.kernel_targets(empty)
        wanted = by_inputs is not None
        g_flat, g_row, g_column = (empty, 0, 0) if by_inputs is None else batch.flat(by_inputs)
        strides = (x_row, x_column, target_row, target_column, g_row, g_column)
        after = (
            wanted, stages & BACKWARD != 0, kept is not None, writable(parameters),
            x_flat, targets, labels, strides, self.activations, empty if kept is None else kept,
            self.sensitivities, self.left, self.right, self.losses,
            empty if gradient is None else gradient, g_flat,
        )  # fmt: skip
        schedule = self._schedule(stages, wanted)
        operations = self._operations * (3 if stages & BACKWARD else 1)
        control = run_team(self._kernel, (schedule, False, *self._constants, *after), operations)
        if control[NON_FINITE]:
            require_all_finite(self.shapes, parameters, batch, targets=stages & LOSS != 0)
            run_team(self._kernel, (schedule, True, *self._constants, *after), operations)

    def _schedule(self, stages: int, inputs: bool) -> Indices:
        """Plan the phases of a call, once for each kind of call."""
        schedule = self._schedules.get((stages, inputs))
        if schedule is None:
            schedule = plan(stages, self._shape, inputs=inputs)
            self._schedules[stages, inputs] = schedule
        return schedule

    def forward(self, parameters: AnyFloats, batch: Batch, kept: AnyFloats | None = None) -> None:
        """Run the forward pass alone."""
        self.run(FORWARD, parameters, batch.inputs_alone(), kept=kept)

    def level(self, buffer: Array, k: int) -> Array:
        """Copy what leaves layer k out of its panels: (units, batch)."""
        first, units = int(self.shapes.layers[k, UNITS_OUT]), self.shapes.sizes[k + 1]
        part = buffer[first * self.pitch : (first + units) * self.pitch]
        return from_panels(part.reshape(-1, units, self.width), self.batch)

    def levels(self, buffer: Array) -> Array:
        """Copy what leaves all layers out of their panels: (units of all layers, batch)."""
        if self.pitch == self.width:  # one panel of each layer, one after the other
            first = int(self.shapes.layers[0, UNITS_OUT])
            units = buffer.reshape(-1, self.width)[first : first + sum(self.shapes.sizes[1:])]
            return units[:, : self.batch].copy()
        layers = range(len(self.shapes.sizes) - 1)
        return np.concatenate([self.level(buffer, k) for k in layers])

    def output(self) -> Array:
        """Copy the output: (n_out, batch)."""
        return self.level(self.activations, len(self.shapes.weights) - 1)

    def store_output_sensitivity(self, slope: AnyFloats) -> None:
        """Put s[K], shape (n_out, batch), where BACKWARD alone expects it."""
        panels = to_panels(slope, self.width).reshape(-1)
        start = self._places[-1, S_HERE]
        self.sensitivities[start : start + panels.size] = panels
