"""The precisions of custom operators, as users state them for TensorRT plugins (AutoCast's syntax)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autocast_core.config import Precision
from autocast_core.errors import ConfigError


@dataclass(frozen=True)
class PluginPrecision:
    """What a custom operator wants of its float inputs and outputs; a single entry speaks for all."""

    inputs: tuple[Precision, ...]
    outputs: tuple[Precision, ...]

    def wants_low(self, index: int, *, output: bool) -> bool:
        """Whether operand `index` is to have 16 bits."""
        wanted = self.outputs if output else self.inputs
        if not wanted:
            return False
        return wanted[min(index, len(wanted) - 1)].is_low if len(wanted) > 1 else wanted[0].is_low


def parse_plugin_precisions(texts: Iterable[str]) -> dict[str, PluginPrecision]:
    """Operator type to precision, from ``OpType:fp16`` or ``OpType:[fp16,fp32]:[fp16]``. ConfigError for others."""
    found = {}
    for text in texts:
        op_type, _, rest = text.partition(":")
        parts = rest.split(":") if rest else []
        if not op_type or len(parts) not in (1, 2):
            raise ConfigError(
                f"trt_plugins_precision {text!r}: give OpType:fp16 or OpType:[fp16,fp32]:[fp16] (inputs, outputs)"
            )
        inputs = _precisions(parts[0], text)
        found[op_type] = PluginPrecision(inputs, _precisions(parts[1], text) if len(parts) == 2 else inputs[:1])
    return found


def plugin_settings(plugins: Mapping[str, PluginPrecision]) -> dict[str, list[list[str]]]:
    """JSON form, as a plan keeps it."""
    return {name: [[*map(str, each.inputs)], [*map(str, each.outputs)]] for name, each in sorted(plugins.items())}


def plugins_from_settings(raw: Mapping[str, list[list[str]]]) -> dict[str, PluginPrecision]:
    """The inverse of `plugin_settings`."""
    return {
        name: PluginPrecision(tuple(map(Precision, inputs)), tuple(map(Precision, outputs)))
        for name, (inputs, outputs) in raw.items()
    }


def _precisions(text: str, whole: str) -> tuple[Precision, ...]:
    if text.startswith("[") != text.endswith("]"):
        raise ConfigError(f"trt_plugins_precision {whole!r}: a bracket is missing; give OpType:[fp16,fp32]:[fp16]")
    names = text.strip("[]").split(",")
    try:
        found = tuple(Precision(name.strip()) for name in names)
    except ValueError as error:
        raise ConfigError(f"trt_plugins_precision {whole!r}: {error}; known are fp32, fp16 and bf16") from error
    return found
