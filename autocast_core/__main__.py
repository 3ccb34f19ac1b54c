"""`python -m autocast_core`: the converter's own command line, with AutoCast's flags."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from autocast_core.process.garbage_collector import collector_paused, skip_final_collection
from autocast_core.process.lazy_imports import postpone_symbolic_shapes

EXAMPLES = """examples:
  python -m autocast_core --onnx_path model.onnx
  python -m autocast_core --onnx_path model.onnx -t bf16 -d calibration.npz --output_path out/model.onnx
  python -m autocast_core --onnx_path model.onnx --data_max inf --nodes_to_exclude '.*attn.*'
  python -m autocast_core --onnx_path model.onnx --save_plan plan.json
  python -m autocast_core --onnx_path next_checkpoint.onnx --plan plan.json

exit codes: 0 done, 2 bad input or usage, 1 anything else
"""


def parser() -> argparse.ArgumentParser:
    """The command line; names, meanings and defaults are AutoCast's where it has them."""
    top = argparse.ArgumentParser(
        prog="python -m autocast_core",
        description="Convert an FP32 ONNX model to mixed FP32-FP16 or FP32-BF16 precision.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = top.add_argument
    add("--onnx_path", required=True, metavar="FILE", help="the FP32 model")
    add("--output_path", metavar="FILE", help="the converted model (default: MODEL.fp16.onnx or MODEL.bf16.onnx)")
    add("--low_precision_type", "-t", choices=["fp16", "bf16"], default="fp16", help="the 16-bit type (%(default)s)")
    add("--calibration_data", "-d", metavar="DATA", help="a .npz, a folder of .npz or a Polygraphy .json; else random")
    add("--nodes_to_exclude", "-ne", "-n", nargs="*", default=[], metavar="REGEX", help="node names to keep in FP32")
    add("--op_types_to_exclude", "-ope", "-op", nargs="*", default=[], metavar="OP", help="types to keep in FP32")
    add("--nodes_to_include", "-ni", nargs="*", default=[], metavar="REGEX", help="node names to convert anyway")
    add("--op_types_to_include", "-opi", nargs="*", default=[], metavar="OP", help="types to convert anyway")
    add("--data_max", type=float, default=512.0, help="largest node input or output; inf: no limit (%(default)s)")
    add("--init_max", type=float, default=65504.0, help="largest initializer value (%(default)s)")
    add("--init_conversion_max_bytes", type=int, metavar="N", help="cast larger initializers at run time instead")
    add("--max_depth_of_reduction", type=int, metavar="N", help="keep nodes that sum more values (default: no limit)")
    add(
        "--keep_io_types",
        nargs="*",
        default=None,
        metavar="NAME",
        help="keep the types of all graph inputs and outputs, or of those named",
    )
    add(
        "--log_level",
        default="INFO",
        choices=["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        help="DEBUG tells why for each node (%(default)s)",
    )
    add(
        "--providers",
        nargs="+",
        default=[],
        metavar="EP",
        help="of cpu, cuda:N, trt (default: cpu; for custom operators trt where it is there)",
    )
    add("--trt_plugins", nargs="+", default=[], metavar="LIB", help="TensorRT plugin libraries (.so)")
    add(
        "--trt_plugins_precision",
        nargs="+",
        default=[],
        metavar="OP:TYPE",
        help="precision of custom operators: Op:fp16 or Op:[fp16,fp32]:[fp16]",
    )
    add("--opset", type=int, metavar="N", help="target opset (default: the model's, at least 13 for FP16, 22 for BF16)")
    add("--use_standalone_type_inference", action="store_true", help="types from operator schemas alone")
    add("--shapes", nargs="+", default=[], metavar="NAME:1x128", help="shapes of dynamic inputs for random data")
    add("--target", choices=["tensorrt"], help="change what this engine refuses, round by round")
    add("--plan", metavar="FILE", help="apply this precision plan instead of classifying")
    add("--save_plan", metavar="FILE", help="write the precision plan")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(_OneLine("%(levelname)s %(message)s"))
    logging.basicConfig(level=arguments.log_level, handlers=[terminal])
    from autocast_core.errors import AutocastError

    try:
        _convert(arguments)
    except AutocastError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


class _OneLine(logging.Formatter):
    """Messages hold names from models: what would move the cursor or end the line is written as an escape."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        from autocast_core.text import visible

        return visible(super().formatMessage(record), 100_000)


def _convert(arguments: argparse.Namespace) -> None:
    from autocast_core.config import ConversionConfig, Precision
    from autocast_core.pipeline.convert import convert_file
    from autocast_core.plan import read_plan

    config = ConversionConfig(
        precision=Precision(arguments.low_precision_type),
        nodes_to_exclude=tuple(arguments.nodes_to_exclude),
        op_types_to_exclude=tuple(arguments.op_types_to_exclude),
        nodes_to_include=tuple(arguments.nodes_to_include),
        op_types_to_include=tuple(arguments.op_types_to_include),
        data_max=arguments.data_max,
        init_max=arguments.init_max,
        init_conversion_max_bytes=arguments.init_conversion_max_bytes,
        max_depth_of_reduction=arguments.max_depth_of_reduction,
        keep_io_types=_keep(arguments.keep_io_types),
        opset=arguments.opset,
        providers=tuple(arguments.providers),
        trt_plugins=tuple(arguments.trt_plugins),
        trt_plugins_precision=tuple(arguments.trt_plugins_precision),
        use_standalone_type_inference=arguments.use_standalone_type_inference,
        shapes=_shapes(arguments.shapes),
        target=arguments.target,
    )
    for path in filter(None, (arguments.onnx_path, arguments.calibration_data)):
        _require_file_or_folder(Path(path))
    source = Path(arguments.onnx_path)
    output = Path(arguments.output_path or source.with_suffix(f".{config.precision}.onnx"))
    plan = read_plan(arguments.plan) if arguments.plan else None
    conversion = convert_file(source, output, config, calibration=arguments.calibration_data, plan=plan)
    if arguments.save_plan:
        _write_text(Path(arguments.save_plan), conversion.plan.to_json())
    logging.getLogger("autocast_core").info("wrote %s", conversion.output.path)


def _require_file_or_folder(path: Path) -> None:
    """A pipe or device would keep its reader for ever. What is not there is its reader's to name."""
    from autocast_core.errors import InputError

    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} is a pipe or device: give a file, or a folder of data")


def _keep(names: list[str] | None) -> bool | tuple[str, ...]:
    if names is None:
        return False
    return tuple(names) if names else True


def _shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    from autocast_core.errors import ConfigError

    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, dims = text.rpartition(":")
        try:
            shapes[name] = tuple(int(dim) for dim in dims.split("x"))
        except ValueError as error:
            raise ConfigError(f"shape {text!r}: give NAME:1x128") from error
        if not name:
            raise ConfigError(f"shape {text!r}: give NAME:1x128")
    return shapes


def _write_text(path: Path, text: str) -> None:
    from autocast_core.errors import OutputError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot write the plan: {error}") from error


if __name__ == "__main__":
    postpone_symbolic_shapes()
    skip_final_collection()
    with collector_paused():
        code = main()
    sys.exit(code)
