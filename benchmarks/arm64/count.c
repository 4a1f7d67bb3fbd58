/* A qemu plugin that counts retired guest instructions.
 *
 * Each getsid() of the guest writes the count so far as one line to the file given as out=FILE: a
 * harmless system call that nothing else here makes. The few declarations of qemu's plugin
 * interface, version 1, stand here so that building it needs no qemu headers.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define AARCH64_GETSID 156

typedef uint64_t plugin_id;
struct qemu_plugin_tb;

typedef void (*translated_fn)(plugin_id, struct qemu_plugin_tb *);
typedef void (*syscall_fn)(plugin_id, unsigned int, int64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t, uint64_t);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translated_fn);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, syscall_fn);

int qemu_plugin_version = 1;

static const int ADD_U64 = 0;
static uint64_t instructions;
static FILE *out;

static void on_translated(plugin_id id, struct qemu_plugin_tb *block) {
  qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &instructions,
                                           qemu_plugin_tb_n_insns(block));
}

static void on_syscall(plugin_id id, unsigned int cpu, int64_t number, uint64_t a, uint64_t b,
                       uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  if (number == AARCH64_GETSID) {
    fprintf(out, "%llu\n", (unsigned long long)instructions);
    fflush(out);
  }
}

int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments) {
  if (count != 1 || strncmp(arguments[0], "out=", 4) != 0) return 1;
  out = fopen(arguments[0] + 4, "w");
  if (out == NULL) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
  qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
  return 0;
}
