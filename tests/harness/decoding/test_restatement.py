"""The one loop against a naive restatement of the published ones: one sample, a naive model, no batch."""

import pytest
import torch

from harness.decoding import decode
from strategies import parse

MASK = 23
GEN, BLOCK = 11, 4


def restate(forward, model, prompt, cache, choose):
    """Fast-dLLM's loop as its paper states it, for any rule: `choose` picks among the block's masks.

    forward: the naive transformer. Returns tokens, the events of each forward, refreshes and columns queried.
    """
    tokens, shift = prompt + [MASK] * GEN, int(model.config.shift)
    events, refreshes, queries = [], 0, 0
    for block in range(len(prompt), len(tokens), BLOCK):
        end, past, step = min(block + BLOCK, len(tokens)), None, 0
        held = end - block
        while MASK in tokens[block:end]:
            first, last = 0, len(tokens)
            if cache != "none" and step > 0:
                first, last = block, (end if cache == "dual" else len(tokens))
                first -= shift * (tokens[block] == MASK)
            logits, store = forward(model, tokens, first, last, past)
            if cache != "none":
                past = store
                refreshes += step == 0
            queries += last - first
            spots = [i for i in range(block, end) if tokens[i] == MASK]
            read = logits[[i - shift - first for i in spots]].clone()
            p = read.softmax(-1)
            read[:, MASK] = -torch.inf
            best = read.argmax(-1)
            sure = p.gather(1, best[:, None])[:, 0]
            entropy = -(p * (p + 1e-300).log()).sum(-1)
            picks = choose(sure.tolist(), entropy.tolist(), held, step)
            for pick in picks:
                tokens[spots[pick]] = int(best[pick])
            events.append(sorted((spots[pick] - len(prompt), int(best[pick])) for pick in picks))
            step += 1
    return tokens[len(prompt) :], events, refreshes, queries


def by_threshold(threshold):
    def choose(sure, entropy, held, step):
        order = sorted(range(len(sure)), key=lambda i: -sure[i])
        return {order[0]} | {i for i in order if sure[i] >= threshold}

    return choose


def by_factor(factor):
    def choose(sure, entropy, held, step):
        order = sorted(range(len(sure)), key=lambda i: -sure[i])
        run = 1
        while run < len(order) and (run + 2) * (1 - sure[order[run]]) <= factor:
            run += 1
        return order[:run]

    return choose


def by_entropy(threshold):
    def choose(sure, entropy, held, step):
        return {entropy.index(min(entropy))} | {i for i, h in enumerate(entropy) if h <= threshold}

    return choose


def by_quota(per_block):
    def choose(sure, entropy, held, step):
        forwards = per_block[held]
        count = held // forwards + (step < held % forwards)
        return sorted(range(len(sure)), key=lambda i: -sure[i])[:count]

    return choose


RULES = {
    "confidence:threshold=0.3": by_threshold(0.3),
    "confidence:threshold=0.5": by_threshold(0.5),
    "confidence:threshold=0.9": by_threshold(0.9),
    "factor:factor=0.5": by_factor(0.5),
    "factor:factor=1.5": by_factor(1.5),
    "entropy:threshold=0.5": by_entropy(0.5),
    "entropy:threshold=1.5": by_entropy(1.5),
    "fixed": by_quota({4: 4, 3: 3}),
}


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
@pytest.mark.parametrize("spec", RULES)
@pytest.mark.parametrize("family", ["llada", "dream"])
def test_decode_equals_the_naive_loop(tiny_denoiser, naive_forward, prompts, family, spec, cache):
    model = tiny_denoiser(family)
    strategy = parse(spec + ("" if cache == "none" else f"+{cache}-cache"))
    found = decode(model, prompts[:2], strategy, gen_length=GEN, block_length=BLOCK)
    for prompt, generation in zip(prompts, found, strict=False):
        tokens, events, refreshes, queries = restate(naive_forward, model, prompt, cache, RULES[spec])
        assert generation.output_ids == tokens
        assert generation.events == events
        assert generation.nfe == len(events)
        assert generation.refresh_nfe == refreshes
        assert generation.query_tokens == queries
