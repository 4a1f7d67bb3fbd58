package org.rethined;

import java.nio.ByteBuffer;

/**
 * librethined for the JVM: each method is the function of rethined.h with the same name, which says
 * what it does and when it refuses.
 *
 * <p>Buffers are direct ({@code ByteBuffer.allocateDirect}), in native order, of at least the sizes
 * said there; their position and limit are not looked at. A method returns {@link #OK}, a status of
 * rethined.h, or {@link #BUFFER}; nothing is written then. No two calls may write to one buffer at the
 * same time; ranges of rows or tokens that do not overlap may run on several threads, each with its
 * own scratch memory.
 */
public final class Rethined {
  public static final int OK = 0;
  /** A buffer is not direct, or smaller than what the call needs. */
  public static final int BUFFER = -1;
  /** The hole touches every token: there is nothing to copy from. */
  public static final int NOTHING_KNOWN = 11;

  /** Orders of channels, numbers of a channel, and where a network has its colours. */
  public static final int RGB = 0, RGBA = 1, BGR = 2, BGRA = 3;
  public static final int U8 = 0, U16 = 1, F32 = 2;
  public static final int PLANES = 0, PIXELS = 1;

  static {
    System.loadLibrary("rethined_jni");
  }

  private Rethined() {}

  /** A photo, its hole and the square over it: {@code rethined_square} without its pointers. */
  public static final class Square {
    public final ByteBuffer pixels, hole;
    final int[] facts;

    /**
     * @param pixels [height][width][3 or 4], rows {@code stride} bytes apart
     * @param hole [height][width] bytes, 0 = known, rows {@code holeStride} bytes apart
     */
    public Square(ByteBuffer pixels, int stride, ByteBuffer hole, int holeStride, int height,
        int width, int order, int depth, int scale, int top, int left) {
      this.pixels = pixels;
      this.hole = hole;
      facts = new int[] {stride, holeStride, height, width, order, depth, scale, top, left};
    }
  }

  /** What the network said of a photo: {@code rethined_choice}. */
  public static final class Choice {
    public final ByteBuffer low, flags, indices, scores;
    public final int k;

    public Choice(int k) {
      this.k = k;
      low = floats(512 * 512 * 3);
      flags = bytes(4096);
      indices = floats(4096 * k); // integers of the same size
      scores = floats(4096 * k);
    }
  }

  /** A direct buffer in native order for this many floats, or integers. */
  public static ByteBuffer floats(int count) {
    return bytes(4 * count);
  }

  /** A direct buffer in native order. */
  public static ByteBuffer bytes(int count) {
    return ByteBuffer.allocateDirect(count).order(java.nio.ByteOrder.nativeOrder());
  }

  public static int shrink(Square square, int first, int end, int layout, ByteBuffer image,
      ByteBuffer mask, ByteBuffer scratch) {
    return shrink(square.pixels, square.hole, square.facts, first, end, layout, image, mask,
        scratch);
  }

  /** @param count gets the number of hole tokens in its first place */
  public static int list(ByteBuffer mask, Choice choice, ByteBuffer tokens, int[] count) {
    return list(mask, choice.flags, tokens, count);
  }

  /**
   * @param rows null for a network without a coherence layer
   * @param next gets the next start in its first place; {@code count} when no further run is needed
   */
  public static native int part(ByteBuffer tokens, int count, int start, int budget,
      ByteBuffer listed, ByteBuffer rows, ByteBuffer kept, int[] next);

  public static int compose(ByteBuffer composite, int layout, Choice choice) {
    return compose(composite, layout, choice.low);
  }

  public static int keep(ByteBuffer made, ByteBuffer indices, ByteBuffer scores, ByteBuffer listed,
      ByteBuffer kept, int budget, Choice choice) {
    return keep(made, indices, scores, listed, kept, budget, choice.low, choice.flags,
        choice.indices, choice.scores, choice.k);
  }

  public static int fill(Square square, Choice choice, ByteBuffer tokens, int count, int first,
      int end, ByteBuffer scratch) {
    return fill(square.pixels, square.hole, square.facts, choice.low, choice.flags, choice.indices,
        choice.scores, choice.k, tokens, count, first, end, scratch);
  }

  public static native int shrinkScratch();

  public static native int fillScratch(int scale);

  public static native String message(int status);

  private static native int shrink(ByteBuffer pixels, ByteBuffer hole, int[] facts, int first,
      int end, int layout, ByteBuffer image, ByteBuffer mask, ByteBuffer scratch);

  private static native int list(ByteBuffer mask, ByteBuffer flags, ByteBuffer tokens, int[] count);

  private static native int compose(ByteBuffer composite, int layout, ByteBuffer low);

  private static native int keep(ByteBuffer made, ByteBuffer indices, ByteBuffer scores,
      ByteBuffer listed, ByteBuffer kept, int budget, ByteBuffer low, ByteBuffer flags,
      ByteBuffer allIndices, ByteBuffer allScores, int k);

  private static native int fill(ByteBuffer pixels, ByteBuffer hole, int[] facts, ByteBuffer low,
      ByteBuffer flags, ByteBuffer indices, ByteBuffer scores, int k, ByteBuffer tokens, int count,
      int first, int end, ByteBuffer scratch);
}
