#include "rethined.h"

#include <math.h>
#include <string.h>

/* A kernel is compiled once for each set of instructions that calls it. */
#if defined(__GNUC__)
#define KERNEL static inline __attribute__((always_inline))
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define KERNEL static inline
#define PREFETCH(address) ((void)(address))
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(RETHINED_NO_AVX2)
#define HAS_AVX2 1
#include <cpuid.h>
#endif

enum {
  SIDE = RETHINED_SIDE,
  GRID = RETHINED_GRID,
  TOKENS = RETHINED_TOKENS,
  PATCH = RETHINED_PATCH,
  /* Low pixels around a patch that enlarging reads. */
  LOW_HALO = 2,
  WINDOW = PATCH + 2 * LOW_HALO,
  TAPS = 5,
  /* The neighbours of a token lie at most this far from it in the list of all. */
  REACH = GRID + 1,
  /* Photo columns shrunk together, so that their sums stay in the first cache. */
  STRETCH = 1024,
  MOST_CHANNELS = 4,
  MOST_PIXEL_BYTES = 16,
  ALIGNMENT = 64
};

typedef struct span {
  const void *start;
  size_t bytes;
} span;

/* --- Arguments -------------------------------------------------------------------------------- */

const char *rethined_message(rethined_status status) {
  switch (status) {
    case RETHINED_OK: return "done";
    case RETHINED_NULL: return "a pointer is null";
    case RETHINED_FORMAT: return "unknown order of channels, depth or layout";
    case RETHINED_SIZE: return "a height, width, scale, count, k, budget or range is out of bounds";
    case RETHINED_STRIDE: return "rows overlap, or do not fit in memory; check the strides";
    case RETHINED_ALIGNMENT: return "pixels or stride are not aligned to the size of a channel";
    case RETHINED_OUTSIDE: return "the square does not touch the photo";
    case RETHINED_SCRATCH: return "too little scratch memory";
    case RETHINED_OVERLAP: return "a buffer that is written overlaps another";
    case RETHINED_INDEX: return "a token is not in 0 ... 4095, or tokens are not ascending";
    case RETHINED_NOT_FINITE: return "a known pixel or an output of the network is not finite";
    case RETHINED_NOTHING_KNOWN: return "the hole leaves no whole patch to copy from";
  }
  return "unknown status";
}

static int disjoint(span a, span b) {
  uintptr_t first = (uintptr_t)a.start, second = (uintptr_t)b.start;
  return first < second ? second - first >= a.bytes : first - second >= b.bytes;
}

/* Whether none of the first `written` spans overlaps any other. */
static int apart(const span *spans, int written, int count) {
  for (int one = 0; one < written; one++)
    for (int other = one + 1; other < count; other++)
      if (!disjoint(spans[one], spans[other])) return 0;
  return 1;
}

static int channels_of(const rethined_square *square) {
  return square->order == RETHINED_RGBA || square->order == RETHINED_BGRA ? 4 : 3;
}

static size_t depth_bytes(const rethined_square *square) {
  return square->depth == RETHINED_U8 ? 1 : square->depth == RETHINED_U16 ? 2 : 4;
}

static float white(const rethined_square *square) {
  return square->depth == RETHINED_U8 ? 255.f : square->depth == RETHINED_U16 ? 65535.f : 1.f;
}

/* Whether rows of `bytes` each may lie `stride` apart. */
static int stride_fits(ptrdiff_t stride, size_t bytes, int32_t rows) {
  if (stride > PTRDIFF_MAX / RETHINED_MAX_LENGTH || stride < -(PTRDIFF_MAX / RETHINED_MAX_LENGTH)) {
    return 0;
  }
  size_t apart = (size_t)(stride < 0 ? -stride : stride);
  return rows == 1 || apart >= bytes;
}

static span rows_span(const void *first, ptrdiff_t stride, size_t bytes, int32_t rows) {
  ptrdiff_t reach = stride * (rows - 1);
  span all = {first, bytes + (size_t)(reach < 0 ? -reach : reach)};
  if (reach < 0) all.start = (const char *)first + reach;
  return all;
}

static span pixels_span(const rethined_square *square) {
  size_t bytes = (size_t)square->width * (size_t)channels_of(square) * depth_bytes(square);
  return rows_span(square->pixels, square->stride, bytes, square->height);
}

static span hole_span(const rethined_square *square) {
  return rows_span(square->hole, square->hole_stride, (size_t)square->width, square->height);
}

static rethined_status check_square(const rethined_square *square) {
  if (!square || !square->pixels || !square->hole) return RETHINED_NULL;
  if (square->order < RETHINED_RGB || square->order > RETHINED_BGRA) return RETHINED_FORMAT;
  if (square->depth < RETHINED_U8 || square->depth > RETHINED_F32) return RETHINED_FORMAT;
  if (square->height < 1 || square->height > RETHINED_MAX_LENGTH) return RETHINED_SIZE;
  if (square->width < 1 || square->width > RETHINED_MAX_LENGTH) return RETHINED_SIZE;
  if (square->scale < 1 || square->scale > RETHINED_MAX_SCALE) return RETHINED_SIZE;
  size_t depth = depth_bytes(square);
  size_t bytes = (size_t)square->width * (size_t)channels_of(square) * depth;
  if (!stride_fits(square->stride, bytes, square->height)) return RETHINED_STRIDE;
  if (!stride_fits(square->hole_stride, (size_t)square->width, square->height)) {
    return RETHINED_STRIDE;
  }
  if ((uintptr_t)square->pixels % depth || square->stride % (ptrdiff_t)depth) {
    return RETHINED_ALIGNMENT;
  }
  int32_t side = SIDE * square->scale;
  if (square->top >= square->height || square->top <= -side) return RETHINED_OUTSIDE;
  if (square->left >= square->width || square->left <= -side) return RETHINED_OUTSIDE;
  return RETHINED_OK;
}

