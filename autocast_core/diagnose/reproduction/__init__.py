"""Reproductions of a culprit: the smallest sub-models that show it, with the values that they were fed, as files."""
