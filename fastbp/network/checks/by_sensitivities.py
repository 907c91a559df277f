"""Checks of every entry against sensitivities: proved ones, or those of exact differences."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from fastbp.kernels.comparison.summary_columns import PROOF, SUMMARY_COLUMNS
from fastbp.kernels.layer_table import BIASES, OUTPUTS
from fastbp.network.batch import Batch, require_all_finite
from fastbp.network.checks.conventions import Seen, fitting_convention, most_moved, worst_kink
from fastbp.network.checks.dead_units import note_on_dead_units
from fastbp.network.checks.outcome import Outcome
from fastbp.network.checks.rounded_gradients import no_less_than_bars, noise_of_arrays
from fastbp.network.checks.tile_comparison import Drawing, Tiles
from fastbp.network.given_gradients import coarser_dtype
from fastbp.network.network import book_weight, in_float64
from fastbp.network.sensitivities.certificate import judge_sweeps, judge_values
from fastbp.network.sensitivities.error_bars import UNIT_ROUNDOFF, unit_roundoff
from fastbp.network.sensitivities.exact import replace_sensitivities
from fastbp.network.sensitivities.hull import Hull, hull_of
from fastbp.network.sensitivities.number_range import LARGEST
from fastbp.network.sensitivities.sweeps import Sweeps
from fastbp.report.model import Certificate
from fastbp.report.pictures.cells import Cells, pictures_of_parts
from fastbp.report.pictures.picture import Picture, cell_shape
from fastbp.typing import Array, Floats, Mask, Vector
from fastbp.verdict.blocks import norm, powers_below
from fastbp.verdict.entries import Entries
from fastbp.verdict.rows import summarised_row, unjudged_rows, unusable_reason, unusable_row
from fastbp.verdict.rows_to_come import PassedArrays, Rows
from fastbp.verdict.summary import (
    Summary,
    merged_rows,
    plainly_passed,
    read_summaries,
    summary_rows,
)
from fastbp.verdict.tolerance import Tolerance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastbp.network.batch import Batch
    from fastbp.network.given_gradients import GivenGradients
    from fastbp.network.network import Network
    from fastbp.report import ArrayReport, Failure
    from fastbp.runtime.workers.worker_pool import Workers

__all__ = ["check_by_sensitivities"]

CHUNK = 1 << 18  # entries of a failed array that are written out at a time
# Arrays of fewer entries are copied side by side, so that one call compares them all.
WORTH_A_CALL = 1 << 18


def check_by_sensitivities(
    net: Network,
    batch: Batch,
    given: GivenGradients,
    tolerance: Tolerance | None,
    *,
    exact: bool,
    directions: int,
    seed: int,
    max_memory: int,
    progress: bool | None,
    workers: Workers | None = None,
) -> Outcome:
    """Compare a given gradient with s h^T, tile by tile.

    Parameters
    ----------
    net, batch : Network, Batch
    given : GivenGradients
    tolerance : Tolerance or None
        None: the given gradient is allowed the rounding of its dtype.
    exact : bool
        Whether s comes from exact differences, or from the recursion, with a certificate.
    directions, seed, max_memory, progress, workers
        As in `check_network`; directions of the certificate, progress and workers of exact
        differences.
    """
    coarser = unit_roundoff(coarser_dtype(net, given))
    sweeps = Sweeps(
        in_float64(net), batch.in_float64(),
        roundoff=coarser, directions=0 if exact else directions, seed=seed, max_memory=max_memory,
    )  # fmt: skip
    sweeps.forward()
    if not sweeps.finite():
        require_all_finite(net.shapes, net.parameters, batch)
    sweeps.reverse()
    certificate = None
    if exact:
        problem = judge_values(sweeps)
    else:
        sweeps.prove()
        certificate = judge_sweeps(sweeps)
        problem = certificate.problem
    if problem:
        shapes = [array.shape for array in net.shapes.arrays]
        rows = unjudged_rows(net.parameter_names(), shapes, given.arrays, problem)
        return Outcome(Rows.of(rows), [], 0, {"certificate": certificate})
    hull = hull_of(sweeps)
    if exact:
        replace_sensitivities(sweeps, max_memory=max_memory, progress=progress, workers=workers)
    tiles = Tiles(
        sweeps,
        hull,
        roundoff=coarser if tolerance is None else UNIT_ROUNDOFF,
        tolerance=tolerance or Tolerance(0.0, 0.0),
    )
    return _Check(net, given, sweeps, hull, tiles, certificate).outcome()


class _Check:
    """The comparison of all arrays, once the sensitivities are known."""

    def __init__(
        self,
        net: Network,
        given: GivenGradients,
        sweeps: Sweeps,
        hull: Hull,
        tiles: Tiles,
        certificate: Certificate | None,
    ) -> None:
        self.net, self.given, self.sweeps = net, given, sweeps
        self.hull, self.tiles = hull, tiles
        self.certificate = certificate
        self.shapes = [array.shape for array in net.shapes.arrays]
        self.flat = given.flat
        self.arrays, self.reasons = given.arrays, [""] * len(self.shapes)
        if given.flat is None or [array.shape for array in given.arrays] != self.shapes:
            self._look_at_arrays()
        step = 1 if net.shapes.biases is None else 2
        self.weights, self.biases = self.arrays[::step], self.arrays[1::step] if step == 2 else []
        sizes = sweeps.network.sizes
        with np.errstate(over="ignore"):
            largest = (sweeps.s_norms * sweeps.h_norms[:-1]).sum(axis=1)
        self.largest = largest.tolist()
        together = np.concatenate([largest, sweeps.s_norms.sum(axis=1)])
        of_weights, of_biases = powers_below(together).reshape(2, -1)
        self.scales: list[float] = of_weights.tolist()
        self.starts = np.cumsum([0, *sizes[1:-1]])
        self.bias_scales = np.repeat(of_biases, sizes[1:])

    @cached_property
    def names(self) -> list[str]:
        """Names of all arrays, which what passed does not need."""
        return self.net.parameter_names()

    def _look_at_arrays(self) -> None:
        """Find arrays that cannot be compared, with zeros in their place; all in native order."""
        self.reasons = [
            unusable_reason(a, s) for a, s in zip(self.given.arrays, self.shapes, strict=True)
        ]
        self.arrays = [
            array.astype(array.dtype.newbyteorder("="), copy=False)
            if not reason
            else np.zeros(shape)
            for array, shape, reason in zip(
                self.given.arrays, self.shapes, self.reasons, strict=True
            )
        ]
        if any(self.reasons):
            self.flat = None

    def outcome(self) -> Outcome:
        """Compare all arrays, and say of each what was found."""
        merged, drawings = self._compare_weights()
        unproved = np.flatnonzero(merged[:, PROOF] > 1.0)
        if unproved.size:
            layer = int(unproved[0])
            problem = (
                f"the product of layer {layer} fails its proof (seed {self.sweeps.seed}): "
                "a defect of fastbp"
                if self.largest[layer] <= LARGEST
                else f"overflow: the derivatives of layer {layer} leave the range of numbers"
            )
            certificate = self.certificate and replace(self.certificate, problem=problem)
            unjudged = unjudged_rows(self.names, self.shapes, self.given.arrays, problem)
            return Outcome(Rows.of(unjudged), [], self._evaluations(), {"certificate": certificate})
        drawn_biases = None
        if self.biases:
            of_biases, drawn_biases = self._compare_biases()
            together = np.empty((len(self.shapes), SUMMARY_COLUMNS))
            together[::2], together[1::2] = merged, of_biases
            merged = together
        rows, failures = self._judge(merged, _Pictures(drawings, drawn_biases))
        convention, kink = "", None
        if self.hull.affected:
            looked_at = (self.sweeps.network, self.hull, self._seen(), self.tiles.tolerance)
            convention, kink = fitting_convention(*looked_at), worst_kink(*looked_at)
        return Outcome(
            rows, failures, self._evaluations(),
            {"certificate": self.certificate, "doubtful": self.hull.doubtful,
             "convention": convention, "kink": kink,
             "notes": note_on_dead_units(self._dead_units(), self.sweeps.network.sizes[1:-1])},
        )  # fmt: skip

    def _judge(self, merged: Floats, pictures: _Pictures) -> tuple[Rows, list[tuple[Failure, ...]]]:
        """Judge the arrays that did not plainly pass one by one; return rows, and failures."""
        entries = [math.prod(shape) for shape in self.shapes]
        plain = plainly_passed(merged, np.array(entries, np.int64))
        judged: dict[int, ArrayReport] = {}
        failures = []
        if not plain.all() or any(self.reasons):
            drawn, found = pictures(), read_summaries(merged, entries)
            for i, passed in enumerate(plain.tolist()):
                if not passed or self.reasons[i]:
                    judged[i], wrong = self._row(i, found[i], drawn[i])
                    failures.append(wrong)
        passed_arrays = PassedArrays(
            self.net.shapes.names, self.shapes, merged, entries, self.tiles.tolerance, pictures,
            pictures.cells,
        )  # fmt: skip
        return Rows(judged, passed_arrays), failures

    def _dead_units(self) -> list[int]:
        """Count the units of each hidden layer that no sample activates: first by their norms."""
        sweeps, sizes = self.sweeps, self.sweeps.network.sizes
        quiet = np.flatnonzero(~(self.tiles.bars.h_sizes[sizes[0] : -sizes[-1]] > 0.0)) + sizes[0]
        if quiet.size and self.hull.affected:
            quiet = quiet[~sweeps.any_sample(sweeps.doubt, quiet)]
        ends = np.cumsum(sizes[:-1])
        before = np.searchsorted(quiet, ends)
        dead: list[int] = np.diff(before).tolist()
        return dead

    def _seen(self) -> list[Seen]:
        """Write out the entries that masks in doubt move most, of all arrays that are usable."""
        net, sweeps, tiles = self.sweeps.network, self.sweeps, self.tiles
        seen = []
        for k, given in enumerate(self.weights):
            i = 2 * k if self.biases else k
            units, inputs = most_moved(self.hull, k)
            if not self.reasons[i]:
                value = sweeps.sensitivity(k)[units] @ sweeps.level(sweeps.h, k)[inputs].T
                value += net.objective.weight_decay * book_weight(net, k)[np.ix_(units, inputs)]
                own = given.T if net.layout == "keras" else given
                radius = self.hull.radii[k][units] @ np.abs(self.hull.inputs[k][inputs]).T
                bars = tiles.bar_entries(k, units, inputs)
                seen.append(Seen(
                    self.names[i], self.shapes[i], k, units, inputs, own[np.ix_(units, inputs)],
                    value, bars, radius,
                ))  # fmt: skip
            if self.biases and not self.reasons[i + 1]:
                part = slice(self.starts[k], self.starts[k] + net.sizes[k + 1])
                seen.append(Seen(
                    self.names[i + 1], self.shapes[i + 1], k, np.arange(net.sizes[k + 1]), None,
                    *(vector[part].reshape(-1, 1) for vector in self._bias_vectors()),
                ))  # fmt: skip
        return seen

    def _evaluations(self) -> int:
        """Two losses for every sample at the outputs, and two for each that is differenced."""
        differenced = 0 if self.certificate is None else self.certificate.differenced
        return 2 * self.sweeps.batch + 2 * differenced

    def _compare_weights(self) -> tuple[Floats, list[Drawing]]:
        """Return what was found in the weights of each layer, and what pictures are made from."""
        calls = [
            self.tiles.compare(layers, flat, offsets, [self.scales[k] for k in layers])
            for flat, layers, offsets in self._calls()
        ]
        merged = np.empty((len(self.weights), SUMMARY_COLUMNS))
        for compared in calls:
            merged[compared.layers] = merged_rows(compared.summaries, compared.starts)
        return merged, [compared.drawing for compared in calls]

    def _calls(self) -> list[tuple[Array, list[int], list[int]]]:
        """Lay out the given weights: one vector where it is one, large arrays by themselves."""
        every = list(range(len(self.weights)))
        if self.flat is not None:
            return [(self.flat, every, self.net.shapes.weight_offsets)]
        calls: list[tuple[Array, list[int], list[int]]] = []
        for dtype in (np.float64, np.float32):
            small = [
                k for k in every
                if self.weights[k].dtype == dtype and self.weights[k].size < WORTH_A_CALL
            ]  # fmt: skip
            if small:
                parts = [self.weights[k].reshape(-1) for k in small]
                ends = np.cumsum([0, *(part.size for part in parts)]).tolist()
                calls.append((np.concatenate(parts), small, ends[:-1]))
        calls += [
            (np.ascontiguousarray(self.weights[k]).reshape(-1), [k], [0])
            for k in every
            if self.weights[k].size >= WORTH_A_CALL
        ]
        return calls

    def _bias_vectors(self) -> tuple[Array, Vector, Vector, Vector]:
        """Given and numerical derivatives, bars and radii of all biases, laid end to end."""
        return (
            self._given_biases,
            self.tiles.bars.bias_sums,
            self.tiles.bias_bars(),
            self.tiles.bias_radii(),
        )

    @cached_property
    def _given_biases(self) -> Array:
        """Copy the given biases, laid end to end."""
        if self.flat is None:
            return np.concatenate([array.reshape(-1) for array in self.biases])
        layers = self.net.shapes.layers
        ends = np.cumsum(layers[:, OUTPUTS])
        first = np.repeat(layers[:, BIASES] - (ends - layers[:, OUTPUTS]), layers[:, OUTPUTS])
        copied: Array = self.flat[np.arange(ends[-1]) + first]
        return copied

    def _compare_biases(self) -> tuple[Floats, Callable[[], list[Picture | None]]]:
        """Return what was found in the biases of each layer, and what makes their pictures."""
        starts = self.starts.tolist()
        columns = self._bias_vectors()
        shapes = [array.shape for array in self.biases]
        drawn: list[partial[list[Picture | None]]] = []

        def note(_: int, ratio: Vector, kink: Mask) -> None:
            drawn.append(partial(pictures_of_parts, shapes, starts, columns, ratio, kink))

        merged = summary_rows(
            Entries(0, *columns), self.tiles.tolerance, self.bias_scales, starts, note=note
        )
        return merged, drawn[0]

    def _row(
        self, i: int, found: Summary, picture: Picture | None
    ) -> tuple[ArrayReport, tuple[Failure, ...]]:
        name, shape, unusable = self.names[i], self.shapes[i], self.reasons[i]
        if unusable:
            return unusable_row(name, shape, found, unusable), ()
        return summarised_row(
            name, shape, found, lambda: self._entries(i), self.tiles.tolerance,
            lambda: self._noise(i), picture, _finer(shape, picture) if found.wrong else None,
        )  # fmt: skip

    def _noise(self, i: int) -> float:
        """What rounding makes of an array as a whole."""
        own = self._random_noise[i]
        if self.hull.affected:
            bars = [norm(np.asarray(part.error_bar)) for part in self._entries(i)]
            own = no_less_than_bars(own, np.array(bars))
        return own

    @cached_property
    def _random_noise(self) -> list[float]:
        """The same of each array, by programs that round at random."""
        return noise_of_arrays(self.sweeps.network, self.sweeps.data, self.tiles.roundoff)

    def _entries(self, i: int) -> Iterator[Entries]:
        """All entries of an array."""
        if self.biases and i % 2:
            start = self.starts[i // 2]
            part = slice(start, start + self.arrays[i].size)
            given, value, bar, radius = self._bias_vectors()
            yield Entries(0, given[part], value[part], bar[part], radius[part])
            return
        k = i // 2 if self.biases else i
        for rows in self.tiles.row_chunks(k, CHUNK):
            value, radius = self.tiles.expand(k, rows)
            yield Entries(
                rows.start * value.shape[1], self.weights[k][rows].reshape(-1), value.reshape(-1),
                self.tiles.bar_rows(k, rows).reshape(-1), radius.reshape(-1),
            )  # fmt: skip


class _Pictures:
    """Makes the pictures of all arrays, in the order of the parameters.

    It holds no more than they will: nothing of the size of a level, and no given array.
    """

    def __init__(
        self, weights: list[Drawing], biases: Callable[[], list[Picture | None]] | None
    ) -> None:
        self.weights, self.biases = weights, biases
        self.cells = sum(drawing.cells.size for drawing in weights)

    def __call__(self) -> list[Picture | None]:
        found: dict[int, Picture] = {}
        for drawing in self.weights:
            found |= drawing.pictures()
        ordered: list[Picture | None] = [found[k] for k in sorted(found)]
        if self.biases is None:
            return ordered
        return [one for pair in zip(ordered, self.biases(), strict=True) for one in pair]


def _finer(shape: tuple[int, ...], picture: Picture | None) -> Cells | None:
    """Return cells for an array that failed: tiles of small arrays have few of them."""
    coarse = picture is not None and picture.cell != cell_shape(shape)
    return Cells(shape) if coarse else None