static char *aligned(void *scratch) {
  return (char *)scratch + (ALIGNMENT - (uintptr_t)scratch % ALIGNMENT) % ALIGNMENT;
}

/* An index reflected into 0 ... length - 1, again and again until it is inside. */
static int32_t reflected(int32_t index, int32_t length) {
  if (index >= 0 && index < length) return index;
  if (length == 1) return 0;
  int32_t period = 2 * (length - 1);
  index %= period;
  if (index < 0) index += period;
  return index < length ? index : period - index;
}

static const unsigned char *pixel_row(const rethined_square *square, int32_t row) {
  return (const unsigned char *)square->pixels + square->stride * row;
}

static const uint8_t *hole_row(const rethined_square *square, int32_t row) {
  return square->hole + square->hole_stride * row;
}

KERNEL int any_set(const uint8_t *flags, size_t count) {
  uint8_t found = 0;
  for (size_t place = 0; place < count; place++) found |= flags[place];
  return found != 0;
}

KERNEL int all_set(const uint8_t *flags, size_t count) {
  uint8_t least = 255;
  for (size_t place = 0; place < count; place++)
    least = flags[place] < least ? flags[place] : least;
  return least != 0;
}

/* --- What differs between depths -------------------------------------------------------------- */

/* The whole number nearest to a value, half to even, from 0 to `most`: a float of 2^23 and more has
 * no fraction. NaN becomes 0. */
KERNEL int32_t rounded(float value, float most) {
  value = value > 0.f ? value : 0.f;
  value = value < most ? value : most;
  return (int32_t)((value + 8388608.f) - 8388608.f);
}

#define STORED_u8(value) ((uint8_t)rounded(value, 255.f))
#define STORED_u16(value) ((uint16_t)rounded(value, 65535.f))
#define STORED_f32(value) (value)

/* SUM holds 256 pixels. */
#define DEFINE_DEPTH(NAME, PIXEL, SUM)                                                             \
  KERNEL void decode_##NAME(const PIXEL *restrict pixels, size_t count, float *restrict to) {      \
    for (size_t place = 0; place < count; place++) to[place] = (float)pixels[place];               \
  }                                                                                                \
                                                                                                   \
  /* Stores runs of whole pixels; the fourth channel keeps what it has. */                         \
  KERNEL void store_##NAME(const float *restrict from, size_t count, int channels,                 \
                           PIXEL *restrict pixels) {                                               \
    if (channels == 3) {                                                                           \
      for (size_t place = 0; place < count; place++) pixels[place] = STORED_##NAME(from[place]);   \
      return;                                                                                      \
    }                                                                                              \
    for (size_t place = 0; place < count; place++) {                                               \
      PIXEL made = STORED_##NAME(from[place]);                                                     \
      pixels[place] = (place & 3) == 3 ? pixels[place] : made;                                     \
    }                                                                                              \
  }                                                                                                \
                                                                                                   \
  KERNEL void add_##NAME(const PIXEL *restrict one, size_t count, SUM *restrict sums) {            \
    for (size_t place = 0; place < count; place++) sums[place] = (SUM)(sums[place] + one[place]);  \
  }                                                                                                \
                                                                                                   \
  KERNEL void adds_##NAME(const PIXEL *restrict one, const PIXEL *restrict two, size_t count,      \
                          SUM *restrict sums) {                                                    \
    for (size_t place = 0; place < count; place++)                                                 \
      sums[place] = (SUM)(sums[place] + (SUM)((SUM)one[place] + (SUM)two[place]));                 \
  }                                                                                                \
                                                                                                   \
  /* Adds each number and those 1, 2 ... factor - 1 times `apart` behind it. */                    \
  KERNEL void gather_##NAME(const SUM *restrict from, size_t count, size_t apart, int factor,      \
                            SUM *restrict to) {                                                    \
    for (size_t place = 0; place < count; place++)                                                 \
      to[place] = (SUM)(from[place] + from[place + apart]);                                        \
    for (int other = 2; other < factor; other++)                                                   \
      for (size_t place = 0; place < count; place++)                                               \
        to[place] = (SUM)(to[place] + from[place + (size_t)other * apart]);                        \
  }                                                                                                \
                                                                                                   \
  /* Means of `width` low pixels over the square's rows from `row` on: [width][channels]. */       \
  KERNEL void mean_##NAME(const rethined_square *square, int channels, const columns *across,      \
                          int32_t row, int32_t width, void *scratch, float *restrict means) {      \
    int scale = square->scale;                                                                     \
    size_t count = (size_t)(width * scale * channels);                                             \
    SUM *sums = scratch, *other = sums + STRETCH * MOST_CHANNELS;                                  \
    unsigned char *room = (unsigned char *)scratch + 2 * STRETCH * MOST_CHANNELS * sizeof(float);  \
    memset(sums, 0, count * sizeof *sums);                                                         \
    for (int line = 0; line < scale; line += 2) {                                                  \
      const PIXEL *one = (const PIXEL *)pixels_across(square, across, row + line, room);           \
      if (line + 1 == scale) {                                                                     \
        add_##NAME(one, count, sums);                                                              \
        break;                                                                                     \
      }                                                                                            \
      const PIXEL *two = (const PIXEL *)pixels_across(square, across, row + line + 1,              \
                                                      room + STRETCH * MOST_PIXEL_BYTES);          \
      adds_##NAME(one, two, count, sums);                                                          \
    }                                                                                              \
    size_t apart = (size_t)channels;                                                               \
    for (int left = scale, factor = 2; left > 1;) {                                                \
      if (left % factor) {                                                                         \
        factor++;                                                                                  \
        continue;                                                                                  \
      }                                                                                            \
      count -= (size_t)(factor - 1) * apart;                                                       \
      gather_##NAME(sums, count, apart, factor, other);                                            \
      SUM *swapped = sums;                                                                         \
      sums = other, other = swapped;                                                               \
      apart *= (size_t)factor;                                                                     \
      left /= factor;                                                                              \
    }                                                                                              \
    float share = 1.f / (white(square) * (float)(scale * scale));                                  \
    for (int32_t column = 0; column < width; column++)                                             \
      for (int channel = 0; channel < 3; channel++)                                                \
        means[column * 3 + channel] =                                                              \
            (float)sums[(size_t)column * apart + (size_t)channel] * share;                         \
  }

