"""What the instruction counter writes, how it is read, and how it classes the words of the ARM64 instruction set."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl import counting
from edgedl.errors import EngineFailed, InvalidInput, UnknownName
from edgedl.targets.qemu import sysroot
from edgedl.targets.qemu.counts import Counts, is_engine, least, read, regions
from edgedl.targets.qemu.guests import QEMU_AARCH64, QEMU_ARMHF

SOURCE = Path(sysroot.__file__).with_name("count.c")
MAPS = """\
5500000000-5500400000 r-xp 00000000 fe:01 11 /state/root/usr/bin/python3.11
5500800000-5500900000 r-xp 00001000 fe:01 12 /state/packages/ai_edge_litert/libpywrap_litert_common.so
5500900000-5500a00000 rw-p 00000000 00:00 0
5500a00000-5500b00000 r-xp 00000000 fe:01 13 /state/root/lib/aarch64-linux-gnu/libc.so.6
"""
ENGINE, INTERPRETER, LIBC = "5500800010", "5500000010", "5500a00010"


def counted(*lines: str) -> list[Counts]:
    return read(iter(f"{line}\n" for line in lines), MAPS)


def test_the_engine_s_blocks_are_added_up() -> None:
    assert counted(f"run {ENGINE} 10 4 1 2 1 0 0", f"run {ENGINE} 1 3 0 1 0 0 1", "end") == [
        Counts(43, 10, 21, 10, 0, 1)
    ]


def test_the_interpreter_and_the_c_library_do_not_count() -> None:
    assert counted(f"run {INTERPRETER} 10 4 1 0 0 0 0", f"run {LIBC} 10 4 1 0 0 0 0", "end") == [Counts()]


def test_code_that_no_file_holds_is_the_engine_s() -> None:
    assert counted("run 5500900010 2 4 0 0 0 0 0", "end") == [Counts(8)]


def test_each_end_closes_a_run_and_the_least_is_told() -> None:
    runs = counted(f"run {ENGINE} 10 4 0 0 0 0 0", "end", f"run {ENGINE} 9 4 0 0 0 0 0", "end")
    assert [run.instructions for run in runs] == [40, 36]
    assert least(runs).instructions == 36


def test_no_run_is_a_failure() -> None:
    with pytest.raises(EngineFailed, match="saw no run"):
        least([])


@pytest.mark.parametrize(
    "line", [f"run {ENGINE} 10 4 1", "run zz 1 1 1 1 1 1 1", "ran 1 1 1 1 1 1 1 1", f"run {ENGINE} 1 x 0 0 0 0 0", ""]
)
def test_a_damaged_line_is_refused(line: str) -> None:
    with pytest.raises(EngineFailed, match="wrote what is no count"):
        counted(line, "end")


def test_a_run_that_is_cut_off_is_refused() -> None:
    with pytest.raises(EngineFailed, match="the last run has no end"):
        counted(f"run {ENGINE} 10 4 1 0 0 0 0")


@given(st.text(alphabet="run end0123456789abcdef \n-", max_size=80))
def test_any_text_is_counts_or_refused(text: str) -> None:
    try:
        runs = read(iter(text.splitlines(keepends=True)), MAPS)
    except EngineFailed as refusal:
        assert str(refusal).endswith(": measure again")
    else:
        assert len(runs) == sum(line.split()[:1] == ["end"] for line in text.splitlines())


def test_mappings_are_read_by_address() -> None:
    found = regions(MAPS)
    assert [region.name for region in found] == ["python3.11", "libpywrap_litert_common.so", "", "libc.so.6"]
    assert found[0].high - found[0].low == 0x400000


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("libpywrap_litert_common.so", True), ("onnxruntime_pybind11_state.cpython-311-aarch64-linux-gnu.so", True),
        ("libm.so.6", True), ("libstdc++.so.6.0.30", True), ("python3.11", False), ("libc.so.6", False),
        ("_multiarray_umath.cpython-311-aarch64-linux-gnu.so", False), ("ld-linux-aarch64.so.1", False), ("[stack]", False),
    ],
)  # fmt: skip
def test_which_code_is_the_engine_s(name: str, engine: bool) -> None:
    assert is_engine(name) is engine


def test_the_marks_of_both_ends_are_the_same() -> None:
    source = SOURCE.read_text()
    for name, number in (("MARK_START", counting.START), ("MARK_STOP", counting.STOP)):
        assert re.search(rf"{name} = (\w+)", source)[1] == f"0x{number:08X}"  # type: ignore[index]


def test_a_mark_does_nothing_here() -> None:
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    counting.mark(counting.START)
    assert os.getpriority(os.PRIO_PROCESS, 0) == priority


# name of the instruction -> its word, as GNU as 2.40 encodes it, and the class it belongs to
WORDS = {
    "add x0, x1, x2": (0x8B020020, ""),
    "b .": (0x14000000, ""),
    "mul x0, x1, x2": (0x9B027C20, ""),
    "ldr x0, [x1]": (0xF9400020, "loads_stores"),
    "ldr q0, [x0]": (0x3DC00000, "loads_stores"),
    "ldp x29, x30, [sp]": (0xA9407BFD, "loads_stores"),
    "ld1 {v0.4s}, [x0]": (0x4C407800, "loads_stores"),
    "add v0.4s, v1.4s, v2.4s": (0x4EA28420, "simd"),
    "fmul v0.4s, v1.4s, v2.4s": (0x6E22DC20, "simd"),
    "fadd v0.4s, v1.4s, v2.4s": (0x4E22D420, "simd"),
    "pmul v0.16b, v1.16b, v2.16b": (0x6E229C20, "simd"),
    "fmla v0.4s, v1.4s, v2.4s": (0x4E22CC20, "float_multiply_add"),
    "fmls v0.4s, v1.4s, v2.4s": (0x4EA2CC20, "float_multiply_add"),
    "fmla v0.4s, v1.4s, v2.s[0]": (0x4F821020, "float_multiply_add"),
    "fmla v0.4h, v1.4h, v2.4h": (0x0E420C20, "float_multiply_add"),
    "fmadd s0, s1, s2, s3": (0x1F020C20, "float_multiply_add"),
    "sdot v0.4s, v1.16b, v2.16b": (0x4E829420, "dot_product"),
    "udot v0.4s, v1.16b, v2.16b": (0x6E829420, "dot_product"),
    "sdot v0.4s, v1.16b, v2.4b[0]": (0x4F82E020, "dot_product"),
    "usdot v0.4s, v1.16b, v2.16b": (0x4E829C20, "dot_product"),
    "smmla v0.4s, v1.16b, v2.16b": (0x4E82A420, "dot_product"),
    "smull v0.8h, v1.8b, v2.8b": (0x0E22C020, "int_multiply"),
    "smlal v0.4s, v1.4h, v2.h[0]": (0x0F422020, "int_multiply"),
    "mul v0.4s, v1.4s, v2.4s": (0x4EA29C20, "int_multiply"),
    "mla v0.4s, v1.4s, v2.4s": (0x4EA29420, "int_multiply"),
    "sqrdmulh v0.4s, v1.4s, v2.4s": (0x6EA2B420, "int_multiply"),
}
HARNESS = """
#include "{source}"
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t i, void (*f)(qemu_plugin_id_t, struct qemu_plugin_tb *)) {{}}
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *t, enum qemu_plugin_op o, void *p, uint64_t v) {{}}
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t i, void (*f)(qemu_plugin_id_t, unsigned, int64_t, uint64_t,
  uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t)) {{}}
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *t) {{ return 0; }}
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *t) {{ return 0; }}
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *t, size_t i) {{ return 0; }}
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *i) {{ return 0; }}
char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *i) {{ return 0; }}
int main(void) {{
  char line[80];
  while (fgets(line, sizeof line, stdin)) {{
    uint64_t c[CLASSES] = {{0}};
    classify({parsed}, c);
    for (int i = 0; i < CLASSES; i++) printf("%d", (int)c[i]);
    puts("");
  }}
}}
"""
NAMES = {
    "add r0, r1, r2": "", "mul r0, r1, r2": "", "bl #0x10": "", "pld [r0]": "", "strexb r0, r1, [r2]": "loads_stores",
    "ldr r4, [sp, #0x3c]": "loads_stores", "ldrne r0, [r1]": "loads_stores", "ldm r0!, {r1, r2}": "loads_stores",
    "strd r0, r1, [sp]": "loads_stores", "push {r4, lr}": "loads_stores", "pop.w {r4, pc}": "loads_stores",
    "vldr s7, [r4]": "loads_stores", "vld1.8 {d0}, [r0]!": "loads_stores", "vstmia r0!, {d0}": "loads_stores",
    "vpush {d8}": "loads_stores", "vadd.i32 q0, q1, q2": "simd", "vmul.f32 q0, q1, q2": "simd", "vmrs r0, fpscr": "simd",
    "vmull.p8 q0, d0, d1": "simd", "vmov r0, s0": "simd", "vmla.f32 q0, q1, d2[0]": "float_multiply_add",
    "vfma.f32 s7, s0, s8": "float_multiply_add", "vmlsne.f64 d0, d1, d2": "float_multiply_add",
    "vnmls.f64 d0, d1, d2": "float_multiply_add", "vmlal.s16 q8, d0, d2": "int_multiply", "vmull.s8 q0, d0, d1": "int_multiply",
    "vmul.i32 q0, q1, q2": "int_multiply", "vqrdmulh.s32 q0, q1, q2": "int_multiply", "vmla.i16 q0, q1, q2": "int_multiply",
    "vsdot.s8 q0, q1, q2": "dot_product",
}  # fmt: skip
"""32-bit ARM as QEMU's disassembler writes it -> the class it belongs to"""
CLASSES = ("loads_stores", "simd", "dot_product", "int_multiply", "float_multiply_add")


