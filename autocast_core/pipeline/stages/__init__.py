"""The stages of a conversion, one a file: a function (job, artifacts) → artifact, and its declaration as a `Stage`."""
