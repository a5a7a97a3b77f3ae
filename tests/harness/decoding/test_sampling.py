"""Per-sample noise: the distribution it samples from, and its independence of the batch."""

import torch

from harness.decoding.sampling import row_noise, seeded

CPU = torch.device("cpu")


def test_gumbel_noise_samples_the_tempered_softmax():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0], dtype=torch.float64)
    for temperature in (0.5, 1.0, 2.0):
        noise = row_noise([seeded(0, CPU)], [40_000], CPU)("gumbel", 4)
        drawn = (logits + temperature * noise).argmax(-1).bincount(minlength=4) / 40_000
        torch.testing.assert_close(drawn.double(), (logits / temperature).softmax(-1), atol=0.01, rtol=0)


def test_uniform_noise_is_in_the_unit_interval_and_float64():
    noise = row_noise([seeded(0, CPU)], [20_000], CPU)("uniform", 1)
    assert noise.dtype == torch.float64
    assert noise.min() >= 0
    assert noise.max() < 1
    assert abs(noise.mean() - 0.5) < 0.01
    assert len(noise.unique()) == 20_000


def test_gumbel_noise_is_finite():
    noise = row_noise([seeded(0, CPU)], [20_000], CPU)("gumbel", 5)
    assert noise.isfinite().all()


def test_a_rows_noise_does_not_depend_on_its_batch():
    def draw(seeds, counts):
        noise = row_noise([seeded(seed, CPU) for seed in seeds], counts, CPU)
        return noise("gumbel", 7), noise("uniform", 1)

    gumbel, uniform = draw([5, 6, 7], [2, 3, 4])
    alone_gumbel, alone_uniform = draw([6], [3])
    assert torch.equal(gumbel[2:5], alone_gumbel)
    assert torch.equal(uniform[2:5], alone_uniform)
