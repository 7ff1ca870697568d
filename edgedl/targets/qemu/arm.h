/* The classes of 32-bit ARM instructions, A32 and T32, by their names as QEMU's disassembler tells them.
 *
 * The same four bytes mean different things in the two sets, and a plugin is not told in which one it is; the disassembler is.
 * Names: Arm Architecture Reference Manual, ARMv7-A and ARMv7-R (DDI 0406), A8.8 "Alphabetical list of instructions". A
 * condition may stand behind a name (vmlaeq.f32), the type of the elements behind a point.
 */
enum { GETPRIORITY = 96 };

static bool begins(const char *text, const char *const *names) {
  for (; *names; names++)
    if (!strncmp(text, *names, strlen(*names))) return true;
  return false;
}

static const char *const MEMORY[] = {"ldr",  "str", "ldm", "stm", "ldc",   "stc",  "push",
                                     "pop",  "swp", "vld", "vst", "vpush", "vpop", NULL};
static const char *const DOT[] = {"vsdot", "vudot", "vusdot", "vsudot", "vsmmla", "vummla", "vusmmla", NULL};
static const char *const MULTIPLY_ADD[] = {"vmla", "vmls", "vnmla", "vnmls", "vfma", "vfms", "vfnma", "vfnms", NULL};
static const char *const MULTIPLY[] = {"vmla", "vmls", "vmul", "vqdml", "vqdmul", "vqrdmul", "vqrdml", NULL};

/* `text`: as "vmlal.s16 q8, d0, d2". */
static void classify(const char *text, uint64_t *classes) {
  if (begins(text, MEMORY)) classes[LOADS_STORES]++;
  else if (*text == 'v') {
    const char *point = text + strcspn(text, ". \t");
    char type = *point == '.' ? point[1] : 0;
    classes[SIMD]++;
    if (begins(text, DOT)) classes[DOT_PRODUCT]++;
    else if (type == 'f' && begins(text, MULTIPLY_ADD)) classes[FLOAT_MULTIPLY_ADD]++;
    else if (type && strchr("isu", type) && begins(text, MULTIPLY)) classes[INT_MULTIPLY]++;
  }
}

static void classify_instruction(const struct qemu_plugin_insn *instruction, uint64_t *classes) {
  char *text = qemu_plugin_insn_disas(instruction);
  classify(text, classes);
  free(text);
}
