/* librethined for the JVM; Rethined.java says what each function is. Compiled with rethined.c into
 * librethined_jni.so. It adds one thing to the library: a buffer that is not direct, or too small
 * for what is said of it, is refused before the library sees it.
 */
#include <jni.h>
#include <stdint.h>

#include "../rethined.h"

#define NAMED(name) Java_org_rethined_Rethined_##name

enum { NOT_A_BUFFER = -1, FACTS = 9 };

/* The memory of a buffer that holds so many bytes, or null. */
static void *at(JNIEnv *env, jobject buffer, int64_t bytes) {
  if (buffer == NULL || bytes < 0) return NULL;
  if ((*env)->GetDirectBufferCapacity(env, buffer) < bytes) return NULL;
  return (*env)->GetDirectBufferAddress(env, buffer);
}

static int in(int32_t value, int32_t least, int32_t most) { return least <= value && value <= most; }

/* A square over two buffers; a status. */
static int square_of(JNIEnv *env, jobject pixels, jobject hole, jintArray facts,
                     rethined_square *square) {
  jint f[FACTS];
  if (facts == NULL || (*env)->GetArrayLength(env, facts) != FACTS) return RETHINED_NULL;
  (*env)->GetIntArrayRegion(env, facts, 0, FACTS, f);
  int32_t stride = f[0], hole_stride = f[1], height = f[2], width = f[3], order = f[4];
  if (!in(height, 1, RETHINED_MAX_LENGTH) || !in(width, 1, RETHINED_MAX_LENGTH))
    return RETHINED_SIZE;
  if (!in(order, RETHINED_RGB, RETHINED_BGRA) || !in(f[5], RETHINED_U8, RETHINED_F32))
    return RETHINED_FORMAT;
  if (stride < 1 || hole_stride < 1) return RETHINED_STRIDE;
  int32_t channels = order == RETHINED_RGBA || order == RETHINED_BGRA ? 4 : 3;
  int64_t row = (int64_t)width * channels * (f[5] == RETHINED_F32 ? 4 : f[5] + 1);
  square->pixels = at(env, pixels, (int64_t)(height - 1) * stride + row);
  square->hole = at(env, hole, (int64_t)(height - 1) * hole_stride + width);
  if (square->pixels == NULL || square->hole == NULL) return NOT_A_BUFFER;
  square->stride = stride, square->hole_stride = hole_stride;
  square->height = height, square->width = width, square->order = order, square->depth = f[5];
  square->scale = f[6], square->top = f[7], square->left = f[8];
  return RETHINED_OK;
}

static int choice_of(JNIEnv *env, jobject low, jobject flags, jobject indices, jobject scores,
                     jint k, rethined_choice *choice) {
  if (!in(k, 1, RETHINED_MAX_K)) return RETHINED_SIZE;
  int64_t small = 4 * (int64_t)RETHINED_SIDE * RETHINED_SIDE;
  choice->low = at(env, low, 3 * small), choice->flags = at(env, flags, RETHINED_TOKENS);
  choice->indices = at(env, indices, 4 * (int64_t)RETHINED_TOKENS * k);
  choice->scores = at(env, scores, 4 * (int64_t)RETHINED_TOKENS * k), choice->k = k;
  int there = choice->low && choice->flags && choice->indices && choice->scores;
  return there ? RETHINED_OK : NOT_A_BUFFER;
}

static int64_t size_of(JNIEnv *env, jobject buffer) {
  return buffer == NULL ? 0 : (*env)->GetDirectBufferCapacity(env, buffer);
}

JNIEXPORT jint JNICALL NAMED(shrinkScratch)(JNIEnv *env, jclass type) {
  (void)env, (void)type;
  return (jint)rethined_shrink_scratch();
}

JNIEXPORT jint JNICALL NAMED(fillScratch)(JNIEnv *env, jclass type, jint scale) {
  (void)env, (void)type;
  return (jint)rethined_fill_scratch(scale);
}

JNIEXPORT jstring JNICALL NAMED(message)(JNIEnv *env, jclass type, jint status) {
  (void)type;
  const char *text = status == NOT_A_BUFFER ? "a buffer is not direct, or too small"
                                            : rethined_message((rethined_status)status);
  return (*env)->NewStringUTF(env, text);
}

JNIEXPORT jint JNICALL NAMED(shrink)(
    JNIEnv *env, jclass type, jobject pixels, jobject hole, jintArray facts, jint first, jint end,
    jint layout, jobject image, jobject mask, jobject scratch) {
  (void)type;
  rethined_square square;
  int status = square_of(env, pixels, hole, facts, &square);
  if (status != RETHINED_OK) return status;
  int64_t small = 4 * (int64_t)RETHINED_SIDE * RETHINED_SIDE;
  float *to = at(env, image, 3 * small), *flags = at(env, mask, small);
  void *room = at(env, scratch, 0);
  if (to == NULL || flags == NULL || room == NULL) return NOT_A_BUFFER;
  return (jint)rethined_shrink(&square, first, end, (rethined_layout)layout, to, flags, room,
                               (size_t)size_of(env, scratch));
}

