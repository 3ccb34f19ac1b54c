"""Validation as a run of its own deployment, on another worker pool than the conversion's."""

import pytest

from flows.local_stack import stack
from tests.flows.conversions import mlp
from tests.integration.site import CONVERT

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("integration"), pytest.mark.timeout(500)]


def test_a_conversion_is_validated_on_the_gpu_pool_by_uri_and_digest(site, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx, which builds engines without a GPU")
    model = site.upload(mlp(tmp_path / "small.onnx"), f"{site.name('gpu')}/small.onnx")
    staging = f"{site.name('gpu')}/staging"
    variables = {
        "AUTOCAST_GPU_DEPLOYMENT": "validate-on-tensorrt/validate-on-tensorrt",
        "AUTOCAST_STAGING": f"s3://models/{staging}",
    }
    name = f"{site.name('gpu')}-fp16"
    site.worker("gpu-worker", stack.GPU_POOL)
    try:
        spec = {"validation": "required", "allow_random": True, "name": name}
        asked = site.request(CONVERT, variables, model=model, spec=spec)
        assert site.ended(asked, 200).name == "Completed"
    finally:
        site.stop("gpu-worker")
    version = site.registry.get_model_version_by_alias(name, "candidate")
    metrics = site.registry.get_run(version.run_id).data.metrics
    (judged,) = site.tracking_runs_where(
        f"tags.`autocast.output_sha256` = '{version.tags['autocast.output_sha256']}' and tags.`autocast.tensorrt` != ''"
    )
    assert judged.data.tags["autocast.source_sha256"] == version.tags["autocast.source_sha256"]
    assert judged.data.metrics["tensorrt/depth"] == metrics["tensorrt/depth"] >= 2
    assert "Contents" not in site.s3.list_objects_v2(Bucket="models", Prefix=staging)
