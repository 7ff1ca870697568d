/* The classes of A64 instructions, by their words.
 *
 * Encodings: Arm Architecture Reference Manual for A-profile (DDI 0487), C4.1 "A64 instruction set encoding".
 */
enum { GETPRIORITY = 141 };

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

static void classify_instruction(const struct qemu_plugin_insn *instruction, uint64_t *classes) {
  uint32_t word;
  memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
  classify(word, classes);
}
