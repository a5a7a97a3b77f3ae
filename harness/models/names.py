"""Where the checkpoints of each family keep their parts: the parameter names of LLaDA and Dream."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter


@dataclass(frozen=True)
class Names:
    """Where a family's checkpoints keep each part: dotted paths, the block's relative to its layer."""

    embed: str
    layers: str
    norm: str
    head: str
    attn_norm: str
    mlp_norm: str
    q: str
    k: str
    v: str
    o: str
    gate: str
    up: str
    down: str

    @property
    def projections(self) -> dict[str, str]:
        """Role -> dotted path of the seven linear maps of a block (what LoRA may adapt)."""
        return {role: getattr(self, role) for role in ("q", "k", "v", "o", "gate", "up", "down")}


NAMES = {
    "llada": Names(
        embed="model.transformer.wte",
        layers="model.transformer.blocks",
        norm="model.transformer.ln_f",
        head="model.transformer.ff_out",
        attn_norm="attn_norm",
        mlp_norm="ff_norm",
        q="q_proj",
        k="k_proj",
        v="v_proj",
        o="attn_out",
        gate="ff_proj",
        up="up_proj",
        down="ff_out",
    ),
    "dream": Names(
        embed="model.embed_tokens",
        layers="model.layers",
        norm="model.norm",
        head="lm_head",
        attn_norm="input_layernorm",
        mlp_norm="post_attention_layernorm",
        q="self_attn.q_proj",
        k="self_attn.k_proj",
        v="self_attn.v_proj",
        o="self_attn.o_proj",
        gate="mlp.gate_proj",
        up="mlp.up_proj",
        down="mlp.down_proj",
    ),
}


# Dotted path -> its lookup; several times faster than get_submodule, which every layer would call nine times.
PATHS = {
    path: attrgetter(path)
    for names in NAMES.values()
    for path in (names.attn_norm, names.mlp_norm, *names.projections.values())
}
