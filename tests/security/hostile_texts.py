"""Plan, spec and fleet files made to crash, fill or take over whoever reads them."""

import json


def _plan(**changes):
    from tests.security.readers import a_plan

    return json.dumps(json.loads(a_plan()) | changes).encode()


def _with_decision(**changes):
    from tests.security.readers import a_plan

    whole = json.loads(a_plan())
    whole["nodes"][0] |= changes
    return json.dumps(whole).encode()


PLANS = {
    "nothing": lambda: b"",
    "not text": lambda: b"\xff\xfe\x00",
    "nested lists": lambda: b"[" * 1_000_000,
    "nested objects": lambda: b'{"a":' * 1_000_000,
    "nested lists within": lambda: _plan(data={"attribution": None}).replace(b"null", b"[" * 5000 + b"]" * 5000),
    "an endless number": lambda: b'{"format": ' + b"1" * 100_000 + b"}",
    "a list": lambda: b"[1, 2]",
    "another format": lambda: _plan(format=99),
    "nodes that are a number": lambda: _plan(nodes=7),
    "nodes that are texts": lambda: _plan(nodes=["a", "b"]),
    "no precision": lambda: _plan(precision="fp8"),
    "evidence of another kind": lambda: _with_decision(evidence=[{"what": 1}]),
    "replaces that is a number": lambda: _with_decision(replaces=4),
    "settings that are a list": lambda: _plan(settings=[1]),
    "attribution that is a number": lambda: _plan(data={"attribution": 5}),
    "attribution that is texts": lambda: _plan(data={"attribution": ["a"]}),
    "shares that are texts": lambda: _plan(
        data={"attribution": [{"id": "a", "op_type": "b", "share": "c", "local": "d"}]}
    ),
}


def _tag(folder):
    return f"!!python/object/apply:os.mkdir ['{folder / 'opened'}']".encode()


def _value_tag(folder):
    return f"precision: !!python/object/apply:os.mkdir ['{folder / 'opened'}']".encode()


def _aliases(folder):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines).encode()


SPECS = {
    "a Python object": _tag,
    "a Python object as a value": _value_tag,
    "aliases that multiply": _aliases,
    "an alias of itself": lambda folder: b"precision: &a [*a]",
    "too large": lambda folder: b"# " + b"x" * (2 << 20),
    "nested lists": lambda folder: b"[" * 20_000,
    "nested objects": lambda folder: b"{a: " * 20_000,
    "not text": lambda folder: b"\xff\xfe",
    "control characters": lambda folder: b"precision: \x00\x1b[31m",
    "a list": lambda folder: b"- 1\n- 2\n",
    "an unknown key": lambda folder: b"__class__: 1\n",
    "an unknown key with a line end": lambda folder: b'"a\\nb\\e[31m": 1\n',
    "a number without end": lambda folder: b"data_max: 1" + b"0" * 5000,
    "a date that is none": lambda folder: b"precision: 2026-99-99",
    "a regular expression that explodes": lambda folder: b"nodes_to_exclude: ['(']\n",
    "a key of another kind": lambda folder: b"? [a, b]\n: 1\n",
    "an int for a path": lambda folder: b"calibration: 7\n",
}
