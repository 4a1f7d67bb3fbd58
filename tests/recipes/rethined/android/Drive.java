import static org.rethined.Rethined.*;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.rethined.Rethined;

/**
 * Fills a photo with what a network gave, all read from files, as an app does with its runtime's
 * buffers: {@code Drive FOLDER SIDE SCALE K BUDGET COHERENCE}.
 */
public final class Drive {
  public static void main(String[] given) throws IOException {
    Path folder = Path.of(given[0]);
    int side = Integer.parseInt(given[1]), scale = Integer.parseInt(given[2]);
    int k = Integer.parseInt(given[3]), budget = Integer.parseInt(given[4]);
    ByteBuffer rows = Boolean.parseBoolean(given[5]) ? floats(4096) : null;

    ByteBuffer photo = read(folder.resolve("photo.raw")), hole = read(folder.resolve("hole.raw"));
    Square square = new Square(photo, 4 * side, hole, side, side, side, RGBA, U8, scale, 0, 0);
    Choice choice = new Choice(k);
    ByteBuffer image = floats(3 * 512 * 512), mask = floats(512 * 512), tokens = floats(4096);
    ByteBuffer scratch = bytes(Math.max(shrinkScratch(), fillScratch(scale)));

    check(shrink(square, 0, 512, PIXELS, image, mask, scratch));
    int[] count = new int[1], next = new int[1];
    check(list(mask, choice, tokens, count));
    check(compose(read(folder.resolve("composite.raw")), PLANES, choice));
    ByteBuffer listed = floats(budget), kept = bytes(budget);
    for (int start = 0, run = 0; start < count[0]; start = next[0], run++) {
      check(part(tokens, count[0], start, budget, listed, rows, kept, next));
      ByteBuffer[] made = new ByteBuffer[3];
      String[] names = {"low", "indices", "scores"};
      for (int i = 0; i < 3; i++) made[i] = read(folder.resolve(names[i] + run + ".raw"));
      check(keep(made[0], made[1], made[2], listed, kept, budget, choice));
    }
    refused(square, choice, tokens, count[0], scratch);
    // Two ranges, as two threads would take them.
    check(fill(square, choice, tokens, count[0], 0, count[0] / 2, scratch));
    check(fill(square, choice, tokens, count[0], count[0] / 2, count[0], scratch));
    write(folder.resolve("filled.raw"), photo);
    write(folder.resolve("image.raw"), image);
  }

  /** Buffers that are too small, not direct or missing reach nothing. */
  private static void refused(Square square, Choice choice, ByteBuffer tokens, int count,
      ByteBuffer scratch) {
    Square small = new Square(bytes(100), 4 * 1024, square.hole, 1024, 1024, 1024, RGBA, U8, 2, 0, 0);
    ByteBuffer heap = ByteBuffer.allocate(4 * 4096);
    expect(BUFFER, fill(small, choice, tokens, count, 0, count, scratch));
    expect(BUFFER, fill(square, choice, heap, count, 0, count, scratch));
    expect(BUFFER, fill(square, choice, null, count, 0, count, scratch));
    expect(BUFFER, fill(square, choice, tokens, count, 0, count, null));
    expect(BUFFER, list(floats(9), choice, tokens, new int[1]));
    expect(7, fill(square, choice, tokens, count, 0, count, bytes(1))); // too little scratch
    expect(3, fill(square, choice, tokens, 5000, 0, count, scratch)); // too many tokens
    if (!message(BUFFER).contains("not direct") || message(11).isEmpty())
      throw new AssertionError(message(BUFFER));
  }

  private static void expect(int wanted, int status) {
    if (status != wanted) throw new AssertionError(status + " where " + wanted + " was wanted");
  }

  private static void check(int status) {
    if (status != OK) throw new IllegalStateException(Rethined.message(status));
  }

  private static ByteBuffer read(Path file) throws IOException {
    try (FileChannel channel = FileChannel.open(file)) {
      ByteBuffer data = bytes((int) channel.size());
      while (data.hasRemaining() && channel.read(data) >= 0) continue;
      return data.order(ByteOrder.nativeOrder());
    }
  }

  private static void write(Path file, ByteBuffer data) throws IOException {
    data.rewind();
    try (FileChannel channel =
        FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
      while (data.hasRemaining()) channel.write(data);
    }
  }
}
