"""The transformer against recorded forwards, transformers' own Llama and Qwen2, and a naive restatement."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from harness.models.names import NAMES
from harness.models.packing import Layout, Segment
from harness.models.transformer import Denoiser, build

FAMILIES = ("llada", "dream")


def packed_step(model, rows, kv, store_length, style="rows"):
    """The logits of each of `rows` (slot, tokens, first, last, keys), every queried column read."""
    canvas = np.zeros((1 + max(row[0] for row in rows), max(len(row[1]) for row in rows)), np.int64)
    for slot, tokens, *_ in rows:
        canvas[slot, : len(tokens)] = tokens
    segments = [Segment(slot, first, last, keys) for slot, _, first, last, keys in rows]
    read = np.arange(sum(segment.width for segment in segments))
    more = {"slots": len(canvas), "room": len(read) + 3} if style == "flash" else {}
    packed, _ = Layout(segments, store_length, model.device, style, **more).pack(canvas, read)
    with torch.inference_mode():
        return model.forward_packed(packed, kv).split([segment.width for segment in segments])


@pytest.fixture(params=FAMILIES)
def recorded(request, golden):
    """(family, description, tensors) of the recorded forwards of one checkpoint."""
    family = request.param
    meta = json.loads((golden / f"forward_{family}.json").read_text())
    return family, meta, load_file(golden / f"forward_{family}.safetensors")


def test_plain_forwards_equal_the_recorded_ones(recorded, golden_model):
    family, meta, tensors = recorded
    model = golden_model(family)
    for entry in meta["plain"]:
        tokens, expected = (tensors[f"{entry['key']}.{part}"] for part in ("input_ids", "logits"))
        # The recording is of raw outputs; a shifted model's prediction for i is its output at i - 1.
        if model.config.shift:
            expected = torch.cat((expected[:, :1], expected[:, :-1]), 1)
        with torch.inference_mode():
            found = model.logits(tokens.long())
        assert (found - expected).abs().max() < 1e-4
        row = (0, tokens[0].tolist(), 0, tokens.shape[1], tokens.shape[1])
        (raw,) = packed_step(model, [row], None, None)
        assert (raw - tensors[f"{entry['key']}.logits"][0]).abs().max() < 1e-4


def test_a_plain_forward_ignores_columns_behind_a_rows_length(recorded, golden_model):
    family, _, tensors = recorded
    model = golden_model(family)
    long, short = tensors["plain2.input_ids"].long(), tensors["plain0.input_ids"].long()
    batch = torch.cat((long, torch.nn.functional.pad(short, (0, long.shape[1] - short.shape[1]), value=9)))
    with torch.inference_mode():
        found = model.logits(batch, torch.tensor([long.shape[1], short.shape[1]]))
        alone = model.logits(short)
    assert (found[1, : short.shape[1]] - alone[0]).abs().max() < 1e-4


def unrotated(model, keys):
    """The keys [L, heads, head_dim] of a store before their rotary embedding."""
    half, length = model.config.head_dim // 2, keys.shape[0]
    angle = torch.arange(length)[:, None] * model.config.rope_theta ** (-torch.arange(half) / half)
    wheel = torch.polar(torch.ones_like(angle), -angle)[:, None]
    turned = torch.complex(keys[..., :half], keys[..., half:]) * wheel
    return torch.cat((turned.real, turned.imag), -1)


def as_recorded(part, layout):
    """A store's [L, heads, head_dim] in the layout of the recording."""
    return part.transpose(0, 1)[None] if "n_kv_heads, T" in layout else part.flatten(1)[None]


@pytest.fixture
def cached(recorded, golden_model):
    """A store filled by the cache-building pass on x0, and everything the recording says of it."""
    family, meta, tensors = recorded
    model = golden_model(family)
    t = {name.removeprefix("cached."): value for name, value in tensors.items()}
    length = meta["cached"]["len"]
    kv = model.new_kv(1, length)
    (logits,) = packed_step(model, [(0, t["x0"][0].tolist(), 0, length, length)], kv, length)
    return model, meta["cached"], t, kv, logits


def test_the_cache_building_pass_equals_the_recorded_one(cached):
    model, meta, t, kv, logits = cached
    assert (logits - t["init_logits"][0]).abs().max() < 1e-4
    for layer in range(model.config.n_layers):
        keys = as_recorded(unrotated(model, kv.keys[layer][0]), meta["kv_layout"])
        values = as_recorded(kv.values[layer][0], meta["kv_layout"])
        assert (keys - t[f"init_k{layer}"]).abs().max() < 1e-4
        assert (values - t[f"init_v{layer}"]).abs().max() < 1e-4


def test_the_prefix_cache_call_equals_the_recorded_one(cached):
    model, meta, t, kv, _ = cached
    start, length = meta["block"][0], meta["len"]
    (logits,) = packed_step(model, [(0, t["x1"][0].tolist(), start, length, length)], kv, length)
    assert (logits - t["prefix_logits"][0]).abs().max() < 1e-4
    assert (logits - t["full_logits_x1"][0, start:]).abs().max() > 1e-2, "the frozen prefix has no effect"


