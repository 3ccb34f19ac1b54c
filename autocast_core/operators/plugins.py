"""The precisions of custom operators, as users state them for TensorRT plugins (AutoCast's syntax)."""

from __future__ import annotations

from collections.abc import Iterable

from autocast_core.config import Precision
from autocast_core.errors import ConfigError
from autocast_core.plan import PluginPrecision


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


def _precisions(text: str, whole: str) -> tuple[Precision, ...]:
    if text.startswith("[") != text.endswith("]"):
        raise ConfigError(f"trt_plugins_precision {whole!r}: a bracket is missing; give OpType:[fp16,fp32]:[fp16]")
    names = text.strip("[]").split(",")
    try:
        found = tuple(Precision(name.strip()) for name in names)
    except ValueError as error:
        raise ConfigError(f"trt_plugins_precision {whole!r}: {error}; known are fp32, fp16 and bf16") from error
    return found