/* Columns of the square that are shrunk together: inside the photo, or to be looked up. */
typedef struct columns {
  int32_t first, count; /* photo columns; first may lie outside */
  int inside;
  size_t pixel_bytes;
} columns;

static const unsigned char *pixels_across(const rethined_square *square, const columns *across,
                                          int32_t row, unsigned char *room) {
  const unsigned char *line = pixel_row(square, reflected(square->top + row, square->height));
  if (across->inside) return line + (ptrdiff_t)across->first * (ptrdiff_t)across->pixel_bytes;
  for (int32_t place = 0; place < across->count; place++) {
    int32_t column = reflected(across->first + place, square->width);
    memcpy(room + (size_t)place * across->pixel_bytes,
           line + (size_t)column * across->pixel_bytes, across->pixel_bytes);
  }
  return room;
}

DEFINE_DEPTH(u8, uint8_t, uint16_t)
DEFINE_DEPTH(u16, uint16_t, uint32_t)
DEFINE_DEPTH(f32, float, float)

/* --- Shrinking -------------------------------------------------------------------------------- */

/* Hole pixels of some columns over `scale` rows, together: whether there is any. */
KERNEL int hole_across(const rethined_square *square, const columns *across, int32_t row,
                       uint8_t *restrict flags) {
  size_t count = (size_t)across->count;
  memset(flags, 0, count);
  for (int32_t line = 0; line < square->scale; line++) {
    const uint8_t *hole = hole_row(square, reflected(square->top + row + line, square->height));
    if (across->inside) {
      const uint8_t *restrict from = hole + across->first;
      for (size_t place = 0; place < count; place++) flags[place] |= from[place];
      continue;
    }
    for (int32_t place = 0; place < across->count; place++)
      flags[place] |= hole[reflected(across->first + place, square->width)];
  }
  return any_set(flags, count);
}

/* Whether the known pixels of a low pixel, of a float photo, are finite. */
static int known_finite(const rethined_square *square, int32_t row, int32_t column) {
  int channels = channels_of(square), scale = square->scale;
  for (int32_t down = 0; down < scale; down++) {
    int32_t line = reflected(square->top + row * scale + down, square->height);
    const float *pixels = (const float *)(const void *)pixel_row(square, line);
    for (int32_t across = 0; across < scale; across++) {
      int32_t place = reflected(square->left + column * scale + across, square->width);
      if (hole_row(square, line)[place]) continue;
      for (int channel = 0; channel < 3; channel++)
        if (!isfinite(pixels[(ptrdiff_t)place * channels + channel])) return 0;
    }
  }
  return 1;
}

/* Refuses means of known pixels that are not finite; those of low pixels in the hole become 0. */
static rethined_status check_means(const rethined_square *square, int32_t row, int32_t column,
                                   int32_t width, const float *mask, float *means) {
  for (int32_t place = 0; place < width; place++) {
    float *mean = means + place * 3;
    if (isfinite(mean[0]) && isfinite(mean[1]) && isfinite(mean[2])) continue;
    if (mask[place] == 0.f || !known_finite(square, row, column + place)) {
      return RETHINED_NOT_FINITE;
    }
    for (int channel = 0; channel < 3; channel++)
      if (!isfinite(mean[channel])) mean[channel] = 0.f;
  }
  return RETHINED_OK;
}

KERNEL rethined_status shrink_rows(const rethined_square *square, int32_t first, int32_t end,
                                   rethined_layout layout, float *image, float *mask,
                                   char *scratch) {
  int scale = square->scale, channels = channels_of(square);
  int swap = square->order == RETHINED_BGR || square->order == RETHINED_BGRA;
  int32_t most = STRETCH / scale;
  float means[STRETCH * 3];
  uint8_t flags[STRETCH];
  for (int32_t row = first; row < end; row++) {
    for (int32_t column = 0; column < SIDE; column += most) {
      int32_t width = SIDE - column < most ? SIDE - column : most;
      columns across = {square->left + column * scale, width * scale, 0,
                        depth_bytes(square) * (size_t)channels};
      across.inside = across.first >= 0 && across.first + across.count <= square->width;
      if (square->depth == RETHINED_U8) {
        mean_u8(square, channels, &across, row * scale, width, scratch, means);
      } else if (square->depth == RETHINED_U16) {
        mean_u16(square, channels, &across, row * scale, width, scratch, means);
      } else {
        mean_f32(square, channels, &across, row * scale, width, scratch, means);
      }
      float *restrict holes = mask + row * SIDE + column;
      if (hole_across(square, &across, row * scale, flags)) {
        for (int32_t place = 0; place < width; place++)
          holes[place] = any_set(flags + place * scale, (size_t)scale) ? 1.f : 0.f;
      } else {
        memset(holes, 0, (size_t)width * sizeof *holes);
      }
      if (square->depth == RETHINED_F32) {
        rethined_status status = check_means(square, row, column, width, holes, means);
        if (status != RETHINED_OK) return status;
      }
      for (int channel = 0; channel < 3; channel++) {
        int from = swap ? 2 - channel : channel;
        if (layout == RETHINED_PLANES) {
          float *restrict to = image + (channel * SIDE + row) * SIDE + column;
          for (int32_t place = 0; place < width; place++) to[place] = means[place * 3 + from];
        } else {
          float *restrict to = image + (row * SIDE + column) * 3 + channel;
          for (int32_t place = 0; place < width; place++) to[place * 3] = means[place * 3 + from];
        }
      }
    }
  }
  return RETHINED_OK;
}

