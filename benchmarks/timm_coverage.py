"""How much of the world exports: the smallest architecture of each timm family, at a small input size, in both formats.

    python benchmarks/timm_coverage.py results.jsonl [--most N] [--to onnx|tflite]

Needs timm (`edgedl export timm:x` says how to install it). Each export is a process of its own through the `edgedl` command;
what is measured already is kept in the file, so that an interrupted run goes on. Ends with the table.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from edgedl.timm_task import architecture

TIMEOUT = 600  # seconds for one export and its proof
SMALL = 96  # pixels, where the architecture lets the size be chosen
OUTCOMES = {0: "proven", 1: "failed", 2: "refused"}

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


def sizes(name: str) -> list[int]:
    """Input sizes to try, the small one first; the usual one alone where it is fixed."""
    _, usual_input = architecture(name)
    usual = int(usual_input.partition("=")[2].partition(":")[0].rpartition("x")[2])
    import timm

    fixed = timm.get_pretrained_cfg(name, allow_unregistered=True).fixed_input_size
    return [usual] if fixed or usual <= SMALL else [SMALL, usual]


def attempt(name: str, size: int, format: str) -> dict[str, Any]:
    """One export through the command line: outcome, reason, seconds."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        words = ["export", f"timm:{name}", "--input", f"x=1x3x{size}x{size}:float32", "--to", format, "-o", folder]
        try:
            done = subprocess.run(
                [Path(sys.executable).with_name("edgedl"), *words], capture_output=True, text=True, timeout=TIMEOUT
            )
            outcome, said = OUTCOMES.get(done.returncode, "failed"), (done.stderr or done.stdout).strip()
        except subprocess.TimeoutExpired:
            outcome, said = "failed", f"took more than {TIMEOUT} s"
    lines = said.splitlines() or [""]
    return {
        "outcome": outcome,
        "size": size,
        "seconds": round(time.monotonic() - start, 1),
        "reason": "" if outcome == "proven" else lines[-1],
    }


def cover(name: str, format: str) -> dict[str, Any]:
    for size in sizes(name):
        result = attempt(name, size, format)
        if result["outcome"] == "proven":
            break
    return {"name": name, "format": format, **result}


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--most", type=int, help="Only the first N architectures.")
@click.option("--to", "formats", multiple=True, default=("onnx", "tflite"), help="onnx or tflite; repeatable.")
def main(results: Path, most: int | None, formats: tuple[str, ...]) -> None:
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    known = {(row["name"], row["format"]) for row in done}
    for name in ARCHITECTURES[:most]:
        for format in formats:
            if (name, format) not in known:
                done.append(cover(name, format))
                with results.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
    show(done)


def show(rows: list[dict[str, Any]]) -> None:
    for row in sorted(rows, key=lambda row: (row["outcome"], row["format"], row["name"])):
        print(
            f"{row['outcome']:8} {row['format']:7} {row['name']:32} {row['size']:4} px {row['seconds']:6.1f} s  {row['reason'][:200]}"
        )
    for format in sorted({row["format"] for row in rows}):
        counts = Counter(row["outcome"] for row in rows if row["format"] == format)
        total = sum(counts.values())
        print(
            f"{format}: {counts['proven']} of {total} proven ({counts['proven'] / total:.0%}), {counts['refused']} refused, {counts['failed']} failed"
        )


if __name__ == "__main__":
    main()
