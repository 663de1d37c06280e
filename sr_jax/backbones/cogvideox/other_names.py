"""What other programs than diffusers call the layers of CogVideoX's transformer."""

from sr_jax.conversion.layer_names import Names, Place

COMFYUI: Names = {
    "time_embedding.linear_1": Place("time_embedding_linear_1"),
    "time_embedding.linear_2": Place("time_embedding_linear_2"),
    "ofs_embedding.linear_1": Place("ofs_embedding_linear_1"),
    "ofs_embedding.linear_2": Place("ofs_embedding_linear_2"),
    "transformer_blocks.{}.norm1.linear": Place("blocks.{}.norm1.linear"),
    "transformer_blocks.{}.norm1.norm": Place("blocks.{}.norm1.norm"),
    "transformer_blocks.{}.norm2.linear": Place("blocks.{}.norm2.linear"),
    "transformer_blocks.{}.norm2.norm": Place("blocks.{}.norm2.norm"),
    "transformer_blocks.{}.attn1.to_q": Place("blocks.{}.q"),
    "transformer_blocks.{}.attn1.to_k": Place("blocks.{}.k"),
    "transformer_blocks.{}.attn1.to_v": Place("blocks.{}.v"),
    "transformer_blocks.{}.attn1.to_out.0": Place("blocks.{}.attn_out"),
    "transformer_blocks.{}.attn1.norm_q": Place("blocks.{}.norm_q"),
    "transformer_blocks.{}.attn1.norm_k": Place("blocks.{}.norm_k"),
    "transformer_blocks.{}.ff.net.0.proj": Place("blocks.{}.ff_proj"),
    "transformer_blocks.{}.ff.net.2": Place("blocks.{}.ff_out"),
}
"""Of ComfyUI's own implementation (`comfy/ldm/cogvideo/model.py`, 2026); all other names are diffusers'."""

_LAYER, _ADALN = "transformer.layers.{}", "mixins.adaln_layer"

ORIGINAL: Names = {
    "patch_embed.proj": Place("mixins.patch_embed.proj"),
    "patch_embed.text_proj": Place("mixins.patch_embed.text_proj"),
    "patch_embed.pos_embedding": Place("mixins.pos_embed.pos_embedding"),
    "time_embedding.linear_1": Place("time_embed.0"),
    "time_embedding.linear_2": Place("time_embed.2"),
    "ofs_embedding.linear_1": Place("ofs_embed.0"),
    "ofs_embedding.linear_2": Place("ofs_embed.2"),
    # Shift, scale and gate of the video before attention, then before the feed-forward; then the same of the text.
    "transformer_blocks.{}.norm1.linear": Place(f"{_ADALN}.adaLN_modulations.{{}}.1", (0, 1, 2, 6, 7, 8), 12),
    "transformer_blocks.{}.norm2.linear": Place(f"{_ADALN}.adaLN_modulations.{{}}.1", (3, 4, 5, 9, 10, 11), 12),
    "transformer_blocks.{}.norm1.norm": Place(f"{_LAYER}.input_layernorm"),
    "transformer_blocks.{}.norm2.norm": Place(f"{_LAYER}.post_attention_layernorm"),
    "transformer_blocks.{}.attn1.to_q": Place(f"{_LAYER}.attention.query_key_value", (0,), 3),
    "transformer_blocks.{}.attn1.to_k": Place(f"{_LAYER}.attention.query_key_value", (1,), 3),
    "transformer_blocks.{}.attn1.to_v": Place(f"{_LAYER}.attention.query_key_value", (2,), 3),
    "transformer_blocks.{}.attn1.to_out.0": Place(f"{_LAYER}.attention.dense"),
    "transformer_blocks.{}.attn1.norm_q": Place(f"{_ADALN}.query_layernorm_list.{{}}"),
    "transformer_blocks.{}.attn1.norm_k": Place(f"{_ADALN}.key_layernorm_list.{{}}"),
    "transformer_blocks.{}.ff.net.0.proj": Place(f"{_LAYER}.mlp.dense_h_to_4h"),
    "transformer_blocks.{}.ff.net.2": Place(f"{_LAYER}.mlp.dense_4h_to_h"),
    "norm_final": Place("transformer.final_layernorm"),
    "norm_out.linear": Place("mixins.final_layer.adaLN_modulation.1"),
    "norm_out.norm": Place("mixins.final_layer.norm_final"),
    "proj_out": Place("mixins.final_layer.linear"),
}
"""Of the authors' training code (SAT, THUDM/CogVideo)."""

COMPUTED = (
    "mixins.pos_embed.freqs_sin",
    "mixins.pos_embed.freqs_cos",
    "mixins.pos_embed.pos_embedding",
    "transformer.embed_tokens.weight",
    "transformer.word_embeddings.weight",
    "transformer.position_embeddings.weight",
)
"""Keys of the authors' files: angles, the sinusoidal table of 2B, and what their library's base class has unused."""

OTHER_NAMES = {"comfyui": COMFYUI, "original": ORIGINAL}
