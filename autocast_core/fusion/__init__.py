"""A model of how an engine fuses nodes into kernels, for where no engine can be built.

Public:

- `estimated_view(model, shapes)` gives the kernels of a converted (or FP32) model as an
  `autocast_core.engine.view.EngineView`, the form that a built engine has too.
- `static_shapes(model, feeds)` gives the shapes that it needs, by value name, for a batch of arrays by input name.
  Where one is missing, bytes and operations that need it are None.
- `node_kind(node)` says what a node is to fusion.

The rules were read off engines that TensorRT for RTX 1.7 built of the test models, and a test compares both: see
infra/docs/engine.md for how far they differ.

- A matrix product or convolution takes in the bias behind it, and elementwise nodes behind that. It takes in a sum with
  another tensor (a residual) only in its own type, and only where a normalization is not all that reads the sum.
- Products of one tensor with several weights are one kernel, which takes in nothing.
- Elementwise nodes, movements, reductions and one normalization or Softmax in a row are one generated kernel; movements
  behind a normalization are the next one.
- An attention core (product, scale, mask, Softmax, product) with 16-bit operands is one kernel.
- Reshapes, Casts and what depends on constants and shapes alone cost nothing. Where types differ, the narrower crosses
  between kernels, except between nodes in FP32.

It does not model how recurrent operators are unrolled, which formats convolutions ask for, nor streams.
"""

from autocast_core.fusion.estimate import estimated_view
from autocast_core.fusion.node_kinds import NodeKind, node_kind
from autocast_core.fusion.static_shapes import static_shapes

__all__ = ["NodeKind", "estimated_view", "node_kind", "static_shapes"]
