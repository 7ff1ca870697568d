"""The smallest architecture of each family of timm, with random weights, at a small input size."""

from __future__ import annotations

from coverage_catalogue.case import Case, Input
from edgedl.timm_task import architecture

SMALL = 96
"""pixels, where the architecture lets the size be chosen"""
SIZES = {
    **dict.fromkeys(("test_coatnet", "test_vit_relpos"), 160),
    **dict.fromkeys(
        (
            "cait_xxs24_224", "coat_tiny", "convit_tiny", "deit_tiny_patch16_224", "efficientformer_l1", "efficientformerv2_s0", "gcvit_xxtiny",
            "gmlp_ti16_224", "levit_128s", "nest_tiny", "pit_ti_224", "tnt_s_legacy_patch16_224", "visformer_tiny", "vit_tiny_r_s16_p8_224",
            "vitamin_small_224", "volo_d1_224",
        ),
        224,
    ),
    "halonet_h1": 256,
}  # fmt: skip
"""pixels of the others"""

# The architecture of fewest parameters in each family (module of timm 1.0.31), up to 25 M.
ARCHITECTURES = [
    "halonet_h1", "test_byobnet", "cait_xxs24_224", "coat_tiny", "convit_tiny", "convmixer_768_32", "test_convnext",
    "cpubone_nano", "crossvit_tiny_240", "csatv2", "cs3darknet_focus_s", "cspnext_tiny", "deit_tiny_patch16_224",
    "densenet121", "dla46x_c", "dpn48b", "edgenext_xx_small", "efficientformer_l1", "efficientformerv2_s0",
    "test_efficientnet", "efficientvim_m1", "efficientvit_b0", "efficientvit_m0", "vit_tiny_patch16_dinov3_qkvb",
    "fasternet_t0", "fastvit_t8", "gcvit_xxtiny", "ghostnet_050", "hardcorenas_b", "hgnetv2_b0", "sam2_hiera_tiny",
    "hrnet_w18_small", "iformer_t", "inception_next_atto", "inception_v3", "lcnetv2_small", "levit_128s",
    "lowformer_b0", "test_mambaout", "test_coatnet", "poolformerv2_s12", "gmlp_ti16_224", "mobilenetv3_small_050",
    "mobilevit_xxs", "mvitv2_tiny", "nest_tiny", "test_nfnet", "pit_ti_224", "pvt_v2_b0", "rdnet_tiny", "regnetx_002",
    "repghostnet_050", "repvit_m1", "res2next50", "resnest14d", "test_resnet", "resnetv2_18", "rexnet_100",
    "legacy_seresnet18", "shvit_s1", "skresnet18", "starnet_s050", "swiftformer_xs", "tiny_vit_5m_224",
    "tnt_s_legacy_patch16_224", "twins_svt_small", "visformer_tiny", "test_vit", "vit_tiny_r_s16_p8_224",
    "test_vit_relpos", "vitamin_small_224", "volo_d1_224", "ese_vovnet19b_slim_dw", "legacy_xception", "xception41p",
    "xcit_nano_12_p8_224",
]  # fmt: skip


def cases() -> list[Case]:
    """Unavailable without timm."""
    return [_case(name) for name in ARCHITECTURES]


def _case(name: str) -> Case:
    make, _ = architecture(name)
    size = SIZES.get(name, SMALL)
    return Case("timm", name, make, {"image": Input((1, 3, size, size))}, ((),), trials=2)
