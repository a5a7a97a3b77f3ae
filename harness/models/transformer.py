"""One bidirectional transformer for LLaDA, Dream and the demo model, with the checkpoints' own names."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.models.attention import attend, style_of
from harness.models.config import ModelConfig
from harness.models.elementwise import HALVES, RMSNorm, gated, kernels_for, rotate
from harness.models.joining import at_once, join
from harness.models.kv import KVStore
from harness.models.names import NAMES, PATHS, Names
from harness.models.packing import Packed


def matmul_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention by explicit matrix products, [B, H, L, D]; its bf16 backward is fast on CPUs."""
    scores = (q @ k.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1).to(v.dtype) @ v


class Block(nn.Module):
    """One layer: pre-norm attention and a SwiGLU MLP, its parts at the paths the checkpoint gives them."""

    def __init__(self, config: ModelConfig, names: Names) -> None:
        super().__init__()
        self.names = names
        d, kv = config.d_model, config.n_kv_heads * config.head_dim
        self.n_heads, self.head_dim = config.n_heads, config.head_dim
        attach(self, names.attn_norm, RMSNorm(d, config.rms_eps))
        attach(self, names.mlp_norm, RMSNorm(d, config.rms_eps))
        for role, (width_in, width_out, bias) in {
            "q": (d, d, config.qkv_bias),
            "k": (d, kv, config.qkv_bias),
            "v": (d, kv, config.qkv_bias),
            "o": (d, d, False),
            "gate": (d, config.mlp_hidden, False),
            "up": (d, config.mlp_hidden, False),
            "down": (config.mlp_hidden, d, False),
        }.items():
            attach(self, getattr(names, role), nn.Linear(width_in, width_out, bias=bias))

    def part(self, role: str) -> nn.Module:
        """The module of one role: a field of `Names`, "q" or "mlp_norm" for example."""
        return PATHS[getattr(self.names, role)](self)

    def parts(self, roles: Sequence[str]) -> list[nn.Module]:
        """Several parts, in that order."""
        return [self.part(role) for role in roles]

    def join(self) -> None:
        """Lay the weights of products with one input side by side, as a step on a GPU likes them."""
        for roles in ("qkv", ("gate", "up")):
            join(self.parts(roles))

    def qkv(
        self, x: Tensor, cos: Tensor, sin: Tensor, read: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values, [..., T, heads, head_dim], of x [..., T, d_model].

        read: [N] the places of x [T, d_model] whose queries are wanted (all of them by default).
        """
        h = self.part("attn_norm")(x)
        joined = at_once(self.parts("qkv"), h) if read is None and kernels_for(h) else None
        if joined is not None:
            heads = joined.unflatten(-1, (-1, self.head_dim))
            turned, v = heads.tensor_split([(heads.shape[-2] + self.n_heads) // 2], -2)
            q, k = rotate(turned, cos, sin).tensor_split([self.n_heads], -2)
            return q, k, v
        k, v = (self.part(role)(h).unflatten(-1, (-1, self.head_dim)) for role in "kv")
        k = rotate(k, cos, sin)
        if read is not None:
            h, cos, sin = h[read], cos[read], sin[read]
        q = self.part("q")(h).unflatten(-1, (-1, self.head_dim))
        return rotate(q, cos, sin), k, v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Residual of the attention's output [..., T, d_model], then the MLP."""
        x = x + self.part("o")(attended)
        h = self.part("mlp_norm")(x)
        both = at_once(self.parts(("gate", "up")), h) if kernels_for(h) else None
        gate, up = both.chunk(2, -1) if both is not None else (self.part("gate")(h), self.part("up")(h))
        return x + self.part("down")(gated(gate, up))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, explicit: bool) -> Tensor:
        """The layer over whole rows x [B, L, d_model]; mask [B, 1, 1, L] bool is true where to attend.

        The training forward goes through here, so that FSDP's and checkpointing's hooks see each layer.
        """
        q, k, v = (part.transpose(1, 2) for part in self.qkv(x, cos, sin))
        grouped = q.shape[1] // k.shape[1]
        if explicit:
            k, v = (part.repeat_interleave(grouped, 1) if grouped > 1 else part for part in (k, v))
            out = matmul_attention(q, k, v, mask)
        else:
            out = F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=grouped > 1)
        return self.finish(x, out.transpose(1, 2).flatten(2))


