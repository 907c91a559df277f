"""What showing the report of a large network takes, in each of its forms."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import fastbp

from . import common


class ShowReport:
    """A report with a wrong layer, so with 1000 wrong entries, and heat maps of 128 x 128 cells."""

    params = (["512^5", "4096^5"],)
    param_names = ("network",)
    timeout = 300.0

    def setup(self, name: str) -> None:
        weights, biases = common.parameters(name)
        network: Any = fastbp.Network(weights, biases)
        x, y = common.examples(name, 16)
        _, gradients = network.loss_and_gradients(x, y)
        gradients.weights[1][...] *= 2.0
        self.report = fastbp.check_network(network, x, y, gradients)
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "report"

    def teardown(self, *_: object) -> None:
        self.folder.cleanup()

    def time_text(self, *_: object) -> None:
        str(self.report)

    def time_json(self, *_: object) -> None:
        self.report.to_json(self.path)

    def time_page(self, *_: object) -> None:
        self.report.to_html(self.path)

    def time_figure(self, *_: object) -> None:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure = self.report.plot()
        figure.savefig(self.path, format="png")
        pyplot.close(figure)
