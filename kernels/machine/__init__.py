"""The machine: compilation, threads, arrays without reference counts, cache sizes."""
