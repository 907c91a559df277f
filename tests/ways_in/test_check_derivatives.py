"""check_derivatives, the notebook's own check: learners' mistakes are found."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from support.notebook_networks import batch_network

from fastbp import DTypeError, EvaluationError, OptionError, ShapeError, check_network, notebook
from fastbp.network.network import Network

pytestmark = pytest.mark.small

SUCCESS = "Success!  Derivatives match."
FAILURE = "Failure!  Derivatives different."


def learners_backward_pass(all_weights, all_biases, all_f, all_h, y):
    """A correct one, in NumPy, for any batch."""
    net = reference.Reference(all_weights, all_biases, relu_at_zero=1.0)
    return reference.backward(net, all_f, all_h, y)[:2]


def changed(change):
    """A learner's function whose results `change` spoils."""

    def backward_pass(all_weights, all_biases, all_f, all_h, y):
        dweights, dbiases = learners_backward_pass(all_weights, all_biases, all_f, all_h, y)
        return change(dweights, dbiases)

    return backward_pass


def rows(report, verdict):
    return [row.name for row in report.arrays if row.verdict == verdict]


def test_our_own_backward_pass_gets_twelve_successes(capsys):
    report = notebook.check_derivatives()
    lines = capsys.readouterr().out.splitlines()
    assert report.verdict == "passed"
    assert lines.count(SUCCESS) == 12
    assert lines.count("-" * 47) == 12
    titles = [line for line in lines if line.endswith("from backprop:")]
    assert titles == [
        f"{kind} {k}, derivatives from backprop:" for kind in ("Bias", "Weight") for k in range(6)
    ]
    assert lines[1:9] == [
        "Bias 0, derivatives from backprop:",
        "[[ -4.486]",
        " [  4.947]",
        " [  6.812]",
        " [ -3.883]",
        " [-24.935]",
        " [  0.   ]]",
        "Bias 0, derivatives from finite differences",
    ]


def test_a_correct_learner_passes(capsys):
    report = notebook.check_derivatives(learners_backward_pass)
    assert report.verdict == "passed"
    assert capsys.readouterr().out.count(SUCCESS) == 12


def test_the_untouched_notebook_fails(capsys):
    """Zeros of the right shapes, as before the first line is filled in: no success."""

    def untouched(all_weights, all_biases, all_f, all_h, y):
        del all_f, all_h, y
        return [np.zeros_like(w) for w in all_weights], [np.zeros_like(b) for b in all_biases]

    report = notebook.check_derivatives(untouched)
    printed = capsys.readouterr().out
    assert report.verdict == "failed"
    assert SUCCESS not in printed
    assert printed.count(FAILURE) == 12


def test_zero_compared_with_zero_is_no_success(capsys):
    """A network that is zero throughout and fits: nothing can be told from it."""
    weights, biases = notebook.init_params(2, 3, 0.0)
    report = notebook.check_derivatives(
        all_weights=weights, all_biases=biases, y=np.zeros((1, 1)), net_input=np.zeros((1, 1))
    )
    printed = capsys.readouterr().out
    assert report.verdict == "vacuous"
    assert SUCCESS not in printed
    assert printed.count("Untested!  Both are zero throughout.") == 6


@pytest.mark.parametrize("layer", range(6))
@pytest.mark.parametrize("kind", ["weights", "biases"])
def test_each_array_is_looked_at(kind, layer, capsys):
    def double(dweights, dbiases):
        arrays = dweights if kind == "weights" else dbiases
        arrays[layer] = 2 * arrays[layer]
        return dweights, dbiases

    report = notebook.check_derivatives(changed(double))
    printed = capsys.readouterr().out
    assert rows(report, "failed") == [f"{kind}[{layer}]"]
    assert (printed.count(SUCCESS), printed.count(FAILURE)) == (11, 1)


def test_a_bias_gradient_that_is_not_summed_over_the_batch(capsys):
    """What 65 of 67 public solutions return for a batch: shape (D, B)."""

    def not_summed(all_weights, all_biases, all_f, all_h, y):
        dweights, dbiases = learners_backward_pass(all_weights, all_biases, all_f, all_h, y)
        wide = [np.tile(bias / y.shape[1], (1, y.shape[1])) for bias in dbiases]
        return dweights, wide

    weights, biases, x, y = batch_network()
    report = notebook.check_derivatives(not_summed, weights, biases, x, y)
    printed = capsys.readouterr().out
    assert rows(report, "failed") == [f"biases[{k}]" for k in range(4)]
    assert (printed.count(SUCCESS), printed.count(FAILURE)) == (4, 4)
    assert "(5, 4)" in printed
    assert "(5, 1)" in printed


