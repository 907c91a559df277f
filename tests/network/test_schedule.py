"""The plan of a call: its phases, its barriers, its places; and that no plan changes a bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from fastbp.kernels.backprop import phases
from fastbp.kernels.simd.vectors import panel_width
from support.strategies import LAYOUTS, make_problem

from fastbp.network import passes
from fastbp.network.network import require_batch
from fastbp.network.schedule import ALL, BACKWARD, FORWARD, LOSS, Shape, places, plan

WIDTH = panel_width(np.empty(0))
SIZES = ((3, 2), (5, 9, 4), (300, 257, 520, 3), (1, 1, 1, 1))
SHAPES = [
    Shape(sizes, batch, WIDTH if batch > 1 else 1, keras, cached)
    for sizes, batch, keras, cached in itertools.product(
        SIZES, (1, 2, WIDTH, 3 * WIDTH + 1), (False, True), (False, True)
    )
]


@pytest.mark.small
@pytest.mark.parametrize("stages", [FORWARD, FORWARD | LOSS, BACKWARD, ALL])
@pytest.mark.parametrize("inputs", [False, True])
def test_every_phase_waits_for_whole_groups_before_it(stages, inputs):
    """AFTER is the number of blocks in all groups before, so that one counter is enough."""
    for shape in SHAPES:
        schedule = plan(stages, shape, inputs=inputs)
        assert schedule.dtype == np.int64
        assert (schedule[:, phases.BLOCKS] > 0).all()
        done = expected = 0
        for _, rows in itertools.groupby(schedule, key=lambda row: row[phases.AFTER]):
            group = list(rows)
            assert group[0][phases.AFTER] == expected
            done += sum(row[phases.BLOCKS] for row in group)
            expected = done
        assert expected == schedule[:, phases.BLOCKS].sum()


@pytest.mark.small
@pytest.mark.parametrize("inputs", [False, True])
def test_every_layer_has_its_gradients_once(inputs):
    for shape in SHAPES:
        schedule = plan(ALL, shape, inputs=inputs)
        kind = phases.BACKWARD if shape.batch == 1 else phases.WEIGHT_GRADIENTS
        found = schedule[schedule[:, phases.KIND] == kind, phases.LAYER]
        assert sorted(found) == list(range(len(shape.sizes) - 1))
        assert (schedule[:, phases.KIND] == phases.SUM_OF_LOSSES).sum() == 1
        assert (schedule[:, phases.KIND] == phases.UNPACK_INPUTS).sum() == inputs


@pytest.mark.small
def test_only_batches_of_several_panels_go_panel_by_panel():
    for shape in SHAPES:
        through = (plan(ALL, shape, inputs=True)[:, phases.KIND] == phases.THROUGH).any()
        assert through == (shape.cached and shape.batch > WIDTH)
        backward_alone = plan(BACKWARD, shape, inputs=True)
        assert not (backward_alone[:, phases.KIND] == phases.THROUGH).any()


def ranges(starts: np.ndarray, lengths: list[int]) -> list[range]:
    return [range(int(a), int(a) + n) for a, n in zip(starts, lengths, strict=True)]


def assert_apart(found: list[range], size: int) -> None:
    """Inside the buffer, and no two at the same place."""
    for one, other in itertools.pairwise(sorted(found, key=lambda r: r.start)):
        assert one.stop <= other.start
    assert all(0 <= one.start <= one.stop <= size for one in found)


@pytest.mark.small
def test_what_is_alive_at_once_has_places_of_its_own():
    for shape in SHAPES:
        table, sensitivities, left, right = places(shape)
        pitch = shape.panels * shape.width
        s_sizes = [units * pitch for units in shape.sizes]
        here = ranges(table[:, phases.S_HERE], s_sizes[1:])
        below = ranges(table[:, phases.S_BELOW], s_sizes[:-1])
        for k in range(len(here)):
            assert_apart([here[k], below[k]], sensitivities)
            if k > 0:  # what the layer above leaves is what this one takes up
                assert below[k] == here[k - 1]
        if shape.by_panels:
            assert_apart([below[0], *here], sensitivities)
            rows = [shape.sizes[k if shape.transposed else k + 1] for k in range(len(here))]
            columns = [shape.sizes[k + 1 if shape.transposed else k] for k in range(len(here))]
            assert_apart(ranges(table[:, phases.LEFT], [n * pitch for n in rows]), left)
            padded = [-(-n // shape.width) * shape.width * shape.batch for n in columns]
            assert_apart(ranges(table[:, phases.RIGHT], padded), right)


BOTH_WAYS = pytest.mark.parametrize(
    ("sizes", "batch"),
    [
        pytest.param([3, 2], 2 * WIDTH + 1, marks=pytest.mark.small),
        pytest.param([5, 9, 8, 3], 3 * WIDTH, marks=pytest.mark.small),
        ([5, 9, 8, 3], 70),
        ([64, 128, 128, 10], 64),
        ([65, 130, 1, 33], 129),
        ([300, 257, 3], 77),
    ],
    ids=str,
)


@BOTH_WAYS
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_panel_by_panel_and_layer_by_layer_give_the_same_bits(
    sizes, batch, layout, dtype, monkeypatch
):
    problem = make_problem(
        sizes, batch, layout=layout, dtype=dtype, relu_at_zero=0.5, weight_decay=0.25,
        values="sparse",
    )  # fmt: skip
    net = problem.network()
    found = []
    for cache in (0, 2**40):
        monkeypatch.setattr(passes, "L2_BYTES", cache)
        for inputs in (False, True):
            loss, gradients = net.loss_and_gradients(problem.x, problem.y, inputs=inputs)
            again, _ = net.loss_and_gradients(problem.x, problem.y, out=gradients, inputs=inputs)
            assert again == loss
            assert (gradients.inputs is None) == (not inputs)
            found.append((loss, gradients.flat.tobytes()))
        found[-1] = (*found[-1], gradients.inputs.tobytes())
    by_layers, by_layers_inputs, by_panels, by_panels_inputs = found
    assert by_layers_inputs[:2] == by_layers
    assert by_panels == by_layers
    assert by_panels_inputs == by_layers_inputs


@pytest.mark.small
def test_the_two_ways_differ_in_their_plan(monkeypatch):
    """What the test above compares is not twice the same."""
    problem = make_problem([5, 9, 3], 2 * panel_width(np.empty(0)) + 1)
    net = problem.network()
    batch = require_batch(net, problem.x, problem.y)
    kinds = []
    for cache in (0, 2**40):
        monkeypatch.setattr(passes, "L2_BYTES", cache)
        schedule = passes.Passes(net.shapes, net.objective, 0.0, batch)._schedule(ALL, True)
        kinds.append(phases.THROUGH in schedule[:, phases.KIND])
    assert kinds == [False, True]
