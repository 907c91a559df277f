"""Mistakes in the gradients of one layer, where the error that reaches it is known.

dL/dW[k] = s h^T + decay W and dL/db[k] = the row sums of s: each is tried with one thing changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
    from fastbp.network.checks.diagnosis.way_back import Step
    from fastbp.typing import Array, Floats

__all__ = ["UNEXPLAINED", "Explained", "LayerArrays"]

# Arrays of more entries are looked at by samples of rows and columns alone.
LOOKED_AT_WHOLE = 1 << 18


class Unexplained:
    """No mistake that is known makes this array."""


UNEXPLAINED = Unexplained()
# None: the array is right.
Explained = Cause | None | Unexplained


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
        rows, columns = layer.rows, layer.columns
        used, fed = step.used[rows], right.h[k][columns]
        values = self.sampled_weights(k)
        if values is None:
            return self._unusable_weights(k, step)
        truth = self._sampled_truth(k)
        product = used @ fed.T
        expected = product + self.sampled_decay(k)
        if not on_truth and self.likeness.alike(values, expected):
            return None
        for cause, candidate in self._weight_ideas(k, step, above, values, product):
            if self.likeness.explains(values, candidate, truth):
                self.residuals[given.name, cause] = residual(values, candidate)
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
        for cause, candidate in self._bias_ideas(k, step, above, values, expected):
            if self.likeness.explains(values, candidate, truth):
                self.residuals[given.name, cause] = residual(values, candidate)
                return cause
        if on_truth and given.failed:
            return self._alone(given, k, lambda: truth)
        return UNEXPLAINED

    def factor_cause(self, kind: str, factor: float) -> Cause:
        """Return the cause of a factor, with what it may stand for."""
        return factor_cause(factor, self.named, self.likeness.tolerance, kind)

    def sampled_weights(self, k: int) -> Floats | None:
        """Return the sampled entries of a given weight gradient, None where it is unusable."""
        if k not in self._given:
            layer = self.layers[k]
            values = layer.weights.values
            places = np.ix_(layer.rows, layer.columns)
            self._given[k] = None if values is None else values[places]
        return self._given[k]

    def sampled_decay(self, k: int) -> Floats | float:
        """Return the term of the weight decay at the sampled entries."""
        rate = self.right.objective.weight_decay
        if not rate:
            return 0.0
        layer = self.layers[k]
        decay: Floats = rate * self.right.weights[k][np.ix_(layer.rows, layer.columns)]
        return decay

    def _sampled_truth(self, k: int) -> Floats:
        if k not in self._truth:
            layer, right = self.layers[k], self.right
            product = right.s[k][layer.rows] @ right.h[k][layer.columns].T
            self._truth[k] = product + self.sampled_decay(k)
        return self._truth[k]

    def _fitted(
        self, kind: str, given: Floats, multiplied: Floats, rest: Floats | float
    ) -> Iterator[tuple[Cause, Floats]]:
        """Yield given = k multiplied + rest, where k is simple or many entries agree on it."""
        found = fitted_multiple(given - rest, multiplied)
        if found is None or found.factor == 0.0:
            return
        cause = self.factor_cause(kind, found.factor)
        if is_factor_worth_naming(cause, found.informative):
            yield cause, found.factor * multiplied + rest

    def _weight_ideas(
        self, k: int, step: Step, above: Floats | None, given: Floats, product: Floats
    ) -> Iterator[tuple[Cause, Floats]]:
        layer, right = self.layers[k], self.right
        rows, columns = layer.rows, layer.columns
        weight = right.weights[k][np.ix_(rows, columns)]
        decay = self.sampled_decay(k)
        rate = right.objective.weight_decay
        if rate:
            yield Cause("decay_missing"), product
        if not product.any():
            yield from self._decay_ideas(given, weight, product, rate)
        yield Cause("zero"), np.zeros_like(product)
        yield from self._fitted("factor", given, product + decay, 0.0)
        if rate:
            yield from self._fitted("loss_factor", given, product, decay)
        yield from self._decay_ideas(given, weight, product, rate)
        if right.weights[k].shape[0] == right.weights[k].shape[1] and rows.size == len(
            right.weights[k]
        ):
            yield Cause("transposed"), (product + decay).T
        used = step.used[rows]
        for name, fed in self._fed_ideas(k):
            if fed.shape == right.h[k].shape:
                yield Cause("fed", name), used @ fed[columns].T + decay
        yield Cause("weight_for_fed"), used.sum(axis=1)[:, None] * weight + decay
        if rate:
            yield Cause("weight_for_fed"), used.sum(axis=1)[:, None] * weight
        yield Cause("mask_left_out"), step.raw[rows] @ right.h[k][columns].T + decay
        for name, error in self._errors_of_neighbours(k, above):
            if error.shape == step.used.shape:
                yield Cause("delta_of", name), error[rows] @ right.h[k][columns].T + decay
        for n in _examples(right.batch):
            single = np.outer(used[:, n], right.h[k][columns, n])
            yield Cause("one_example", f"example {n % right.batch}"), single + decay

    def _decay_ideas(
        self, given: Floats, parameters: Floats, rest: Floats, rate: float
    ) -> Iterator[tuple[Cause, Floats]]:
        """Yield rest + c parameters: a term of decay that is not what it should be."""
        found = fitted_multiple(given - rest, parameters)
        if found is None:
            return
        tolerance = 100 * self.likeness.tolerance
        if rate:
            ratio = plain_factor(found.factor / rate, tolerance)
            named = readings(found.factor / rate, self._of_decay(), tolerance)
            cause = Cause("decay_factor", "", ratio, named)
            simple = bool(named) or is_simple(ratio)
        else:
            cause = Cause("decay_extra", "", float(f"{found.factor:.3g}"))
            simple = False
        if cause.factor != 1.0 and (simple or found.informative >= AGREEING):
            yield cause, rest + found.factor * parameters

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
    ) -> Iterator[tuple[Cause, Floats]]:
        right = self.right
        yield Cause("zero"), np.zeros_like(sums)
        yield from self._fitted("factor", given, sums, 0.0)
        yield Cause("mask_left_out"), step.raw.sum(axis=1)
        for n in _examples(right.batch):
            yield Cause("one_example", f"example {n % right.batch}"), step.used[:, n]
        if step.used.shape[0] == step.used.shape[1]:
            yield Cause("summed_over_units"), step.used.sum(axis=0)
        for other in (k + 1, k - 1):
            error = above if other > k else right.s[other] if other >= 0 else None
            if error is not None and error.shape == step.used.shape:
                yield Cause("swapped", f"biases[{other}]"), error.sum(axis=1)
        if right.biases is not None:
            rate = right.objective.weight_decay
            if rate:
                yield Cause("decay_on_biases"), sums + rate * right.biases[k]
            yield from self._decay_ideas(given, right.biases[k], sums, 0.0)

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


def _is_misshapen(array: Array, right: Floats) -> bool:
    """Tell whether an array holds finite numbers in another shape."""
    return (
        array.dtype.kind in "fiu" and array.shape != right.shape and bool(np.isfinite(array).all())
    )


def _examples(batch: int) -> tuple[int, ...]:
    """Return the examples that an index taken by mistake is likely to pick."""
    return (0, batch - 1) if batch > 1 else ()