def test_the_dual_cache_call_equals_the_recorded_one(cached):
    model, meta, t, kv, _ = cached
    (start, end), length = meta["block"], meta["len"]
    (logits,) = packed_step(model, [(0, t["x1"][0].tolist(), start, end, length)], kv, length)
    assert (logits - t["dual_logits"][0]).abs().max() < 1e-4
    keys = as_recorded(unrotated(model, kv.keys[0][0]), meta["kv_layout"])
    assert (keys - t["dual_k0_after"]).abs().max() < 1e-4
    assert (as_recorded(kv.values[0][0], meta["kv_layout"]) - t["dual_v0_after"]).abs().max() < 1e-4


def hub_twin(model):
    """transformers' own model of the same shape, its weights copied by name, without a causal mask."""
    transformers = pytest.importorskip("transformers")
    c = model.config
    kinds = {"llada": ("LlamaConfig", "LlamaForCausalLM"), "dream": ("Qwen2Config", "Qwen2ForCausalLM")}
    config_kind, model_kind = kinds[c.family]
    config = getattr(transformers, config_kind)(
        hidden_size=c.d_model,
        intermediate_size=c.mlp_hidden,
        num_hidden_layers=c.n_layers,
        num_attention_heads=c.n_heads,
        num_key_value_heads=c.n_kv_heads,
        vocab_size=c.vocab_rows,
        rms_norm_eps=c.rms_eps,
        rope_theta=c.rope_theta,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope_theta},
        max_position_embeddings=c.max_length,
        tie_word_embeddings=c.tied,
        attn_implementation="eager",
    )
    twin = getattr(transformers, model_kind)(config).to(model.dtype).eval()
    ours, theirs = NAMES[c.family], NAMES["dream"]  # Qwen2's names, which are Llama's too
    paths = {getattr(ours, part): getattr(theirs, part) for part in ("embed", "norm", "head")}
    state = {}
    for name, value in model.state_dict().items():
        owner, _, leaf = name.rpartition(".")
        if owner.startswith(ours.layers):
            layer, _, part = owner.removeprefix(ours.layers + ".").partition(".")
            role = next(role for role, path in vars(ours).items() if path == part)
            owner = f"{theirs.layers}.{layer}.{getattr(theirs, role)}"
        else:
            owner = paths[owner]
        state[f"{owner}.{leaf}"] = value
    if c.tied:
        state["lm_head.weight"] = model.embedding.weight
    missing, unexpected = twin.load_state_dict(state, strict=False)
    assert not unexpected
    assert not missing
    return twin


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("family", "kv_heads"), [("llada", 4), ("llada", 2), ("dream", 2), ("dream", 1)])
def test_the_model_equals_transformers_made_bidirectional(tiny_denoiser, family, kv_heads, tied):
    model = tiny_denoiser(family, torch.float32, scale=1.0, n_kv_heads=kv_heads, tied=tied)
    tokens = torch.randint(model.config.vocab_rows, (2, 19), generator=torch.Generator().manual_seed(1))
    attend_all = torch.zeros(2, 1, 19, 19)
    with torch.inference_mode():
        expected = hub_twin(model)(tokens, attention_mask=attend_all, use_cache=False).logits
        found = model.logits(tokens)
    if model.config.shift:
        found, expected = found[:, 1:], expected[:, :-1]
    assert (found - expected).abs().max() < 1e-4
    assert expected.std() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_parameter_names_are_the_checkpoints_own(golden, golden_model, family):
    with safe_open(golden / f"{family}-tiny" / "model.safetensors", "pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    assert {name: list(p.shape) for name, p in golden_model(family).state_dict().items()} == shapes


@pytest.mark.parametrize("family", FAMILIES)
def test_tied_embeddings_have_no_head_of_their_own(tiny_config, family):
    untied, tied = (Denoiser(tiny_config(family, tied=tied)).state_dict() for tied in (False, True))
    assert untied.keys() - tied.keys() == {f"{NAMES[family].head}.weight"}
    assert not tied.keys() - untied.keys()


@pytest.mark.parametrize("lengths", [(9, 14, 3), (7, 7, 7), (5,), (9, 9, 14)], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_equal_a_naive_forward_of_each(tiny_denoiser, naive_forward, family, lengths, style):
    model = tiny_denoiser(family)
    rows = [(i, list(range(i, i + n)), 0, n, n) for i, n in enumerate(lengths)]
    for (_, tokens, *_), logits in zip(rows, packed_step(model, rows, None, None, style), strict=True):
        torch.testing.assert_close(logits, naive_forward(model, tokens)[0], rtol=1e-9, atol=1e-9)


SPANS = {
    "one width": {0: (4, 9), 1: (6, 11)},
    "one width, slots apart": {0: (4, 9), 2: (3, 8)},
    "two widths": {0: (4, 9), 1: (6, 14)},
    "three widths": {0: (4, 9), 1: (6, 14), 2: (3, 5)},
    "a refresh beside cached rows": {0: (0, 12), 1: (6, 11), 2: (3, 8)},
}


@pytest.mark.parametrize("spans", SPANS.values(), ids=list(SPANS))
@pytest.mark.parametrize("family", FAMILIES)
def test_cached_rows_equal_a_naive_cached_forward_of_each(tiny_denoiser, naive_forward, family, spans, style):
    model = tiny_denoiser(family)
    before = {0: list(range(12)), 1: list(range(5, 19)), 2: list(range(11, 20))}
    after = {slot: [*row[:6], 9, 2, *row[8:]] for slot, row in before.items()}
    kv = model.new_kv(3, 16)
    for part in (*kv.keys, *kv.values):
        part.fill_(1e3)  # what an earlier sample left behind must not be attended to
    packed_step(model, [(slot, row, 0, len(row), len(row)) for slot, row in before.items()], kv, 16)
    calls = [(slot, after[slot], *span, len(after[slot])) for slot, span in spans.items()]
    found = packed_step(model, calls, kv, 16, style)
    for (slot, row, first, last, _), logits in zip(calls, found, strict=True):
        past = naive_forward(model, before[slot])[1]
        expected, store = naive_forward(model, row, first, last, past)
        torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
        for layer, (keys, values) in enumerate(store):
            torch.testing.assert_close(kv.keys[layer][slot, : len(row)].transpose(0, 1), keys)
            torch.testing.assert_close(kv.values[layer][slot, : len(row)].transpose(0, 1), values)


def test_what_is_read_does_not_depend_on_what_else_is(tiny_denoiser, style):
    """The last layer computes only what is read: any selection gives the same logits as reading all."""
    model = tiny_denoiser("dream")
    canvas = np.arange(36).reshape(3, 12) % 20
    segments = [Segment(0, 0, 12, 12), Segment(1, 0, 9, 9), Segment(2, 0, 12, 12)]
    everything = None
    for read in (
        np.arange(33),
        np.array([3, 4, 12, 20, 21, 32]),
        np.array([0, 13, 22]),
        np.array([11, 12, 30]),
    ):
        packed, _ = Layout(segments, None, model.device, style, slots=3).pack(canvas, read)
        logits = model.forward_packed(packed, None)
        everything = logits if everything is None else everything
        torch.testing.assert_close(logits, everything[read], rtol=1e-9, atol=1e-9)


def test_nothing_read_gives_no_logits(tiny_denoiser, style):
    model = tiny_denoiser("dream")
    segments, nothing = [Segment(0, 0, 5, 5), Segment(1, 0, 4, 4)], np.array([], np.int64)
    packed, _ = Layout(segments, None, model.device, style, slots=2).pack(np.ones((2, 8), int), nothing)
    assert model.forward_packed(packed, None).shape == (0, model.config.vocab_rows)


def test_only_the_asked_positions_pass_the_head(tiny_denoiser):
    model = tiny_denoiser("dream")
    tokens = torch.arange(12).view(2, 6)
    read = torch.tensor([[0, 0, 1, 0, 1, 0], [0, 1, 0, 0, 0, 0]]).bool()
    torch.testing.assert_close(model.logits(tokens, read=read), model.logits(tokens)[read])


def test_explicit_attention_equals_the_fused_one(tiny_denoiser):
    model = tiny_denoiser("dream")
    tokens, lengths = torch.arange(12).view(2, 6), torch.tensor([6, 4])
    fused = model.logits(tokens, lengths)
    model.explicit_attention = True
    try:
        # Its scores pass through float32.
        torch.testing.assert_close(model.logits(tokens, lengths), fused, rtol=1e-4, atol=1e-4)
    finally:
        del model.explicit_attention


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_models_give_float32_logits_near_the_full_ones(tiny_denoiser, family):
    full = tiny_denoiser(family, torch.float32, scale=1.0)
    half = tiny_denoiser(family, torch.bfloat16, scale=1.0)
    tokens = torch.arange(12).view(1, 12)
    with torch.inference_mode():
        found, expected = half.logits(tokens), full.logits(tokens)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()


def test_a_built_model_neither_explodes_nor_vanishes(tiny_config):
    torch.manual_seed(0)
    logits = build(tiny_config("llada", n_layers=8)).logits(torch.arange(20).view(1, 20))
    assert 0.2 < logits.std() < 5


def test_gradients_reach_every_parameter(tiny_config):
    torch.manual_seed(0)
    model = build(tiny_config("dream"))
    model.logits(torch.arange(12).view(2, 6), torch.tensor([6, 4])).square().mean().backward()
    # A bias of all keys shifts every score of a query alike, which the softmax takes out again.
    silent = {name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-9}
    assert not {name for name in silent if not name.endswith("k_proj.bias")}
