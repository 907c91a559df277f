"""``fastbp demo [MISTAKE]``: the notebook's network, or a backward pass with a planted mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastbp.cli.exit_codes import EPILOG, EXIT_CODES, complain
from fastbp.cli.terminal import print_report
from fastbp.errors import FastbpError

if TYPE_CHECKING:
    import argparse

    from fastbp.report import Report

__all__ = ["add_demo", "planted_report"]


def add_demo(commands: Any) -> None:
    """Describe the command and its options."""
    parser = commands.add_parser(
        "demo",
        help="check the network of the book's notebook, or plant a mistake",
        description="Check the network of the book's notebook: its verdicts, then the report. "
        "With a mistake, plant it in a backward pass, and see whether the report names it.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "mistake", metavar="MISTAKE", nargs="?", help='which one; "list" shows their names'
    )
    parser.set_defaults(run=run_demo)


def run_demo(options: argparse.Namespace) -> int:
    """Check the notebook's default network; print its verdict lines, then the report."""
    if options.mistake is not None:
        return run_planted(options.mistake)
    import numpy as np

    from fastbp import notebook
    from fastbp.network.checks.check_network import check_network
    from fastbp.network.network import Network

    weights, biases = notebook.init_params()
    net = Network(weights, biases, relu_at_zero=notebook.RELU_AT_ZERO)
    x, y = np.full((1, 1), notebook.INPUT), np.full((1, 1), notebook.TARGET)
    output = net.forward(x).output.item()
    print("The network of the notebook: 5 hidden layers of 6 units, one input, one output.")
    print(f"Output {output:.3f}, loss {net.loss(x, y):.3f}.\n")
    # Two real losses for each parameter, as in the notebook: and half of the cold start is spared.
    report = check_network(net, x, y, method="replay")
    for title, row in notebook.rows_in_order(report):
        print(f"{title}: {notebook.verdict_line(row)}")
    print()
    print_report(report)
    return EXIT_CODES[report.verdict]


def run_planted(name: str) -> int:
    """Plant a mistake in a backward pass, check it, and print the report."""
    from fastbp.network.checks.diagnosis.planted_mistakes import MISTAKES

    if name == "list":
        width = max(map(len, MISTAKES))
        print("\n".join(f"{one:{width}}  {mistake.said}" for one, mistake in MISTAKES.items()))
        return 0
    try:
        report = planted_report(name)
    except FastbpError as error:
        return complain(str(error))
    print(f"Planted: {MISTAKES[name].said}.\n")
    print_report(report)
    return EXIT_CODES[report.verdict]


def planted_report(name: str) -> Report:
    """Return the report of a backward pass with a mistake; the documentation shows it too."""
    import numpy as np

    from fastbp.network.checks.check_network import check_network
    from fastbp.network.checks.diagnosis.planted_mistakes import planted_gradients
    from fastbp.network.network import Network

    net = Network.random(
        [5, 7, 7, 4], seed=1, loss="softmax_cross_entropy", reduction="mean", weight_decay=0.01
    )
    random = np.random.default_rng(1)
    x, y = random.standard_normal((5, 6)), random.integers(4, size=6)
    return check_network(net, x, y, planted_gradients(name, net, x, y), method="replay")
