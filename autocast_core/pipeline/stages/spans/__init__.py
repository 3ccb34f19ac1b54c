"""Stages done for some of the batches at a time, for whoever has several processes."""