JNIEXPORT jint JNICALL NAMED(list)(
    JNIEnv *env, jclass type, jobject mask, jobject flags, jobject tokens, jintArray count) {
  (void)type;
  if (count == NULL || (*env)->GetArrayLength(env, count) < 1) return RETHINED_NULL;
  const float *from = at(env, mask, 4 * (int64_t)RETHINED_SIDE * RETHINED_SIDE);
  uint8_t *marked = at(env, flags, RETHINED_TOKENS);
  int32_t *listed = at(env, tokens, 4 * (int64_t)RETHINED_TOKENS), found = 0;
  if (from == NULL || marked == NULL || listed == NULL) return NOT_A_BUFFER;
  int status = (int)rethined_list(from, marked, listed, &found);
  jint told = found;
  (*env)->SetIntArrayRegion(env, count, 0, 1, &told);
  return status;
}

JNIEXPORT jint JNICALL NAMED(part)(JNIEnv *env, jclass type, jobject tokens, jint count, jint start,
                                   jint budget, jobject listed, jobject rows, jobject kept,
                                   jintArray next) {
  (void)type;
  if (next == NULL || (*env)->GetArrayLength(env, next) < 1) return RETHINED_NULL;
  if (!in(count, 1, RETHINED_TOKENS) || !in(budget, 1, RETHINED_TOKENS)) return RETHINED_SIZE;
  const int32_t *all = at(env, tokens, 4 * (int64_t)count);
  int32_t *some = at(env, listed, 4 * (int64_t)budget), following = 0;
  int32_t *places = rows == NULL ? NULL : at(env, rows, 4 * (int64_t)RETHINED_TOKENS);
  uint8_t *exact = at(env, kept, budget);
  if (all == NULL || some == NULL || exact == NULL || (rows != NULL && places == NULL))
    return NOT_A_BUFFER;
  int status = (int)rethined_part(all, count, start, budget, some, places, exact, &following);
  jint told = following;
  if (status == RETHINED_OK) (*env)->SetIntArrayRegion(env, next, 0, 1, &told);
  return status;
}

JNIEXPORT jint JNICALL NAMED(compose)(
    JNIEnv *env, jclass type, jobject composite, jint layout, jobject low) {
  (void)type;
  int64_t bytes = 12 * (int64_t)RETHINED_SIDE * RETHINED_SIDE;
  const float *from = at(env, composite, bytes);
  float *to = at(env, low, bytes);
  if (from == NULL || to == NULL) return NOT_A_BUFFER;
  return (jint)rethined_compose(from, (rethined_layout)layout, to);
}

JNIEXPORT jint JNICALL NAMED(keep)(
    JNIEnv *env, jclass type, jobject made, jobject indices, jobject scores, jobject listed,
    jobject kept, jint budget, jobject low, jobject flags, jobject all_indices, jobject all_scores,
    jint k) {
  (void)type;
  rethined_choice choice;
  int status = choice_of(env, low, flags, all_indices, all_scores, k, &choice);
  if (status != RETHINED_OK) return status;
  if (!in(budget, 1, RETHINED_TOKENS)) return RETHINED_SIZE;
  int64_t patch = 4 * 3 * (int64_t)RETHINED_PATCH * RETHINED_PATCH;
  const float *patches = at(env, made, patch * budget);
  const int32_t *keys = at(env, indices, 4 * (int64_t)budget * k);
  const float *theirs = at(env, scores, 4 * (int64_t)budget * k);
  const int32_t *some = at(env, listed, 4 * (int64_t)budget);
  const uint8_t *exact = at(env, kept, budget);
  if (!patches || !keys || !theirs || !some || !exact) return NOT_A_BUFFER;
  return (jint)rethined_keep(patches, keys, theirs, some, exact, budget, &choice);
}

JNIEXPORT jint JNICALL NAMED(fill)(
    JNIEnv *env, jclass type, jobject pixels, jobject hole, jintArray facts, jobject low,
    jobject flags, jobject indices, jobject scores, jint k, jobject tokens, jint count, jint first,
    jint end, jobject scratch) {
  (void)type;
  rethined_square square;
  rethined_choice choice;
  int status = square_of(env, pixels, hole, facts, &square);
  if (status == RETHINED_OK)
    status = choice_of(env, low, flags, indices, scores, k, &choice);
  if (status != RETHINED_OK) return status;
  if (!in(count, 0, RETHINED_TOKENS)) return RETHINED_SIZE;
  const int32_t *listed = at(env, tokens, 4 * (int64_t)count);
  void *room = at(env, scratch, 0);
  if (listed == NULL || room == NULL) return NOT_A_BUFFER;
  return (jint)rethined_fill(&square, &choice, listed, count, first, end, room,
                             (size_t)size_of(env, scratch));
}
