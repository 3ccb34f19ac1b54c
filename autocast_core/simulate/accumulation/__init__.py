"""What a strongly typed engine may do inside a node: bounds, since what a kernel does is not known without its GPU.

ONNX does not say in which type a node adds up. `simulate` takes FP32, as tensor cores do. Here nodes of 16-bit types
are written out so that they round on their way, too:

- ``native``: normalisations and reductions compute in their input's type. Sums are rounded after every 16 addends, each
  step of a normalisation is rounded, LogSoftmax is Softmax, rounded, then Log.
- ``fp16``: also products of FP16 matrices and convolutions accumulate in FP16, rounded after every 16 products, and the
  sum of a Softmax is FP16. BF16 products stay in FP32: no tensor core accumulates them otherwise.

Not modelled: ConvTranspose, grouped convolutions, Einsum, recurrent operators, Attention as an operator, nodes whose
rank is not known, and models of opsets below 13. The order of sums differs between kernels; 16 is the depth of one step
of a tensor core.
"""

from autocast_core.simulate.accumulation.accumulate import (
    ATTENTION,
    Accumulate,
    attention_products,
    is_modelled,
    modelled_types,
    write_out,
)

__all__ = ["ATTENTION", "Accumulate", "attention_products", "is_modelled", "modelled_types", "write_out"]