/* --- Lists of tokens -------------------------------------------------------------------------- */

rethined_status rethined_list(const float *mask, uint8_t *flags, int32_t *tokens, int32_t *count) {
  if (!mask || !flags || !tokens || !count) return RETHINED_NULL;
  span spans[] = {{flags, TOKENS},
                  {tokens, TOKENS * sizeof *tokens},
                  {count, sizeof *count},
                  {mask, SIDE * SIDE * sizeof *mask}};
  if (!apart(spans, 3, 4)) return RETHINED_OVERLAP;
  int32_t found = 0;
  for (int32_t token = 0; token < TOKENS; token++) {
    const float *corner = mask + token / GRID * PATCH * SIDE + token % GRID * PATCH;
    int any = 0;
    for (int pixel = 0; pixel < PATCH * PATCH; pixel++)
      any |= corner[pixel / PATCH * SIDE + pixel % PATCH] > 0.f;
    flags[token] = (uint8_t)any;
    if (any) tokens[found++] = token;
  }
  *count = found;
  return found == TOKENS ? RETHINED_NOTHING_KNOWN : RETHINED_OK;
}

rethined_status rethined_part(const int32_t *tokens, int32_t count, int32_t start, int32_t budget,
                              int32_t *listed, int32_t *rows, uint8_t *kept, int32_t *next) {
  if (!tokens || !listed || !kept || !next) return RETHINED_NULL;
  int32_t reach = rows ? REACH : 0;
  if (count < 1 || count > TOKENS || start < 0 || start >= count) return RETHINED_SIZE;
  if (budget <= 2 * reach || budget > TOKENS) return RETHINED_SIZE;
  span spans[] = {{listed, (size_t)budget * sizeof *listed},
                  {kept, (size_t)budget},
                  {next, sizeof *next},
                  {rows ? (const void *)rows : next, rows ? TOKENS * sizeof *rows : 0},
                  {tokens, (size_t)count * sizeof *tokens}};
  if (!apart(spans, 4, 5)) return RETHINED_OVERLAP;
  for (int32_t place = 0; place < count; place++) {
    if (tokens[place] < 0 || tokens[place] >= TOKENS) return RETHINED_INDEX;
    if (place && tokens[place] <= tokens[place - 1]) return RETHINED_INDEX;
  }
  int32_t length = count - start < budget ? count - start : budget, end = start + length;
  int32_t after = start; /* the first token behind the last that is kept */
  memset(listed, 0, (size_t)budget * sizeof *listed);
  memset(kept, 0, (size_t)budget);
  for (int32_t entry = 0; rows && entry < TOKENS; entry++) rows[entry] = budget;
  for (int32_t place = 0; place < length; place++) {
    int32_t token = tokens[start + place];
    listed[place] = token;
    if (rows) rows[token] = place;
    if (start > 0 && token - reach <= tokens[start - 1]) continue;
    if (end < count && token + reach >= tokens[end]) continue;
    kept[place] = 1;
    after = start + place + 1;
  }
  *next = count;
  if (end == count) return RETHINED_OK;
  for (*next = after; *next > 0 && tokens[*next - 1] >= tokens[after] - reach;) --*next;
  return RETHINED_OK;
}

/* --- What the network gave -------------------------------------------------------------------- */

static int finite_all(const float *values, size_t count) {
  int wrong = 0;
  for (size_t place = 0; place < count; place++) wrong |= !isfinite(values[place]);
  return !wrong;
}

rethined_status rethined_compose(const float *composite, rethined_layout layout, float *low) {
  if (!composite || !low) return RETHINED_NULL;
  if (layout != RETHINED_PLANES && layout != RETHINED_PIXELS) return RETHINED_FORMAT;
  const size_t count = (size_t)SIDE * SIDE * 3;
  span spans[] = {{low, count * sizeof *low}, {composite, count * sizeof *low}};
  int same = layout == RETHINED_PIXELS && composite == low;
  if (!same && !apart(spans, 1, 2)) return RETHINED_OVERLAP;
  if (!finite_all(composite, count)) return RETHINED_NOT_FINITE;
  if (same) return RETHINED_OK;
  if (layout == RETHINED_PIXELS) {
    memcpy(low, composite, count * sizeof *low);
    return RETHINED_OK;
  }
  const float *red = composite, *green = red + SIDE * SIDE, *blue = green + SIDE * SIDE;
  for (size_t place = 0; place < (size_t)SIDE * SIDE; place++) {
    low[place * 3] = red[place];
    low[place * 3 + 1] = green[place];
    low[place * 3 + 2] = blue[place];
  }
  return RETHINED_OK;
}

static rethined_status check_choice(const rethined_choice *choice) {
  if (!choice || !choice->low || !choice->flags || !choice->indices || !choice->scores) {
    return RETHINED_NULL;
  }
  return choice->k < 1 || choice->k > RETHINED_MAX_K ? RETHINED_SIZE : RETHINED_OK;
}

static rethined_status check_named(const int32_t *indices, const float *scores, int32_t k) {
  for (int32_t rank = 0; rank < k; rank++) {
    if (indices[rank] < 0 || indices[rank] >= TOKENS) return RETHINED_INDEX;
    if (!isfinite(scores[rank])) return RETHINED_NOT_FINITE;
  }
  return RETHINED_OK;
}

