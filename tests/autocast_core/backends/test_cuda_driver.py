"""The calls of the CUDA driver, against a library with the same functions that works on host memory."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from autocast_core.backends.cuda_driver import CudaError, Device

DRIVER = r"""
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
typedef uint64_t ptr;
static size_t used = 0, sizes[64]; static ptr held[64]; static int n = 0; static float now = 0;
int cuInit(unsigned flags) { return flags; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int number) { *device = 3 + number; return 0; }
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, device == 3 ? "Host" : "?", length); return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) { *value = which == 75 ? 9 : which == 76; return 0; }
int cuDriverGetVersion(int *version) { *version = 13040; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)0x123456789aULL; return device != 3; }
int cuDevicePrimaryCtxRelease_v2(int device) { return device != 3; }
int cuCtxSetCurrent(void *context) { return context != (void *)0x123456789aULL; }
int cuMemGetInfo_v2(size_t *available, size_t *total) { *total = 1ULL << 40; *available = *total - used; return 0; }
int cuMemAlloc_v2(ptr *pointer, size_t size) {
  if (size > 1ULL << 40) return 2;
  *pointer = (ptr)malloc(size); held[n] = *pointer; sizes[n++] = size; used += size; return 0; }
int cuMemFree_v2(ptr pointer) {
  int i = 0;
  while (i < n && held[i] != pointer) i++;
  if (i == n) return 1;
  used -= sizes[i]; held[i] = 0; free((void *)pointer); return 0; }
int cuMemcpyHtoD_v2(ptr to, const void *from, size_t size) { memcpy((void *)to, from, size); return 0; }
int cuMemcpyDtoH_v2(void *to, ptr from, size_t size) { memcpy(to, (void *)from, size); return 0; }
int cuStreamCreate(void **stream, unsigned flags) { *stream = (void *)0xabcdef0123ULL; return flags; }
int cuStreamSynchronize(void *stream) { return stream != (void *)0xabcdef0123ULL; }
int cuStreamDestroy_v2(void *stream) { return stream != (void *)0xabcdef0123ULL; }
int cuEventCreate(void **event, unsigned flags) { *event = malloc(sizeof(float)); return flags; }
int cuEventRecord(void *event, void *stream) { *(float *)event = now; now += 1.5f; return stream == 0; }
int cuEventSynchronize(void *event) { return event == 0; }
int cuEventElapsedTime(float *taken, void *begin, void *end) { *taken = *(float *)end - *(float *)begin; return 0; }
int cuEventDestroy_v2(void *event) { free(event); return 0; }
int cuGetErrorString(int code, const char **text) { *text = code == 2 ? "out of memory" : "invalid"; return 0; }
"""


@pytest.fixture
def device(tmp_path: Path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here to make the stand-in for the driver")
    source, library = tmp_path / "driver.c", tmp_path / "driver.so"
    source.write_text(DRIVER)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    with closing(Device(str(library))) as device:
        yield device


def test_the_device_is_described(device):
    assert (device.name, device.compute_capability, device.driver) == ("Host", "9.1", "CUDA 13.4")
    assert device.stream == 0xABCDEF0123


def test_arrays_go_to_the_device_and_back(device):
    sent, received = np.arange(5, dtype=np.float16), np.zeros(5, dtype=np.float16)
    pointer = device.allocate(sent.nbytes)
    device.write(pointer, sent)
    device.read(received, pointer)
    device.synchronize()
    np.testing.assert_array_equal(received, sent)


def test_memory_is_counted_and_given_back(device):
    before = device.free_bytes()
    pointer = device.allocate(1000)
    assert before - device.free_bytes() == 1000
    device.free(pointer)
    assert device.free_bytes() == before


def test_work_is_timed_by_the_devices_clock(device):
    assert device.milliseconds(lambda: None) == 1.5


def test_an_error_has_the_drivers_words(device):
    with pytest.raises(CudaError, match=r"cuMemAlloc_v2: out of memory \(cudaError 2\)"):
        device.allocate(1 << 50)
