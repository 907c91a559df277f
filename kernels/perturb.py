"""The perturbation loop over a function that the user compiled with numba.

Each thread has a copy of the point, changes one entry of it, calls the function, puts it back.
"""

from __future__ import annotations

from .compile import kernel
from .team import draw_ticket, report_done, stopped, wait_until_done

EVALUATIONS_PER_BLOCK = 16


@kernel(entry=True, on_disk=False)
def evaluate_perturbed(control, f, point, indices, entries, values, raised):
    """Fill ``values[k]`` with f where ``indices[k]`` of the flat point is ``entries[k]``.

    ``raised``, shape (1,), counts blocks in which f raised: their values are not valid.
    """
    own = point.copy()
    flat = own.reshape(own.size)
    blocks = (indices.size + EVALUATIONS_PER_BLOCK - 1) // EVALUATIONS_PER_BLOCK
    while True:
        block = draw_ticket(control)
        if block >= blocks or stopped(control):
            break
        begin = block * EVALUATIONS_PER_BLOCK
        end = min(begin + EVALUATIONS_PER_BLOCK, indices.size)
        # A block that is never reported done would be waited for without end.
        try:
            for k in range(begin, end):
                index = indices[k]
                former = flat[index]
                flat[index] = entries[k]
                values[k] = f(own)
                flat[index] = former
        except Exception:
            raised[0] += 1
        report_done(control)
    wait_until_done(control, blocks)
