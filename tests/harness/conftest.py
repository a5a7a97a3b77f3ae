"""Threads of operations, and a naive transformer to check the real one: one sample, by checkpoint names."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from harness.models import attention

NAMES = {
    "llada": {
        "embed": "model.transformer.wte.weight",
        "final": "model.transformer.ln_f.weight",
        "head": "model.transformer.ff_out.weight",
        "layer": "model.transformer.blocks",
        "parts": "attn_norm q_proj k_proj v_proj attn_out ff_norm ff_proj up_proj ff_out",
    },
    "dream": {
        "embed": "model.embed_tokens.weight",
        "final": "model.norm.weight",
        "head": "lm_head.weight",
        "layer": "model.layers",
        "parts": "input_layernorm self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj"
        " post_attention_layernorm mlp.gate_proj mlp.up_proj mlp.down_proj",
    },
}


@pytest.fixture
def two_threads():
    """Operations have two threads, however many the suite gives them."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def naive_forward():
    return forward


@pytest.fixture(params=["rows", "padded", "flash"])
def style(request, monkeypatch):
    """Each style of attention; the GPU's variable-length kernel is stood in for by a loop over its rows."""
    monkeypatch.setattr(attention, "flash", flash)
    return request.param


def flash(q, k, v, rows):
    """What the kernel's arguments say, one row at a time; what lies in no row is not a number."""
    out = torch.full_like(q, torch.nan)
    starts, keys = rows.starts.tolist(), rows.keys.tolist()
    for row, (first, last) in enumerate(itertools.pairwise(starts)):
        end = keys[row + 1] if rows.used is None else keys[row] + int(rows.used[row])
        assert last - first <= rows.widest
        assert end - keys[row] <= rows.longest
        if last > first:
            own = (part[None, keys[row] : end].transpose(1, 2) for part in (k, v))
            queries = q[None, first:last].transpose(1, 2)
            found = F.scaled_dot_product_attention(queries, *own, enable_gqa=True)
            out[first:last] = found[0].transpose(0, 1)
    return out


def forward(model, tokens, first=0, last=None, past=None):
    """Logits [last - first, V] over the columns [first, last) of `tokens` [L], unshifted, and all K and V.

    past: the K and V [n_kv_heads, L, head_dim] a layer of an earlier call, which serve every other column.
    """
    c, state, names = model.config, model.state_dict(), NAMES[model.config.family]
    last = len(tokens) if last is None else last
    x, store = state[names["embed"]][torch.tensor(tokens[first:last])], []

    def norm(x, weight):
        return x / (x.pow(2).mean(-1, keepdim=True) + c.rms_eps).sqrt() * weight

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0)

    def turn(x):  # rotary embedding as a product of complex numbers
        half = c.head_dim // 2
        rate = c.rope_theta ** (-torch.arange(half, dtype=x.dtype) / half)
        angle = torch.arange(first, last, dtype=x.dtype)[:, None] * rate
        wheel = torch.polar(torch.ones_like(angle), angle)
        turned = torch.complex(x[..., :half], x[..., half:]) * wheel
        return torch.cat((turned.real, turned.imag), -1)

    for layer in range(c.n_layers):
        paths = (f"{names['layer']}.{layer}.{part}" for part in names["parts"].split())
        n1, q, k, v, o, n2, gate, up, down = paths
        h = norm(x, state[f"{n1}.weight"])
        q, k, v = (linear(h, name).unflatten(-1, (-1, c.head_dim)).transpose(0, 1) for name in (q, k, v))
        q, k = turn(q), turn(k)
        if past is not None:
            k, v = (
                torch.cat((old[:, :first], new, old[:, last:]), 1)
                for old, new in zip(past[layer], (k, v), strict=True)
            )
        store.append((k, v))
        heads = []
        for head in range(c.n_heads):
            own = head * c.n_kv_heads // c.n_heads
            heads.append((q[head] @ k[own].T / c.head_dim**0.5).softmax(-1) @ v[own])
        x = x + linear(torch.cat(heads, -1), o)
        h = norm(x, state[f"{n2}.weight"])
        g = linear(h, gate)
        x = x + linear(g * g.sigmoid() * linear(h, up), down)
    head = state[names["embed"]] if c.tied else state[names["head"]]
    return norm(x, state[names["final"]]) @ head.T, store
