/* Counts the AArch64 instructions that a guest executes, by class, between two marks that the guest sets itself.
 *
 * A mark is the system call getpriority(0, MARK_START) or getpriority(0, MARK_STOP): no process has such a number. Between
 * them every translated block adds one to its own counter; at the stop one line is written for each block that ran:
 *
 *     run ADDRESS EXECUTIONS INSTRUCTIONS LOADS_STORES SIMD DOT_PRODUCT INT_MULTIPLY FLOAT_MULTIPLY_ADD
 *     end
 *
 * ADDRESS is hexadecimal, all else decimal, the classes are of one execution. SIMD holds the three classes behind it.
 * Encodings: Arm Architecture Reference Manual for A-profile (DDI 0487), C4.1 "A64 instruction set encoding".
 * qemu-plugin.h is not packaged by Debian; what is used of version 1 of that interface (QEMU 4.2 to 8.2) is declared here.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *, uint64_t);
extern void qemu_plugin_register_vcpu_syscall_cb(
    qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                               uint64_t, uint64_t, uint64_t));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { GETPRIORITY = 141, MARK_START = 0x65640001, MARK_STOP = 0x65640002, BUCKETS = 1 << 16 };
enum { LOADS_STORES, SIMD, DOT_PRODUCT, INT_MULTIPLY, FLOAT_MULTIPLY_ADD, CLASSES };

struct block {
  uint64_t address, executions, instructions, classes[CLASSES];
  struct block *next;
};

static struct block *blocks[BUCKETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *output;

static bool is(uint32_t word, uint32_t mask, uint32_t value) { return (word & mask) == value; }

static bool dot_product(uint32_t w) {
  return is(w, 0x9F20FC00, 0x0E009400)      /* SDOT, UDOT (vector) */
         || is(w, 0x9F00F400, 0x0F00E000)   /* SDOT, UDOT (by element) */
         || is(w, 0xBFE0FC00, 0x0E809C00)   /* USDOT (vector) */
         || is(w, 0xBF40F400, 0x0F00F000)   /* USDOT, SUDOT (by element) */
         || is(w, 0xDFE0F400, 0x4E80A400);  /* SMMLA, UMMLA, USMMLA */
}

static bool int_multiply(uint32_t w) {
  uint32_t opcode = w >> 12 & 15;
  if (is(w, 0x9F200C00, 0x0E200000)) return opcode == 8 || opcode == 10 || opcode == 12; /* [SU]MLAL, [SU]MLSL, [SU]MULL */
  if (is(w, 0x9F200400, 0x0E200400)) {                                                    /* three registers of one type */
    uint32_t same = w >> 11 & 31;
    return same == 18 || (same == 19 && !(w >> 29 & 1)) || same == 22; /* MLA, MLS; MUL; SQDMULH, SQRDMULH */
  }
  if (!is(w, 0x9F000400, 0x0F000000)) return false; /* by element */
  bool u = w >> 29 & 1;
  return opcode == 2 || opcode == 6 || opcode == 10 || (!u && (opcode == 8 || opcode == 12 || opcode == 13)) ||
         (u && (opcode == 0 || opcode == 4));
}

static bool float_multiply_add(uint32_t w) {
  return is(w, 0xBF20FC00, 0x0E20CC00)      /* FMLA, FMLS (vector) */
         || is(w, 0xBF60FC00, 0x0E400C00)   /* FMLA, FMLS (vector, half precision) */
         || is(w, 0x9F00B400, 0x0F001000) & !(w >> 29 & 1) /* FMLA, FMLS (by element) */
         || is(w, 0xDF00B400, 0x5F001000)   /* the same, scalar */
         || is(w, 0xFF000000, 0x1F000000);  /* FMADD, FMSUB, FNMADD, FNMSUB */
}

static void classify(uint32_t word, uint64_t *classes) {
  if (is(word, 0x0A000000, 0x08000000)) classes[LOADS_STORES]++;
  if (!is(word, 0x0E000000, 0x0E000000)) return;
  classes[SIMD]++;
  if (dot_product(word)) classes[DOT_PRODUCT]++;
  else if (float_multiply_add(word)) classes[FLOAT_MULTIPLY_ADD]++;
  else if (int_multiply(word)) classes[INT_MULTIPLY]++;
}

static struct block *made(const struct qemu_plugin_tb *tb) {
  struct block *block = calloc(1, sizeof *block);
  if (!block) abort();
  block->address = qemu_plugin_tb_vaddr(tb);
  block->instructions = qemu_plugin_tb_n_insns(tb);
  for (size_t i = 0; i < block->instructions; i++) {
    uint32_t word;
    memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), sizeof word);
    classify(word, block->classes);
  }
  return block;
}

/* A block that is translated anew, after QEMU's cache was full, has other words only if the code was replaced. */
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  struct block *block = made(tb), **bucket = &blocks[block->address >> 2 & (BUCKETS - 1)];
  pthread_mutex_lock(&lock);
  block->next = *bucket;
  *bucket = block;
  pthread_mutex_unlock(&lock);
  qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &block->executions, 1);
}

static void write_line(const struct block *block) {
  fprintf(output, "run %" PRIx64 " %" PRIu64 " %" PRIu64, block->address, block->executions, block->instructions);
  for (int i = 0; i < CLASSES; i++) fprintf(output, " %" PRIu64, block->classes[i]);
  fputc('\n', output);
}

static void each_block(bool stop) {
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < BUCKETS; i++)
    for (struct block *block = blocks[i]; block; block = block->next) {
      if (stop && block->executions) write_line(block);
      block->executions = 0;
    }
  if (stop) fputs("end\n", output), fflush(output);
  pthread_mutex_unlock(&lock);
}

static void called(qemu_plugin_id_t id, unsigned vcpu, int64_t number, uint64_t which, uint64_t who, uint64_t a3, uint64_t a4,
                   uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  if (number != GETPRIORITY || which != 0) return;
  if (who == MARK_START || who == MARK_STOP) each_block(who == MARK_STOP);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                                                               char **argv) {
  const char *key = "out=";
  if (argc != 1 || strncmp(argv[0], key, strlen(key))) return fputs("count: expected out=FILE\n", stderr), 1;
  output = fopen(argv[0] + strlen(key), "w");
  if (!output) return perror(argv[0] + strlen(key)), 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
