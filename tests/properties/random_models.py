"""Random well-typed models: every value is a [2, 3] tensor of float or int64, of modest size and conditioning.

A model mixes arithmetic, normalisation, several outputs a node, Constants, Casts, Q/DQ pairs, integers, shared weights,
If, Loop and Scan bodies that capture and carry floats, and calls of a model-local function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROWS, COLUMNS = 2, 3
SHAPE = [ROWS, COLUMNS]
OPSET = 22
FUNCTIONS = "local"
WEIGHTS = ("W_square", "W_row", "W_whole")


@dataclass
class Scope:
    """The values that a node of one graph may read, and the nodes written so far."""

    random: Random
    names: count
    floats: list[str]
    integers: list[str]
    depth: int = 0
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def float(self) -> str:
        return self.random.choice(self.floats)

    def integer(self) -> str:
        return self.random.choice(self.integers)

    def fresh(self, kind: str) -> str:
        return f"{kind}_{next(self.names)}"

    def add(
        self, op_type: str, inputs: list[str], outputs: int = 1, domain: str = "", **attributes: object
    ) -> list[str]:
        """Write a node (now and then without a name) and return the names of its outputs."""
        made = [self.fresh(op_type.lower()) for _ in range(outputs)]
        name = self.fresh("node") if self.random.random() < 0.8 else ""
        self.nodes.append(helper.make_node(op_type, inputs, made, name=name, domain=domain, **attributes))
        return made

    def constant(self, values: object, dtype: type = np.float32) -> str:
        return self.add("Constant", [], value=numpy_helper.from_array(np.array(values, dtype)))[0]

    def body(self, floats: list[str]) -> Scope:
        """A scope inside this one, which sees this one's values and `floats`."""
        return Scope(self.random, self.names, [*self.floats, *floats], list(self.integers), self.depth + 1)


def random_model(random: Random) -> onnx.ModelProto:
    """A valid model drawn from `random`: the same state, the same model."""
    inputs = [f"x{index}" for index in range(random.randint(1, 3))]
    scope = Scope(random, count(), [*inputs, "W_whole"], ["n"])
    fill(scope, random.randint(2, 9))
    made = [name for name in scope.floats if name not in inputs and name != "W_whole"] or ["W_whole"]
    outputs = list(dict.fromkeys(random.choice(made) for _ in range(random.randint(1, 3))))
    outputs += [random.choice(inputs)] if random.random() < 0.1 else []
    graph = helper.make_graph(
        scope.nodes,
        "random",
        [*(tensor(name) for name in inputs), tensor("n", TensorProto.INT64)],
        [*(tensor(name) for name in outputs), *integer_outputs(scope)],
        initializer=_weights(),
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(FUNCTIONS, 1)],
        functions=[_function()],
        ir_version=10,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def integer_outputs(scope: Scope) -> list[onnx.ValueInfoProto]:
    """Now and then an integer output."""
    made = [name for name in scope.integers if name != "n"]
    return [tensor(scope.random.choice(made), TensorProto.INT64)] if made and scope.random.random() < 0.3 else []