class Denoiser(nn.Module):
    """A masked diffusion transformer; `state_dict()` has exactly the names of the family's checkpoints."""

    explicit_attention = False  # training on a CPU in bf16 turns it on: SDPA's backward is slow there

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.names = NAMES[config.family]
        attach(self, self.names.embed, nn.Embedding(config.vocab_rows, config.d_model))
        attach(
            self, self.names.layers, nn.ModuleList(Block(config, self.names) for _ in range(config.n_layers))
        )
        attach(self, self.names.norm, RMSNorm(config.d_model, config.rms_eps))
        if not config.tied:
            attach(self, self.names.head, nn.Linear(config.d_model, config.vocab_rows, bias=False))
        self._rope: tuple[Tensor, Tensor] | None = None

    @property
    def embedding(self) -> nn.Embedding:
        return self.get_submodule(self.names.embed)  # type: ignore[return-value]

    @property
    def blocks(self) -> Sequence[Block]:
        return self.get_submodule(self.names.layers)  # type: ignore[return-value]

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    @property
    def attention_style(self) -> str:
        """How its decode steps attend: one of the styles that `attention` names."""
        return style_of(self.device, self.dtype, self.config.head_dim)

    def join(self) -> None:
        """Lay weights side by side where its decode steps like them so."""
        if self.attention_style == "flash":
            for block in self.blocks:
                block.join()

    def new_kv(self, slots: int, length: int) -> KVStore:
        """An empty store for `slots` samples of up to `length` columns."""
        return KVStore(self.config, slots, length, self.dtype, self.device)

    def rope(self, length: int) -> tuple[Tensor, Tensor]:
        """cos and sin, each [>= length, 1, head_dim], in at least float32; threads may ask side by side.

        Both halves of a head hold the same angles; sin is negative in the first, so that x * cos +
        (x with its halves exchanged) * sin is the rotation.
        """
        dtype = torch.promote_types(self.dtype, torch.float32)
        held = self._rope
        if (
            held is None
            or held[0].shape[0] < length
            or held[0].device != self.device
            or held[0].dtype != dtype
        ):
            with torch.inference_mode(False):  # training may use the tables that a decode has made
                half = torch.arange(0, self.config.head_dim, 2, device=self.device, dtype=dtype)
                angles = torch.arange(max(length, 512), device=self.device, dtype=dtype)[:, None] * (
                    self.config.rope_theta ** (-half / self.config.head_dim)
                )
                cos, sin = angles.cos()[:, None], angles.sin()[:, None]
                held = self._rope = (torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1))
        return held

    def head(self, hidden: Tensor) -> Tensor:
        """Logits [N, V] of final hidden states [N, d_model], in at least float32."""
        out = self._project(hidden)
        return out.float() if out.dtype in HALVES else out

    def _project(self, hidden: Tensor) -> Tensor:
        hidden = self.get_submodule(self.names.norm)(hidden)
        if self.config.tied:
            return F.linear(hidden, self.embedding.weight)
        return self.get_submodule(self.names.head)(hidden)

    def logits(self, tokens: Tensor, lengths: Tensor | None = None, read: Tensor | None = None) -> Tensor:
        """Logits that predict the token at each position, by a plain full forward; differentiable.

        tokens: [B, L] int. lengths: [B] int, columns from there on are not attended to. read: [B, L] bool,
        where given only those positions pass the head and [N, V] comes back, else [B, L, V]. A shifted
        model's prediction for position i is taken from position i - 1 here, so that callers never shift.
        """
        hidden = self._hidden(tokens, lengths)
        if self.config.shift:
            hidden = torch.cat((hidden[:, :1], hidden[:, :-1]), 1)
        return self.head(hidden if read is None else hidden[read])

    forward = logits

    def _hidden(self, tokens: Tensor, lengths: Tensor | None) -> Tensor:
        length = tokens.shape[1]
        cos, sin = (table[:length] for table in self.rope(length))
        mask = None
        if lengths is not None:
            mask = (torch.arange(length, device=tokens.device) < lengths[:, None])[:, None, None]
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, cos, sin, mask, self.explicit_attention)
        return x

    def forward_packed(self, step: Packed, kv: KVStore | None) -> Tensor:
        """Logits [N, V] at the packed columns `step.read`, of one decode step, in the model's dtype.

        With a store, the keys and values of the queried columns are written at their own columns and
        every row attends to its slot's columns [0, keys); without one, rows attend among their queries.
        The last layer computes what is read and no more.
        """
        angles = self.angles(step)
        return self.tail(step, kv, angles, self.body(step, kv, angles))

    def angles(self, step: Packed) -> tuple[Tensor, Tensor]:
        """cos and sin of `rope` at the step's columns, [T, 1, head_dim] each."""
        cos, sin = self.rope(step.length)
        return cos[step.columns], sin[step.columns]

    def body(self, step: Packed, kv: KVStore | None, angles: tuple[Tensor, Tensor]) -> Tensor:
        """Hidden states [T, d_model] of a step in front of the last layer."""
        x = self.embedding(step.tokens)
        for layer, block in enumerate(list(self.blocks)[:-1]):
            attended = self._attend(step, kv, layer, *block.qkv(x, *angles))
            x = block.finish(x, attended)
        return x

    def tail(self, step: Packed, kv: KVStore | None, angles: tuple[Tensor, Tensor], hidden: Tensor) -> Tensor:
        """Logits [N, V] at `step.read`, from what `body` gave."""
        block = self.blocks[-1]
        q, k, v = block.qkv(hidden, *angles, step.read)
        attended = self._attend(step, kv, self.config.n_layers - 1, q, k, v)
        return self._project(block.finish(hidden[step.read], attended))

    def _attend(
        self, step: Packed, kv: KVStore | None, layer: int, q: Tensor, k: Tensor, v: Tensor
    ) -> Tensor:
        """[N, d_model] of one layer's queries, its keys and values put into the store where there is one."""
        if kv is not None:
            assert step.at is not None
            kv.write(layer, step.at, k, v)
            k, v = kv.keys[layer], kv.values[layer]
        way = step.last if layer == self.config.n_layers - 1 else step.every
        gqa = self.config.n_heads != self.config.n_kv_heads
        return attend(q, k, v, way, kv is not None, gqa).flatten(1)


def attach(module: nn.Module, path: str, child: nn.Module) -> None:
    """Register `child` at a dotted path below `module`, making the plain containers on the way."""
    *containers, name = path.split(".")
    for container in containers:
        if container not in module._modules:
            module.add_module(container, nn.Module())
        module = module.get_submodule(container)
    module.add_module(name, child)


def build(config: ModelConfig, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Denoiser:
    """A randomly initialised model for training: fan-in-scaled normal weights, residual outputs scaled down.

    The outputs of attention and MLP are divided by sqrt(2 * n_layers), so that the residual stream's
    variance does not grow with depth at the start.
    """
    model = Denoiser(config)
    names = model.names
    outputs = tuple("." + path for path in (names.o, names.down))
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            continue
        std = 1.0 if name.startswith(names.embed) and not config.tied else parameter.shape[1] ** -0.5
        if name.removesuffix(".weight").endswith(outputs) and name.startswith(names.layers):
            std /= math.sqrt(2 * config.n_layers)
        nn.init.normal_(parameter, std=std)
    return model.to(dtype=dtype, device=device)
