/* librethined: everything that a photo's fill needs beside the network.
 *
 * A RETHINED network, exported as a low program, looks at a photo at 512 x 512 and says of each
 * patch in the hole what it looks like there and which patches of the photo to copy. This library
 * does the rest, on the photo itself:
 *
 *     rethined_shrink     photo and hole -> the network's `image` and `mask`
 *     rethined_list       mask -> hole tokens
 *     rethined_part       hole tokens -> the network's `tokens` (and `rows`), run by run
 *     rethined_compose    the network's `composite` -> the low image
 *     rethined_keep       the network's `low`, `indices` and `scores` -> what was chosen
 *     rethined_fill       the hole's pixels, at the photo's own resolution
 *
 * C11, libc and libm only. Nothing is allocated, no state is kept, no thread is started: calls with
 * ranges of rows or tokens that do not overlap may run at the same time, each with its own scratch
 * memory. On x86-64 the two calls that take time choose AVX2 by themselves where the processor has
 * it. Build with -O3, -ffp-contract=fast and -fno-trapping-math, never with -ffast-math.
 *
 * Every call checks its arguments before it writes anything, and returns RETHINED_OK or an error; a
 * null pointer where one is needed is RETHINED_NULL. Buffers have the sizes said and hold native
 * numbers, aligned as their type asks; those written to may overlap no other, which is checked
 * (RETHINED_OVERLAP). Scratch memory may lie anywhere and is worth nothing afterwards.
 *
 * A token t is the patch at row t / 64 and column t % 64 of the token grid: 8 x 8 pixels of the
 * low image, 8s x 8s of the square of side 512s that lies over the photo; s is the scale. Beyond
 * the photo the square shows it reflected, without repeating its edge, as often as it takes.
 */
#ifndef RETHINED_H
#define RETHINED_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  RETHINED_SIDE = 512,      /* of the low image */
  RETHINED_GRID = 64,       /* tokens along a side */
  RETHINED_TOKENS = 4096,   /* in all */
  RETHINED_PATCH = 8,       /* side of a token in the low image */
  RETHINED_MAX_SCALE = 16,  /* a square of 8192 */
  RETHINED_MAX_K = 64,      /* patches mixed into one */
  RETHINED_MAX_LENGTH = 1 << 16 /* of a photo's side */
};

typedef enum rethined_status {
  RETHINED_OK = 0,
  RETHINED_NULL,          /* a pointer is null */
  RETHINED_FORMAT,        /* order, depth or layout is none of those below */
  RETHINED_SIZE,          /* a height, width, scale, count, k, budget or range is out of bounds */
  RETHINED_STRIDE,        /* rows would overlap, or do not fit in memory */
  RETHINED_ALIGNMENT,     /* pixels of more than one byte are not aligned to their size */
  RETHINED_OUTSIDE,       /* the square does not touch the photo */
  RETHINED_SCRATCH,       /* too little scratch memory */
  RETHINED_OVERLAP,       /* a buffer that is written overlaps another */
  RETHINED_INDEX,         /* a token or an index of one is not in 0 ... 4095, or out of order */
  RETHINED_NOT_FINITE,    /* a known pixel, or what the network gave, is NaN or infinite */
  RETHINED_NOTHING_KNOWN  /* the hole touches every token: there is nothing to copy from */
} rethined_status;

/* Order of a pixel's channels. A fourth is left as it is. */
typedef enum rethined_order {
  RETHINED_RGB = 0,
  RETHINED_RGBA = 1,
  RETHINED_BGR = 2,
  RETHINED_BGRA = 3
} rethined_order;

/* Numbers of a channel: 0 ... 255, 0 ... 65535, or floats whose 1 is white. */
typedef enum rethined_depth {
  RETHINED_U8 = 0,
  RETHINED_U16 = 1,
  RETHINED_F32 = 2
} rethined_depth;

/* Where a network has its colours: [3][512][512] (ONNX, Core ML) or [512][512][3] (TFLite). */
typedef enum rethined_layout {
  RETHINED_PLANES = 0,
  RETHINED_PIXELS = 1
} rethined_layout;

/* A photo, its hole, and the square of the token grid over it.
 *
 * pixels: first row, [height][width][3 or 4]. Rows lie `stride` bytes apart; negative where the
 *   last row comes first in memory. Aligned to the size of a channel, as is the stride.
 * hole: first row, [height][width], one byte a pixel, 0 = known, anything else = to be filled; its
 *   rows lie `hole_stride` bytes apart.
 * height, width: 1 ... RETHINED_MAX_LENGTH; either may exceed the square.
 * order, depth: a rethined_order and a rethined_depth.
 * scale: 1 ... RETHINED_MAX_SCALE.
 * top, left: photo row and column at which the square begins; negative where it begins outside.
 *
 * Refused with RETHINED_NULL, _FORMAT, _SIZE, _STRIDE, _ALIGNMENT or _OUTSIDE by the calls that
 * take one.
 */
typedef struct rethined_square {
  void *pixels;
  const uint8_t *hole;
  ptrdiff_t stride, hole_stride;
  int32_t height, width;
  int32_t order, depth;
  int32_t scale, top, left;
} rethined_square;

/* What the network said. The caller owns the memory, and need not clear it.
 *
 * low: [512][512][3], RGB in [0, 1]: the low image. rethined_compose fills all of it.
 * flags: [4096], 1 = the token is in the hole. rethined_list fills it.
 * indices, scores: [4096][k], the tokens that each hole token copies, and their scores; those of
 *   known tokens are never read. rethined_keep fills them.
 * k: 1 ... RETHINED_MAX_K.
 *
 * Buffers that overlap each other are not looked for here.
 */
