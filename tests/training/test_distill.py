"""Distillation end to end on a tiny model: what it learns, what it writes, how it continues."""

import json
import math
import random
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import training
from harness.errors import UserError
from harness.models.config import ModelConfig
from harness.models.loading import load_model, save_model
from harness.models.transformer import Denoiser, build
from training.__main__ import main
from training.consistency import draw_states
from training.data import Canvas, Collator, Example, Examples
from training.lora import adapt, target_pattern
from training.masking import RowRandom, forward_masking
from training.memory import check_device, estimate, parameters
from training.objectives import CertaintyForcing
from training.settings import Lora, Loss, read_settings
from training.trainer import training_arguments

END = 29
STEPS = 200  # enough to be often right, too few to be sure
TARGETS = ("q_proj", "k_proj", "v_proj", "attn_out", "ff_proj", "up_proj", "ff_out")
RECIPE = {
    "lora": {"r": 4, "alpha": 8, "targets": list(TARGETS)},
    "loss": {"block_length": 4},
    "data": {"response_length": 12},
    "training": {
        "learning_rate": 5e-3,
        "per_device_train_batch_size": 16,
        "num_train_epochs": 2,
        "logging_steps": 1,
        "report_to": "tensorboard",
        "use_cpu": True,
        "disable_tqdm": True,
    },
}


def examples(count, seed):
    """Two numbers said four times over."""
    rng = random.Random(seed)
    pairs = [[rng.randrange(24), rng.randrange(24)] for _ in range(count)]
    return [Example(pair, [*pair * 4, END], list(range(1, 13))) for pair in pairs]


@pytest.fixture(scope="module")
def base(tmp_path_factory, tiny_config):
    """A directory with a model that has half learned to repeat."""
    torch.manual_seed(0)
    config = ModelConfig.from_json(tiny_config)
    model = build(config)
    objective = CertaintyForcing(Loss(block_length=4, entropy_weight=0.0), config.mask_id)
    collator = Collator(Canvas(response_length=12), config)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for step in range(STEPS):
        batch = collator([{"index": at, "example": e} for at, e in enumerate(examples(32, step))])
        loss, _ = objective(model, batch, [RowRandom.of(0, step, at) for at in range(32)], None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    directory = tmp_path_factory.mktemp("base")
    save_model(model, tiny_config, directory)
    return directory


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "trajectories.jsonl"
    lines = [
        {"prompt_ids": e.prompt_ids, "response_ids": e.response_ids + [END] * 3, "commit_step": e.commit_step}
        for e in examples(128, "train")
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def distill(tmp_path, base, source, name="a", recipe=RECIPE, **change):
    config = tmp_path / f"{name}.yaml"
    config.write_text(yaml.safe_dump({**recipe, **change}))
    arguments = ["--model", str(base), "--data", str(source), "--config", str(config)]
    paths = ["--output", str(tmp_path / name), "--work", str(tmp_path / f"{name}-work")]
    return main(["distill", *arguments, *paths])


def certainty_of(directory, adapter=None):
    """Mean entropy over the masked positions of held-out rows, and the share of them predicted right."""
    loaded = load_model(str(directory), device="cpu", adapter=adapter and str(adapter))
    batch = Collator(Canvas(response_length=12), loaded.config)(
        [Examples(examples(64, "held out"))[at] for at in range(64)]
    )
    views = forward_masking(
        batch["tokens"],
        batch["prompt_lengths"].tolist(),
        [RowRandom.of(1, 0, at) for at in range(64)],
        mask_id=loaded.config.mask_id,
        block_length=4,
    )
    with torch.no_grad():
        logits = loaded.model.logits(views.noisy, read=views.masked)
    entropy = torch.special.entr(logits.softmax(-1)).sum(-1).mean().item()
    return entropy, (logits.argmax(-1) == batch["tokens"][views.masked]).float().mean().item()


def test_entropy_falls_while_accuracy_holds(tmp_path, base, data, capsys):
    assert distill(tmp_path, base, data, training={**RECIPE["training"], "num_train_epochs": 8}) == 0
    (before, held), (after, holds) = certainty_of(base), certainty_of(base, tmp_path / "a")
    assert held > 0.3
    assert after < 0.8 * before
    assert holds > held - 0.05  # so short a training ends 0.04 apart by seed
    card = (tmp_path / "a" / "README.md").read_text()
    assert "python -m training distill" in card
    assert "128 examples" in card
    assert list((tmp_path / "a-work").rglob("events.out.tfevents*"))


def test_a_resumed_run_equals_an_undisturbed_one(tmp_path, base, data):
    distill(tmp_path, base, data, "whole")
    work = tmp_path / "whole-work"
    shutil.copytree(work, tmp_path / "half-work")
    first, last = sorted((tmp_path / "half-work").glob("checkpoint-*"), key=lambda p: int(p.name[11:]))
    (last / "trainer_state.json").unlink()  # killed while it saved
    distill(tmp_path, base, data, "half")
    whole, half = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "half"))
    assert first.exists()
    assert whole.keys() == half.keys()
    assert all(torch.equal(whole[key], half[key]) for key in whole)


