/* Times what librethined does for one photo, on a device that needs nothing else.
 *
 *     rethined-time SIDE SCALE DEPTH K THREADS WARM_UP RUNS
 *
 * in a folder with, in native numbers,
 *
 *     photo.raw    [SIDE][SIDE][3], 8 bits (DEPTH 0) or floats (DEPTH 2)
 *     hole.raw     [SIDE][SIDE], 1 = hole
 *     low.raw      float [512][512][3], indices.raw int32 [4096][K], scores.raw float [4096][K]:
 *                  what the network chose
 *
 * It prints one line a run, the milliseconds of shrinking and of filling, and leaves filled.raw,
 * image.raw (float [512][512][3]) and mask.raw (float [512][512]) of the last. A call of getsid,
 * which nothing else here makes, stands before and after each of the two, for who counts
 * instructions. Exit code 1 and a line on standard error: why it could not.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rethined.h"

enum { ROWS_AT_ONCE = 16, TOKENS_AT_ONCE = 16, MAX_THREADS = 64 };

/* All that the threads of one stage share. */
typedef struct job {
  const rethined_square *square;
  const rethined_choice *choice;
  const int32_t *tokens;
  int32_t count, length, step;
  float *image, *mask;
  char *scratch; /* `room` bytes a thread */
  size_t room;
  int shrinks;
  atomic_int next, worker, status;
} job;

static void refuse(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void *memory(size_t bytes) {
  void *found = malloc(bytes);
  if (found == NULL) refuse("memory", "there is not enough");
  return found;
}

static void *read_file(const char *name, size_t bytes) {
  void *data = memory(bytes);
  FILE *file = fopen(name, "rb");
  if (file == NULL) refuse(name, "cannot be opened");
  if (fread(data, 1, bytes, file) != bytes || fgetc(file) != EOF) refuse(name, "has another size");
  fclose(file);
  return data;
}

static void write_file(const char *name, const void *data, size_t bytes) {
  FILE *file = fopen(name, "wb");
  if (file == NULL || fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0)
    refuse(name, "cannot be written");
}

static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static void *work(void *given) {
  job *all = given;
  void *scratch = all->scratch + all->room * (size_t)atomic_fetch_add(&all->worker, 1);
  for (;;) {
    int32_t first = atomic_fetch_add(&all->next, all->step), end = first + all->step;
    if (first >= all->length) return NULL;
    if (end > all->length) end = all->length;
    rethined_status status =
        all->shrinks ? rethined_shrink(all->square, first, end, RETHINED_PIXELS, all->image,
                                       all->mask, scratch, all->room)
                     : rethined_fill(all->square, all->choice, all->tokens, all->count, first, end,
                                     scratch, all->room);
    if (status != RETHINED_OK) atomic_store(&all->status, status);
  }
}

/* One stage over some threads; its milliseconds. */
static double run(job *all, int threads) {
  pthread_t others[MAX_THREADS];
  atomic_store(&all->next, 0);
  atomic_store(&all->worker, 0);
  getsid(0);
  double begun = milliseconds();
  for (int i = 1; i < threads; i++)
    if (pthread_create(&others[i], NULL, work, all) != 0) refuse("a thread", "cannot be started");
  work(all);
  for (int i = 1; i < threads; i++) pthread_join(others[i], NULL);
  double done = milliseconds();
  getsid(0);
  int status = atomic_load(&all->status);
  if (status != RETHINED_OK) refuse("librethined", rethined_message(status));
  return done - begun;
}

static int32_t number(const char *text, long least, long most) {
  char *end;
  long value = strtol(text, &end, 10);
  if (*text == 0 || *end != 0 || value < least || value > most) refuse(text, "is no such number");
  return (int32_t)value;
}

int main(int count, char **given) {
  if (count != 8) refuse("rethined-time", "takes SIDE SCALE DEPTH K THREADS WARM_UP RUNS");
  int32_t side = number(given[1], 1, RETHINED_MAX_LENGTH);
  int32_t scale = number(given[2], 1, RETHINED_MAX_SCALE);
  int32_t depth = number(given[3], RETHINED_U8, RETHINED_F32);
  int32_t k = number(given[4], 1, RETHINED_MAX_K), threads = number(given[5], 1, MAX_THREADS);
  int32_t warm_up = number(given[6], 0, 1000000), runs = number(given[7], 1, 1000000);
  size_t pixels = (size_t)side * (size_t)side, small = RETHINED_SIDE * RETHINED_SIDE;
  size_t row = 3 * (size_t)side * (depth == RETHINED_U8 ? 1 : depth == RETHINED_U16 ? 2 : 4);
  size_t bytes = row * (size_t)side, listed = RETHINED_TOKENS * (size_t)k;

  void *photo = read_file("photo.raw", bytes), *filled = memory(bytes);
  uint8_t flags[RETHINED_TOKENS], *hole = read_file("hole.raw", pixels);
  float *image = memory(12 * small), *mask = memory(4 * small);
  int32_t tokens[RETHINED_TOKENS], found = 0;
  rethined_choice choice = {read_file("low.raw", 12 * small), flags,
                            read_file("indices.raw", 4 * listed),
                            read_file("scores.raw", 4 * listed), k};
  rethined_square square = {filled, hole, (ptrdiff_t)row, side, side, side,
                            RETHINED_RGB, depth, scale, 0, 0};
  size_t room = rethined_shrink_scratch(), other = rethined_fill_scratch(scale);
  if (other > room) room = other;
  char *scratch = memory(room * (size_t)threads);
  job shrinking = {.square = &square, .image = image, .mask = mask, .scratch = scratch,
                   .room = room, .shrinks = 1, .length = RETHINED_SIDE, .step = ROWS_AT_ONCE};
  job filling = {.square = &square, .choice = &choice, .tokens = tokens, .scratch = scratch,
                 .room = room, .step = TOKENS_AT_ONCE};

  for (int32_t i = 0; i < warm_up + runs; i++) {
    memcpy(filled, photo, bytes);
    double before = run(&shrinking, threads);
    rethined_status status = rethined_list(mask, flags, tokens, &found);
    if (status != RETHINED_OK) refuse("librethined", rethined_message(status));
    filling.count = filling.length = found;
    double after = run(&filling, threads);
    if (i >= warm_up) printf("%.6f %.6f\n", before, after);
  }
  write_file("filled.raw", filled, bytes);
  write_file("image.raw", image, 12 * small);
  write_file("mask.raw", mask, 4 * small);
  return 0;
}
