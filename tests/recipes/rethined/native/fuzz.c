/* Feeds librethined arguments made from bytes, right ones and wrong ones, and checks what it did.
 *
 * With libFuzzer:  clang -g -O1 -fsanitize=fuzzer,address,undefined fuzz.c rethined.c -lm
 * By itself:       cc -g -fsanitize=address,undefined -DALONE fuzz.c rethined.c -lm
 *                  ./a.out COUNT [FILE ...]: some random inputs, then those files
 *
 * Every buffer is allocated with exactly the size that rethined.h asks for, so that the address
 * sanitizer sees a byte read or written beyond it.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rethined.h"

#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) {                                                      \
      fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #condition);  \
      abort();                                                               \
    }                                                                        \
  } while (0)

enum { PIXELS = RETHINED_SIDE * RETHINED_SIDE, TOKENS = RETHINED_TOKENS };

static const uint8_t *input;
static size_t left;

/* The next byte of the input; zeros behind its end. */
static int byte(void) {
  if (!left) return 0;
  left--;
  return *input++;
}

/* Mostly a number from least to most, now and then any other. */
static int32_t number(int32_t least, int32_t most) {
  int first = byte();
  if (first == 255) {
    static const int32_t strange[] = {-1, INT32_MIN, INT32_MAX, 4096, 65537, -8192};
    return strange[byte() % 6];
  }
  return least + (first | byte() << 8) % (most - least + 1);
}

/* Bytes that follow from one of the input: a part of a table that is made once. */
static void scatter(void *to, size_t bytes, unsigned seed) {
  static uint8_t table[1 << 17];
  static int made;
  uint32_t state = 1;
  for (size_t place = 0; !made && place < sizeof table; place++) {
    state = state * 1664525u + 1013904223u;
    table[place] = (uint8_t)(state >> 24);
  }
  made = 1;
  for (size_t done = 0, part; done < bytes; done += part) {
    part = bytes - done < sizeof table / 2 ? bytes - done : sizeof table / 2;
    memcpy((uint8_t *)to + done, table + (seed * 251u + done) % (sizeof table / 2), part);
  }
}

static void *room(size_t bytes) {
  void *made = malloc(bytes ? bytes : 1);
  CHECK(made);
  return made;
}

/* Floats from 0 to 1; some are not finite where the input says so. */
static float *floats(size_t count) {
  float *made = room(count * sizeof *made);
  uint32_t state = (uint32_t)byte();
  for (size_t place = 0; place < count; place++) {
    state = state * 1664525u + 1013904223u;
    made[place] = (float)(state >> 8) / 16777216.f;
  }
  int wrong = byte();
  if (wrong > 250) made[(size_t)(byte() | byte() << 8) % count] = wrong & 1 ? NAN : INFINITY;
  return made;
}

static int pixel_bytes(const rethined_square *square) {
  int depth = square->depth == RETHINED_U8 ? 1 : square->depth == RETHINED_U16 ? 2 : 4;
  return (square->order & 1 ? 4 : 3) * depth;
}

static int legal(const rethined_square *square) {
  return square->order >= 0 && square->order <= 3 && square->depth >= 0 && square->depth <= 2 &&
         square->height >= 1 && square->height <= 64 && square->width >= 1 && square->width <= 64;
}

/* A photo in memory of its own. */
typedef struct photo {
  rethined_square square;
  uint8_t *memory, *hole;
  size_t bytes, hole_bytes;
} photo;

static photo any_photo(void) {
  photo made = {0};
  rethined_square *square = &made.square;
  square->height = number(1, 40);
  square->width = number(1, 40);
  if (square->height == 4096) square->height = 64;
  if (square->width == 4096) square->width = 64;
  square->order = number(0, 3);
  square->depth = number(0, 2);
  square->scale = number(1, 16);
  int32_t scale = square->scale, side = RETHINED_SIDE * (scale < 1 || scale > 16 ? 1 : scale);
  square->top = byte() & 1 ? number(0, 39) : number(1 - side, 0);
  square->left = byte() & 1 ? number(0, 39) : number(1 - side, 0);
  int bytes = pixel_bytes(square);
  int usual = legal(square);
  int32_t height = usual ? square->height : 1, width = usual ? square->width : 1;
  int reversed = byte() & 1, extra = byte() % 3 * (square->depth == 2 ? 4 : 2);
  ptrdiff_t stride = (ptrdiff_t)width * bytes + extra, hole_stride = width + byte() % 3;
  if (usual) {
    made.bytes = (size_t)stride * (size_t)(height - 1) + (size_t)(width * bytes);
    made.hole_bytes = (size_t)hole_stride * (size_t)(height - 1) + (size_t)width;
  } else {
    made.bytes = made.hole_bytes = 1;
  }
  made.memory = room(made.bytes);
  made.hole = room(made.hole_bytes);
  scatter(made.memory, made.bytes, (unsigned)byte());
  if (square->depth == 2 && usual) {
    for (size_t place = 0; place + 4 <= made.bytes; place += 4) {
      float value = (float)made.memory[place] / 255.f;
      memcpy(made.memory + place, &value, sizeof value);
    }
    if (byte() > 200) {
      float value = NAN;
      memcpy(made.memory + (size_t)byte() % made.bytes / 4 * 4, &value, sizeof value);
    }
  }
  int share = byte();
  scatter(made.hole, made.hole_bytes, (unsigned)byte());
  for (size_t place = 0; place < made.hole_bytes; place++)
    made.hole[place] = made.hole[place] < share;
  square->pixels = made.memory;
  square->hole = made.hole;
  square->stride = stride;
  square->hole_stride = hole_stride;
  if (reversed && usual) {
    square->pixels = made.memory + stride * (height - 1);
    square->stride = -stride;
  }
  switch (byte()) {
    case 250: square->stride = width * bytes - 1; break;
    case 251: square->hole_stride = PTRDIFF_MAX; break;
    case 252: square->stride = PTRDIFF_MIN; break;
    case 253: square->pixels = NULL; break;
    case 254: square->hole = made.memory; break;
    case 255: square->hole_stride = 0; break;
  }
  return made;
}

