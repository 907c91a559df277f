"""A gradient in C, called by ctypes, checked against its function in C.

The Rosenbrock function in any number of dimensions. Needs a C compiler, named by CC or `cc`.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import fastbp

SOURCE = r"""
double rosenbrock(const double *x, long n) {
    double total = 0.0;
    for (long i = 0; i + 1 < n; i++) {
        double a = x[i + 1] - x[i] * x[i], b = 1.0 - x[i];
        total += 100.0 * a * a + b * b;
    }
    return total;
}

/* The term of x[i + 1] is left out at the last entry: the loop of the first line goes one less. */
void rosenbrock_gradient(const double *x, long n, double *gradient, int wrong) {
    for (long i = 0; i < n; i++) gradient[i] = 0.0;
    for (long i = 0; i + 1 < n; i++) {
        double a = x[i + 1] - x[i] * x[i];
        gradient[i] += -400.0 * a * x[i] - 2.0 * (1.0 - x[i]);
        if (!(wrong && i + 2 == n)) gradient[i + 1] += 200.0 * a;
    }
}
"""


def compiled(folder: Path) -> ctypes.CDLL:
    """Compile the source and load it."""
    source, library = folder / "rosenbrock.c", folder / "rosenbrock.so"
    source.write_text(SOURCE, encoding="utf-8")
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", str(source), "-o", str(library)], check=True
    )
    loaded = ctypes.CDLL(str(library))
    vector = np.ctypeslib.ndpointer(np.float64, flags="C_CONTIGUOUS")
    loaded.rosenbrock.argtypes = [vector, ctypes.c_long]
    loaded.rosenbrock.restype = ctypes.c_double
    loaded.rosenbrock_gradient.argtypes = [vector, ctypes.c_long, vector, ctypes.c_int]
    loaded.rosenbrock_gradient.restype = None
    return loaded


def main() -> None:
    """Check the wrong gradient, then the right one."""
    with tempfile.TemporaryDirectory() as folder:
        library = compiled(Path(folder))

        def function(x: np.ndarray) -> float:
            return float(library.rosenbrock(x, x.size))

        at = np.linspace(-1.0, 1.5, 40)
        for wrong in (1, 0):

            def gradient(x: np.ndarray, wrong: int = wrong) -> np.ndarray:
                result = np.empty_like(x)
                library.rosenbrock_gradient(x, x.size, result, wrong)
                return result

            report = fastbp.check_gradient(function, gradient, at)
            print(report.verdict, *(failure.where for failure in report.failures))


if __name__ == "__main__":
    main()
