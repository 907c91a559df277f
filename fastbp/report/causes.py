"""What made a gradient wrong, and the sentence that says so."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Cause", "Finding", "listed", "sentence"]


@dataclass(frozen=True, slots=True)
class Cause:
    """One mistake, wherever it was made.

    Attributes
    ----------
    kind : str
        One of the keys of `SAID`.
    detail : str
        What the sentence needs beside the places: another array, rows, a layer.
    factor : float or None
        What something was multiplied by.
    readings : tuple of str
        What the factor may stand for.
    """

    kind: str
    detail: str = ""
    factor: float | None = None
    readings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause with the places that it explains.

    Attributes
    ----------
    cause : Cause
    places : str
        The arrays, in words; empty where a fact is told.
    residual : float or None
        |given - explained| / |given| of these arrays; None where nothing is explained, but
        facts are told.
    steps : tuple of int
        The hidden layers into which the error goes back wrongly.
    """

    cause: Cause
    places: str = ""
    residual: float | None = field(default=None, compare=False)
    steps: tuple[int, ...] = ()


# {factor}, {detail}; {steps}: "where the error goes back into layer 1", {layers}: "layers 0 and 1".
SAID = {
    "factor": "{factor} what it should be{readings}",
    "loss_factor": "the part of the loss is {factor} what it should be, weight decay is right"
    "{readings}",
    "delta_factor": "the error is {factor} what it should be where it goes back into {layers}"
    "{readings}",
    "output_factor": "the error at the output is {factor} what it should be{readings}",
    "sign": "the wrong sign",
    "zero": "left at zero",
    "transposed": "transposed",
    "reshaped": "the right numbers in the wrong shape: {detail}",
    "mask_missing": "the mask of the ReLU is missing, or 1 everywhere, {steps}",
    "mask_not_carried": "the error goes back from {layers} as it was before the mask of the ReLU, "
    "which is applied to the gradients alone",
    "mask_left_out": "the mask of the ReLU is left out in this array",
    "mask_of": "the mask is that of {detail}, {steps}",
    "mask_inverted": "the mask of the ReLU is inverted {steps}",
    "mask_at_output": "the mask of a ReLU is applied to the output, which is linear",
    "slope": "{detail} in place of the mask of the ReLU, {steps}",
    "not_transposed": "the weights are not transposed {steps}",
    "gradient_for_weights": "the gradient of the weights is used in place of the weights {steps}",
    "other_weights": "{detail} is used in place of the layer's own weights {steps}",
    "updated_weights": "weights that were updated already, with a step of {number}, are used "
    "{steps}",
    "nothing_back": "the error is zero where it goes back into {layers}",
    "output_error": "the derivative of the loss is wrong: {detail}",
    "examples": "{detail}",
    "fed": "computed with {detail} in place of the activations that feed the layer",
    "delta_of": "computed with the error of {detail}: one layer off",
    "weight_for_fed": "computed with the weights in place of the activations",
    "decay_missing": "the term of the weight decay is missing",
    "decay_factor": "the term of the weight decay is {factor} what it should be{readings}",
    "decay_on_biases": "weight decay is applied to the biases too",
    "decay_extra": "{number} times the parameters is added: an L2 term too many",
    "not_summed": "not summed over the batch: one gradient for each example",
    "summed_over_units": "summed over the units and not over the batch",
    "one_example": "the gradient of {detail} alone",
    "mean": "{factor} what it should be, and the batch has {detail} examples: a mean over the "
    "batch where the loss sums",
    "mean_again": "{factor} what it should be, and the batch has {detail} examples: a mean over "
    "the batch of terms that hold the mean of the loss already",
    "inner_product": "one number: an inner product in place of an outer one",
    "aliased": "the same numbers as {detail}: two names of one array?",
    "swapped": "the gradient of {detail}",
    "missing_term": "a term is missing that equals the gradient of {detail}",
    "extra_term": "a term too many, which equals the gradient of {detail}",
    "pattern": "{detail}",
    "permuted": "the right {detail} in another order",
    "rounded": "right, but rounded to {detail}",
    "part": "right but for {detail}",
    "row_factors": "each {detail} is multiplied by a factor of its own",
    "accumulated": "the second call returns twice the first: gradients are added to arrays that "
    "are not set to zero before",
    "first_wrong": "{detail}",
}

# Not all of what is written in a report can be told from rounding.
SMALLEST_RESIDUAL = 1e-15
MOST_READINGS, MOST_NAMES = 3, 6


def sentence(finding: Finding) -> str:
    """Return a finding as a sentence.

    Examples
    --------
    >>> sentence(Finding(Cause("factor", factor=2.0), "all biases", 2e-16))
    'all biases: 2 times what it should be (residual 1e-15)'
    >>> sentence(Finding(Cause("mask_missing"), "weights[0], biases[0]", 3e-14, (0,)))[-49:]
    'the error goes back into layer 0 (residual 1e-13)'
    """
    cause = finding.cause
    said = SAID[cause.kind].format(
        factor="" if cause.factor is None else times(cause.factor),
        number="" if cause.factor is None else f"{cause.factor:.6g}",
        detail=cause.detail,
        readings=_readings(cause.readings),
        steps=f"where the error goes back into {layers(finding.steps)}",
        layers=layers(finding.steps),
    )
    places = f"{finding.places}: " if finding.places else ""
    proof = "" if finding.residual is None else f" (residual {_power(finding.residual)})"
    return f"{places}{said}{proof}"


def times(factor: float) -> str:
    """Write a factor as one says it.

    Examples
    --------
    >>> times(2.0), times(1 / 32), times(-0.5), times(0.37)
    ('2 times', '1/32 of', '-1/2 of', '0.37 times')
    """
    if 1e-9 < abs(factor) < 1.0:
        reciprocal = 1.0 / factor
        if abs(reciprocal - round(reciprocal)) <= 1e-4 * abs(reciprocal):
            sign = "-" if factor < 0 else ""
            return f"{sign}1/{abs(round(reciprocal))} of"
    return f"{factor:.6g} times"


def layers(numbers: tuple[int, ...]) -> str:
    """Name layers.

    Examples
    --------
    >>> layers((2,)), layers((0, 1)), layers(tuple(range(40)))
    ('layer 2', 'layers 0 and 1', 'layers 0 to 39')
    """
    ordered = sorted(numbers)
    if len(ordered) == 1:
        return f"layer {ordered[0]}"
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"layers {ordered[0]} to {ordered[-1]}"
    first = ", ".join(map(str, ordered[:-1]))
    return f"layers {first} and {ordered[-1]}" if ordered else "the layers"


def listed(names: Sequence[str]) -> str:
    """List names, the first six and how many more there are.

    Examples
    --------
    >>> listed(["a", "b"]), listed(list("abcdefgh"))
    ('a, b', 'a, b, c, d, e, f and 2 more')
    """
    more = len(names) - MOST_NAMES
    first = ", ".join(names[:MOST_NAMES])
    return f"{first} and {more} more" if more > 0 else first


def _readings(readings: tuple[str, ...]) -> str:
    return f": {', or '.join(readings[:MOST_READINGS])}" if readings else ""


def _power(residual: float) -> str:
    """Round up to a power of ten: sums differ in their last digits from machine to machine."""
    return f"1e{math.ceil(math.log10(max(residual, SMALLEST_RESIDUAL)) - 1e-9):+03d}"
