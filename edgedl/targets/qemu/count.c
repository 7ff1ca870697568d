/* Counts the instructions that a guest executes, by class, between two marks that the guest sets itself.
 *
 * A mark is the system call getpriority(0, MARK_START) or getpriority(0, MARK_STOP): no process has such a number. Between
 * them every translated block adds one to its own counter; at the stop one line is written for each block that ran:
 *
 *     run ADDRESS EXECUTIONS INSTRUCTIONS LOADS_STORES SIMD DOT_PRODUCT INT_MULTIPLY FLOAT_MULTIPLY_ADD
 *     end
 *
 * ADDRESS is hexadecimal, all else decimal, the classes are of one execution. SIMD holds the three classes behind it.
 * Which instruction is of which class is in aarch64.h, or with -DARM in arm.h.
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
extern char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { MARK_START = 0x65640001, MARK_STOP = 0x65640002, BUCKETS = 1 << 16 };
enum { LOADS_STORES, SIMD, DOT_PRODUCT, INT_MULTIPLY, FLOAT_MULTIPLY_ADD, CLASSES };

struct block {
  uint64_t address, executions, instructions, classes[CLASSES];
  struct block *next;
};

#ifdef ARM
#include "arm.h"
#else
#include "aarch64.h"
#endif

static struct block *blocks[BUCKETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *output;

static struct block *made(const struct qemu_plugin_tb *tb) {
  struct block *block = calloc(1, sizeof *block);
  if (!block) abort();
  block->address = qemu_plugin_tb_vaddr(tb);
  block->instructions = qemu_plugin_tb_n_insns(tb);
  for (size_t i = 0; i < block->instructions; i++) classify_instruction(qemu_plugin_tb_get_insn(tb, i), block->classes);
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
