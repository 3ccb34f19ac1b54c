"""`python -m autocast_core`: the converter's own command line, with AutoCast's flags."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from autocast_core.config import OPTIONS, ConversionConfig
from autocast_core.errors import AutocastError, ConfigError, InputError, OutputError
from autocast_core.options import Option
from autocast_core.precision import parse_low_types, types_text
from autocast_core.process.garbage_collector import never_collect
from autocast_core.process.lazy_imports import postpone_symbolic_shapes
from autocast_core.process.log_setup import LOGGER, configure_logging
from autocast_core.text import visible

if TYPE_CHECKING:
    import onnx

    from autocast_core.model import ModelFile, SavedModel
    from autocast_core.plan import PrecisionPlan

EXAMPLES = """examples:
  python -m autocast_core --onnx_path model.onnx
  python -m autocast_core --onnx_path model.onnx -t bf16 -d calibration.npz --output_path out/model.onnx
  python -m autocast_core --onnx_path model.onnx --data_max inf --nodes_to_exclude '.*attn.*'
  python -m autocast_core --onnx_path model.onnx --save_plan plan.json
  python -m autocast_core --onnx_path model.onnx -d calibration.npz --decide measured
  python -m autocast_core --onnx_path next_checkpoint.onnx --plan plan.json
  python -m autocast_core --onnx_path model.fp16.onnx --widen

exit codes: 0 done, 2 bad input or usage, 3 ruined, as --decide measured sees it, 1 anything else
"""


class _Parser(argparse.ArgumentParser):
    """Usage errors are one line; the thirty of argparse's usage are in `--help`."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see `{self.prog} --help`\n")