def test_a_mean_over_the_batch_is_found(capsys):
    weights, biases, x, y = batch_network()
    mean = changed(lambda dw, db: ([w / 4 for w in dw], [b / 4 for b in db]))
    report = notebook.check_derivatives(mean, weights, biases, x, y)
    assert len(rows(report, "failed")) == 8
    assert SUCCESS not in capsys.readouterr().out


def test_transposed_shapes_are_not_broadcast(capsys):
    transposed = changed(lambda dw, db: ([w.T for w in dw], [b.T for b in db]))
    report = notebook.check_derivatives(transposed)
    printed = capsys.readouterr().out
    # The gradient of the last bias is (1, 1), the same either way.
    assert rows(report, "passed") == ["biases[5]"]
    assert "(1, 6)" in printed
    assert printed.count(FAILURE) == 11


def test_a_missing_mask_is_found(capsys):
    def no_mask(all_weights, all_biases, all_f, all_h, y):
        all_active = [np.abs(f) for f in all_f[:-1]] + [all_f[-1]]
        return learners_backward_pass(all_weights, all_biases, all_active, all_h, y)

    report = notebook.check_derivatives(no_mask)
    assert rows(report, "passed") == ["weights[5]", "biases[5]"]
    assert capsys.readouterr().out.count(SUCCESS) == 2


def test_a_function_that_overwrites_the_activations_is_found(capsys):
    def in_place(all_weights, all_biases, all_f, all_h, y):
        result = learners_backward_pass(all_weights, all_biases, all_f, all_h, y)
        for k in range(5):
            all_f[k] *= -1.0
        return result

    assert notebook.check_derivatives(in_place).verdict == "failed"
    assert "two different results" in capsys.readouterr().out


def test_the_number_of_layers_comes_from_the_arguments(capsys):
    weights, biases, x, y = batch_network(K=2)
    report = notebook.check_derivatives(learners_backward_pass, weights, biases, x, y)
    assert report.verdict == "passed"
    assert capsys.readouterr().out.count(SUCCESS) == 6


def test_the_verdict_is_that_of_check_network(capsys):
    weights, biases, x, y = batch_network()
    report = notebook.check_derivatives(learners_backward_pass, weights, biases, x, y)
    net = Network(weights, biases, relu_at_zero=1.0)
    direct = check_network(
        net, x, y, lambda w, b, x, y: learners_backward_pass(w, b, *_levels(w, b, x), y)
    )
    assert [(row.name, row.verdict) for row in report.arrays] == [
        (row.name, row.verdict) for row in direct.arrays
    ]
    assert report.verdict == direct.verdict
    assert capsys.readouterr().out.count(SUCCESS) == 8


def _levels(weights, biases, x):
    return notebook.compute_network_output(x, weights, biases)[1:]


def test_tolerances_reach_the_check(capsys):
    nearly = changed(lambda dw, db: ([1.001 * w for w in dw], [1.001 * b for b in db]))
    assert notebook.check_derivatives(nearly).verdict == "failed"
    assert notebook.check_derivatives(nearly, rtol=0.01).verdict == "passed"
    capsys.readouterr()


