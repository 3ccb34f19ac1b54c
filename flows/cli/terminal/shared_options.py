"""Options and arguments that several commands take, each declared once; a command gives them their defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
SourceModel = Annotated[str, typer.Argument(help="FP32 ONNX model: path, file://, s3:// or models:/NAME/VERSION.")]
RegisteredVersion = Annotated[str, typer.Argument(help="models:/NAME/VERSION or models:/NAME@ALIAS.")]
Calibration = Annotated[str | None, typer.Option(help="Calibration data: .npz, folder of them, Polygraphy JSON.")]
SpecFile = Annotated[Path | None, typer.Option(help="YAML file of options; see `autocast schema`.")]
Precisions = Annotated[str | None, typer.Option(help="fp16 (default), bf16, or fp16,bf16.")]
Metric = Annotated[
    str | None, typer.Option(help="module:function(outputs, labels) for task_metric_ratio. Default: top-1.")
]
Judges = Annotated[
    list[str] | None, typer.Option(help="A judge of the task, for example boxes:layout=yolov8; may be repeated.")
]
Device = Annotated[str | None, typer.Option(help="Device to estimate the engine's time on: l4 (default), h100 …")]
FP32Engine = Annotated[
    bool | None, typer.Option("--fp32-engine", help="Also build the FP32 model's engine, to compare with.")
]
