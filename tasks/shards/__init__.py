"""Shards of a conversion's or a search's work: what each is, and where they are done.

A runner (`runner`) does pieces of work side by side: in this process, on a Dask cluster (`dask_runner`) or on a Ray
cluster (`ray_runner`). `calibration` and `trials` cut work into shards and put what they found together again, to the
same bits wherever and in whatever order the shards were done. A worker fetches the pinned model and its own batches
itself, and reads them in an isolated process where the job is isolated.
"""
