"""Architectures of the package transformers, with configurations of a few thousand weights made here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from coverage_catalogue.case import BATCH, Case, Input

WIDTH = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TEXT = {**WIDTH, "vocab_size": 99, "max_position_embeddings": 64}
DECODER = {
    **TEXT,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "use_cache": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {**WIDTH, "image_size": 32, "patch_size": 8, "num_channels": 3}
STAGES = {"num_channels": 3, "depths": [1, 1, 1, 1], "num_labels": 4}
SEQ2SEQ = {
    "vocab_size": 99, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64, "use_cache": False,
}  # fmt: skip
SPEECH = {
    **WIDTH, "vocab_size": 20, "conv_dim": [16, 16, 16], "conv_stride": [5, 4, 2], "conv_kernel": [10, 6, 3],
    "num_feat_extract_layers": 3, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip

IDS = Input((BATCH, "time"), "integers", 99)
MASKED = {"input_ids": IDS, "attention_mask": Input((BATCH, "time"), "prefix")}
UNMASKED = {"input_ids": IDS}
PIXELS = {"pixel_values": Input((BATCH, 3, 32, 32))}
LARGER = {"pixel_values": Input((BATCH, 3, 64, 64))}
WAVE = {"input_values": Input((BATCH, 800))}
BOTH = {"input_ids": Input((BATCH, 10), "integers", 99), "decoder_input_ids": Input((BATCH, 7), "integers", 99)}

CONFIGURATIONS: dict[str, tuple[str, Mapping[str, Any], Mapping[str, Input]]] = {
    "bert": ("BertModel", TEXT, MASKED),
    "bert-classifier": ("BertForSequenceClassification", {**TEXT, "num_labels": 3}, MASKED),
    "bert-question": ("BertForQuestionAnswering", TEXT, MASKED),
    "roberta": ("RobertaModel", {**TEXT, "max_position_embeddings": 80}, MASKED),
    "xlm-roberta-tokens": ("XLMRobertaForTokenClassification", {**TEXT, "max_position_embeddings": 80, "num_labels": 5}, MASKED),
    "camembert": ("CamembertModel", {**TEXT, "max_position_embeddings": 80}, MASKED),
    "distilbert": (
        "DistilBertModel",
        {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64},
        MASKED,
    ),
    "albert": ("AlbertModel", {**TEXT, "embedding_size": 16}, MASKED),
    "electra": ("ElectraModel", {**TEXT, "embedding_size": 16}, MASKED),
    "mobilebert": (
        "MobileBertModel",
        {**TEXT, "embedding_size": 16, "intra_bottleneck_size": 16, "true_hidden_size": 16, "num_feedforward_networks": 2, "num_attention_heads": 2},
        MASKED,
    ),
    "squeezebert": ("SqueezeBertModel", {**TEXT, "embedding_size": 32}, MASKED),
    "mpnet": ("MPNetModel", {**TEXT, "max_position_embeddings": 80}, MASKED),
    "deberta-v2": ("DebertaV2Model", {**TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}, MASKED),
    "layoutlm": ("LayoutLMModel", {**TEXT, "max_2d_position_embeddings": 64}, MASKED),
    "funnel": (
        "FunnelBaseModel",
        {"vocab_size": 99, "block_sizes": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48, "num_decoder_layers": 1},
        MASKED,
    ),
    "fnet": ("FNetModel", TEXT, UNMASKED),
    "modernbert": ("ModernBertModel", {**TEXT, "pad_token_id": 0, "attn_implementation": "eager"}, MASKED),
    "longformer": (
        "LongformerModel",
        {**TEXT, "attention_window": 4, "max_position_embeddings": 80},
        {"input_ids": Input((BATCH, 12), "integers", 99)},
    ),
    "gpt2": ("GPT2LMHeadModel", {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "use_cache": False}, UNMASKED),
    "gpt-neo": (
        "GPTNeoModel",
        {**TEXT, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 8, "use_cache": False},
        UNMASKED,
    ),
    "gpt-neox": ("GPTNeoXModel", {**TEXT, "use_cache": False}, UNMASKED),
    "opt": ("OPTModel", {**TEXT, "ffn_dim": 48, "word_embed_proj_dim": 32, "use_cache": False}, UNMASKED),
    "bloom": ("BloomModel", {"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 4, "use_cache": False}, UNMASKED),
    "llama": ("LlamaForCausalLM", DECODER, UNMASKED),
    "mistral": ("MistralModel", {**DECODER, "sliding_window": 8}, UNMASKED),
    "qwen2": ("Qwen2Model", DECODER, UNMASKED),
    "qwen3": ("Qwen3Model", DECODER, UNMASKED),
    "gemma": ("GemmaModel", DECODER, UNMASKED),
    "phi": ("PhiModel", DECODER, UNMASKED),
    "t5-encoder": ("T5EncoderModel", {"vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}, MASKED),
    "t5": (
        "T5ForConditionalGeneration",
        {"vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "use_cache": False}, BOTH,
    ),
    "bart-encoder": ("BartModel.encoder", SEQ2SEQ, MASKED),
    "bart": ("BartModel", SEQ2SEQ, BOTH),
    "marian": ("MarianModel", {**SEQ2SEQ, "pad_token_id": 0, "decoder_start_token_id": 0}, BOTH),
    "pegasus-encoder": ("PegasusModel.encoder", SEQ2SEQ, MASKED),
    "vit": ("ViTForImageClassification", VISION, PIXELS),
    "deit": ("DeiTModel", VISION, PIXELS),
    "beit": ("BeitModel", {**VISION, "use_relative_position_bias": True}, PIXELS),
    "dinov2": ("Dinov2Model", {**VISION, "mlp_ratio": 2}, PIXELS),
    "swin": (
        "SwinForImageClassification",
        {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
        PIXELS,
    ),
    "convnext": ("ConvNextForImageClassification", {**STAGES, "hidden_sizes": [8, 12, 16, 24]}, PIXELS),
    "resnet": ("ResNetForImageClassification", {**STAGES, "embedding_size": 8, "hidden_sizes": [8, 12, 16, 24]}, PIXELS),
    "regnet": ("RegNetForImageClassification", {**STAGES, "embedding_size": 8, "hidden_sizes": [8, 16, 16, 24], "groups_width": 4}, PIXELS),
    "mobilenet-v2": ("MobileNetV2ForImageClassification", {"depth_multiplier": 0.25, "num_labels": 4}, PIXELS),
    "segformer": (
        "SegformerForSemanticSegmentation",
        {
            "num_channels": 3, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 2, 2, 2],
            "decoder_hidden_size": 16, "num_labels": 4,
        },
        LARGER,
    ),
    "mobilevit": (
        "MobileViTForImageClassification",
        {"image_size": 64, "hidden_sizes": [16, 16, 16], "neck_hidden_sizes": [8, 8, 8, 16, 16, 16, 32], "num_attention_heads": 2, "num_labels": 4},
        LARGER,
    ),
    "clip-text": ("CLIPTextModel", {**TEXT, "eos_token_id": 98, "bos_token_id": 1, "pad_token_id": 0}, UNMASKED),
    "clip-vision": ("CLIPVisionModel", VISION, PIXELS),
    "siglip-vision": ("SiglipVisionModel", VISION, PIXELS),
    "audio-spectrogram": (
        "ASTForAudioClassification", {**WIDTH, "patch_size": 4, "max_length": 16, "num_mel_bins": 16, "frequency_stride": 4, "time_stride": 4},
        {"input_values": Input((BATCH, 16, 16))},
    ),
    "wav2vec2": ("Wav2Vec2ForCTC", SPEECH, WAVE),
    "hubert": ("HubertModel", SPEECH, WAVE),
    "whisper-encoder": (
        "WhisperModel.encoder",
        {**SEQ2SEQ, "num_mel_bins": 8, "max_source_positions": 16, "pad_token_id": 0},
        {"input_features": Input((BATCH, 8, 32))},
    ),
    "time-series": (
        "PatchTSTForRegression",
        {
            "num_input_channels": 3, "context_length": 16, "patch_length": 4, "patch_stride": 4, "d_model": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "ffn_dim": 16, "num_targets": 2,
        },
        {"past_values": Input((BATCH, 16, 3))},
    ),
}  # fmt: skip


class Named(nn.Module):
    """A model of transformers called by the names of its inputs, as its documentation does; the outputs that it fills."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.model(**dict(zip(self.names, inputs, strict=True)))
        return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def build(architecture: str, settings: Mapping[str, Any], names: tuple[str, ...]) -> nn.Module:
    """`BartModel.encoder` is that part of it."""
    import transformers

    whole, _, part = architecture.partition(".")
    model_class = getattr(transformers, whole)
    model = model_class(model_class.config_class(**settings))
    return Named(getattr(model, part) if part else model, names)


def cases() -> list[Case]:
    return [_case(name, *told) for name, told in CONFIGURATIONS.items()]


def _case(name: str, architecture: str, settings: Mapping[str, Any], inputs: Mapping[str, Input]) -> Case:
    timed = any("time" in source.shape for source in inputs.values())
    make: Callable[[], nn.Module] = lambda: build(architecture, settings, tuple(inputs))  # noqa: E731
    return Case("transformers", name, make, inputs, ((), (BATCH, "time") if timed else (BATCH,)), trials=3)
