"""The mistakes that people make, planted one at a time: the first sentence names each."""

from __future__ import annotations

import re
import zlib

import numpy as np
import pytest
import reference
from support.planted_mistakes import MISTAKES, planted
from support.strategies import LOSSES, Problem, make_problem

import fastbp

# What the first sentence holds, by the beginning of a mistake's name; N, C and NC are the batch,
# the number of outputs, and their product.
NAMED = {
    "01 a factor of 2": r"^every array: 2 times what it should be",
    "01 a factor of 4 in one array": r"^weights\[1\]: 4 times what it should be",
    "02 1/N missing": r"^every array: {N} times what it should be.*{N} is the batch",
    "02 1/N applied twice": r"^every array: 1/{N} of what it should be.*{N} is the batch",
    "02 1/N inside": r"1/{N} of what it should be where it goes back into layers",
    "03 mean over the outputs": r"^every array: {C} times .*the number of outputs",
    "03 mean over samples": r"^every array: 1/{NC} of what it should be",
    "04 bias gradient not summed": r"^biases\[\d\]: not summed over the batch",
    "04 bias gradient of the first": r"^biases\[\d\]: the gradient of example 0 alone",
    "05": r"^all biases: 1/{N} of what it should be, and the batch has {N} examples: a mean",
    "06": r"the mask of the ReLU is missing, or 1 everywhere, where the error goes back into",
    "07 the derivative of tanh": r"the derivative of tanh at the pre-activation in place of",
    "07 the derivative of the sigmoid": r"h \(1 - h\), the derivative of the sigmoid by its value",
    "08": r"the mask of the ReLU is missing, or 1 everywhere, where the error goes back into",
    "10 activations of one": r"computed with the activations of the layer below, one layer off",
    "10 activations of the": r"computed with the activations of the layer above, one layer off",
    "11 weight gradients": r"^(all )?weights.*: transposed \(",
    "11 inner": r"^weights\[\d\]: one number: an inner product",
    "12 the weight": r"^weights\[1\]: computed with the weights in place of the activations",
    "12 dW": r"the gradient of the weights is used in place of the weights where .* into layer 1",
    "12 W not": r"the weights are not transposed where|the error is zero where",
    "13": r"weights that were updated already, with a step of 0.01, are used where",
    "14 mask left out at one layer": r"the mask of the ReLU is missing, .* into layer 0",
    "14 mask left out at one bias": r"^biases\[1\]: the mask of the ReLU is left out in this array",
    "15 wrong sign of the biases": r"^all biases: the wrong sign",
    "15 wrong sign": r"^every array: the wrong sign",
    "16": r"the mask is that of the (layer below|inputs)|the error is 1/2 of what it should be",
    "17": r"goes back from layers? \d.* as it was before the mask of the ReLU",
    "18": r"p \(1 - p\) multiplies p - y: softmax without its cross terms|times what it should be",
    "19 weight decay left out": r"^all weights: the term of the weight decay is missing",
    "19 weight decay without": r"^all weights: the term of the weight decay is 2 times",
    "19 weight decay averaged": r"^all weights: the term of the weight decay is 1/{N} of",
    "19 weight decay on": r"^all biases: weight decay is applied to the biases too",
    "20": r"^every array: .* the scale of the loss, 0.75, is left out",
    "23 one weight": r"^weights\[\d\]: left at zero",
    "23 one bias": r"^biases\[\d\]: left at zero",
    "23 everything": r"^every array: left at zero",
    "24": r"softmax without its axis, over units and batch at once",
    "25": r"right, but rounded to half precision",
    # Where the sizes differ, what is planted is no alias but a factor of its own for each array.
    "22": r"the gradient of biases\[0\]|what it should be|^biases\[\d\] is the first wrong",
    "00 gradients in reverse": r"biases.*: the right entries in another order",
    "00 the last layer": r"^weights\[\d\]: 1.001 times what it should be",
}
SHAPES = {
    "of distinct sizes": ([3, 7, 6, 2], 4, "sum"),
    "square": ([5, 5, 5, 5], 4, "mean"),
    "deep": ([6, 6, 5, 6, 6, 4], 3, "mean_entries"),
    "wide": ([2, 20, 17, 3], 8, "mean"),
    "of one sample": ([4, 9, 8, 3], 1, "sum"),
}
ONLY_SOFTMAX = ("18", "24")
# Of these the given numbers are as far from the truth as float32 is.
ONLY_FLOAT64 = ("25",)


def expected(name: str, sizes: list[int], batch: int) -> str:
    """Return the pattern of a mistake: the longest beginning that fits its name."""
    begins = max((one for one in NAMED if name.startswith(one)), key=len)
    numbers = {"NC": batch * sizes[-1], "N": batch, "C": sizes[-1]}
    pattern = NAMED[begins]
    for letter, number in numbers.items():
        pattern = pattern.replace("{" + letter + "}", str(number))
    return pattern