rethined_status rethined_keep(const float *made, const int32_t *indices, const float *scores,
                              const int32_t *listed, const uint8_t *kept, int32_t budget,
                              const rethined_choice *choice) {
  rethined_status status = check_choice(choice);
  if (status != RETHINED_OK) return status;
  if (!made || !indices || !scores || !listed || !kept) return RETHINED_NULL;
  if (budget < 1 || budget > TOKENS) return RETHINED_SIZE;
  const int32_t k = choice->k;
  const size_t places = (size_t)budget, all = (size_t)TOKENS * (size_t)k;
  const size_t patch = PATCH * PATCH * 3;
  span spans[] = {{choice->low, SIDE * SIDE * 3 * sizeof(float)},
                  {choice->indices, all * sizeof *indices},
                  {choice->scores, all * sizeof *scores},
                  {made, places * patch * sizeof *made},
                  {indices, places * (size_t)k * sizeof *indices},
                  {scores, places * (size_t)k * sizeof *scores},
                  {listed, places * sizeof *listed},
                  {kept, places}};
  if (!apart(spans, 3, 8)) return RETHINED_OVERLAP;
  for (size_t place = 0; place < places; place++) {
    if (!kept[place]) continue;
    if (listed[place] < 0 || listed[place] >= TOKENS) return RETHINED_INDEX;
    status = check_named(indices + place * (size_t)k, scores + place * (size_t)k, k);
    if (status != RETHINED_OK) return status;
    if (!finite_all(made + place * patch, patch)) return RETHINED_NOT_FINITE;
  }
  for (size_t place = 0; place < places; place++) {
    if (!kept[place]) continue;
    const size_t token = (size_t)listed[place], from = place * (size_t)k, to = token * (size_t)k;
    memcpy(choice->indices + to, indices + from, (size_t)k * sizeof *indices);
    memcpy(choice->scores + to, scores + from, (size_t)k * sizeof *scores);
    float *corner = choice->low + (token / GRID * PATCH * SIDE + token % GRID * PATCH) * 3;
    for (size_t pixel = 0; pixel < PATCH * PATCH; pixel++)
      for (size_t channel = 0; channel < 3; channel++)
        corner[(pixel / PATCH * SIDE + pixel % PATCH) * 3 + channel] =
            made[place * patch + pixel / PATCH * 3 * PATCH + channel * PATCH + pixel % PATCH];
  }
  return RETHINED_OK;
}

/* --- Patches at full resolution --------------------------------------------------------------- */

/* What is the same for all patches of a call. Rows are interleaved, one float a channel, so that
 * every loop along one is contiguous: the neighbour of a number lies `channels` further on. */
typedef struct plan {
  int scale, channels, size; /* p, in pixels */
  size_t row;                /* floats from one row of a patch to the next */
  float full;
  int swap;
  float taps[RETHINED_MAX_SCALE][TAPS]; /* bicubic weights of each phase */
  float *across;   /* [TAPS][row]: those of each column of a patch */
  float *repeated; /* a row of 12 low pixels, each as often as it is wide */
  float *low;      /* [12][row]: the low image around the patch, less that around its sources */
  float *decoded, *made;  /* a row each */
  unsigned char *pixels;  /* a row of the photo */
} plan;

/* One source patch. */
typedef struct source {
  int32_t token;
  int32_t column; /* photo column of its first */
  int inside;     /* its columns lie in the photo */
  float weight;   /* 0 where it lies in the hole */
} source;

static size_t in_lines(size_t floats) {
  const size_t step = ALIGNMENT / sizeof(float);
  return (floats + step - 1) / step * step;
}

static size_t row_floats(int scale, int channels) {
  return in_lines((size_t)(PATCH * scale * channels));
}

static size_t repeated_floats(int scale, int channels) {
  return in_lines((size_t)(WINDOW * scale * channels) + 4);
}

static size_t fill_floats(int scale, int channels) {
  return (TAPS + WINDOW + 3) * row_floats(scale, channels) + repeated_floats(scale, channels);
}

static size_t fill_bytes(int scale, int channels) {
  return fill_floats(scale, channels) * sizeof(float) + ALIGNMENT;
}

static float cubic(float distance) {
  const float a = -0.75f, d = fabsf(distance);
  if (d <= 1.f) return ((a + 2.f) * d - (a + 3.f)) * d * d + 1.f;
  return d < 2.f ? ((d - 5.f) * d + 8.f) * d * a - 4.f * a : 0.f;
}

static void make_plan(plan *all, const rethined_square *square, char *scratch) {
  all->scale = square->scale;
  all->channels = channels_of(square);
  all->size = PATCH * all->scale;
  all->row = row_floats(all->scale, all->channels);
  all->full = white(square);
  all->swap = square->order == RETHINED_BGR || square->order == RETHINED_BGRA;
  float *next = (float *)(void *)scratch;
  memset(next, 0, fill_floats(all->scale, all->channels) * sizeof *next);
  all->across = next, next += TAPS * all->row;
  all->low = next, next += WINDOW * all->row;
  all->decoded = next, next += all->row;
  all->made = next, next += all->row;
  all->pixels = (unsigned char *)next, next += all->row;
  all->repeated = next;
  for (int phase = 0; phase < all->scale; phase++) {
    float position = ((float)phase + 0.5f) / (float)all->scale - 0.5f;
    for (int tap = 0; tap < TAPS; tap++)
      all->taps[phase][tap] = cubic((float)(tap - TAPS / 2) - position);
  }
  for (int tap = 0; tap < TAPS; tap++)
    for (int column = 0; column < all->size; column++)
      for (int channel = 0; channel < all->channels; channel++)
        all->across[(size_t)tap * all->row + (size_t)(column * all->channels + channel)] =
            all->taps[column % all->scale][tap];
}

static int32_t clamped(int32_t index) {
  return index < 0 ? 0 : index >= SIDE ? SIDE - 1 : index;
}

KERNEL void five_taps(const float *restrict weights, size_t row, const float *restrict from,
                      size_t step, size_t count, float *restrict to) {
  for (size_t place = 0; place < count; place++)
    to[place] = weights[place] * from[place] + weights[row + place] * from[step + place] +
                weights[2 * row + place] * from[2 * step + place] +
                weights[3 * row + place] * from[3 * step + place] +
                weights[4 * row + place] * from[4 * step + place];
}