def random_feeds(model: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs for a random model: floats in [-1, 1], integers in 0…2."""
    generator = np.random.default_rng(seed)
    return {
        value.name: generator.integers(0, 3, SHAPE)
        if value.type.tensor_type.elem_type == TensorProto.INT64
        else generator.uniform(-1, 1, SHAPE).astype(np.float32)
        for value in model.graph.input
    }


def tensor(name: str, dtype: int = TensorProto.FLOAT, shape: list[int] | None = None) -> onnx.ValueInfoProto:
    """A tensor's declaration, [2, 3] unless told."""
    return helper.make_tensor_value_info(name, dtype, SHAPE if shape is None else shape)


def fill(scope: Scope, steps: int) -> None:
    """Write `steps` random nodes or groups of nodes."""
    for _ in range(steps):
        kinds = [*PLAIN, *(BODIES if scope.depth < 2 else ())]
        scope.random.choice(kinds)(scope)


def _weights() -> list[onnx.TensorProto]:
    generator = np.random.default_rng(7)
    shapes = {"W_square": (COLUMNS, COLUMNS), "W_row": (COLUMNS,), "W_whole": (ROWS, COLUMNS)}
    return [
        numpy_helper.from_array(generator.uniform(-0.5, 0.5, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]


def _function() -> onnx.FunctionProto:
    nodes = [
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Mul", ["a", "half"], ["scaled"]),
        helper.make_node("Add", ["scaled", "b"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["y"]),
    ]
    return helper.make_function(FUNCTIONS, "Blend", ["a", "b"], ["y"], nodes, [helper.make_opsetid("", OPSET)])


def _unary(scope: Scope) -> None:
    scope.floats += scope.add(
        scope.random.choice(["Relu", "Tanh", "Sigmoid", "Neg", "Identity", "Softmax", "Abs"]), [scope.float()]
    )


def _binary(scope: Scope) -> None:
    scope.floats += scope.add(scope.random.choice(["Add", "Sub", "Max", "Min"]), [scope.float(), scope.float()])


def _scaled(scope: Scope) -> None:
    scope.floats += scope.add("Mul", [scope.float(), scope.constant(scope.random.choice([0.25, -0.5, 0.1]))])


def _matmul(scope: Scope) -> None:
    scope.floats += scope.add("MatMul", [scope.float(), "W_square"])


def _gemm(scope: Scope) -> None:
    scope.floats += scope.add("Gemm", [scope.float(), "W_square", "W_row"])


def _layer_norm(scope: Scope) -> None:
    # A large epsilon, so that rounding errors of nearly constant rows are not blown up.
    scope.floats += scope.add("LayerNormalization", [scope.float(), "W_row"], scope.random.choice([1, 3]), epsilon=1.0)[
        :1
    ]


def _split(scope: Scope) -> None:
    left, right = scope.add("Split", [scope.float()], 2, axis=1, num_outputs=2)
    scope.floats += scope.add("Concat", [right, left], axis=1)


def _top_k(scope: Scope) -> None:
    values, _ = scope.add("TopK", [scope.float(), scope.constant([COLUMNS], np.int64)], 2)
    scope.floats.append(values)


def _cast_pair(scope: Scope) -> None:
    to = scope.random.choice([TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE])
    (inner,) = scope.add("Cast", [scope.float()], to=to)
    scope.floats += scope.add("Cast", [inner], to=TensorProto.FLOAT)


def _from_integers(scope: Scope) -> None:
    scope.floats += scope.add("Cast", [scope.integer()], to=TensorProto.FLOAT)


def _integer_arithmetic(scope: Scope) -> None:
    scope.integers += scope.add("Min", [scope.integer(), scope.constant(2, np.int64)])


def _where(scope: Scope) -> None:
    (condition,) = scope.add("Greater", [scope.integer(), scope.constant(0, np.int64)])
    scope.floats += scope.add("Where", [condition, scope.float(), scope.float()])


def _quantized(scope: Scope) -> None:
    scale, zero = scope.constant(2.0**-5), scope.constant(0, np.int8)
    (quantized,) = scope.add("QuantizeLinear", [scope.float(), scale, zero])
    scope.floats += scope.add("DequantizeLinear", [quantized, scale, zero])


def _constant_of_shape(scope: Scope) -> None:
    (shape,) = scope.add("Shape", [scope.float()])
    value = numpy_helper.from_array(np.array([0.5], np.float32))
    scope.floats += scope.add("ConstantOfShape", [shape], value=value)


def _call(scope: Scope) -> None:
    scope.floats += scope.add("Blend", [scope.float(), scope.float()], domain=FUNCTIONS)


def _if(scope: Scope) -> None:
    (total,) = scope.add("ReduceMax", [scope.integer()], keepdims=0)
    (condition,) = scope.add("Greater", [total, scope.constant(1, np.int64)])
    branches = {}
    for name in ("then_branch", "else_branch"):
        body = scope.body([])
        fill(body, scope.random.randint(1, 3))
        branches[name] = _graph(body, name, [], [_own(body)])
    scope.floats += scope.add("If", [condition], **branches)


def _loop(scope: Scope) -> None:
    state, step, going = scope.fresh("state"), scope.fresh("step"), scope.fresh("going")
    body = scope.body([state])
    fill(body, scope.random.randint(1, 3))
    (kept,) = body.add("Identity", [going])
    (moderate,) = body.add("Tanh", [_own(body)])
    inputs = [tensor(step, TensorProto.INT64, []), tensor(going, TensorProto.BOOL, []), tensor(state)]
    outputs = [tensor(kept, TensorProto.BOOL, []), tensor(moderate), tensor(_own(body))]
    graph = helper.make_graph(body.nodes, scope.fresh("loop"), inputs, outputs)
    trips = scope.constant(scope.random.randint(1, 3), np.int64)
    last, stacked = scope.add("Loop", [trips, "", scope.float()], 2, body=graph)
    scope.floats.append(last)
    scope.floats += scope.add("ReduceMean", [stacked, scope.constant([0], np.int64)], keepdims=0)


def _scan(scope: Scope) -> None:
    state, row = scope.fresh("state"), scope.fresh("row")
    body = Scope(scope.random, scope.names, [state], list(scope.integers), scope.depth + 1)
    (summed,) = body.add("Add", [state, row])
    body.floats = [summed, state, row]
    (halved,) = body.add("Mul", [summed, body.constant(0.5)])
    (shown,) = body.add(scope.random.choice(["Relu", "Neg", "Identity"]), [body.float()])
    graph = helper.make_graph(
        body.nodes,
        scope.fresh("scan"),
        [tensor(state, shape=[COLUMNS]), tensor(row, shape=[COLUMNS])],
        [tensor(halved, shape=[COLUMNS]), tensor(shown, shape=[COLUMNS])],
    )
    last, stacked = scope.add("Scan", ["W_row", scope.float()], 2, body=graph, num_scan_inputs=1)
    scope.floats += scope.add("Add", [stacked, last])


def _own(body: Scope) -> str:
    """A float that this body makes, or may rightly hand out: its last one, made by an Identity where it has none."""
    made = {name for node in body.nodes for name in node.output}
    own = [name for name in body.floats if name in made]
    if not own:
        own = body.add("Identity", [body.float()])
        body.floats += own
    return body.random.choice(own)


def _graph(body: Scope, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[str]) -> onnx.GraphProto:
    return helper.make_graph(body.nodes, name, inputs, [tensor(each) for each in outputs])


PLAIN: tuple[Callable[[Scope], None], ...] = (
    _unary,
    _binary,
    _scaled,
    _matmul,
    _gemm,
    _layer_norm,
    _split,
    _top_k,
    _cast_pair,
    _from_integers,
    _integer_arithmetic,
    _where,
    _quantized,
    _constant_of_shape,
    _call,
)
BODIES: tuple[Callable[[Scope], None], ...] = (_if, _loop, _scan)
Feeds = Mapping[str, np.ndarray]