def test_a_finished_run_of_max_steps_is_not_trained_further(tmp_path, base, data):
    recipe = {**RECIPE["training"], "max_steps": 3}
    distill(tmp_path, base, data, training=recipe)
    first = load_file(tmp_path / "a" / "adapter_model.safetensors")
    shutil.rmtree(tmp_path / "a")  # killed between its last checkpoint and the end
    assert distill(tmp_path, base, data, training=recipe) == 0
    again = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert "| steps | 3 |" in (tmp_path / "a" / "README.md").read_text()


def test_other_data_in_the_same_file_are_refused(tmp_path, base, data, capsys):
    own = shutil.copy(data, tmp_path / "own.jsonl")
    distill(tmp_path, base, own)
    with (tmp_path / "own.jsonl").open("a") as file:
        file.write(data.read_text().splitlines()[0] + "\n")
    assert distill(tmp_path, base, own) == 2
    assert "another content of --data" in capsys.readouterr().err


def test_another_recipe_in_the_same_place_is_refused(tmp_path, base, data, capsys):
    distill(tmp_path, base, data, "a")
    assert distill(tmp_path, base, data, "a", lora={**RECIPE["lora"], "r": 2}) == 2
    assert "another recipe" in capsys.readouterr().err


def test_the_consistency_objective_learns_to_jump(tmp_path, base, data):
    assert distill(tmp_path, base, data, loss={"objective": "consistency", "block_length": 4}) == 0
    state = json.loads(next((tmp_path / "a-work").glob("checkpoint-16/trainer_state.json")).read_text())
    losses = [line["cross_entropy"] for line in state["log_history"] if "cross_entropy" in line]
    assert sum(losses[-4:]) < sum(losses[:4])


def test_checkpointing_changes_memory_and_nothing_else(tmp_path, base, data):
    training = {**RECIPE["training"], "num_train_epochs": 1}
    distill(tmp_path, base, data, "plain", training=training)
    distill(tmp_path, base, data, "thrifty", training={**training, "gradient_checkpointing": True})
    plain, thrifty = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("plain", "thrifty")
    )
    for key in plain:
        torch.testing.assert_close(plain[key], thrifty[key])


def test_states_lie_on_the_trajectory(config):
    collator = Collator(Canvas(response_length=12), config)
    batch = collator([{"index": 0, "example": examples(1, 0)[0]}])
    for seed in range(20):
        states = draw_states(
            batch["tokens"],
            batch["commit_step"],
            [2],
            [14],
            [RowRandom.of(seed, 0, 0)],
            mask_id=config.mask_id,
            block_length=4,
        )
        assert not (states.committed & states.open).any()
        assert not (states.earlier[~(states.committed | states.open)][:2] == config.mask_id).any()
        newly = batch["commit_step"][states.committed]
        if not len(newly):
            assert not states.open.any()  # the empty remainder
            continue
        assert (batch["commit_step"][states.open] > newly.max()).all()
        assert torch.equal(states.later[states.committed], batch["tokens"][states.committed])
        assert (states.earlier[states.committed | states.open] == config.mask_id).all()


