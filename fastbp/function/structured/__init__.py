"""Points of sets that are no open part of a space: symmetric matrices, spheres, simplices."""
