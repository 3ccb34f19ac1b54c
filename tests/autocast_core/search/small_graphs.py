"""Random graphs of at most eight nodes, among them shifts and scales whose rounding matters."""

import random

import numpy as np
import onnx

KINDS = ("Mul", "Add", "Sub", "Sub", "Tanh", "Sigmoid", "Sin", "MatMul", "shift", "unshift", "scale")
DISTANCES, FACTORS = (3, 30, 300, 1000), (0.01, 0.1, 7, 50)


def small_graph(seed):
    """The graph of this number, and data for it."""
    draw = random.Random(seed)
    values, lines, constants = ["x", "z"], [], []
    for number in range(draw.randint(4, 8)):
        kind, name = draw.choice(KINDS), f"c{number}"
        left, right = draw.choice(values[-3:]), draw.choice(values[-3:])
        if kind in ("shift", "unshift", "scale"):
            operator = {"shift": "Add", "unshift": "Sub", "scale": "Mul"}[kind]
            constants.append(f"float {name} = {{{draw.choice(FACTORS if kind == 'scale' else DISTANCES)}}}")
            made = f"{operator}({left}, {name})"
        else:
            made = f"{kind}({left}{', ' + right if kind in ('Mul', 'Add', 'Sub') else ''})"
            made = made.replace(")", ", w)") if kind == "MatMul" else made
        values.append(f"v{number}")
        lines.append(f"[n{number}] v{number} = {made}")
    weights = ", ".join(f"{draw.uniform(-0.5, 0.5):.3f}" for _ in range(64))
    outputs = ", ".join(f"float[N, 8] {value}" for value in (values[-1], values[-2]))
    declared = ", ".join([f"float[8, 8] w = {{{weights}}}", *constants])
    text = (
        f'<ir_version: 9, opset_import: ["": 18]>\nsmall (float[N, 8] x, float[N, 8] z) => ({outputs}) <{declared}> {{'
    )
    rng = np.random.default_rng(seed)
    data = {name: rng.normal(size=(16, 8)).astype("f4") for name in ("x", "z")}
    return onnx.parser.parse_model("\n".join([text, *lines, "}"])), data