def test_every_target_must_exist_and_the_output_head_is_left_alone(denoiser):
    with pytest.raises(UserError, match=r"o_proj, down_proj match no linear map .* attn_out"):
        target_pattern(denoiser, ("q_proj", "o_proj", "down_proj"))
    student = adapt(denoiser, Lora(2, 4, TARGETS))
    adapted = {name.split(".lora_")[0] for name, p in student.named_parameters() if p.requires_grad}
    assert len(adapted) == len(TARGETS) * denoiser.config.n_layers
    assert all(".blocks." in name for name in adapted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lora: {r: 1, alpha: 1, targts: [q]}", "unknown key 'targts', did you mean targets"),
        ("lora: {r: 1}\ndata: {length: 9}", "lora: .*missing"),
        ("data: {length: 9}", "missing .*lora"),
        ("lora: [", "is not YAML"),
        ("lora:\ndata: {length: 9}", "lora: a mapping with keys of r, alpha, targets"),
        ("lora: {r: x, alpha: 1, targets: [q]}\ndata: {length: 9}", "lora: r is 'x'; needed is a whole"),
        ("lora: {r: 0, alpha: 1, targets: [q]}\ndata: {length: 9}", "r of at least 1"),
        ("lora: {r: 1, alpha: 1, targets: q_proj}\ndata: {length: 9}", "needed is a list of names"),
        ("lora: {r: 1, alpha: 1, targets: [q]}\ndata: {length: -9}", "at least 1"),
        ("lora: {r: 1, alpha: 1, targets: [q]}\ndata: {length: 9}\nloss: {block_length: x}", "or null"),
        ("lora: {r: 1, alpha: 1, targets: [q]}\ndata: {length: 9}\nloss: {objective: x}", "objective 'x'"),
        ("lora: {r: 1, alpha: 1, targets: [q]}\ndata: {length: 9}\nloss: {entropy_weight: -1}", "below 0"),
        ("lora: {r: 1, alpha: 1, targets: [q]}\ndata: {length: 9}\nloss: {entropy_weight: .nan}", "finite"),
    ],
)
def test_mistakes_in_a_recipe_are_named(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_settings(path)


def test_a_number_that_yaml_reads_as_text_is_a_number(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("lora: {r: 1, alpha: 1, targets: [q]}\ndata: {length: 9}\nloss: {temperature: 5e-1}")
    assert read_settings(path).loss.temperature == 0.5
    assert (
        training_arguments({"learning_rate": "1e-3", "use_cpu": True}, str(tmp_path), 0).learning_rate == 1e-3
    )
    with pytest.raises(UserError, match="learning_rate is 'fast'; needed is a number"):
        training_arguments({"learning_rate": "fast"}, str(tmp_path), 0)


def test_a_target_that_matches_nothing_ends_the_command_before_it_trains(tmp_path, base, data, capsys):
    lora = {**RECIPE["lora"], "targets": ["q_proj", "o_proj"]}
    assert distill(tmp_path, base, data, lora=lora) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: lora targets o_proj match no linear map of this llada model")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_device_train_batch_size": 0}, "training.per_device_train_batch_size 0 must be above 0"),
        ({"learning_rate": -1}, "training.learning_rate -1 must be above 0"),
        ({"learning_rate": math.inf}, "training.learning_rate inf must be above 0 and finite"),
        ({"max_steps": -5}, "training.max_steps -5 must be above 0"),
        ({"num_train_epochs": 0}, "training.num_train_epochs 0 must be above 0"),
        ({"deepspeed": "zero2.json"}, "training.deepspeed needs a package: pip install deepspeed"),
    ],
)
def test_training_that_cannot_be_is_refused_before_the_weights_load(
    tmp_path, base, data, capsys, monkeypatch, change, message
):
    monkeypatch.setattr("training.distill.find_spec", lambda name: None)
    (base / "model.safetensors").rename(base / "away")
    try:
        assert distill(tmp_path, base, data, training={**RECIPE["training"], **change}) == 2
    finally:
        (base / "away").rename(base / "model.safetensors")
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_rows_beyond_the_model_s_context_are_left_out(tmp_path, base, data, capsys):
    assert distill(tmp_path, base, data, data={"response_length": 1000}) == 2
    assert "128 beyond the model's context of" in capsys.readouterr().err


