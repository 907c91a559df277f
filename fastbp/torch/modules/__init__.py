"""A torch module and each of its layers: the real pass recorded, every layer judged alone."""