def problem_for(name: str, shape: str, loss: str, dtype: type) -> Problem:
    sizes, batch, reduction = SHAPES[shape]
    return make_problem(
        sizes, batch, seed=zlib.crc32(f"{shape} {loss}".encode()) % 1000, dtype=dtype, loss=loss,
        reduction=reduction, scale=0.75 if name.startswith("20") else 1.0,
        weight_decay=0.3 if name.startswith("19") else 0.0,
    )  # fmt: skip


def diagnosed(name: str, shape: str, loss: str, dtype: type, method: str) -> list[tuple[bool, str]]:
    """Plant a mistake: whether the first sentence names it, and that; nothing where it hides."""
    sizes, batch, _ = SHAPES[shape]
    problem = problem_for(name, shape, loss, dtype)
    given = planted(problem, name)(problem.weights, problem.biases, problem.x, problem.y)
    report = fastbp.check_network(problem.network(), problem.x, problem.y, given, method=method)
    if report.verdict != "failed":
        return []
    first = report.diagnosis[0] if report.diagnosis else ""
    return [(bool(re.search(expected(name, sizes, batch), first)), first)]


def fits(name: str, loss: str, dtype: type) -> bool:
    if name.startswith(ONLY_SOFTMAX) and loss != "softmax_cross_entropy":
        return False
    return dtype is np.float64 or not name.startswith(ONLY_FLOAT64)


@pytest.mark.small
@pytest.mark.parametrize("name", MISTAKES)
def test_the_first_sentence_names_the_mistake(name):
    loss = "softmax_cross_entropy" if name.startswith(ONLY_SOFTMAX) else "least_squares"
    for shape in ("square", "of distinct sizes"):
        for named, first in diagnosed(name, shape, loss, np.float64, "replay"):
            assert named, f"{shape}: {first}"


@pytest.mark.long
def test_95_of_100_planted_mistakes_are_named_and_no_other_is():
    found = {
        (name, shape, loss, dtype.__name__): one
        for name in MISTAKES
        for shape in SHAPES
        for loss in LOSSES
        for dtype in (np.float64, np.float32)
        if fits(name, loss, dtype)
        for one in diagnosed(name, shape, loss, dtype, "certified")
    }
    missed = {place: first for place, (named, first) in found.items() if not named}
    assert len(found) > 1000
    assert len(missed) <= 0.05 * len(found), missed
    wrong = {place: first for place, first in missed.items() if names_a_mistake(first)}
    assert not wrong


def names_a_mistake(sentence: str) -> bool:
    """Tell whether a sentence says more than where the first wrong array is."""
    return bool(sentence) and "first wrong" not in sentence and "right but for" not in sentence


# ---- what no single mistake explains ----


def given_with(change, *, sizes=(4, 6, 5, 3), batch=5, **options) -> tuple[Problem, fastbp.Report]:
    problem = make_problem(list(sizes), batch, seed=3, **options)
    _, truth = reference.loss_and_gradients(problem.reference(), problem.x, problem.y)
    weights, biases = [w.copy() for w in truth.weights], [b.copy() for b in truth.biases]
    change(weights, biases)
    net = problem.network()
    return fastbp.check_network(net, problem.x, problem.y, (weights, biases), method="replay")


@pytest.mark.small
@pytest.mark.parametrize("layout", ["book", "keras"])
def test_where_it_begins_is_said_if_nothing_explains_it(layout):
    rng = np.random.default_rng(0)

    def change(weights, biases):
        for array in (weights[0], biases[0], weights[1], biases[1]):
            array += rng.standard_normal(array.shape)

    report = given_with(change, layout=layout)
    assert report.diagnosis == (
        "weights[1] and biases[1] are the first wrong, counted back from the output; all above is "
        "right, or explained: the mistake is made where the error goes back from layer 2 into "
        "layer 1",
    )


@pytest.mark.small
def test_the_output_layer_and_single_arrays_are_told_apart():
    rng = np.random.default_rng(1)

    def output(weights, biases):
        weights[2] += rng.standard_normal(weights[2].shape)
        biases[2] += rng.standard_normal(biases[2].shape)

    def product(weights, biases):
        del biases
        weights[1] += rng.standard_normal(weights[1].shape)

    def total(weights, biases):
        del weights
        biases[1] += rng.standard_normal(biases[1].shape)

    assert given_with(output).diagnosis[0].endswith("look at the derivative of the loss")
    assert given_with(product).diagnosis == (
        "weights[1] is the first wrong, counted back from the output; the error of the layer is "
        "right, since its biases are: look at the product with h",
    )
    assert given_with(total).diagnosis == (
        "biases[1] is the first wrong, counted back from the output; the error of the layer is "
        "right, since its weights are: look at the sum",
    )


