"""Mistakes in the gradients of one layer, where the error that reaches it is known.

dL/dW[k] = s h^T + decay W and dL/db[k] = the row sums of s: each is tried with one thing changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastbp.network.checks.diagnosis.recorded_pass import EVERY
from fastbp.report.causes import Cause
from fastbp.verdict.diagnosis.factors import (
    AGREEING,
    Named,
    factor_cause,
    is_factor_worth_naming,
    is_simple,
    plain_factor,
    readings,
)
from fastbp.verdict.diagnosis.likeness import Likeness, fitted_multiple, residual
from fastbp.verdict.diagnosis.single_arrays import misarranged, misshapen, partly_wrong, rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastbp.network.checks.diagnosis.given_layers import GivenArray, GivenLayer
    from fastbp.network.checks.diagnosis.recorded_pass import RecordedPass
    from fastbp.network.checks.diagnosis.way_back import Step, Units
    from fastbp.typing import Array, Floats

__all__ = ["UNEXPLAINED", "Explained", "LayerArrays"]

# Arrays of more entries are looked at by samples of rows and columns alone.
LOOKED_AT_WHOLE = 1 << 18


class Unexplained:
    """No mistake that is known makes this array."""


UNEXPLAINED = Unexplained()
# None: the array is right.
Explained = Cause | None | Unexplained
# Some rows and columns of what a mistake makes of a weight gradient; some entries of a bias.
WeightIdea: TypeAlias = "tuple[Cause, Callable[[Units, Units], Floats]]"
BiasIdea: TypeAlias = "tuple[Cause, Callable[[Units], Floats]]"


@dataclass(frozen=True, slots=True)
class Probe:
    """One entry of each array of a layer: almost every mistake is ruled out by it alone.

    Attributes
    ----------
    row, column : slice
        Of the weight gradient, each of length 1; the bias is that of the row.
    weight, bias : float or None
        As given; None where there is none, or one that cannot be used.
    largest_weight, largest_bias : float
        The largest magnitude of the given numbers.
    """

    row: slice
    column: slice
    weight: float | None
    bias: float | None
    largest_weight: float
    largest_bias: float


class LayerArrays:
    """Explains the arrays of layers.

    Parameters
    ----------
    right : RecordedPass
    layers : list of GivenLayer
    likeness : Likeness
    named : list of Named
        What factors may stand for.
    """

    def __init__(
        self,
        right: RecordedPass,
        layers: list[GivenLayer],
        likeness: Likeness,
        named: list[Named],
    ) -> None:
        self.right, self.layers = right, layers
        self.likeness, self.named = likeness, named
        # Of each array and each mistake of its own, what that leaves unexplained.
        self.residuals: dict[tuple[str, Cause], float] = {}
        self._given: dict[int, Floats | None] = {}
        self._probes: dict[int, Probe] = {}
        self._truth: dict[int, Floats] = {}

    def weights(self, k: int, step: Step, above: Floats | None) -> Explained:
        """Explain the weight gradient of layer k.

        Parameters
        ----------
        k : int
        step : Step
            The error of the layer, as it is made in the code under suspicion.
        above : float64, shape (units, batch), or None
            The error that was used in the layer above.
        """
        layer, right = self.layers[k], self.right
        given = layer.weights
        on_truth = step.used is right.s[k]
        if on_truth and given.judged and not given.failed:
            return None
        values = self.sampled_weights(k)
        if values is None:
            return self._unusable_weights(k, step)
        rows, columns = self.sample(k)
        product = self.product(k, step.used)
        expected = product + self.sampled_decay(k)
        if not on_truth and self.likeness.alike(values, expected):
            return None
        truth, probe = self._sampled_truth(k), self.probe(k)
        assert probe.weight is not None
        for cause, candidate in self._weight_ideas(k, step, above, values, product):
            one = candidate(probe.row, probe.column).item()
            if not self.likeness.may_be_alike(probe.weight, one, probe.largest_weight):
                continue
            whole = candidate(rows, columns)
            if self.likeness.explains(values, whole, truth):
                self.residuals[given.name, cause] = residual(values, whole)
                return cause
        if on_truth and given.failed:
            return self._alone(given, k, lambda: right.weight_gradient(k))
        return UNEXPLAINED

    def biases(self, k: int, step: Step, above: Floats | None) -> Explained:
        """Explain the bias gradient of layer k; None where there is none."""
        layer, right = self.layers[k], self.right
        given = layer.biases
        on_truth = step.used is right.s[k]
        if given is None or (on_truth and given.judged and not given.failed):
            return None
        if given.values is None:
            return self._unusable_biases(given, step)
        values, truth = given.values, right.s[k].sum(axis=1)
        expected = step.used.sum(axis=1)
        if not on_truth and self.likeness.alike(values, expected):
            return None
        probe = self.probe(k)
        assert probe.bias is not None
        for cause, candidate in self._bias_ideas(k, step, above, values, expected):
            one = candidate(probe.row).item()
            if not self.likeness.may_be_alike(probe.bias, one, probe.largest_bias):
                continue
            whole = candidate(EVERY)
            if self.likeness.explains(values, whole, truth):
                self.residuals[given.name, cause] = residual(values, whole)
                return cause
        if on_truth and given.failed:
            return self._alone(given, k, lambda: truth)
        return UNEXPLAINED

    def fits(self, k: int, used: Callable[[Units], Floats]) -> bool:
        """Tell whether an error makes one of the arrays of a layer as it was given.

        Parameters
        ----------
        k : int
        used : callable
            ``used(units)`` returns the error of some units.
        """
        weights, biases = self._may_fit(k, used(self.probe(k).row))
        if not weights and not biases:
            return False
        error = used(self.sample(k)[0])
        return (biases and self._fits_biases(k, error)) or (
            weights and self._fits_weights(k, error)
        )

    def fits_all(self, k: int, used: Floats) -> bool:
        """Tell whether an error makes all arrays of a layer as they were given."""
        weights, biases = self._may_fit(k, used[self.probe(k).row])
        error = used[self.sample(k)[0]]
        has_biases = self.layers[k].biases is not None
        return (
            weights
            and (biases or not has_biases)
            and self._fits_weights(k, error)
            and (not has_biases or self._fits_biases(k, error))
        )

    def _may_fit(self, k: int, error: Floats) -> tuple[bool, bool]:
        """Tell of weights and biases whether the error of the probe's row makes that entry."""
        probe, weights, biases = self.probe(k), False, False
        if probe.weight is not None:
            one = self._decayed_product(k, error, probe.row, probe.column).item()
            weights = self.likeness.may_be_alike(probe.weight, one, probe.largest_weight)
        if probe.bias is not None:
            one = error.sum().item()
            biases = self.likeness.may_be_alike(probe.bias, one, probe.largest_bias)
        return weights, biases

    def _fits_weights(self, k: int, error: Floats) -> bool:
        values = self.sampled_weights(k)
        if values is None:
            return False
        return self.likeness.alike(values, self._decayed_product(k, error, *self.sample(k)))

    def _fits_biases(self, k: int, error: Floats) -> bool:
        biases = self.layers[k].biases
        if biases is None or biases.values is None:
            return False
        return self.likeness.alike(biases.values[self.sample(k)[0]], error.sum(axis=1))

    def product(self, k: int, used: Floats) -> Floats:
        """Return s h^T at the sampled entries, without decay."""
        rows, columns = self.sample(k)
        product: Floats = used[rows] @ self.right.h[k][columns].T
        return product

    def _decayed_product(self, k: int, used: Floats, rows: Units, columns: Units) -> Floats:
        """Return s h^T with its decay at some rows, of which the errors are given, and columns."""
        product: Floats = used @ self.right.h[k][columns].T
        if rate := self.right.objective.weight_decay:
            product += rate * self.right.weights[k][rows][:, columns]
        return product

    def sample(self, k: int) -> tuple[Units, Units]:
        """Return the rows and columns of a layer that are looked at."""
        layer, shape = self.layers[k], self.right.weights[k].shape
        whole = layer.rows.size == shape[0], layer.columns.size == shape[1]
        return EVERY if whole[0] else layer.rows, EVERY if whole[1] else layer.columns

    def probe(self, k: int) -> Probe:
        """Return the entries of a layer at which mistakes are tried first."""
        if k not in self._probes:
            self._probes[k] = self._new_probe(k)
        return self._probes[k]

    def _new_probe(self, k: int) -> Probe:
        """Choose where a given array is farthest from the truth: the weights, if they failed."""
        layer, values = self.layers[k], self.sampled_weights(k)
        biases = None if layer.biases is None else layer.biases.values
        place = column = 0
        weight = bias = None
        largest_weight = largest_bias = 0.0
        if biases is not None:
            apart = np.abs(biases - self.right.s[k].sum(axis=1))
            place = int(np.argmax(apart[layer.rows]))
        if values is not None:
            apart = np.abs(values - self._sampled_truth(k))
            if layer.weights.failed or biases is None:
                place = int(np.argmax(apart)) // apart.shape[1]
            column = int(np.argmax(apart[place]))
            weight, largest_weight = float(values[place, column]), float(np.abs(values).max())
            column = int(layer.columns[column])
        row = int(layer.rows[place])
        if biases is not None:
            bias, largest_bias = float(biases[row]), float(np.abs(biases).max())
        at = slice(row, row + 1), slice(column, column + 1)
        return Probe(*at, weight, bias, largest_weight, largest_bias)

    def factor_cause(self, kind: str, factor: float) -> Cause:
        """Return the cause of a factor, with what it may stand for."""
        return factor_cause(factor, self.named, self.likeness.tolerance, kind)

    def sampled_weights(self, k: int) -> Floats | None:
        """Return the sampled entries of a given weight gradient, None where it is unusable."""
        if k not in self._given:
            values, (rows, columns) = self.layers[k].weights.values, self.sample(k)
            self._given[k] = None if values is None else values[rows][:, columns]
        return self._given[k]

    def sampled_decay(self, k: int) -> Floats | float:
        """Return the term of the weight decay at the sampled entries."""
        rate = self.right.objective.weight_decay
        if not rate:
            return 0.0
        rows, columns = self.sample(k)
        decay: Floats = rate * self.right.weights[k][rows][:, columns]
        return decay

    def _sampled_truth(self, k: int) -> Floats:
        if k not in self._truth:
            rows, columns = self.sample(k)
            self._truth[k] = self._decayed_product(k, self.right.s[k][rows], rows, columns)
        return self._truth[k]

    def _fitted(
        self, kind: str, given: Floats, multiplied: Floats, rest: Floats | float
    ) -> tuple[Cause, float] | None:
        """Return k of given = k multiplied + rest if it is simple or many entries agree on it."""
        found = fitted_multiple(given - rest, multiplied)
        if found is None or found.factor == 0.0:
            return None
        cause = self.factor_cause(kind, found.factor)
        return (cause, found.factor) if is_factor_worth_naming(cause, found.informative) else None

    def _weight_ideas(
        self, k: int, step: Step, above: Floats | None, given: Floats, product: Floats
    ) -> Iterator[WeightIdea]:
        right = self.right
        decay, rate, weight = self.sampled_decay(k), right.objective.weight_decay, right.weights[k]

        def made_of(error: Floats, fed: Floats, times: float = 1.0, rate: float = rate) -> Any:
            return lambda rows, columns: _weighted_sum(
                times, error[rows] @ fed[columns].T, rate, weight[rows][:, columns]
            )

        def sums_times_weights(rate: float) -> Any:
            return lambda rows, columns: _weighted_sum(
                1.0, step.used[rows].sum(axis=1)[:, None] * weight[rows][:, columns],
                rate, weight[rows][:, columns],
            )  # fmt: skip

        used, fed = step.used, right.h[k]
        if rate:
            yield Cause("decay_missing"), made_of(used, fed, rate=0.0)
        rows, columns = self.sample(k)
        of_decay = self._decay_factor(given, weight[rows][:, columns], product, rate)
        if of_decay and not product.any():
            yield of_decay[0], made_of(used, fed, rate=of_decay[1])
        yield Cause("zero"), made_of(used, fed, 0.0, 0.0)
        if found := self._fitted("factor", given, product + decay, 0.0):
            yield found[0], made_of(used, fed, found[1], found[1] * rate)
        if rate and (found := self._fitted("loss_factor", given, product, decay)):
            yield found[0], made_of(used, fed, found[1])
        if of_decay:
            yield of_decay[0], made_of(used, fed, rate=of_decay[1])
        if weight.shape[0] == weight.shape[1] and rows is columns is EVERY:
            yield (
                Cause("transposed"),
                lambda rows, columns: _weighted_sum(
                    1.0, fed[rows] @ used[columns].T, rate, weight.T[rows][:, columns]
                ),
            )
        for name, other in self._fed_ideas(k):
            if other.shape == fed.shape:
                yield Cause("fed", name), made_of(used, other)
        yield Cause("weight_for_fed"), sums_times_weights(rate)
        if rate:
            yield Cause("weight_for_fed"), sums_times_weights(0.0)
        yield Cause("mask_left_out"), made_of(step.raw, fed)
        for name, error in self._errors_of_neighbours(k, above):
            if error.shape == used.shape:
                yield Cause("delta_of", name), made_of(error, fed)
        for n in _examples(right.batch):
            one = slice(n, n + 1)
            yield Cause("one_example", f"example {n}"), made_of(used[:, one], fed[:, one])

    def _decay_factor(
        self, given: Floats, parameters: Floats, rest: Floats, rate: float
    ) -> tuple[Cause, float] | None:
        """Return c of given = rest + c parameters: a decay that is not what it should be."""
        found = fitted_multiple(given - rest, parameters)
        if found is None:
            return None
        tolerance = 100 * self.likeness.tolerance
        if rate:
            ratio = plain_factor(found.factor / rate, tolerance)
            named = readings(found.factor / rate, self._of_decay(), tolerance)
            cause = Cause("decay_factor", "", ratio, named)
            simple = bool(named) or is_simple(ratio)
            if ratio == 1.0:
                return None
        else:
            cause = Cause("decay_extra", "", float(f"{found.factor:.3g}"))
            simple = False
        return (cause, found.factor) if simple or found.informative >= AGREEING else None

    def _of_decay(self) -> list[Named]:
        batch = self.right.batch
        return [
            Named(2.0, "decay / 2 times the sum of squares has the derivative decay W"),
            Named(0.5, "decay / 2 times the sum of squares has the derivative decay W"),
            Named(-1.0, "its sign is wrong"),
            Named(1 / batch, "divided by the batch, but the decay is no mean"),
            Named(batch, "added once for each example"),
            Named(self.right.objective.scale, "multiplied by the scale of the loss"),
            Named(self.right.factor, "multiplied as the loss is"),
        ]

    def _fed_ideas(self, k: int) -> Iterator[tuple[str, Floats]]:
        right = self.right
        if k > 0:
            yield "the pre-activations below", right.f[k - 1]
            yield "the mask of the ReLU below", right.masks[k - 1]
            yield "the errors of the layer below", right.s[k - 1]
            yield "the activations of the layer below, one layer off,", right.h[k - 1]
        if k < right.last:
            yield "the activations of the layer above, one layer off,", right.h[k + 1]
        for other in sorted(range(len(right.h)), key=lambda level: abs(level - k)):
            if abs(other - k) > 1:
                name = f"the activations that feed layer {other}" if other else "the inputs"
                yield name, right.h[other]
        yield "the layer's own pre-activations", right.f[k]
        yield "the layer's own outputs", np.maximum(right.f[k], 0.0)

    def _errors_of_neighbours(self, k: int, above: Floats | None) -> Iterator[tuple[str, Floats]]:
        if above is not None:
            yield f"layer {k + 1}", above
        if k > 0:
            yield f"layer {k - 1}", self.right.s[k - 1]

    def _bias_ideas(
        self, k: int, step: Step, above: Floats | None, given: Floats, sums: Floats
    ) -> Iterator[BiasIdea]:
        right = self.right

        def just(values: Floats) -> Any:
            return values.__getitem__

        yield Cause("zero"), just(np.zeros_like(sums))
        if found := self._fitted("factor", given, sums, 0.0):
            yield found[0], just(found[1] * sums)
        yield Cause("mask_left_out"), lambda units: step.raw[units].sum(axis=1)
        for n in _examples(right.batch):
            yield Cause("one_example", f"example {n}"), just(step.used[:, n])
        if step.used.shape[0] == step.used.shape[1]:
            yield Cause("summed_over_units"), just(step.used.sum(axis=0))
        for other in (k + 1, k - 1):
            error = above if other > k else right.s[other] if other >= 0 else None
            if error is not None and error.shape == step.used.shape:
                yield Cause("swapped", f"biases[{other}]"), partial(_row_sums, error)
        if right.biases is not None:
            parameters = right.biases[k]
            if rate := right.objective.weight_decay:
                yield Cause("decay_on_biases"), just(sums + rate * parameters)
            if found := self._decay_factor(given, parameters, sums, 0.0):
                yield found[0], just(sums + found[1] * parameters)

    def _unusable_weights(self, k: int, step: Step) -> Explained:
        right, given = self.right, self.layers[k].weights
        array = given.array
        if right.weights[k].size > LOOKED_AT_WHOLE or not _is_misshapen(array, right.weights[k]):
            return UNEXPLAINED
        expected = step.used @ right.h[k].T + right.objective.weight_decay * right.weights[k]
        for one in (expected, expected.T):
            if found := misshapen(array, one, self.likeness):
                return self._noted(given, found)
        ideas = [(Cause("fed", name), step.used, fed) for name, fed in self._fed_ideas(k)]
        ideas += [
            (Cause("delta_of", f"layer {other}"), error, right.h[k])
            for other, error in enumerate(right.s)
        ]
        for cause, error, fed in ideas:
            for one in (error @ fed.T, fed @ error.T):
                if self.likeness.alike(array.astype(np.float64), one):
                    return self._noted(given, (cause, residual(array.astype(np.float64), one)))
        if array.size == 1 and right.weights[k].size > 1:
            return Cause("inner_product")
        return UNEXPLAINED

    def _unusable_biases(self, given: GivenArray, step: Step) -> Explained:
        array = given.array
        if not np.isfinite(array).all() or array.dtype.kind not in "fiu":
            return UNEXPLAINED
        numbers = array.astype(np.float64)
        sums, over_units = step.used.sum(axis=1), step.used.sum(axis=0)
        ideas = [
            (Cause("not_summed"), step.used), (Cause("not_summed"), step.used.T),
            (Cause("summed_over_units"), over_units.reshape(numbers.shape)
             if over_units.size == numbers.size else over_units),
            (Cause("summed_over_units"), step.used.sum().reshape(numbers.shape)
             if numbers.size == 1 else sums),
            (Cause("reshaped", f"{array.shape}"), sums.reshape(numbers.shape)
             if sums.size == numbers.size else sums),
        ]  # fmt: skip
        for cause, one in ideas:
            if one.shape == numbers.shape and self.likeness.alike(numbers, one):
                return self._noted(given, (cause, residual(numbers, one)))
        return UNEXPLAINED

    def _noted(self, given: GivenArray, found: tuple[Cause, float]) -> Cause:
        """Keep how well a mistake explains an array."""
        self.residuals[given.name, found[0]] = found[1]
        return found[0]

    def _alone(self, given: GivenArray, k: int, whole: Callable[[], Floats]) -> Explained:
        """Explain an array that the error does not explain, by its own numbers."""
        values = given.values
        if values is None or values.size > LOOKED_AT_WHOLE:
            return UNEXPLAINED
        truth = whole()
        if found := self._of_another(given, values, truth, k):
            return self._noted(given, found)
        if given.transposed:  # rows and columns are named as they were given
            values, truth = values.T, truth.T
        if found := misarranged(values, truth, self.likeness):
            return self._noted(given, found)
        wrong = np.abs(values - truth) > self._unlike(truth)
        cause = rounded(values, truth, wrong) or partly_wrong(values, truth, wrong, self.likeness)
        return UNEXPLAINED if cause is None else cause

    def _unlike(self, truth: Floats) -> Floats | float:
        return self.likeness.tolerance * float(np.max(np.abs(truth), initial=0.0))

    def _of_another(
        self, given: GivenArray, values: Floats, truth: Floats, k: int
    ) -> tuple[Cause, float] | None:
        """Tell whether the array is that of another layer."""
        right, kind = self.right, self.layers[k].arrays.index(given)
        for other, layer in enumerate(self.layers):
            shape = right.weights[other].shape if kind == 0 else right.weights[other].shape[:1]
            if other == k or shape != truth.shape:
                continue
            one = layer.arrays[kind]
            its = right.weight_gradient(other) if kind == 0 else right.s[other].sum(axis=1)
            if self.likeness.explains(values, its, truth):
                return Cause("swapped", one.name), residual(values, its)
            if one.values is not None and np.array_equal(one.values, values):
                return Cause("aliased", one.name), 0.0
        return None


def _weighted_sum(times: float, product: Floats, rate: float, weight: Floats) -> Floats:
    """Return times product + rate weight."""
    total = product if times == 1.0 else times * product
    return total + rate * weight if rate else total


def _row_sums(error: Floats, units: Units) -> Floats:
    sums: Floats = error[units].sum(axis=1)
    return sums


def _is_misshapen(array: Array, right: Floats) -> bool:
    """Tell whether an array holds finite numbers in another shape."""
    return (
        array.dtype.kind in "fiu" and array.shape != right.shape and bool(np.isfinite(array).all())
    )


def _examples(batch: int) -> tuple[int, ...]:
    """Return the examples that an index taken by mistake is likely to pick."""
    return (0, batch - 1) if batch > 1 else ()