/* Adds a row of the low image around a token, weighted, to 12 pixels. */
KERNEL void add_low_row(const float *low, int32_t token, int down, float weight,
                        float pixels[WINDOW][3]) {
  const float *row = low + clamped(token / GRID * PATCH - LOW_HALO + down) * SIDE * 3;
  for (int column = 0; column < WINDOW; column++) {
    const float *pixel = row + clamped(token % GRID * PATCH - LOW_HALO + column) * 3;
    for (int channel = 0; channel < 3; channel++)
      pixels[column][channel] += weight * pixel[channel];
  }
}

/* The low image around a patch, less that around its sources, in the photo's numbers and enlarged
 * across: [12][row]. */
KERNEL void enlarge_across(const plan *all, const float *low, int32_t token, const source *sources,
                           int32_t k) {
  const int channels = all->channels, scale = all->scale;
  for (int down = 0; down < WINDOW; down++) {
    float pixels[WINDOW][3] = {{0.f}};
    add_low_row(low, token, down, 1.f, pixels);
    for (int32_t rank = 0; rank < k; rank++)
      if (sources[rank].weight != 0.f)
        add_low_row(low, sources[rank].token, down, -sources[rank].weight, pixels);
    float *repeated = all->repeated;
    for (int column = 0; column < WINDOW; column++) {
      float four[4] = {pixels[column][all->swap ? 2 : 0] * all->full, pixels[column][1] * all->full,
                       pixels[column][all->swap ? 0 : 2] * all->full, 0.f};
      /* Four numbers also where three are meant: the next pixel covers the fourth. */
      for (int time = 0; time < scale; time++, repeated += channels)
        memcpy(repeated, four, sizeof four);
    }
    /* Column 0 of the patch is low pixel 2 of the window, whose first tap is low pixel 0. */
    five_taps(all->across, all->row, all->repeated, (size_t)(scale * channels),
              (size_t)(all->size * channels), all->low + (size_t)down * all->row);
  }
}

/* The four rows of [12][row] and their weights that make row `pixel` of a patch. */
KERNEL const float *four_rows(const plan *all, int pixel, float weights[4]) {
  const float *taps = all->taps[pixel % all->scale];
  int skipped = taps[0] == 0.f; /* of five taps at least one end has no weight */
  for (int tap = 0; tap < 4; tap++) weights[tap] = taps[tap + skipped];
  return all->low + (size_t)(pixel / all->scale + skipped) * all->row;
}

KERNEL void decode(const rethined_square *square, const unsigned char *pixels, size_t count,
                   float *restrict to) {
  if (square->depth == RETHINED_U8) {
    decode_u8(pixels, count, to);
  } else if (square->depth == RETHINED_U16) {
    decode_u16((const uint16_t *)(const void *)pixels, count, to);
  } else {
    decode_f32((const float *)(const void *)pixels, count, to);
  }
}

KERNEL void store(const rethined_square *square, const float *from, size_t count, int channels,
                  unsigned char *pixels) {
  if (square->depth == RETHINED_U8) {
    store_u8(from, count, channels, pixels);
  } else if (square->depth == RETHINED_U16) {
    store_u16(from, count, channels, (uint16_t *)(void *)pixels);
  } else {
    store_f32(from, count, channels, (float *)(void *)pixels);
  }
}

/* Where a run of hole pixels, or of known ones, that begins at `column` ends. */
KERNEL int32_t run_end(const uint8_t *flags, int32_t column, int32_t end) {
  const int in_hole = flags[column] != 0;
  for (column++; column < end && (flags[column] != 0) == in_hole;) column++;
  return column;
}

/* A source's row that reaches beyond the photo, column by column. */
static void look_up(const plan *all, const rethined_square *square, const source *from,
                    int32_t photo_row) {
  const size_t pixel_bytes = depth_bytes(square) * (size_t)all->channels;
  const unsigned char *pixels = pixel_row(square, photo_row);
  for (int32_t column = 0; column < all->size; column++) {
    const size_t place = (size_t)reflected(from->column + column, square->width);
    memcpy(all->pixels + (size_t)column * pixel_bytes, pixels + place * pixel_bytes, pixel_bytes);
  }
}

/* Row `line` of a source, in floats. */
KERNEL void source_row(const plan *all, const rethined_square *square, const source *from, int line,
                       float *to) {
  const int32_t row = square->top + from->token / GRID * all->size + line;
  const int32_t photo_row = reflected(row, square->height);
  const size_t pixel_bytes = depth_bytes(square) * (size_t)all->channels;
  const unsigned char *pixels = all->pixels;
  if (from->inside) {
    pixels = pixel_row(square, photo_row) + (ptrdiff_t)from->column * (ptrdiff_t)pixel_bytes;
  } else {
    look_up(all, square, from, photo_row);
  }
  decode(square, pixels, (size_t)(all->size * all->channels), to);
}

KERNEL void mix(const float *restrict from, float weight, size_t count, float *restrict to) {
  for (size_t place = 0; place < count; place++) to[place] += weight * from[place];
}

/* Row `line` of all sources, mixed. */
KERNEL void mixed_row(const plan *all, const rethined_square *square, const source *sources,
                      int32_t k, int line, float *to) {
  if (k == 1 && sources->weight == 1.f) {
    source_row(all, square, sources, line, to);
    return;
  }
  const size_t count = (size_t)(all->size * all->channels);
  memset(to, 0, count * sizeof *to);
  for (int32_t rank = 0; rank < k; rank++) {
    if (sources[rank].weight == 0.f) continue;
    source_row(all, square, sources + rank, line, all->decoded);
    mix(all->decoded, sources[rank].weight, count, to);
  }
}