@pytest.mark.small
def test_an_example_that_is_left_out_is_named():
    problem = make_problem([4, 6, 3], 5, seed=3)
    _, without = reference.loss_and_gradients(
        problem.reference(), np.delete(problem.x, 2, axis=1), np.delete(problem.y, 2, axis=1)
    )
    report = fastbp.check_network(
        problem.network(), problem.x, problem.y, without.flat, method="replay"
    )
    assert report.diagnosis == ("every array: example 2 is left out (residual 1e-15)",)


@pytest.mark.small
def test_the_rest_of_an_array_is_right():
    def row(weights, biases):
        del biases
        weights[1][2] = 0.0

    def entry(weights, biases):
        del weights
        biases[1][3] += 1.0

    assert given_with(row).diagnosis == ("weights[1]: right but for row 2, left at zero",)
    assert given_with(entry).diagnosis == ("biases[1]: right but for the entry [3]",)


@pytest.mark.small
def test_rows_and_columns_are_named_as_they_were_given():
    def column(weights, biases):
        del biases
        weights[1][:, 2] = 0.0

    def entry(weights, biases):
        del biases
        weights[1][4, 2] += 1.0

    said = given_with(column, layout="keras").diagnosis
    assert said == ("weights[1]: right but for column 2, left at zero",)
    said = given_with(entry, layout="keras").diagnosis
    assert said == ("weights[1]: right but for the entry [4, 2]",)


@pytest.mark.long
@pytest.mark.parametrize("layout", ["book", "keras"])
def test_one_wrong_entry_of_a_large_array_is_not_overlooked(layout):
    rng = np.random.default_rng(0)
    net = fastbp.Network.random([260, 261, 262, 3], seed=1, layout=layout)
    x, y = rng.standard_normal((260, 2)), rng.standard_normal((3, 2))
    x, y = (x, y) if layout == "book" else (x.T, y.T)
    _, gradients = net.loss_and_gradients(x, y)
    gradients.weights[1][17, 31] += 1e-3
    report = fastbp.check_network(net, x, y, gradients)
    assert report.diagnosis == ("weights[1]: right but for the entry [17, 31]",)


@pytest.mark.small
def test_two_mistakes_are_two_sentences():
    def change(weights, biases):
        weights[2] *= 2.0
        biases[0][:] = 0.0

    assert [one.split(" (")[0] for one in given_with(change).diagnosis] == [
        "weights[2]: 2 times what it should be: gradients are added to those of an earlier call, "
        "or a 2 is too many",
        "biases[0]: left at zero",
    ]


@pytest.mark.small
@pytest.mark.parametrize("convention", [0.0, 0.5, 1.0])
def test_a_mistake_is_named_under_any_convention_at_zero(convention):
    problem = make_problem([4, 6, 5, 3], 4, seed=4, values="integers")
    taken = problem.with_options(relu_at_zero=convention).reference()
    _, gradients = reference.loss_and_gradients(taken, problem.x, problem.y)
    net = problem.network()
    assert np.any(net.forward(problem.x).preactivations[0] == 0)
    report = fastbp.check_network(net, problem.x, problem.y, 3 * gradients.flat, method="replay")
    assert report.diagnosis[0].startswith("every array: 3 times what it should be")


# ---- when there is none ----


@pytest.mark.small
def test_a_check_that_does_not_fail_has_no_diagnosis():
    assert given_with(lambda *arrays: arrays).diagnosis == ()
    problem = make_problem([3, 5, 2], 4)
    too_large = [1e200 * weight for weight in problem.weights]
    report = fastbp.check_network(
        fastbp.Network(too_large, problem.biases), problem.x, problem.y, method="replay"
    )
    assert (report.verdict, report.diagnosis) == ("inconclusive", ())


@pytest.mark.small
def test_numbers_that_are_not_finite_are_no_reason_to_raise():
    def change(weights, biases):
        weights[1][0, 0] = np.nan
        biases[0][1] = np.inf

    report = given_with(change)
    assert report.verdict == "failed"
    assert report.diagnosis[0].startswith("weights[1] is the first wrong")


@pytest.mark.small
def test_a_function_that_accumulates_is_named():
    problem = make_problem([3, 5, 2], 4)
    net = problem.network()
    total = np.zeros(net.parameters.size)

    def gradient(weights, biases, x, y):
        del weights, biases
        total[:] += net.loss_and_gradients(x, y)[1].flat
        return total

    report = fastbp.check_network(net, problem.x, problem.y, gradient, method="replay")
    assert report.diagnosis == (
        "the second call returns twice the first: gradients are added to arrays that are not set "
        "to zero before",
    )
