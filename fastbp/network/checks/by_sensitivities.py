"""Checking every entry of a gradient against sensitivities that were proved."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.kernels.comparison.chunks import (
    KINKS,
    LARGEST_ALLOWED,
    PRODUCT,
    PROOF,
    SQUARE,
    WORST_BAR,
    WORST_GIVEN,
    WORST_PLACE,
    WORST_RADIUS,
    WORST_RATIO,
    WORST_VALUE,
    WRONG,
    ZERO,
)
from fastbp.network.batch import Batch, require_all_finite
from fastbp.network.checks.conventions import Seen, fitting_convention, most_moved, worst_kink
from fastbp.network.checks.outcome import Outcome
from fastbp.network.checks.tile_comparison import Tiles
from fastbp.network.given_gradients import coarser_dtype
from fastbp.network.network import book_weight, in_float64
from fastbp.network.sensitivities.certificate import LARGEST, judge_sweeps
from fastbp.network.sensitivities.error_bars import MARGIN
from fastbp.network.sensitivities.exact import replace_sensitivities
from fastbp.network.sensitivities.hull import Hull, hull_of
from fastbp.network.sensitivities.sweeps import Sweeps
from fastbp.report import ArrayReport, Failure
from fastbp.report.model import Certificate
from fastbp.verdict.arrays import TOO_ROUGH
from fastbp.verdict.rows import FAILURES_IN_ALL, unjudged_rows, unusable_reason
from fastbp.verdict.summary import (
    entry_ratios,
    findings_of_vectors,
    merged_findings,
    verdict_of,
    verdict_of_rough,
)
from fastbp.verdict.tolerance import Tolerance

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from fastbp.network.batch import Batch
    from fastbp.network.given_gradients import GivenGradients
    from fastbp.network.network import Network
    from fastbp.verdict.summary import Vectors

__all__ = ["check_certified"]

CHUNK = 1 << 18  # entries of a failed array that are written out at a time
# Arrays of fewer entries are copied side by side, so that one call compares them all.
WORTH_A_CALL = 1 << 18


def check_certified(
    net: Network,
    batch: Batch,
    given: GivenGradients,
    tolerance: Tolerance | None,
    *,
    directions: int,
    seed: int,
    max_memory: int,
    exact: bool = False,
    progress: bool | None = None,
) -> Outcome:
    """Compare a given gradient with certified sensitivities, or exact ones, tile by tile.

    Parameters
    ----------
    net, batch : Network, Batch
    given : GivenGradients
    tolerance : Tolerance or None
        None: the given gradient is allowed the rounding of its dtype.
    directions, seed, max_memory : int
        As in `check_network`.
    exact : bool
        Take sensitivities by differences, which need no proof, in place of proved ones.
    progress : bool or None
        Of the differences.
    """
    coarser = float(np.finfo(coarser_dtype(net, given)).eps) / 2
    sweeps = Sweeps(
        in_float64(net), batch.in_float64(),
        roundoff=coarser, directions=0 if exact else directions, seed=seed, max_memory=max_memory,
    )  # fmt: skip
    sweeps.forward()
    if not sweeps.finite():
        require_all_finite(net.shapes, net.parameters, batch)
    sweeps.reverse()
    sweeps.prove()
    certificate = judge_sweeps(sweeps)
    if certificate.problem:
        rows = unjudged_rows(net, given.arrays, certificate.problem)
        return Outcome(rows, [], 0, certificate=certificate)
    hull = hull_of(sweeps)
    if exact:
        replace_sensitivities(sweeps, max_memory=max_memory, progress=progress)
    tiles = Tiles(
        sweeps,
        hull,
        roundoff=coarser if tolerance is None else float(np.finfo(np.float64).eps) / 2,
        tolerance=tolerance or Tolerance(0.0, 0.0),
    )
    outcome = _Check(net, given, sweeps, hull, tiles, certificate).outcome()
    return replace(outcome, certificate=None) if exact else outcome


class _Check:
    """The comparison of all arrays, once the sensitivities are proved."""

    def __init__(
        self,
        net: Network,
        given: GivenGradients,
        sweeps: Sweeps,
        hull: Hull,
        tiles: Tiles,
        certificate: Certificate,
    ) -> None:
        self.net, self.given, self.sweeps = net, given, sweeps
        self.hull, self.tiles = hull, tiles
        self.certificate = certificate
        self.names, self.shapes = net.parameter_names(), [a.shape for a in net.shapes.arrays]
        self.reasons = [
            unusable_reason(a, s) for a, s in zip(given.arrays, self.shapes, strict=True)
        ]
        self.arrays = [
            array.astype(array.dtype.newbyteorder("="), copy=False)
            if not reason
            else np.zeros(shape)
            for array, shape, reason in zip(given.arrays, self.shapes, self.reasons, strict=True)
        ]
        self.flat = given.flat if not any(self.reasons) else None
        step = 1 if net.biases is None else 2
        self.weights, self.biases = self.arrays[::step], self.arrays[1::step] if step == 2 else []
        sizes = sweeps.network.sizes
        with np.errstate(over="ignore"):
            largest = (sweeps.s_norms * sweeps.h_norms[:-1]).sum(axis=1)
        self.largest = largest.tolist()
        self.scales = [_power_below(value) for value in self.largest]
        self.starts = np.cumsum([0, *sizes[1:-1]])
        self.bias_scales = np.repeat(
            [_power_below(value) for value in sweeps.s_norms.sum(axis=1).tolist()], sizes[1:]
        )

    def outcome(self) -> Outcome:
        table, maps, samples = self._compare_weights()
        if np.any(table[:, PROOF] > 1.0):
            layer = int(np.argmax(table[:, PROOF] > 1.0))
            problem = (
                f"the product of layer {layer} fails its proof (seed {self.sweeps.seed}): "
                "a defect of fastbp"
                if self.largest[layer] <= LARGEST
                else f"overflow: the derivatives of layer {layer} leave the range of numbers"
            )
            return Outcome(
                unjudged_rows(self.net, self.given.arrays, problem),
                [], self._evaluations(), certificate=replace(self.certificate, problem=problem),
            )  # fmt: skip
        if self.biases:
            both = np.empty((2 * len(table), table.shape[1]))
            both[::2], both[1::2] = table, self._compare_biases()
            table = both
        found = table.tolist()
        rows, failures = [], []
        for i, line in enumerate(found):
            row = self._row(i, line)
            if line[WRONG] and not self.reasons[i]:
                worst, residual = self._failures(i, row)
                row = replace(row, residual=residual, worst=worst[0])
                failures.append(worst)
            elif row.reason == TOO_ROUGH:
                verdict, reason = verdict_of_rough(*self._parts(i), MARGIN)
                row = replace(row, verdict=verdict, reason=reason)
            rows.append(row)
        convention, kink = "", None
        if self.hull.affected:
            looked_at = (self.sweeps.network, self.hull, self._seen(), self.tiles.tolerance)
            convention, kink = fitting_convention(*looked_at), worst_kink(*looked_at)
        return Outcome(
            rows, failures, self._evaluations(), certificate=self.certificate,
            doubtful=self.hull.doubtful, convention=convention, kink=kink,
            maps=maps, samples=samples,
        )  # fmt: skip

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
        return 2 * self.sweeps.batch + 2 * self.certificate.differenced

    def _compare_weights(self) -> tuple[NDArray[np.float64], dict[str, Any], dict[str, Any]]:
        names = self.names[:: 2 if self.biases else 1]
        findings: dict[int, NDArray[np.float64]] = {}
        maps, samples = {}, {}
        for flat, layers, offsets in self._calls():
            compared = self.tiles.compare(layers, flat, offsets, [self.scales[k] for k in layers])
            for k in layers:
                findings[k] = compared.findings[k]
                maps[names[k]] = compared.maps[k]
                samples[names[k]] = compared.samples[k]
        tables = [findings[k] for k in range(len(self.weights))]
        starts = np.cumsum([0, *(len(part) for part in tables[:-1])])
        return merged_findings(np.concatenate(tables), starts), maps, samples

    def _calls(self) -> list[tuple[NDArray[Any], list[int], list[int]]]:
        """Lay out the given weights: one vector where it is one, large arrays by themselves."""
        every = list(range(len(self.weights)))
        if self.flat is not None:
            return [(self.flat, every, self.net.shapes.weight_offsets)]
        calls: list[tuple[NDArray[Any], list[int], list[int]]] = []
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

    def _bias_vectors(self) -> Vectors:
        given = np.concatenate([array.reshape(-1) for array in self.biases])
        return given, self.tiles.bars.bias_sums, self.tiles.bias_bars(), self.tiles.bias_radii()

    def _compare_biases(self) -> NDArray[np.float64]:
        return findings_of_vectors(
            *self._bias_vectors(), self.tiles.tolerance, self.starts, self.bias_scales
        )

    def _row(self, i: int, found: list[float]) -> ArrayReport:
        shape, entries = self.shapes[i], self.arrays[i].size
        verdict, reason = verdict_of(found, entries)
        unusable = self.reasons[i]
        factor = None
        if found[SQUARE] > 0 and math.isfinite(found[PRODUCT]):
            factor = found[PRODUCT] / found[SQUARE]
        worst: Failure | None = _entry(
            self.names[i], shape, int(found[WORST_PLACE]), found[WORST_GIVEN],
            found[WORST_VALUE], found[WORST_BAR], found[WORST_RADIUS], self.tiles.tolerance,
        )  # fmt: skip
        if found[WORST_RATIO] < 0.0:
            worst = None
        return ArrayReport(
            name=self.names[i],
            shape=shape,
            entries=entries,
            wrong=entries if unusable else int(found[WRONG]),
            zero=0 if unusable else int(found[ZERO]),
            kinks=int(found[KINKS]),
            worst=None if unusable else worst,
            factor=None if unusable else factor,
            residual=None,
            detectable=2.0 * found[LARGEST_ALLOWED],
            verdict="failed" if unusable else verdict,
            reason=unusable or reason,
        )

    def _failures(self, i: int, row: ArrayReport) -> tuple[tuple[Failure, ...], float | None]:
        """Go through a failed array again: its worst entries, and what no factor explains."""
        ratio = row.factor or 0.0
        parts, scale = self._parts(i)
        kept = np.empty((0, 6))
        place, left, square = 0, 0.0, 0.0
        for given, value, bar, radius in parts:
            ratios, _ = entry_ratios(given, value, bar, radius, self.tiles.tolerance)
            wrong = np.flatnonzero(ratios > 1.0)
            lines = np.stack(
                [
                    ratios[wrong],
                    place + wrong,
                    given[wrong],
                    value[wrong],
                    bar[wrong],
                    radius[wrong],
                ],
                axis=1,
            )
            kept = np.concatenate([kept, lines])
            kept = kept[np.lexsort((kept[:, 1], -kept[:, 0]))][:FAILURES_IN_ALL]
            with np.errstate(invalid="ignore", over="ignore"):
                number = np.where(np.isfinite(given), given, 0.0).astype(np.float64) * scale
                left += float(np.sum((number - ratio * (value * scale)) ** 2))
                square += float(np.sum(number**2))
            place += given.size
        residual = None
        if row.factor is not None and 0.0 < square < np.inf:
            residual = float(np.sqrt(left / square))
        entries = tuple(
            _entry(
                self.names[i],
                self.shapes[i],
                int(at),
                given_at,
                value_at,
                bar_at,
                radius_at,
                self.tiles.tolerance,
            )
            for _, at, given_at, value_at, bar_at, radius_at in kept.tolist()
        )
        return entries, residual

    def _parts(self, i: int) -> tuple[Iterable[Vectors], float]:
        """All entries of an array, and what makes products of two of them fit a number."""
        k = i // 2 if self.biases else i
        if self.biases and i % 2:
            units = slice(self.starts[k], self.starts[k] + self.arrays[i].size)
            given, value, bar, radius = self._bias_vectors()
            own = (given[units], value[units], bar[units], radius[units])
            return [own], float(self.bias_scales[units.start])
        return self._weight_parts(k), self.scales[k]

    def _weight_parts(self, k: int) -> Iterator[Vectors]:
        for rows in self.tiles.row_chunks(k, CHUNK):
            value, radius = self.tiles.expand(k, rows)
            yield (
                self.weights[k][rows].reshape(-1), value.reshape(-1),
                self.tiles.bar_rows(k, rows).reshape(-1), radius.reshape(-1),
            )  # fmt: skip


def _entry(
    name: str,
    shape: tuple[int, ...],
    place: int,
    given: float,
    value: float,
    bar: float,
    radius: float,
    tolerance: Tolerance,
) -> Failure:
    """Return what there is to say of an entry, in plain Python numbers."""
    error = abs(given - value)
    return Failure(
        array=name,
        index=_index_of(place, shape),
        given=given,
        numerical=value,
        error=error if error == error else float("inf"),
        error_bar=bar,
        allowed=bar + radius + tolerance.atol + tolerance.rtol * abs(value),
        hull=radius,
    )


def _index_of(place: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Index of an entry by its place in C order; NumPy's own takes 3 us of a small check."""
    index: list[int] = []
    for length in reversed(shape):
        place, inside = divmod(place, length)
        index.insert(0, inside)
    return tuple(index)


def _power_below(value: float) -> float:
    """A power of two that brings a number near 1."""
    if not 0.0 < value < np.inf:
        return 1.0
    return float(2.0 ** -min(1000, max(-1000, int(np.frexp(value)[1]))))