def test_a_readme_that_is_no_adapter_s_card_is_not_replaced(tmp_path, base, data, capsys):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "README.md").write_text("mine")
    assert distill(tmp_path, base, data) == 2
    assert "holds a README.md and no adapter" in capsys.readouterr().err
    assert (tmp_path / "a" / "README.md").read_text() == "mine"


def test_an_adapter_needs_a_directory(tmp_path, base, data, capsys):
    (tmp_path / "a").write_text("notes")
    assert distill(tmp_path, base, data) == 2
    assert "a is a file; the adapter needs a directory" in capsys.readouterr().err
    assert (tmp_path / "a").read_text() == "notes"


def test_a_mended_recipe_may_use_the_directory_of_the_one_that_failed(tmp_path, base, data):
    assert distill(tmp_path, base, "missing.jsonl") == 2
    short = {**RECIPE["training"], "num_train_epochs": 1}
    assert distill(tmp_path, base, data, training=short) == 0


def test_consistency_without_the_teacher_s_order_is_refused(tmp_path, base, data, capsys):
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(f"{json.dumps({**row, 'commit_step': None})}\n" for row in rows))
    loss = {"objective": "consistency", "block_length": 4}
    assert distill(tmp_path, base, bare, loss=loss) == 2
    assert "128 of 128 examples have no commit_step" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine may hold the model")
def test_a_large_model_without_a_gpu_is_told_the_memory_it_needs(tmp_path, data, capsys):
    (tmp_path / "config.json").write_text(json.dumps(LLADA_8B))
    recipe = ["--config", str(CONFIGS / "llada-8b.yaml"), "--output", str(tmp_path / "out")]
    assert main(["distill", "--model", str(tmp_path), "--data", str(data), *recipe]) == 2
    assert "needs a GPU with 20.4 GiB" in capsys.readouterr().err


CONFIGS = Path(training.__file__).parent / "configs"
LLADA_8B = {
    "model_type": "llada",
    "d_model": 4096,
    "n_heads": 32,
    "n_kv_heads": 32,
    "n_layers": 32,
    "mlp_hidden_size": 12288,
    "vocab_size": 126464,
    "embedding_size": 126464,
    "max_sequence_length": 4096,
    "mask_token_id": 126336,
    "eos_token_id": 126081,
}
DREAM_7B = {
    "model_type": "Dream",
    "hidden_size": 3584,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "num_hidden_layers": 28,
    "intermediate_size": 18944,
    "vocab_size": 152064,
    "max_position_embeddings": 131072,
    "mask_token_id": 151666,
    "eos_token_id": 151643,
}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*-?b*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_fit_24_gib_and_name_modules_that_exist(path, tmp_path):
    config = ModelConfig.from_json(DREAM_7B if path.stem.startswith("dream") else LLADA_8B)
    recipe = read_settings(path)
    need = estimate(
        config,
        recipe.lora.r,
        recipe.lora.targets,
        rows=recipe.training["per_device_train_batch_size"],
        length=recipe.data.length or 2 * recipe.data.response_length,
        block_length=recipe.loss.block_length,
        checkpointing=recipe.training["gradient_checkpointing"],
    )
    assert need.total < 22 * 2**30
    with torch.device("meta"):
        target_pattern(Denoiser(config), recipe.lora.targets)
    given = {key: value for key, value in recipe.training.items() if key != "gradient_checkpointing"}
    training_arguments({**given, "bf16": False}, str(tmp_path), 0)
    with pytest.raises(UserError, match=r"no GPU is visible; distilling it needs a GPU with \d+\.\d GiB"):
        check_device("big", config, need, torch.device("cpu"), sharded=False)


def test_parameters_are_counted_as_the_model_has_them(denoiser):
    assert parameters(denoiser.config) == sum(p.numel() for p in denoiser.parameters())
