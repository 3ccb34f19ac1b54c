"""Verify: whether the converted model may be written."""

from __future__ import annotations

from autocast_core import verify as verification
from autocast_core.config import Precision
from autocast_core.pipeline.artifacts import Converted, SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import Stage
from autocast_core.verify import Verified


def verify(job: Job, sanitized: SanitizedSource, converted: Converted) -> Verified:
    """The checker's, the contract's and the runtime's word on the converted model; raises as `autocast_core.verify`.

    ONNX Runtime's CPU provider has next to no BF16 kernels, so only FP16 models are loaded.
    """
    holds_bf16 = any(decision.precision is Precision.BF16 for decision in converted.plan.nodes)
    runtime = None if holds_bf16 else job.runtime
    return verification.verify(converted.model, sanitized.interface, converted.plan, runtime, job.original)


VERIFY = Stage("verify", verify, (SanitizedSource, Converted), Verified)
