"""The registry: every check of the doctor, in the order in which results are shown.

A new one takes a function in the module of its subject, and its entry here.
"""

from __future__ import annotations

from flows.doctor.check_result import HealthCheck
from flows.doctor.checks.accelerators import gpu, onnx_runtime, tensorrt
from flows.doctor.checks.home_folder import disk, embedded_servers, home_folder
from flows.doctor.checks.installation import packages, python
from flows.doctor.checks.object_store import object_store
from flows.doctor.checks.prefect_server import gpu_pool_deployment, prefect_server
from flows.doctor.checks.proof_keys import proof_keys
from flows.doctor.checks.saved_settings import saved_settings
from flows.doctor.checks.shared_results import result_storage
from flows.doctor.checks.tracking_server import artifact_store, tracking_server
from flows.doctor.checks.variables import variables
from flows.doctor.checks.webhook import webhook

HEALTH_CHECKS: tuple[HealthCheck, ...] = (
    python,
    packages,
    saved_settings,
    variables,
    home_folder,
    disk,
    embedded_servers,
    prefect_server,
    gpu_pool_deployment,
    tracking_server,
    artifact_store,
    object_store,
    result_storage,
    webhook,
    proof_keys,
    gpu,
    onnx_runtime,
    tensorrt,
)
