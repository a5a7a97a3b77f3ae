"""A merged LoRA adapter gives peft's own logits; adapters that do not fit are one-line errors."""

import json

import pytest
import torch
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file, save_file

from harness.models.loading import load_model
from harness.models.names import NAMES
from tests.checkpoints import assert_refused, write_checkpoint

peft = pytest.importorskip("peft")
TOKENS = torch.arange(3, 60)[None]


def load(directory, **options):
    return load_model(str(directory), device="cpu", **options)


def train(directory, family, name="tuned", **options):
    """Write an adapter of random factors with peft; returns the logits that peft gives with it."""
    model = load(directory).model
    roles = ("q", "k", "v", "o", "gate", "up", "down")
    # a suffix of one segment may name the head too (LLaDA's ff_out): the layers' are meant
    layers = NAMES[family].layers.replace(".", r"\.")
    targets = "|".join(getattr(NAMES[family], role).replace(".", r"\.") for role in roles)
    settings = {"r": 4, "lora_alpha": 12, "target_modules": rf"{layers}\.\d+\.({targets})"}
    torch.manual_seed(1)
    adapted = peft.get_peft_model(model, peft.LoraConfig(**(settings | options)))
    with torch.no_grad():
        for key, value in adapted.named_parameters():
            if "lora_" in key:
                value.normal_(std=0.05)
    adapted.save_pretrained(str(directory / "adapters" / name))
    with torch.inference_mode():
        return adapted.eval()(TOKENS)


@pytest.fixture(params=["llada", "dream"])
def family(request):
    return request.param


@pytest.fixture
def directory(tmp_path, family):
    write_checkpoint(tmp_path, family, tokenizer=False, scale=1.0)
    return tmp_path


@pytest.mark.parametrize(
    "options",
    [{}, {"use_rslora": True}, {"alpha_pattern": {"q_proj": 3}, "rank_pattern": {"v_proj": 2}}],
    ids=["plain", "rank-stabilised", "patterns"],
)
def test_merged_logits_are_pefts_own(directory, family, options):
    expected = train(directory, family, **options)
    loaded = load(directory, adapter="tuned")
    with torch.inference_mode():
        base, merged = load(directory).model.logits(TOKENS), loaded.model.logits(TOKENS)
    assert loaded.adapter == "tuned"
    assert (base - expected).abs().max() > 0.02
    torch.testing.assert_close(merged, expected, atol=1e-5, rtol=1e-5)


def test_a_path_works_as_well_as_a_name(directory, family):
    expected = train(directory, family)
    (directory / "adapters" / "tuned").rename(directory / "elsewhere")
    with torch.inference_mode():
        merged = load(directory, adapter=str(directory / "elsewhere")).model.logits(TOKENS)
    torch.testing.assert_close(merged, expected, atol=1e-5, rtol=1e-5)


def test_the_merge_is_computed_in_float32(directory, family):
    train(directory, family)
    wide, narrow = (load(directory, adapter="tuned", dtype=dtype).model for dtype in ("float32", "bfloat16"))
    base = load(directory, dtype="bfloat16").model
    name = next(name for name, _ in wide.named_parameters() if "q_proj.weight" in name)
    change = wide.get_parameter(name) - load(directory).model.get_parameter(name)
    expected = (base.get_parameter(name).float() + change).to(torch.bfloat16)
    assert torch.equal(narrow.get_parameter(name), expected)


def assert_adapter_refused(directory, *words, adapter="tuned"):
    assert_refused(lambda: load(directory, adapter=adapter), *words)


def test_an_absent_adapter_lists_what_there_is(directory, family):
    assert_adapter_refused(directory, "it has none", adapter="dparallel")
    train(directory, family)
    assert_adapter_refused(directory, "it has tuned", adapter="dparallel")


def test_an_adapter_of_another_model(directory, family):
    train(directory, family)
    path = directory / "adapters" / "tuned" / "adapter_model.safetensors"
    state = load_file(path)
    save_file({key.replace(".0.", ".9."): value for key, value in state.items()}, path)
    assert_adapter_refused(directory, ".9.", "another model")
    save_file({key: value[:, :3].contiguous() for key, value in state.items()}, path)
    assert_adapter_refused(directory, "shapes", "another model")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["wte"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "pissa"),
    ],
)
def test_unsupported_features_are_refused(directory, family, change, word):
    train(directory, family)
    path = directory / "adapters" / "tuned" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert_adapter_refused(directory, word)


def test_damaged_files(directory, family):
    train(directory, family)
    folder = directory / "adapters" / "tuned"
    path = folder / "adapter_model.safetensors"
    data = path.read_bytes()
    state = load_bytes(data)  # load_file would map the file that is about to be cut
    path.write_bytes(data[: len(data) // 2])
    assert_adapter_refused(directory, "adapter_model.safetensors", "truncated")
    path.unlink()
    assert_adapter_refused(directory, "adapter_model.safetensors", "missing")
    save_file(dict(list(state.items())[1:]), path)
    assert_adapter_refused(directory, "only one of lora_A and lora_B")
    save_file({}, path)
    assert_adapter_refused(directory, "no tensors")
    save_file({"base_model.model.model.embed_tokens.lora_embedding_A": torch.ones(1)}, path)
    assert_adapter_refused(directory, "not a LoRA factor")
    (folder / "adapter_config.json").write_text("[]")
    assert_adapter_refused(directory, "adapter_config.json")


def test_a_released_checkpoint_stands_for_its_adapter(tmp_path, monkeypatch):
    from harness.models import hub

    asked = []

    def fetch(repo, revision=None):
        asked.append(repo)
        write_checkpoint(tmp_path / "hub", tokenizer=False)
        return tmp_path / "hub"

    monkeypatch.setattr(hub, "fetch", fetch)
    loaded = load_model("llada-8b-instruct", adapter="dparallel", device="cpu")
    assert asked == ["Zigeng/dParallel-LLaDA-8B-instruct"]
    assert (loaded.name, loaded.adapter) == ("llada-8b-instruct", "dparallel")
