"""The examples, each followed in a copy of its folder; tests/integration follows the one that needs servers."""

import ast
import json
import shutil

import pytest

from tests.infra.docs.pages import DOCS, follow
from tests.tasks.storage.conftest import s3_endpoint  # noqa: F401 - used as a fixture

pytestmark = pytest.mark.xdist_group("examples")
EXAMPLES = DOCS / "examples"
NOTEBOOK = EXAMPLES / "notebook" / "conversion.ipynb"


@pytest.fixture
def followed(services, tmp_path, monkeypatch):
    """Follows an example in a copy of its folder, and returns the copy."""

    def follow_example(name):
        folder = shutil.copytree(EXAMPLES / name, tmp_path / name)
        monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path / "home"))
        follow(EXAMPLES / name / "index.md", folder)
        return folder

    return follow_example


def test_the_example_of_a_local_file(followed):
    folder = followed("local-file")
    plan = json.loads((folder / "converted" / "plan.json").read_text(encoding="utf-8"))
    kept = {node["op_type"] for node in plan["nodes"] if node["precision"] == "fp32"}
    assert kept == {"ReduceSumSquare", "Sqrt"}


@pytest.mark.pages
def test_the_example_of_s3(followed, s3_endpoint, monkeypatch):  # noqa: F811
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    followed("s3")
    found = boto3.client("s3").list_objects_v2(Bucket="examples", Prefix="fp16/")["Contents"]
    assert {each["Key"] for each in found} == {"fp16/model.onnx", "fp16/plan.json"}


@pytest.mark.pages
def test_the_example_of_a_search(followed):
    folder = followed("budget-search")
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    assert any(node["precision"] == "fp32" for node in plan["nodes"])
    assert (folder / "model.fp16.onnx").is_file()


@pytest.mark.pages
def test_the_example_of_a_fleet(followed):
    pytest.importorskip("prefect_dask", reason="the extra `dask` is not installed")
    folder = followed("dask-fleet")
    assert {path.name for path in (folder / "converted").iterdir()} == {"one-fp16", "two-bf16", "three-fp16"}


def test_each_folder_has_a_page():
    assert all((folder / "index.md").is_file() for folder in EXAMPLES.iterdir() if folder.is_dir())


def shown(cells):
    """What a notebook shows of each cell: the value of its last line, where that is an expression."""
    names = {}
    for cell in cells:
        lines = ast.parse("".join(cell["source"])).body
        last = lines.pop() if isinstance(lines[-1], ast.Expr) else None
        exec(compile(ast.Module(lines, []), "cell", "exec"), names)
        if last is not None:
            yield eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_the_notebook_runs_and_everything_in_it_shows_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    values = [value for value in shown(cells) if value is not None]
    assert [type(value).__name__ for value in values] == ["Conversion", "PrecisionPlan", "Inspection", "SearchResult"]
    for value in values:
        assert "<table>" in value._repr_html_()
