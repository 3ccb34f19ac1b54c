"""Data for calibration, evaluation and search: readers, batches, and what a model must be fed."""

from autocast_core.data.batches import Batches, DataBatches, between, open_batches
from autocast_core.data.inputs import InputSpec, input_specs
from autocast_core.data.layout import FileLayout, FileSpan
from autocast_core.data.table_rows import table_sizes

__all__ = [
    "Batches",
    "DataBatches",
    "FileLayout",
    "FileSpan",
    "InputSpec",
    "between",
    "input_specs",
    "open_batches",
    "table_sizes",
]