static void try_shrink(const photo *given) {
  static float *image, *mask;
  if (!image) image = room(PIXELS * 3 * sizeof *image), mask = room(PIXELS * sizeof *mask);
  int32_t first = number(0, RETHINED_SIDE - 3);
  int32_t end = first < RETHINED_SIDE ? first + byte() % 3 : 0;
  if (byte() > 250) first = number(0, 600), end = number(0, 600);
  size_t bytes = byte() == 255 ? (size_t)byte() : rethined_shrink_scratch();
  uint8_t *scratch = room(bytes);
  rethined_layout layout = (rethined_layout)number(0, 1);
  if (first >= 0 && end > first && end <= RETHINED_SIDE) {
    for (int32_t place = first * RETHINED_SIDE; place < end * RETHINED_SIDE; place++)
      mask[place] = image[place] = -1.f;
  }
  rethined_status status =
      rethined_shrink(&given->square, first, end, layout, image, mask, scratch, bytes);
  if (status == RETHINED_OK) {
    CHECK(legal(&given->square));
    for (int32_t place = first * RETHINED_SIDE; place < end * RETHINED_SIDE; place++) {
      CHECK(mask[place] == 0.f || mask[place] == 1.f);
      float value = layout == RETHINED_PLANES ? image[place] : image[place * 3];
      CHECK(value >= 0.f && value <= 1.0001f);
    }
  }
  free(scratch);
}

/* Bytes of the photo that are not colours of hole pixels are as before. */
static void check_known(const photo *given, const uint8_t *before) {
  const rethined_square *square = &given->square;
  size_t pixel = (size_t)pixel_bytes(square), colours = pixel / (square->order & 1 ? 4 : 3) * 3;
  uint8_t *allowed = room(given->bytes);
  memset(allowed, 0, given->bytes);
  for (int32_t row = 0; row < square->height; row++)
    for (int32_t column = 0; column < square->width; column++)
      if (square->hole[square->hole_stride * row + column]) {
        ptrdiff_t place = (const uint8_t *)square->pixels - given->memory + square->stride * row;
        memset(allowed + place + (ptrdiff_t)((size_t)column * pixel), 1, colours);
      }
  for (size_t place = 0; place < given->bytes; place++)
    CHECK(allowed[place] || given->memory[place] == before[place]);
  free(allowed);
}

static void try_fill(const photo *given) {
  static float *low;
  if (!low) low = floats(PIXELS * 3);
  int32_t k = byte() > 250 ? number(0, 70) : 1 + byte() % 3;
  size_t ranks = k > 0 && k <= RETHINED_MAX_K ? (size_t)k : 1;
  uint8_t *flags = room(TOKENS);
  int32_t *indices = room(TOKENS * ranks * sizeof *indices);
  float *scores = floats(TOKENS * ranks);
  scatter(flags, TOKENS, (unsigned)byte());
  int share = byte();
  for (int32_t token = 0; token < TOKENS; token++) flags[token] = flags[token] < share;
  scatter(indices, TOKENS * ranks * sizeof *indices, (unsigned)byte());
  int32_t border = byte() & 1;
  for (size_t place = 0; place < TOKENS * ranks; place++) {
    indices[place] &= TOKENS - 1;
    if (border) indices[place] = (indices[place] & 1 ? 63 : 0) + (indices[place] & 2 ? 4032 : 0);
  }
  if (byte() == 255) indices[number(0, TOKENS - 1) & (TOKENS - 1)] = number(0, 5000);
  int32_t count = byte() % 5; /* ascending */
  int32_t *tokens = room((size_t)count * sizeof *tokens);
  for (int32_t place = 0; place < count; place++)
    tokens[place] = number(0, TOKENS - 1) % (TOKENS / 4) + place * (TOKENS / 4);
  int32_t first = byte() > 250 ? number(0, count) : 0, end = byte() > 250 ? number(0, 5) : count;
  rethined_choice choice = {low, flags, indices, scores, k};
  size_t bytes = rethined_fill_scratch(given->square.scale);
  if (byte() == 255) bytes = (size_t)byte();
  uint8_t *scratch = room(bytes), *before = room(given->bytes);
  scatter(scratch, bytes, (unsigned)byte());
  memcpy(before, given->memory, given->bytes);
  rethined_status status =
      rethined_fill(&given->square, &choice, tokens, count, first, end, scratch, bytes);
  if (status == RETHINED_OK) {
    check_known(given, before);
  } else {
    CHECK(!memcmp(before, given->memory, given->bytes));
  }
  free(before), free(scratch), free(tokens), free(scores), free(indices), free(flags);
}

