"""One batch through all layers and back: memory, plan and calls of the compiled traversal."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import OptionError
from fastbp.kernels.backprop.phases import PACK_ROWS
from fastbp.kernels.layer_table import BIASES, OUTPUTS, UNITS_OUT, WEIGHTS
from fastbp.kernels.machine.borrowed_arrays import without_names
from fastbp.kernels.products.matmul import BLOCK_ROWS, GROUP
from fastbp.kernels.random_numbers import STREAMS
from fastbp.kernels.sensitivities import sweep_arrays as arrays
from fastbp.kernels.sensitivities import traversal as kernels
from fastbp.kernels.sensitivities.network_pairs import PAIR_DOTS, typical_sizes
from fastbp.kernels.sensitivities.sweep_arrays import FORWARD_ROWS, REVERSE_ROWS
from fastbp.kernels.simd.vectors import MR, VECTORS, panel_width
from fastbp.network.batch import Batch
from fastbp.network.sensitivities.error_bars import MARGIN, norms
from fastbp.network.sensitivities.number_range import smallest_of
from fastbp.runtime.panels import (
    aligned_empty,
    aligned_zeros,
    block_count,
    from_panels,
    to_panels,
    writable,
)
from fastbp.runtime.threads import run_team
from fastbp.typing import Indices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.network.network import Network

__all__ = ["Sweeps", "noise_of_levels"]

# Rows of W in one block, so that what several groups of columns read again is still in the cache.
BLOCK_ENTRIES = 1 << 16
# Few enough weights that a panel of samples goes through all layers sooner than threads meet.
SMALL_LAYER = 256 * 256
PANELS_TOGETHER = 2  # of a thread that takes its samples through all layers
SAMPLING = 8  # one of so many groups of samples has its losses differenced
# Relative step of a pair of real networks: their product of K layers is linear to 1e-12.
PAIR_STEP = 1e-6


class Sweeps:
    """Values, sensitivities and their noise for every unit and sample of a batch.

    The arrays that the kernels read and write are attributes; ``kernels/sensitivities/
    sweep_arrays.py`` says of each, in flat form, what it is.

    Parameters
    ----------
    network : Network
        In float64.
    data : Batch
        In float64.
    roundoff : float
        u of the coarser computation: what is within its noise of 0 is in doubt.
    directions : int
        Random vectors that prove each product of the way back; 0: none, and no pairs of networks.
    seed : int
        Of every random number.
    max_memory : int
        Bytes for what rides along, beside h and s.

    Attributes
    ----------
    batch, panels, width, pitch : int
        Samples, panels that hold them, lanes of a panel, lanes of all panels.
    count : int
        Layers; there is one level more.
    h, doubt : float64 and uint8, shape (units of all levels * pitch,)
        Activations in panels, the inputs first, the outputs last; 1 where the mask of a hidden
        unit is in doubt.
    s, unmasked : float64, shape (units without inputs * pitch,)
        dL/df of every layer in panels, and U = W^T s; one array without directions.
    xi, z : float64, shape (2 * units of the largest level * pitch,)
        Noise of h and of s in units of u, of two levels at a time.
    h_norms, xi_norms : float64, shape (levels, pitch)
    s_norms, z_norms, weighted_s_norms, unmasked_norms : float64, shape (layers, pitch)
        Norms over the units, for each sample.
    weight_norms, column_norms : float64, shape (units without inputs,), (units without outputs,)
        Norms of the rows and of the columns of W.
    xi_sizes, z_sizes : float64, shape (panels, units), (panels, units without inputs)
        Norms of xi and z over the samples of a panel, for each unit.
    v, w_v : float64, shape (directions, units without inputs)
        Random vectors and their products with W.
    gaps : float64, shape (layers, directions, pitch)
        |<W^T s, v> - <s, W v>|.
    flipped : int64, shape (layers, pitch)
        Units whose s is not mask U.
    chosen : int64, shape (pairs,)
        Groups of ``pair_samples`` samples that pairs of networks follow.
    dots : float64, shape (layers, PAIR_DOTS, pairs, width)
    crossed : uint8, shape (pairs * pair_samples,)
    pair_losses : float64, shape (pairs, width)
        Of the pairs of networks: projections, who crosses a kink, losses of both.
    losses : float64, shape (batch + 1,)
    facts : float64, shape (SAMPLE_FACTS, batch)
        Losses, and a difference of two losses beside the outputs, of each sample.
    """

    def __init__(
        self,
        network: Network,
        data: Batch,
        *,
        roundoff: float,
        directions: int,
        seed: int,
        max_memory: int,
    ) -> None:
        self.network, self.data = network, data
        self.directions, self.roundoff, self.seed = directions, roundoff, seed
        self.smallest = smallest_of(roundoff)
        self.batch = data.size
        self.width = panel_width(np.empty(0))
        self.panels = block_count(self.batch, self.width)
        self.pitch = self.panels * self.width
        self.layers = network.shapes.layers
        self.count = len(self.layers)
        self.factor = network.objective.factor(self.batch, network.sizes[-1])
        self._generator = np.random.default_rng(seed)
        self._require_enough_memory(max_memory)
        self._allocate()
        self._choose_pairs()
        self._choose_directions()
        self.keys = np.random.SeedSequence(seed).generate_state(STREAMS, np.uint64)
        largest = max(i * o for i, o in zip(network.sizes[:-1], network.sizes[1:], strict=True))
        self._arrays = without_names(self._name_arrays())
        self.by_panels = self.panels >= 2 * PANELS_TOGETHER and largest <= SMALL_LAYER

    def _require_enough_memory(self, max_memory: int) -> None:
        """Refuse memory that does not hold two levels of everything that rides along."""
        needed = riding_bytes(self.network.sizes, self.batch, self.directions)
        if needed > max_memory:
            raise OptionError(
                f"max_memory must be at least {needed} bytes for this network, not {max_memory}."
            )

    def _allocate(self) -> None:
        sizes, pitch, count = self.network.sizes, self.pitch, self.count
        units, largest = sum(sizes), max(sizes)
        above = (units - sizes[0]) * pitch
        proved = above if self.directions else 0
        # Zero only where a panel has lanes that no sample fills, which may never be written; but
        # the first layer multiplies by 0 what stands for noise that no layer made.
        aligned = aligned_zeros if pitch > self.batch else aligned_empty
        self.h, self.s, unmasked, self.z = aligned(
            [units * pitch, above, proved, 2 * largest * pitch]
        )
        (self.xi,) = aligned_zeros([2 * largest * pitch])
        # What proves nothing need not keep it: U is masked where it stands.
        self.unmasked = unmasked if self.directions else self.s
        self.doubt = np.zeros(units * pitch, np.uint8)
        self.live = (np.arange(pitch) < self.batch).astype(np.float64)
        self.h_norms, self.xi_norms = np.zeros((2, count + 1, pitch))
        self.s_norms, self.z_norms = np.zeros((2, count, pitch))
        self.weighted_s_norms, self.unmasked_norms = np.zeros((2, count, pitch))
        self.weight_norms = np.zeros(units - sizes[0])
        self.column_norms = np.zeros(units - sizes[-1])
        self.xi_sizes = np.zeros((self.panels, units))
        self.z_sizes = np.zeros((self.panels, units - sizes[0]))
        self.losses = np.zeros(self.batch + 1)
        self.facts = np.zeros((arrays.SAMPLE_FACTS, self.batch))
        self.row_blocks = _row_blocks(sizes)

    def _choose_directions(self) -> None:
        """Draw what each layer's product is proved with."""
        sizes, count, directions = self.network.sizes, self.count, self.directions
        hidden = sum(sizes[1:])
        self.v = self._generator.standard_normal((directions, hidden))
        self.w_v = np.zeros((directions, hidden))
        self.gaps = np.zeros((count, directions, self.pitch))
        self.flipped = np.zeros((count, self.pitch), np.int64)

    def _choose_pairs(self) -> None:
        """Choose groups of neighbouring samples that are differenced, and the direction in theta.

        Both networks of a pair fill one panel, or one vector where few samples are wanted.
        """
        net = self.network
        vectors = VECTORS if self.batch > SAMPLING * self.width // (2 * VECTORS) else 1
        self.pair_samples = half = vectors * self.width // (2 * VECTORS)
        groups = block_count(self.batch, half)
        wanted = block_count(groups, SAMPLING) if self.directions else 0
        chosen = self._generator.permutation(groups)[:wanted]
        self.chosen = np.sort(chosen).astype(np.int64)
        units, pairs = sum(net.sizes), self.chosen.size
        self.a = np.zeros(units - net.sizes[0])
        self.b = np.zeros(units - net.sizes[-1])
        self.c = np.zeros(units - net.sizes[0])
        self.pair_h = np.zeros(2 * max(net.sizes) * pairs * self.width)
        self.dots = np.zeros((self.count, PAIR_DOTS, pairs, self.width))
        self.crossed = np.zeros(pairs * half, np.uint8)
        self.pair_losses = np.zeros((pairs, self.width))
        if not pairs:
            return
        signs = self._generator.integers(0, 2, (3, units)) * 2.0 - 1.0
        self.b[:] = signs[0, : units - net.sizes[-1]]
        outputs = self.layers[:, OUTPUTS]
        sizes = np.empty((2, self.count))
        counts = [rows * columns for rows, columns in net.shapes.weights]
        places = np.stack([self.layers[:, WEIGHTS], counts, self.layers[:, BIASES], outputs])
        typical_sizes(places, writable(net.parameters), sizes)
        sizes *= PAIR_STEP / self.count
        self.a[:] = np.repeat(sizes[0], outputs) * signs[1, : self.a.size]
        if net.shapes.biases is not None:
            self.c[:] = np.repeat(sizes.sum(axis=0), outputs) * signs[2, : self.a.size]

    def forward(self) -> None:
        """Compute h, its noise and doubt, the pairs of networks, and W v."""
        self._run(_steps_forward(self.network.sizes, self._panels_of_group()))

    def reverse(self) -> None:
        """Compute losses, s and its noise."""
        steps = _steps_back(
            self.network.sizes, self._panels_of_group(), proved=self._proves_on_the_way
        )
        if self.network.objective.custom is not None:
            self._custom_loss()
            steps = steps[1:]
        self._run(steps)

    def prove(self) -> None:
        """Compare every product of the way back with one forward, and s with its masks."""
        if self.count > 1 and self.directions and not self._proves_on_the_way:
            self._run(np.array([(kernels.PROOF, 1, self.count - 1)]))

    @property
    def _proves_on_the_way(self) -> bool:
        """Whether `reverse` proves every layer: what it has made is still in the cache.

        Where samples go through all layers at once; else threads share the layers of a proof.
        """
        return self.by_panels and self.directions > 0

    def _panels_of_group(self) -> int:
        return int(min(self.panels, PANELS_TOGETHER if self.by_panels else GROUP))

    def finite(self) -> bool:
        """Tell, after the sweep forward, whether all that went into it was finite, and came out.

        A weight that is not shows in the norms of its row, a bias in the noise.
        """
        norms = (self.weight_norms, self.h_norms[:, : self.batch], self.xi_norms[:, : self.batch])
        return all(bool(np.isfinite(array).all()) for array in norms)

    def _name_arrays(self) -> arrays.Sweep:
        """Group all arrays for the kernels, which know them flat."""
        net = self.network
        x, x_row, x_column = self.data.flat(self.data.x)
        data = self.data if net.objective.custom is None else self.data.inputs_alone()
        targets, target_row, target_column, labels = data.kernel_targets(np.empty(0))
        return arrays.Sweep(
            network=arrays.Network(
                layers=self.layers,
                row_blocks=self.row_blocks,
                parameters=writable(net.parameters),
                transposed=net.layout == "keras",
            ),
            batch=arrays.Batch(
                samples=self.batch,
                pitch=self.pitch,
                vectors=1 if self.batch * VECTORS <= self.width else VECTORS,
                live=self.live,
                x=x,
                x_row=x_row,
                x_column=x_column,
            ),
            loss=arrays.Loss(
                code=net.objective.code,
                factor=self.factor,
                targets=targets,
                target_row=target_row,
                target_column=target_column,
                labels=labels,
            ),
            levels=arrays.Levels(h=self.h, doubt=self.doubt, s=self.s, unmasked=self.unmasked),
            noise=arrays.Noise(
                xi=self.xi,
                z=self.z,
                margin=MARGIN * self.roundoff,
                least=self.smallest / self.roundoff,
            ),
            pairs=arrays.Pairs(
                samples=self.pair_samples,
                chosen=self.chosen,
                a=self.a,
                b=self.b,
                c=self.c,
                h=self.pair_h,
                dots=self.dots.reshape(-1),
                crossed=self.crossed,
                losses=self.pair_losses.reshape(-1),
            ),
            norms=arrays.Norms(
                h=self.h_norms.reshape(-1),
                xi=self.xi_norms.reshape(-1),
                s=self.s_norms.reshape(-1),
                z=self.z_norms.reshape(-1),
                weighted_s=self.weighted_s_norms.reshape(-1),
                unmasked=self.unmasked_norms.reshape(-1),
            ),
            unit_norms=arrays.UnitNorms(
                weight_rows=self.weight_norms,
                weight_columns=self.column_norms,
                xi=self.xi_sizes.reshape(-1),
                z=self.z_sizes.reshape(-1),
            ),
            proof=arrays.Proof(
                directions=self.directions,
                v=self.v.reshape(-1),
                w_v=self.w_v.reshape(-1),
                gaps=self.gaps.reshape(-1),
                flipped=self.flipped.reshape(-1),
            ),
            results=arrays.Results(losses=self.losses, facts=self.facts),
            keys=self.keys,
        )

    def _run(self, steps: Indices) -> None:
        group = PANELS_TOGETHER if self.by_panels else GROUP
        arguments = steps, self.by_panels, group, self._arrays
        columns = 2 * max(self.batch, 8)
        run_team(kernels.sweeps, arguments, 2.0 * columns * self.network.parameters.size)

    def _custom_loss(self) -> None:
        """Take losses, s and z of the outputs from the user's pair of functions.

        The noise of s is that of the outputs through a difference of the user's gradient, and
        its own rounding.
        """
        net, custom = self.network, self.network.objective.custom
        assert custom is not None
        output, noise = self.level(self.h, self.count), self.level_noise()
        slope = self.data.custom_gradient(custom, output)
        largest = float(np.max(np.abs(noise), initial=0.0))
        size = float(np.max(np.abs(output), initial=0.0))
        step = 1e-8 * max(size, 1e-8) / largest if 0.0 < largest < np.inf else 0.0
        carried = np.zeros_like(output)
        if step > 0.0:
            carried = (self.data.custom_gradient(custom, output + step * noise) - slope) / step
        slope = slope * self.factor
        z = self.factor * carried
        first = int(self.layers[-1, UNITS_OUT]) - net.sizes[0]
        self._panels(self.s, first, net.sizes[-1])[...] = to_panels(slope, self.width)
        least = self.smallest / self.roundoff
        away = np.abs(z) + np.abs(slope) + least * (abs(self.factor) + 1.0)
        z = np.copysign(away, z)
        self._riding(self.z, self.count - 1, net.sizes[-1])[...] = to_panels(z, self.width)
        self.facts[arrays.LARGEST_OUTPUT] = np.max(np.abs(output), axis=0)
        self.facts[arrays.RESIDUAL_NOISE] = np.sum(np.abs(slope * noise), axis=0)
        for pair, first in enumerate(self.chosen * self.pair_samples):
            for lane in range(2 * self.pair_samples):
                sample = first + lane % self.pair_samples
                if sample < self.batch:
                    own = self.pair_outputs()[pair, :, lane : lane + 1]
                    one = self.data.sample(sample)
                    self.pair_losses[pair, lane] = one.custom_value(custom, own)

    def pair_outputs(self) -> NDArray[Any]:
        """View the outputs of all pairs: (pairs, outputs, width), those of theta + step first."""
        half = self.count % 2 * (self.pair_h.size // 2)
        part = self.pair_h[half : half + self.pair_h.size // 2]
        return part.reshape(self.chosen.size, -1, self.width)[:, : self.network.sizes[-1]]

    def _riding(self, flat: NDArray[Any], level: int, units: int) -> NDArray[Any]:
        """View the panels of noise that are there for a level."""
        half = level % 2 * (flat.size // 2)
        part = flat[half : half + flat.size // 2]
        return part.reshape(self.panels, -1, self.width)[:, :units]

    def _panels(self, flat: NDArray[Any], first: int, units: int) -> NDArray[Any]:
        part = flat[first * self.pitch : (first + units) * self.pitch]
        return part.reshape(self.panels, units, self.width)

    def _rows(self, flat: NDArray[Any], first: int, units: int) -> NDArray[Any]:
        """Copy panels to (units, batch)."""
        return from_panels(self._panels(flat, first, units), self.batch)

    def level(self, flat: NDArray[Any], level: int) -> NDArray[Any]:
        """Copy a level of ``h`` or ``doubt`` out of its panels: (units, batch)."""
        sizes = self.network.sizes
        return self._rows(flat, sum(sizes[:level]), sizes[level])

    def any_sample(self, flat: NDArray[Any], units: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell where ``h`` or ``doubt`` is not 0 in some sample; units count through all levels."""
        sizes = np.array(self.network.sizes)
        ends = np.cumsum(sizes)
        level = np.searchsorted(ends, units, side="right")
        before = ends[level] - sizes[level]
        lines = flat.reshape(-1, self.width)  # of one unit and the samples of one panel
        first = before * (self.pitch // self.width) + (units - before)
        found = np.zeros((units.size, self.width), np.bool_)
        for panel in range(self.panels):
            samples = min(self.width, self.batch - panel * self.width)
            found[:, :samples] |= lines[first + panel * sizes[level], :samples] != 0
        some: NDArray[np.bool_] = np.logical_or.reduce(found, axis=1)
        return some

    def level_noise(self) -> NDArray[Any]:
        """Copy the noise of the outputs, in units of u: (outputs, batch)."""
        return from_panels(self._riding(self.xi, self.count, self.network.sizes[-1]), self.batch)

    def sensitivity(self, k: int) -> NDArray[Any]:
        """Copy s of layer k: (units, batch)."""
        sizes = self.network.sizes
        return self._rows(self.s, sum(sizes[1 : k + 1]), sizes[k + 1])

    def replace_samples(self, k: int, samples: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Put other sensitivities of some samples in place of those of layer k."""
        sizes = self.network.sizes
        panels = self._panels(self.s, sum(sizes[1 : k + 1]), sizes[k + 1])
        panels[samples // self.width, :, samples % self.width] = values.T


def noise_of_levels(sweeps: Sweeps) -> NDArray[Any]:
    """Norms of the noise of h over the batch in units of u, for every unit, inputs included.

    Inputs have no noise but what those lose that are too small for their digits.
    """
    found = norms(sweeps.xi_sizes)
    found[: sweeps.network.sizes[0]] = np.sqrt(sweeps.batch) * sweeps.smallest / sweeps.roundoff
    return found


def riding_bytes(sizes: tuple[int, ...], batch: int, directions: int) -> int:
    """Bytes of what rides along with h and s, and of the packed operands of a layer."""
    width = int(panel_width(np.empty(0)))
    pitch = block_count(batch, width) * width
    largest = max(sizes)
    panel = block_count(largest, width) * width * batch
    kept = sum(sizes) * (9 * pitch + 32) if directions else sum(sizes) * (pitch + 32)
    return 8 * (6 * largest * pitch + panel) + kept


def _rows_of_block(depth: int) -> int:
    return int(min(BLOCK_ROWS, max(MR, BLOCK_ENTRIES // depth // MR * MR)))


@lru_cache(maxsize=64)
def _row_blocks(sizes: tuple[int, ...]) -> Indices:
    """Rows of W[k] in a block forward, and of its transpose in one back; read only."""
    rows = [_rows_of_block(units) for units in sizes]
    return np.array(list(pairwise(rows)), np.int64)


@lru_cache(maxsize=64)
def _steps_forward(sizes: tuple[int, ...], panels: int) -> Indices:
    """List kind, layer or level, and blocks of every step of the sweep forward; read only."""
    steps = [(kernels.PACK, 0, block_count(sizes[0], PACK_ROWS)), (kernels.LEVEL, 0, panels)]
    for k, rows in enumerate(_row_blocks(sizes)[:, FORWARD_ROWS].tolist()):
        steps.append((kernels.FORWARD, k, block_count(sizes[k + 1], rows)))
        steps.append((kernels.LEVEL, k + 1, panels))
    return np.array(steps, np.int64)


@lru_cache(maxsize=64)
def _steps_back(sizes: tuple[int, ...], panels: int, *, proved: bool) -> Indices:
    """List the steps of the sweep back, that of the losses first; read only."""
    last, rows = len(sizes) - 2, _row_blocks(sizes)[:, REVERSE_ROWS].tolist()
    steps = [(kernels.LOSS, last, 1), (kernels.OUTPUT_NOISE, last, 1)]
    for k in range(last, 0, -1):
        steps.append((kernels.SENSITIVITY, k, panels))
        steps.append((kernels.REVERSE, k, block_count(sizes[k], rows[k])))
        if proved:
            steps.append((kernels.PROOF, k, 1))
    steps.append((kernels.SENSITIVITY, 0, panels))
    return np.array(steps, np.int64)
