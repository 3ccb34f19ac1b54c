"""Hand-written networks that export.py exports: MobileNetV2, a recurrent tagger, a diffusion U-Net, a detector, a
scripted If/Loop.

Needs torch, which the project does not install; only export.py imports this file.
"""

import itertools
import math

import torch  # type: ignore[import-not-found]
from torch import Tensor, nn  # type: ignore[import-not-found]


def _conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU6()]


class InvertedResidual(nn.Module):
    """Expand, depthwise, project (Sandler et al. 2018, section 3.3)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = _conv_bn(inputs, hidden, 1) if expansion > 1 else []
        depthwise = _conv_bn(hidden, hidden, 3, stride, groups=hidden)
        self.block = nn.Sequential(*expand, *depthwise, *_conv_bn(hidden, outputs, 1)[:2])
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.residual else self.block(x)


class MobileNetV2(nn.Module):
    """Sandler et al. 2018, table 2; at most `layers` blocks a stage."""

    STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, layers: int | None) -> None:
        super().__init__()
        blocks: list[nn.Module] = _conv_bn(3, 32, 3, 2)
        width = 32
        for expansion, outputs, repeats, stride in self.STAGES:
            for index in range(min(repeats, layers or repeats)):
                blocks.append(InvertedResidual(width, outputs, stride if index == 0 else 1, expansion))
                width = outputs
        self.features = nn.Sequential(*blocks, *_conv_bn(width, 1280, 1))
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.classifier(self.features(pixel_values).mean((2, 3)))


class RecurrentTagger(nn.Module):
    """Embedding, a bidirectional LSTM, a GRU, one label a token."""

    def __init__(self, vocabulary: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 256)
        self.lstm = nn.LSTM(256, 512, num_layers=layers, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(1024, 512, batch_first=True)
        self.head = nn.Linear(512, 64)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden, _ = self.lstm(self.embedding(input_ids))
        hidden, _ = self.gru(hidden)
        return self.head(hidden)


class ResidualBlock(nn.Module):
    """GroupNorm, SiLU, convolution, twice, with the time embedding added between (Ho et al. 2020, appendix B)."""

    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(32, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time, outputs)
        self.norm2 = nn.GroupNorm(32, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        hidden = self.conv1(nn.functional.silu(self.norm1(x))) + self.time(time)[:, :, None, None]
        return self.shortcut(x) + self.conv2(nn.functional.silu(self.norm2(hidden)))


class SpatialAttention(nn.Module):
    """Single-head self-attention over pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, width, height, columns = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        weights = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(width), dim=-1)
        return x + self.out(weights @ value).transpose(1, 2).reshape(batch, width, height, columns)


class UNet(nn.Module):
    """A diffusion U-Net; going up by Resize and convolution, and by ConvTranspose at the last level."""

    def __init__(self, layers: int | None) -> None:
        super().__init__()
        widths = [128, 256, 384, 512][: layers or 4]
        time = 512
        self.register_buffer("frequencies", torch.exp(-math.log(10000) * torch.arange(64) / 64))
        self.time = nn.Sequential(nn.Linear(128, time), nn.SiLU(), nn.Linear(time, time), nn.SiLU())
        self.first = nn.Conv2d(3, widths[0], 3, padding=1)
        pairs = list(zip(widths[:1] + widths[:-1], widths, strict=True))
        self.down = nn.ModuleList(ResidualBlock(a, b, time) for a, b in pairs)
        self.shrink = nn.ModuleList(nn.Conv2d(b, b, 3, 2, 1) for b in widths[:-1])
        self.middle = SpatialAttention(widths[-1])
        self.up = nn.ModuleList(ResidualBlock(2 * b, a, time) for a, b in reversed(pairs))
        self.grow = nn.ModuleList(self._grow(b, last=b == widths[0]) for b in reversed(widths[:-1]))
        self.last = nn.Sequential(nn.GroupNorm(32, widths[0]), nn.SiLU(), nn.Conv2d(widths[0], 3, 3, padding=1))

    @staticmethod
    def _grow(width: int, last: bool) -> nn.Module:
        if last:
            return nn.ConvTranspose2d(width, width, 2, 2)
        return nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest"), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, sample: Tensor, timestep: Tensor) -> Tensor:
        angles = timestep.to(torch.float32)[:, None] * self.frequencies[None]
        time = self.time(torch.cat([angles.sin(), angles.cos()], dim=1))
        hidden, skips = self.first(sample), []
        for index, block in enumerate(self.down):
            hidden = block(hidden, time)
            skips.append(hidden)
            if index < len(self.shrink):
                hidden = self.shrink[index](hidden)
        hidden = self.middle(hidden)
        for index, block in enumerate(self.up):
            hidden = block(torch.cat([hidden, skips.pop()], dim=1), time)
            if index < len(self.grow):
                hidden = self.grow[index](hidden)
        return self.last(hidden)


