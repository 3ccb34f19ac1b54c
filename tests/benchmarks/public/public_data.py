"""Inputs as users have them, made from seeds: sound like speech, rendered text, photographs, files."""

from __future__ import annotations

import io
import json
import keyword
import zlib
from pathlib import Path

import matplotlib.cbook
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

RATE = 16000
"""Samples of sound in a second."""
Array = np.ndarray
_WORDS = (*keyword.kwlist, "model", "tensor", "range", "speech", "invoice", "total", "street", "2026", "EUR", "No.")


def speech(rng: np.random.Generator, seconds: float, rate: int = RATE) -> Array:
    """A voice of syllables with pauses: pulses at a gliding pitch through three resonances, and breath; FP32 within
    [-1, 1], shape (samples,)."""
    count = int(seconds * rate)
    found = 0.002 * rng.normal(size=count)
    at = 0
    while at < count:
        length = min(int(rng.uniform(0.1, 0.35) * rate), count - at)
        if rng.uniform() < 0.75:
            found[at : at + length] += _syllable(rng, length, rate)
        at += length
    return np.clip(found, -1, 1).astype(np.float32)


def _syllable(rng: np.random.Generator, length: int, rate: int) -> Array:
    time = np.arange(length) / rate
    pitch = rng.uniform(90, 240) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 4) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    resonances = np.array([rng.uniform(300, 800), rng.uniform(900, 2200), rng.uniform(2300, 3200)])
    voice = np.zeros(length)
    for harmonic in range(1, 30):
        near = np.exp(-(((harmonic * pitch[:, None] - resonances) / 130) ** 2)).sum(1)
        voice += (0.05 + near) * np.sin(harmonic * phase) / harmonic**0.5
    breath = rng.normal(size=length) * 0.05
    return 0.25 * np.hanning(length) * (voice / 3 + breath)


def melody(rng: np.random.Generator, samples: int, rate: int) -> Array:
    """Plucked notes of a scale with harmonics, FP32, shape (samples,)."""
    found, at = np.zeros(samples), 0
    while at < samples:
        length = min(int(rng.choice([0.25, 0.5]) * rate), samples - at)
        time = np.arange(length) / rate
        pitch = 220.0 * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
        tone = sum(np.sin(2 * np.pi * pitch * n * time) / n for n in range(1, 8))
        found[at : at + length] += 0.2 * tone * np.exp(-3 * time)
        at += length
    return found.astype(np.float32)


def text(rng: np.random.Generator, words: int) -> str:
    """Words with spaces between."""
    return " ".join(rng.choice(_WORDS, words))


def line_image(rng: np.random.Generator, size: tuple[int, int], content: str) -> Image.Image:
    """A line of text on paper, a little blurred, of `size` (width, height)."""
    width, height = size
    paper = Image.new("RGB", size, tuple(int(each) for each in rng.integers(215, 256, 3)))
    font = ImageFont.load_default(height * 0.62)
    ink = tuple(int(each) for each in rng.integers(0, 90, 3))
    ImageDraw.Draw(paper).text((height * 0.2, height * 0.12), content, fill=ink, font=font)
    noise = rng.normal(0, 4, (height, width, 3))
    blurred = np.asarray(paper.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.2, 0.9)))), np.float64)
    return Image.fromarray(np.clip(blurred + noise, 0, 255).astype(np.uint8))


def page_image(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A page with lines of text at places."""
    page = Image.new("RGB", size, (250, 249, 244))
    draw = ImageDraw.Draw(page)
    y = int(rng.integers(5, 25))
    while y < size[1] - 20:
        height = int(rng.integers(14, 30))
        place = (int(rng.integers(5, size[0] // 3)), y)
        draw.text(place, text(rng, int(rng.integers(1, 6))), fill=(20, 20, 30), font=ImageFont.load_default(height))
        y += int(height * rng.uniform(1.4, 2.5))
    return page.filter(ImageFilter.GaussianBlur(0.4))


def photograph(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A crop of the portrait that Matplotlib has as sample data, mirrored or darkened at random."""
    with Image.open(Path(str(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))) as whole:
        image = whole.convert("RGB")
    side = int(rng.uniform(0.5, 1.0) * min(image.size))
    left, top = (int(rng.integers(0, full - side + 1)) for full in image.size)
    crop = image.crop((left, top, left + side, top + side)).resize(size)
    if rng.uniform() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    gain = float(rng.uniform(0.6, 1.1))
    return crop.point(lambda level: level * gain)


def file_bytes(rng: np.random.Generator) -> bytes:
    """A file of one of several kinds: Python, JSON, HTML, CSV, Markdown, shell, PNG, zlib."""
    sentences = [text(rng, 8) for _ in range(int(rng.integers(20, 60)))]
    sources = sorted(Path(io.__file__).parent.glob("*.py"))
    kinds = (
        lambda: sources[int(rng.integers(len(sources)))].read_bytes(),
        lambda: json.dumps({str(n): {"text": each, "n": n} for n, each in enumerate(sentences)}, indent=2).encode(),
        lambda: ("<!DOCTYPE html><html><body>" + "".join(f"<p>{e}</p>" for e in sentences) + "</body></html>").encode(),
        lambda: "\n".join(["id,name,value", *(f'{n},"{e}",{n * 1.5}' for n, e in enumerate(sentences))]).encode(),
        lambda: "\n\n".join(["# Notes", *(f"- *{e}*" for e in sentences)]).encode(),
        lambda: "\n".join(["#!/bin/sh", "set -e", *(f'echo "{e}" | grep -v x > "$OUT"' for e in sentences)]).encode(),
        lambda: _png(page_image(rng, (200, 160))),
        lambda: zlib.compress("\n".join(sentences).encode()) * 3,
    )
    return kinds[int(rng.integers(len(kinds)))]()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def planes(image: Image.Image, mean: float = 0.0, scale: float = 1 / 255) -> Array:
    """(level * scale - mean) as FP32 of shape (1, 3, height, width)."""
    return (np.asarray(image, np.float32).transpose(2, 0, 1)[None] * scale - mean).astype(np.float32)