static void weigh(const float *scores, int32_t k, source *sources) {
  float most = scores[0], sum = 0.f;
  for (int32_t rank = 1; rank < k; rank++) most = scores[rank] > most ? scores[rank] : most;
  for (int32_t rank = 0; rank < k; rank++) sum += sources[rank].weight = expf(scores[rank] - most);
  for (int32_t rank = 0; rank < k; rank++) sources[rank].weight /= sum;
}

/* The sources of a token. Of fewer known patches than k, hole tokens are the last, and weigh nothing
 * already; one that is asked for all the same is not read. */
static void open_sources(const plan *all, const rethined_square *square,
                         const rethined_choice *choice, int32_t token, source *sources) {
  const int32_t k = choice->k;
  const size_t from = (size_t)token * (size_t)k;
  sources[0].weight = 1.f;
  if (k > 1) weigh(choice->scores + from, k, sources);
  for (int32_t rank = 0; rank < k; rank++) {
    source *one = sources + rank;
    one->token = choice->indices[from + (size_t)rank];
    one->column = square->left + one->token % GRID * all->size;
    one->inside = one->column >= 0 && one->column <= square->width - all->size;
    if (choice->flags[one->token]) one->weight = 0.f;
  }
}

/* Adds the low image, enlarged, to a row of the mixed sources. */
KERNEL void finish(const float *restrict low, const float weights[4], size_t row, size_t count,
                   float *restrict to) {
  for (size_t place = 0; place < count; place++)
    to[place] += weights[0] * low[place] + weights[1] * low[row + place] +
                 weights[2] * low[2 * row + place] + weights[3] * low[3 * row + place];
}

/* The part of a token that lies in the photo. */
typedef struct area {
  int32_t row, column;                /* of the photo, where the token begins; may lie outside */
  int32_t top, bottom, left, right;   /* rows and columns of the token; bottom and right beyond */
} area;

static area area_of(const plan *all, const rethined_square *square, int32_t token) {
  area found = {square->top + token / GRID * all->size, square->left + token % GRID * all->size,
                0, all->size, 0, all->size};
  if (found.row < 0) found.top = -found.row;
  if (found.column < 0) found.left = -found.column;
  if (found.bottom > square->height - found.row) found.bottom = square->height - found.row;
  if (found.right > square->width - found.column) found.right = square->width - found.column;
  return found;
}

/* Pastes a row of a patch into the hole's pixels. */
KERNEL void paste_row(const plan *all, const rethined_square *square, const area *part, int line) {
  const int32_t photo_row = part->row + line;
  const int channels = all->channels;
  const size_t pixel_bytes = depth_bytes(square) * (size_t)channels;
  const uint8_t *flags = hole_row(square, photo_row) + part->column;
  unsigned char *pixels = (unsigned char *)square->pixels + square->stride * photo_row +
                          (ptrdiff_t)part->column * (ptrdiff_t)pixel_bytes;
  const int whole = all_set(flags + part->left, (size_t)(part->right - part->left));
  for (int32_t column = part->left, next; column < part->right; column = next) {
    next = whole ? part->right : run_end(flags, column, part->right);
    if (flags[column]) {
      store(square, all->made + column * channels, (size_t)((next - column) * channels), channels,
            pixels + (ptrdiff_t)column * (ptrdiff_t)pixel_bytes);
    }
  }
}

KERNEL int row_in_hole(const rethined_square *square, const area *part, int line) {
  const uint8_t *flags = hole_row(square, part->row + line) + part->column;
  return any_set(flags + part->left, (size_t)(part->right - part->left));
}

/* Asks for a row of pixels that will soon be read or written; rows lie on pages of their own. */
KERNEL void expect(const void *first, size_t bytes) {
  for (size_t place = 0; place < bytes; place += ALIGNMENT) PREFETCH((const char *)first + place);
}

/* Asks for what the next token needs at the row that this one is at: a whole patch ahead. */
KERNEL void expect_row(const plan *all, const rethined_square *square,
                       const rethined_choice *choice, int32_t token, int line) {
  const size_t pixel_bytes = depth_bytes(square) * (size_t)all->channels;
  const int32_t width = all->size < square->width ? all->size : square->width;
  const int32_t *chosen = choice->indices + (size_t)token * (size_t)choice->k;
  for (int32_t rank = -1; rank < choice->k; rank++) {
    int32_t at = rank < 0 ? token : chosen[rank];
    int32_t row = square->top + at / GRID * all->size + line;
    int32_t column = square->left + at % GRID * all->size;
    if (row < 0 || row >= square->height || column < 0 || column > square->width - width) continue;
    expect(pixel_row(square, row) + (size_t)column * pixel_bytes, (size_t)width * pixel_bytes);
    if (rank < 0) expect(hole_row(square, row) + column, (size_t)width);
  }
}

KERNEL void fill_token(const plan *all, const rethined_square *square,
                       const rethined_choice *choice, int32_t token, int32_t following) {
  area part = area_of(all, square, token);
  if (part.left >= part.right) return;
  while (part.top < part.bottom && !row_in_hole(square, &part, part.top)) part.top++;
  while (part.top < part.bottom && !row_in_hole(square, &part, part.bottom - 1)) part.bottom--;
  if (part.top >= part.bottom) return;
  if (all->scale == 1) {
    for (int line = part.top; line < part.bottom; line++) {
      const int32_t row = token / GRID * PATCH + line, column = token % GRID * PATCH;
      const float *low = choice->low + (row * SIDE + column) * 3;
      for (int pixel = 0; pixel < PATCH; pixel++)
        for (int channel = 0; channel < 3; channel++)
          all->made[pixel * all->channels + channel] =
              low[pixel * 3 + (all->swap ? 2 - channel : channel)] * all->full;
      paste_row(all, square, &part, line);
    }
    return;
  }
  source sources[RETHINED_MAX_K];
  open_sources(all, square, choice, token, sources);
  enlarge_across(all, choice->low, token, sources, choice->k);
  for (int line = part.top; line < part.bottom; line++) {
    expect_row(all, square, choice, following, line);
    if (!row_in_hole(square, &part, line)) continue;
    mixed_row(all, square, sources, choice->k, line, all->made);
    float weights[4];
    const float *low = four_rows(all, line, weights);
    finish(low, weights, all->row, (size_t)(all->size * all->channels), all->made);
    paste_row(all, square, &part, line);
  }
}

