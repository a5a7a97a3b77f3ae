"""The KV store: keys and values land at their own columns and nowhere else."""

import torch


def test_a_write_touches_only_its_columns(tiny_denoiser):
    model = tiny_denoiser("dream")
    kv = model.new_kv(slots=3, length=5)
    shape = (4, model.config.n_kv_heads, model.config.head_dim)
    keys, values = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    at = torch.tensor([1 * 5 + 2, 1 * 5 + 3, 2 * 5 + 0, 0 * 5 + 4])
    kv.write(1, at, keys, values)
    for store, written in ((kv.keys, keys), (kv.values, values)):
        assert [part.shape for part in store] == [(3, 5, *shape[1:])] * model.config.n_layers
        assert torch.equal(store[1][1, 2:4], written[:2])
        assert torch.equal(store[1][2, 0], written[2])
        assert torch.equal(store[1][0, 4], written[3])
        assert store[1].count_nonzero() == written.count_nonzero()
        assert not store[0].any()


def test_a_later_write_replaces_an_earlier_one(tiny_denoiser):
    model = tiny_denoiser("llada")
    kv = model.new_kv(slots=2, length=3)
    shape = (1, model.config.n_kv_heads, model.config.head_dim)
    at = torch.tensor([4])
    kv.write(0, at, torch.full(shape, 1.0).double(), torch.full(shape, 2.0).double())
    kv.write(0, at, torch.full(shape, 3.0).double(), torch.full(shape, 4.0).double())
    assert torch.equal(kv.keys[0][1, 1], torch.full(shape[1:], 3.0).double())
    assert torch.equal(kv.values[0][1, 1], torch.full(shape[1:], 4.0).double())


def test_the_store_has_the_models_dtype(tiny_denoiser):
    kv = tiny_denoiser("llada", torch.bfloat16).new_kv(1, 2)
    assert {part.dtype for part in (*kv.keys, *kv.values)} == {torch.bfloat16}
