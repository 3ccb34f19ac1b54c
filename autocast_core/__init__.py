"""Converts FP32 ONNX models to mixed precision and says why; knows no orchestrator, tracking server or object store.

``__init__.pyi`` lists the public names, for type checkers and for this module, which imports each on first use: a small
part of the package costs no more than itself.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