KERNEL void fill_tokens(const plan *all, const rethined_square *square,
                        const rethined_choice *choice, const int32_t *tokens, int32_t count) {
  for (int32_t place = 0; place < count; place++)
    fill_token(all, square, choice, tokens[place], tokens[place + 1 < count ? place + 1 : place]);
}

/* --- Chosen at run time ----------------------------------------------------------------------- */

static rethined_status shrink_plain(const rethined_square *square, int32_t first, int32_t end,
                                    rethined_layout layout, float *image, float *mask,
                                    char *scratch) {
  return shrink_rows(square, first, end, layout, image, mask, scratch);
}

static void fill_plain(const plan *all, const rethined_square *square,
                       const rethined_choice *choice, const int32_t *tokens, int32_t count) {
  fill_tokens(all, square, choice, tokens, count);
}

#ifdef HAS_AVX2
__attribute__((target("avx2,fma"))) static rethined_status shrink_avx2(
    const rethined_square *square, int32_t first, int32_t end, rethined_layout layout, float *image,
    float *mask, char *scratch) {
  return shrink_rows(square, first, end, layout, image, mask, scratch);
}

__attribute__((target("avx2,fma"))) static void fill_avx2(const plan *all,
                                                          const rethined_square *square,
                                                          const rethined_choice *choice,
                                                          const int32_t *tokens, int32_t count) {
  fill_tokens(all, square, choice, tokens, count);
}

/* Asked anew in every call, as no state is kept; it takes some hundred nanoseconds. */
static int has_avx2(void) {
  unsigned a, b, c, d;
  const unsigned needed = bit_OSXSAVE | bit_AVX | bit_FMA;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & needed) != needed) return 0;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 6) != 6) return 0; /* the system keeps the wide registers */
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
}
#endif

size_t rethined_shrink_scratch(void) {
  return 2 * STRETCH * MOST_CHANNELS * sizeof(float) + 2 * STRETCH * MOST_PIXEL_BYTES + ALIGNMENT;
}

rethined_status rethined_shrink(const rethined_square *square, int32_t first, int32_t end,
                                rethined_layout layout, float *image, float *mask, void *scratch,
                                size_t scratch_bytes) {
  rethined_status status = check_square(square);
  if (status != RETHINED_OK) return status;
  if (!image || !mask || !scratch) return RETHINED_NULL;
  if (layout != RETHINED_PLANES && layout != RETHINED_PIXELS) return RETHINED_FORMAT;
  if (first < 0 || end < first || end > SIDE) return RETHINED_SIZE;
  if (scratch_bytes < rethined_shrink_scratch()) return RETHINED_SCRATCH;
  span spans[] = {{image, SIDE * SIDE * 3 * sizeof *image},
                  {mask, SIDE * SIDE * sizeof *mask},
                  {scratch, rethined_shrink_scratch()},
                  pixels_span(square),
                  hole_span(square)};
  if (!apart(spans, 3, 5)) return RETHINED_OVERLAP;
#ifdef HAS_AVX2
  if (has_avx2()) return shrink_avx2(square, first, end, layout, image, mask, aligned(scratch));
#endif
  return shrink_plain(square, first, end, layout, image, mask, aligned(scratch));
}

size_t rethined_fill_scratch(int32_t scale) {
  if (scale < 1 || scale > RETHINED_MAX_SCALE) return 0;
  return fill_bytes(scale, MOST_CHANNELS);
}

rethined_status rethined_fill(const rethined_square *square, const rethined_choice *choice,
                              const int32_t *tokens, int32_t count, int32_t first, int32_t end,
                              void *scratch, size_t scratch_bytes) {
  rethined_status status = check_square(square);
  if (status == RETHINED_OK) status = check_choice(choice);
  if (status != RETHINED_OK) return status;
  if (!tokens || !scratch) return RETHINED_NULL;
  if (count < 0 || count > TOKENS || first < 0 || end < first || end > count) return RETHINED_SIZE;
  const int32_t k = choice->k;
  const size_t needed = fill_bytes(square->scale, channels_of(square));
  const size_t named = (size_t)TOKENS * (size_t)k;
  if (scratch_bytes < needed) return RETHINED_SCRATCH;
  span spans[] = {pixels_span(square),
                  {scratch, needed},
                  hole_span(square),
                  {tokens, (size_t)count * sizeof *tokens},
                  {choice->low, SIDE * SIDE * 3 * sizeof(float)},
                  {choice->flags, TOKENS},
                  {choice->indices, named * sizeof(int32_t)},
                  {choice->scores, named * sizeof(float)}};
  if (!apart(spans, 2, 8)) return RETHINED_OVERLAP;
  for (int32_t place = 0; place < count; place++) {
    if (tokens[place] < 0 || tokens[place] >= TOKENS) return RETHINED_INDEX;
    if (place && tokens[place] <= tokens[place - 1]) return RETHINED_INDEX;
    const size_t from = (size_t)tokens[place] * (size_t)k;
    status = check_named(choice->indices + from, choice->scores + from, k);
    if (status != RETHINED_OK) return status;
  }
  plan all;
  make_plan(&all, square, aligned(scratch));
#ifdef HAS_AVX2
  if (has_avx2()) {
    fill_avx2(&all, square, choice, tokens + first, end - first);
    return RETHINED_OK;
  }
#endif
  fill_plain(&all, square, choice, tokens + first, end - first);
  return RETHINED_OK;
}