def test_correct_gradients_of_larger_networks_raise_no_false_alarm(capsys):
    """Where the notebook's forward differences cry failure in 14 of 60 networks."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        weights = [rng.standard_normal(s) for s in [(20, 1), (20, 20), (20, 20), (1, 20)]]
        biases = [rng.standard_normal((n, 1)) for n in (20, 20, 20, 1)]
        assert (
            notebook.check_derivatives(all_weights=weights, all_biases=biases).verdict == "passed"
        )
    capsys.readouterr()


def test_a_network_without_biases(capsys):
    weights, _, x, y = batch_network()
    assert notebook.check_derivatives(all_weights=weights, net_input=x, y=y).verdict == "passed"
    assert capsys.readouterr().out.count(SUCCESS) == 4


def test_wrong_use_of_check_derivatives():
    with pytest.raises(OptionError, match=r"all_biases are given without all_weights\."):
        notebook.check_derivatives(all_biases=[np.zeros((1, 1))])
    with pytest.raises(ShapeError, match=r"must hold 6 weight gradients, not 5\."):
        notebook.check_derivatives(changed(lambda dw, db: (dw[:5], db)))
    with pytest.raises(DTypeError, match=r"x must be a NumPy array, not float\."):
        notebook.check_derivatives(net_input=1.2)
    with pytest.raises(ShapeError, match=r"y must have shape \(1, 1\), not \(1, 2\)\."):
        notebook.check_derivatives(y=np.ones((1, 2)))
    wanted = r"^backward_pass must return \(all_dl_dweights, all_dl_dbiases\), not NoneType\.$"
    with pytest.raises(DTypeError, match=wanted):
        notebook.check_derivatives(changed(lambda *_: None))
    with pytest.raises(DTypeError, match=r"^the weight gradients must be a list .*, not generator"):
        notebook.check_derivatives(((one for one in ()), []))


def without_the_sum(all_weights, all_biases, all_f, all_h, y):
    """As in most solutions: the bias gradient is df of every column."""
    del all_biases
    df = 2 * (all_f[-1] - y)
    dweights, dbiases = [], []
    for k in reversed(range(len(all_weights))):
        dbiases.insert(0, df)
        dweights.insert(0, df @ all_h[k].T)
        if k:
            df = (all_f[k - 1] >= 0) * (all_weights[k].T @ df)
    return dweights, dbiases


def test_a_sum_over_the_batch_that_is_missing_shows_in_a_batch_of_three(capsys):
    report = notebook.check_derivatives(without_the_sum)
    printed = capsys.readouterr().out
    assert printed.count(SUCCESS) == 12
    assert report.verdict == "failed"
    assert rows(report, "failed") == [f"batch of 3 columns: biases[{k}]" for k in range(6)]
    assert "biases[0]: must have shape (6, 1), not (6, 3)" in printed
    assert "a batch of 3 columns failed" in report.notes


def test_what_is_wrong_with_a_batch_is_explained(capsys):
    def mean_of_columns(all_weights, all_biases, all_f, all_h, y):
        dweights, dbiases = notebook.backward_pass(all_weights, all_biases, all_f, all_h, y)
        return dweights, [bias / y.shape[1] for bias in dbiases]

    report = notebook.check_derivatives(mean_of_columns)
    (said,) = report.diagnosis
    assert said.startswith("batch of 3 columns: all biases: 1/3 of what it should be")
    assert "a mean over the batch where the loss sums" in said
    assert said in capsys.readouterr().out


def test_the_first_column_alone_shows_in_a_batch_of_three(capsys):
    def first_column(all_weights, all_biases, all_f, all_h, y):
        first = [[array[:, :1] for array in arrays] for arrays in (all_f, all_h)]
        return learners_backward_pass(all_weights, all_biases, *first, y[:, :1])

    report = notebook.check_derivatives(first_column)
    assert report.verdict == "failed"
    assert "In a batch of 3 columns: " + FAILURE in capsys.readouterr().out


def test_a_function_of_one_column_is_told_what_it_raised(capsys):
    def one_column(all_weights, all_biases, all_f, all_h, y):
        y.item()
        return learners_backward_pass(all_weights, all_biases, all_f, all_h, y)

    report = notebook.check_derivatives(one_column)
    assert report.verdict == "failed"
    assert "with a batch of 3 columns, backward_pass raised ValueError" in capsys.readouterr().out


def test_a_right_one_passes_with_a_batch_too(capsys):
    report = notebook.check_derivatives(learners_backward_pass)
    assert "a batch of 3 columns passed, too" in report.notes
    assert len(report.arrays) == 12
    capsys.readouterr()


@pytest.mark.parametrize("kind", [tuple, list])
def test_two_lists_of_arrays_are_taken(kind, capsys):
    all_weights, all_biases = notebook.init_params()
    _, all_f, all_h = notebook.compute_network_output(np.array([[1.2]]), all_weights, all_biases)
    lists = kind(notebook.backward_pass(all_weights, all_biases, all_f, all_h, np.array([[20.0]])))
    report = notebook.check_derivatives(lists)
    assert report.verdict == "passed"
    assert "a batch was not checked" in report.notes[-1]
    lists[0][2][1, 3] += 0.5
    assert rows(notebook.check_derivatives(lists), "failed") == ["weights[2]"]
    capsys.readouterr()


def test_a_wrong_number_of_arguments_is_named():
    expected = (
        r"backward_pass must take the arguments \(all_weights, all_biases, all_f, all_h, y\), "
        r"but it takes \(x, y\)"
    )
    with pytest.raises(DTypeError, match=expected):
        notebook.check_derivatives(lambda x, y: (x, y))
    with pytest.raises(DTypeError, match=r"backward_pass must be a function of .*, not int"):
        notebook.check_derivatives(3)
    with pytest.raises(DTypeError, match=r"or the two lists .*, not list"):
        notebook.check_derivatives([np.ones(3)])


def test_what_a_function_raises_is_the_cause_of_an_error_that_names_it():
    def unfinished(all_weights, all_biases, all_f, all_h, y):
        raise NotImplementedError("TODO")

    with pytest.raises(EvaluationError) as caught:
        notebook.check_derivatives(unfinished)
    assert str(caught.value) == "backward_pass raised NotImplementedError at the point: TODO"
    assert isinstance(caught.value.__cause__, NotImplementedError)