def expected(kind: str) -> str:
    inside = kind in ("dot_product", "int_multiply", "float_multiply_add")
    return "".join("1" if name == kind or (inside and name == "simd") else "0" for name in CLASSES)


def classed(folder: Path, lines: Iterable[str], parsed: str, *options: str) -> list[str]:
    """What the counter makes of each line. parsed: the C expression that `classify` is given."""
    (folder / "harness.c").write_text(HARNESS.format(source=SOURCE, parsed=parsed))
    subprocess.run(["cc", "-w", *options, "-o", "harness", "harness.c"], cwd=folder, check=True)
    done = subprocess.run([folder / "harness"], input="\n".join(lines), capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_the_words_of_the_64_bit_instruction_set_are_classed(tmp_path: Path) -> None:
    found = classed(tmp_path, [f"{word:x}" for word, _ in WORDS.values()], "strtoul(line, 0, 16)")
    assert dict(zip(WORDS, found, strict=True)) == {name: expected(kind) for name, (_, kind) in WORDS.items()}


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_the_names_of_the_32_bit_instruction_set_are_classed(tmp_path: Path) -> None:
    found = classed(tmp_path, NAMES, "line", "-DARM")
    assert dict(zip(NAMES, found, strict=True)) == {name: expected(kind) for name, kind in NAMES.items()}


def test_cores_are_told_apart_by_their_dot_product() -> None:
    assert {core.name for core in QEMU_AARCH64.cores if core.dot_product} == {"cortex-a76"}
    assert "has no dot product instructions" in QEMU_AARCH64.core("cortex-a53").kernels()
    assert QEMU_AARCH64.core("").name == "cortex-a76"


def test_cores_are_told_apart_by_their_fused_multiply_add() -> None:
    assert {core.name for core in QEMU_ARMHF.cores if not core.fused_multiply} == {"cortex-a8", "cortex-a9"}
    assert all(core.fused_multiply for core in QEMU_AARCH64.cores)
    assert "CPU architecture\t: 7\n" in QEMU_ARMHF.core("cortex-a7").cpuinfo()
    assert QEMU_ARMHF.core("").name == "cortex-a7"


def test_cpuinfo_names_the_core() -> None:
    text = QEMU_AARCH64.core("cortex-a53").cpuinfo()
    assert re.search(r"^CPU part\t: 0xd03$", text, re.MULTILINE)
    assert re.search(r"^Features\t: .*asimd", text, re.MULTILINE)


def test_the_core_max_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidInput, match="wrong int8 results"):
        QEMU_AARCH64.core("max")


def test_an_unknown_core_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'cortex-a53'"):
        QEMU_AARCH64.core("cortex-a35")