static void try_lists(void) {
  static float *mask;
  if (!mask) mask = room(PIXELS * sizeof *mask), memset(mask, 0, PIXELS * sizeof *mask);
  for (int time = byte() % 4; time > 0; time--) {
    int32_t from = number(0, PIXELS - 1) & (PIXELS - 1), end = from + byte() * 512;
    float value = (float)(byte() % 3 - 1);
    for (int32_t place = from; place < end && place < PIXELS; place++) mask[place] = value;
  }
  uint8_t *flags = room(TOKENS);
  int32_t *tokens = room(TOKENS * sizeof *tokens), count = -1;
  rethined_status status = rethined_list(mask, flags, tokens, &count);
  CHECK(status == RETHINED_OK || (status == RETHINED_NOTHING_KNOWN && count == TOKENS));
  int32_t budget = byte() > 250 ? number(0, 5000) : number(131, 1131), start = 0;
  size_t places = budget > 0 && budget <= TOKENS ? (size_t)budget : 1;
  int32_t *listed = room(places * sizeof *listed), *rows = room(TOKENS * sizeof *rows);
  uint8_t *kept = room(places), *done = room(TOKENS);
  memset(done, 0, TOKENS);
  if (byte() == 255 && count) tokens[byte() % count] = number(0, 5000);
  int coherence = byte() & 1;
  for (int runs = 0; start < count; runs++) {
    int32_t next = -1;
    int32_t *neighbours = coherence ? rows : NULL;
    status = rethined_part(tokens, count, start, budget, listed, neighbours, kept, &next);
    if (status != RETHINED_OK) break;
    CHECK(next > start && next <= count && runs < TOKENS);
    for (size_t place = 0; place < places; place++) {
      CHECK(listed[place] >= 0 && listed[place] < TOKENS);
      if (kept[place]) done[listed[place]] = 1;
    }
    start = next;
  }
  if (status == RETHINED_OK)
    for (int32_t place = 0; place < count; place++) CHECK(done[tokens[place]]);
  free(done), free(kept), free(rows), free(listed), free(tokens), free(flags);
}

static void try_keep(void) {
  static float *low;
  if (!low) low = room(PIXELS * 3 * sizeof *low), memset(low, 0, PIXELS * 3 * sizeof *low);
  int32_t budget = 1 + byte() % 9, k = 1 + byte() % 3;
  size_t places = (size_t)budget, ranks = (size_t)k;
  float *made = floats(places * 192), *scores = floats(places * ranks);
  int32_t *indices = room(places * ranks * sizeof *indices);
  int32_t *listed = room(places * sizeof *listed);
  uint8_t *kept = room(places), *flags = room(TOKENS);
  for (size_t place = 0; place < places * ranks; place++) indices[place] = number(0, TOKENS - 1);
  for (size_t place = 0; place < places; place++) {
    listed[place] = number(0, TOKENS - 1);
    kept[place] = byte() & 1;
  }
  int32_t *all = room(TOKENS * ranks * sizeof *all);
  float *all_scores = room(TOKENS * ranks * sizeof *all_scores);
  rethined_choice choice = {low, flags, all, all_scores, k};
  rethined_status status = rethined_keep(made, indices, scores, listed, kept, budget, &choice);
  for (size_t place = 0; place < places; place++) {
    if (!kept[place]) continue;
    int right = listed[place] >= 0 && listed[place] < TOKENS;
    for (size_t rank = 0; rank < ranks; rank++)
      right &= indices[place * ranks + rank] >= 0 && indices[place * ranks + rank] < TOKENS;
    CHECK(right || status != RETHINED_OK);
  }
  free(all_scores), free(all), free(flags), free(kept), free(listed), free(indices), free(scores);
  free(made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input = data, left = size;
  CHECK(rethined_message((rethined_status)(byte() % 16)));
  int what = byte() % 16; /* listing reads a whole mask: seldom */
  if (what == 0) {
    try_lists();
  } else if (what < 4) {
    try_keep();
  } else {
    photo given = any_photo();
    if (what < 8) try_shrink(&given);
    else try_fill(&given);
    free(given.memory), free(given.hole);
  }
  return 0;
}

#ifdef ALONE
int main(int count, char **names) {
  uint8_t bytes[4096];
  for (int time = 0; time < (count > 1 ? atoi(names[1]) : 0); time++) {
    scatter(bytes, 256, (unsigned)time);
    LLVMFuzzerTestOneInput(bytes, 256);
  }
  for (int place = 2; place < count; place++) {
    FILE *file = fopen(names[place], "rb");
    CHECK(file);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    LLVMFuzzerTestOneInput(bytes, size);
  }
  return 0;
}
#endif