typedef struct rethined_choice {
  float *low;
  uint8_t *flags;
  int32_t *indices;
  float *scores;
  int32_t k;
} rethined_choice;

/* What a status means, in English; never null. The text is constant and needs no freeing. */
const char *rethined_message(rethined_status status);

/* Bytes of scratch memory that one call of rethined_shrink needs at most. */
size_t rethined_shrink_scratch(void);

/* Shrinks rows first ... end - 1 of the 512 of the low image.
 *
 * image: [3][512][512] or [512][512][3] as layout says, RGB, 1 = white: the mean of s x s pixels.
 * mask: [512][512]: 1 where any of those pixels is hole, else 0.
 * Of both, only the rows asked for are written.
 *
 * A float photo may hold anything in its hole; where that makes a mean NaN or infinite, image is 0.
 * A known pixel that is not finite is refused with RETHINED_NOT_FINITE, image and mask then being
 * worth nothing: one such pixel would reach all of what the network gives.
 *
 * Errors: those of a square; RETHINED_SIZE (not 0 <= first <= end <= 512), _FORMAT (layout),
 * _SCRATCH, _OVERLAP, _NOT_FINITE.
 */
rethined_status rethined_shrink(const rethined_square *square, int32_t first, int32_t end,
                                rethined_layout layout, float *image, float *mask, void *scratch,
                                size_t scratch_bytes);

/* Lists the hole's tokens, ascending.
 *
 * mask: [512][512] as rethined_shrink makes it; all above 0 is hole. flags: [4096], 1 or 0.
 * tokens: [4096], of which the first *count are written.
 *
 * Errors: RETHINED_OVERLAP; RETHINED_NOTHING_KNOWN, with everything written all the same.
 */
rethined_status rethined_list(const float *mask, uint8_t *flags, int32_t *tokens, int32_t *count);

/* Writes the inputs of one run of a low program that takes `budget` tokens.
 *
 * tokens: [count], as rethined_list makes them. start: 0 in the first run, then *next of the last.
 * listed: [budget], the program's `tokens`: the next ones, then zeros.
 * rows: [4096], the program's `rows`, or null for a network without a coherence layer. With one, a
 *   token needs its neighbours in the same run, so that runs overlap, and budget is at least 131.
 * kept: [budget], 1 for each place whose token this run makes exactly, for rethined_keep.
 * next: *next is count when no further run is needed.
 *
 * Errors: RETHINED_SIZE (count not in 1 ... 4096, budget not in 1 ... 4096 or too small, start
 * not in 0 ... count - 1), RETHINED_INDEX (tokens not ascending in 0 ... 4095), _OVERLAP.
 */
rethined_status rethined_part(const int32_t *tokens, int32_t count, int32_t start, int32_t budget,
                              int32_t *listed, int32_t *rows, uint8_t *kept, int32_t *next);

/* Starts the low image from the network's `composite`, laid out as layout says.
 *
 * Every run of one photo gives the same composite, so that one is enough. composite may be low
 * itself where layout is RETHINED_PIXELS.
 *
 * Errors: RETHINED_FORMAT, RETHINED_OVERLAP, RETHINED_NOT_FINITE (nothing is written).
 */
rethined_status rethined_compose(const float *composite, rethined_layout layout, float *low);

/* Keeps what one run of the low program said of its tokens.
 *
 * made: [budget][8][3][8], the program's `low`. indices: [budget][k]; scores: [budget][k].
 * listed, kept: [budget], as rethined_part wrote them. choice: of each token kept, low, indices
 * and scores are written.
 *
 * Errors: RETHINED_SIZE (budget, k), RETHINED_INDEX, RETHINED_NOT_FINITE, RETHINED_OVERLAP; then
 * nothing is written, whatever a broken network gave.
 */
rethined_status rethined_keep(const float *made, const int32_t *indices, const float *scores,
                              const int32_t *listed, const uint8_t *kept, int32_t budget,
                              const rethined_choice *choice);

/* Bytes of scratch memory that a call of rethined_fill needs at most; 0: a wrong scale. */
size_t rethined_fill_scratch(int32_t scale);

/* Fills the hole's pixels of tokens first ... end - 1 of a list, and writes no other byte of the
 * photo.
 *
 * tokens: [count], as rethined_list makes them. All of them are checked in every call, so that of
 *   calls that share a list either each is refused or none.
 * choice: is only read. Where flags do not belong to this hole, pixels of the hole may be copied.
 *
 * A patch is the low image enlarged (bicubic, a = -3/4), plus the mean of what its k source patches
 * hold beyond it (pixels less the low image enlarged there), weighted with the softmax of their
 * scores; a source in the hole adds nothing. At scale 1 a patch is that of the low image.
 * Whole numbers are rounded half to even and clipped; floats are stored as they come.
 *
 * Errors: those of a square; RETHINED_SIZE (count not in 0 ... 4096, k, or not 0 <= first <= end
 * <= count), RETHINED_INDEX, _NOT_FINITE (scores), _SCRATCH, _OVERLAP; then nothing is written.
 */
rethined_status rethined_fill(const rethined_square *square, const rethined_choice *choice,
                              const int32_t *tokens, int32_t count, int32_t first, int32_t end,
                              void *scratch, size_t scratch_bytes);

#ifdef __cplusplus
}
#endif

#endif