def get_parser() -> argparse.ArgumentParser:
    """The command line; names, meanings and defaults are AutoCast's where it has them."""
    top = _Parser(
        prog="python -m autocast_core",
        description="Convert an FP32 ONNX model to mixed FP32-FP16 or FP32-BF16 precision.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = top.add_argument
    add("--onnx_path", required=True, metavar="FILE", help="The FP32 model.")
    add(
        "--output_path",
        metavar="FILE",
        help="The converted model. Default: MODEL.TYPE.onnx: fp16, bf16, fp16-bf16, or with --widen fp32.",
    )
    add(
        "--calibration_data",
        "-d",
        metavar="DATA",
        help="A .npz file, a folder of them or a Polygraphy .json file. Default: seeded random data.",
    )
    for option in OPTIONS.values():
        if option.flags:
            add(*option.flags, **_argument(option))
    add(
        "--log_level",
        default="INFO",
        choices=["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        help="DEBUG says for each node why it was decided that way. (default: %(default)s)",
    )
    add("--plan", metavar="FILE", help="Apply this precision plan instead of calibrating and deciding.")
    add("--save_plan", metavar="FILE", help="Write the precision plan to this file.")
    add(
        "--widen",
        action="store_true",
        help="Convert a 16-bit model back to FP32 throughout; weights keep their values.",
    )
    return top


def _argument(option: Option) -> dict[str, Any]:
    """How argparse reads the option; lists that are not given are None."""
    text = option.help.replace("%", "%%")
    if option.type == "bool":
        return {"action": "store_true", "help": text}
    if option.nargs is not None:
        return {"nargs": option.nargs, "metavar": option.metavar, "help": text}
    return {
        "type": {"float": float, "int": int, "int | None": int}.get(option.type, str),
        "choices": option.choices or None,
        "metavar": option.metavar,
        "default": option.default,
        "help": text if option.default is None else f"{text} (default: %(default)s)",
    }


def main(argv: Sequence[str] | None = None) -> onnx.ModelProto:
    """Run the command line as AutoCast's `main`: writes the converted model and returns it.

    Raises the AutocastError, which `command` prints; SystemExit for wrong usage.
    """
    from autocast_core.pipeline.other_tools.compat import read_converted

    return read_converted(_convert(get_parser().parse_args(argv)))


def command(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from autocast_core.process.full_disk import full_disk_told
    from autocast_core.process.out_of_memory import out_of_memory_told

    try:
        with full_disk_told(), out_of_memory_told():
            _convert(get_parser().parse_args(argv))
    except AutocastError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _convert(arguments: argparse.Namespace) -> SavedModel:
    configure_logging(arguments.log_level)
    from autocast_core.model import open_model
    from autocast_core.pipeline.convert import convert_file
    from autocast_core.pipeline.outcome.missed_target import MissedTargetError
    from autocast_core.plan import read_plan

    config = _config(arguments)
    for path in filter(None, (arguments.onnx_path, arguments.calibration_data)):
        _require_file_or_folder(Path(path))
    source = Path(arguments.onnx_path)
    if arguments.widen:
        return _widen(arguments, source, config)
    model = open_model(source)
    output = Path(arguments.output_path or source.with_suffix(f".{types_text(config.low_types, '-')}.onnx"))
    plan = read_plan(arguments.plan) if arguments.plan else None
    _check_outputs(arguments, model, output)
    try:
        conversion = convert_file(model, output, config, calibration=arguments.calibration_data, plan=plan)
    except MissedTargetError as missed:
        _save_plan(arguments, missed.plan)
        raise
    _save_plan(arguments, conversion.plan)
    _say_written(conversion.output.path)
    return conversion.output


def _widen(arguments: argparse.Namespace, source: Path, config: ConversionConfig) -> SavedModel:
    """The way back to FP32. ConfigError for options that ask for a plan."""
    from autocast_core.model import open_model
    from autocast_core.pipeline.widen_file import widen_file

    if arguments.plan or arguments.save_plan:
        raise ConfigError("--widen makes no plan: omit --plan and --save_plan")
    model = open_model(source)
    output = Path(arguments.output_path or source.with_suffix(".fp32.onnx"))
    _check_outputs(arguments, model, output)
    done = widen_file(model, output, config.keep_io_types)
    for change in done.changes:
        LOGGER.info("%s: %s", change.step, change.detail)
    _say_written(done.output.path)
    return done.output


def _save_plan(arguments: argparse.Namespace, plan: PrecisionPlan) -> None:
    if arguments.save_plan:
        _write_text(Path(arguments.save_plan), plan.to_json())


def _say_written(path: Path) -> None:
    """Beside the log, which standard output gets, as AutoCast's does."""
    if LOGGER.isEnabledFor(logging.INFO):
        print(f"wrote {visible(str(path))}", file=sys.stderr)


def _check_outputs(arguments: argparse.Namespace, source: ModelFile, output: Path) -> None:
    """OutputError where a file cannot be written, or one that is read, or the converted model, would be replaced."""
    from autocast_core.model import model_files
    from autocast_core.model.atomic import check_destination, check_inputs_stay, model_outputs
    from autocast_core.pipeline.job import files_of_data

    given = [Path(arguments.plan)] if arguments.plan else []
    read = (*model_files(source), *files_of_data(arguments.calibration_data))
    check_destination(output, 0)
    check_inputs_stay(model_outputs(output), (*read, *given))
    if arguments.save_plan:
        plan = Path(arguments.save_plan)
        check_destination(plan, 0)
        if plan.resolve() in [path.resolve() for path in model_outputs(output)]:
            raise OutputError(f"{plan}: is the converted model's own file: write the plan elsewhere")
        check_inputs_stay((plan,), read)


def _require_file_or_folder(path: Path) -> None:
    """A pipe or device would keep its reader for ever. What is not there is its reader's to name."""
    try:
        readable = not path.exists() or path.is_file() or path.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero byte
        raise InputError(f"{visible(str(path))}: cannot be the name of a file: give the path of one") from error
    if not readable:
        raise InputError(f"{path} is a pipe or device: give a file, or a folder of data")


def _config(arguments: argparse.Namespace) -> ConversionConfig:
    """The options that the command line gives, and the defaults of the others."""
    given = {
        option.name: getattr(arguments, option.destination)
        for option in OPTIONS.values()
        if option.flags and getattr(arguments, option.destination) is not None
    }
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    values["lower_all_io"] = arguments.decide == "thresholds"
    if given.get("keep_io_types") == []:
        values["keep_io_types"] = True
    if "shapes" in given:
        values["shapes"] = _shapes(given["shapes"])
    precision, range_precision = parse_low_types(arguments.low_precision_type)
    return ConversionConfig(**{**values, "precision": precision, "range_precision": range_precision})


def _shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
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
    from autocast_core.model.atomic import write_whole

    write_whole(path, text.encode())


if __name__ == "__main__":
    postpone_symbolic_shapes()
    never_collect()
    sys.exit(command())