class GatedCell(nn.Module):
    """A Loop with float state whose body holds an If; both read tensors of the outer graph.

    The threshold grows past the state's mean magnitude, so that one run takes both branches, with a wide margin.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input = nn.Linear(width, width)
        self.state = nn.Linear(width, width)
        self.calm = nn.Linear(width, width)

    def forward(self, x: Tensor, steps: int) -> Tensor:
        projected = self.input(x)
        state = torch.zeros_like(projected)
        for step in range(steps):
            state = torch.tanh(projected + self.state(state))
            if bool(state.abs().mean() > 0.2 + 0.15 * step):
                state = state + self.calm(projected) * 0.5
            else:
                state = state * 1.5 - projected * 0.25
        return state


class IfLoop(nn.Module):
    """Gated cells in a row, then an If over the whole batch."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.cells = nn.ModuleList(GatedCell(256) for _ in range(layers))
        self.large = nn.Linear(256, 32)
        self.small = nn.Linear(256, 32)

    def forward(self, x: Tensor, steps: int) -> Tensor:
        for cell in self.cells:
            x = cell(x, steps)
        if bool(x.abs().max() > 2.0):  # noqa: SIM108 - scripted as written
            y = torch.relu(self.large(x))
        else:
            y = self.small(x) + x[:, :32]
        return y


class Attention(nn.Module):
    """Attention of several heads, of queries to other tokens or to themselves."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, self.size)).transpose(1, 2)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        query, key, value = (
            self._split(self.query(queries)),
            self._split(self.key(keys)),
            self._split(self.value(values)),
        )
        weights = torch.softmax(query @ key.transpose(-1, -2) * self.size**-0.5, dim=-1)
        return self.out((weights @ value).transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """Self-attention, positions added to queries and keys, and a feed-forward part (Carion et al. 2020, A.3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = Attention(width, 8)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x + positions, x + positions, x))
        return self.norm2(x + self.feed_forward(x))


class DecoderLayer(nn.Module):
    """Self-attention of the queries, cross attention to the picture, and a feed-forward part."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own = EncoderLayer(width)
        self.cross = Attention(width, 8)
        self.norm = nn.LayerNorm(width)

    def forward(self, queries: Tensor, places: Tensor, memory: Tensor, positions: Tensor) -> Tensor:
        queries = self.norm(queries + self.cross(queries + places, memory + positions, memory))
        return self.own(queries, places)


class Detector(nn.Module):
    """A transformer that detects (Carion et al. 2020), whose queries are the best tokens (Zhao et al. 2024, 4.4).

    A convolutional stem, an encoder of `layers` layers, the QUERIES tokens with the highest score of any class, a
    decoder that refines their boxes layer by layer. Gives boxes (centre, width, height) in [0, 1] and class logits, in
    the order of the tokens: that of close scores depends on roundings.
    """

    QUERIES, CLASSES, WIDTH, SIDE = 10, 80, 256, 14

    def __init__(self, layers: int | None) -> None:
        super().__init__()
        width, depth = self.WIDTH, layers or 6
        pairs = itertools.pairwise([3, 32, 64, 128, width])
        self.stem = nn.Sequential(*[part for a, b in pairs for part in _conv_bn(a, b, 3, 2)])
        self.positions = nn.Parameter(torch.zeros(1, self.SIDE**2, width))
        self.encoder = nn.ModuleList(EncoderLayer(width) for _ in range(depth))
        self.score, self.first_box = nn.Linear(width, self.CLASSES), nn.Linear(width, 4)
        self.place = nn.Sequential(nn.Linear(4, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.decoder = nn.ModuleList(DecoderLayer(width) for _ in range(depth))
        self.boxes = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4)) for _ in range(depth)
        )
        self.classes = nn.Linear(width, self.CLASSES)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        memory = self.stem(pixel_values).flatten(2).transpose(1, 2)
        for layer in self.encoder:
            memory = layer(memory, self.positions)
        best = torch.topk(self.score(memory).amax(-1), self.QUERIES, dim=1).indices
        best = best.sort(dim=1).values[..., None]
        queries = memory.gather(1, best.expand(-1, -1, self.WIDTH))
        box = self.first_box(memory).gather(1, best.expand(-1, -1, 4)).sigmoid()
        for layer, head in zip(self.decoder, self.boxes, strict=True):
            queries = layer(queries, self.place(box), memory, self.positions)
            logit = torch.log(box.clamp(min=1e-5) / (1 - box).clamp(min=1e-5))
            box = (head(queries) + logit).sigmoid()
        return box, self.classes(queries)
