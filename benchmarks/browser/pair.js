// A split pair: two programs in a runtime, and librethined, compiled to wasm, for all else. What
// it is asked to do is what rethined.h says of each function.

const SIDE = 512, TOKENS = 4096;
// rethined_order, rethined_layout and rethined_depth.
const RGB = 0, PLANES = 0, PIXELS = 1, U8 = 0, F32 = 2;

class Library {
  constructor({ exports }) {
    this.exports = exports;
    this.end = exports.__heap_base.value;
  }

  // Room for numbers of a kind, as a place in the library's memory.
  room(Kind, length) {
    const place = Math.ceil(this.end / 16) * 16;
    this.end = place + length * Kind.BYTES_PER_ELEMENT;
    const lacking = this.end - this.exports.memory.buffer.byteLength;
    if (lacking > 0) this.exports.memory.grow(Math.ceil(lacking / 65536));
    return { Kind, place, length };
  }

  // Room as an array; worth nothing once more room is made.
  view({ Kind, place, length }) {
    return new Kind(this.exports.memory.buffer, place, length);
  }

  call(name, ...given) {
    const places = given.map((one) => (typeof one === "number" ? one : one.place));
    const status = this.exports[`rethined_${name}`](...places);
    if (status !== 0) throw new Error(`librethined: ${this.message(status)}`);
  }

  message(status) {
    const bytes = new Uint8Array(this.exports.memory.buffer, this.exports.rethined_message(status));
    return new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0)));
  }
}

async function library(path) {
  const { instance } = await WebAssembly.instantiateStreaming(fetch(path));
  instance.exports._initialize?.();
  return new Library(instance);
}

// The functions that fill a square photo, [side][side][3] of bytes or floats, and its parts' times.
//
// programs: the two, as a runtime loads them. shapes: of their inputs. side, scale, k, budget: of
// the pair. nhwc: where the network has its colours.
export async function pair(programs, shapes, { side, scale, k, budget, nhwc }) {
  const lib = await library("/rethined.wasm");
  const layout = nhwc ? PIXELS : PLANES;
  const small = SIDE * SIDE, pixels = side * side;
  const photo = lib.room(Float32Array, 3 * pixels); // bytes use a quarter of it
  const hole = lib.room(Uint8Array, pixels);
  const square = lib.room(Int32Array, 11), choice = lib.room(Int32Array, 5);
  const image = lib.room(Float32Array, 3 * small), mask = lib.room(Float32Array, small);
  const composite = lib.room(Float32Array, 3 * small), low = lib.room(Float32Array, 3 * small);
  const flags = lib.room(Uint8Array, TOKENS), tokens = lib.room(Int32Array, TOKENS);
  const indices = lib.room(Int32Array, TOKENS * k), scores = lib.room(Float32Array, TOKENS * k);
  const listed = lib.room(Int32Array, budget), kept = lib.room(Uint8Array, budget);
  const rows = "rows" in shapes.choose ? lib.room(Int32Array, TOKENS) : 0;
  const made = lib.room(Float32Array, budget * 192);
  const keys = lib.room(Int32Array, budget * k), theirs = lib.room(Float32Array, budget * k);
  const count = lib.room(Int32Array, 1), next = lib.room(Int32Array, 1);
  const room = Math.max(lib.exports.rethined_shrink_scratch(),
                        lib.exports.rethined_fill_scratch(scale));
  const scratch = lib.room(Uint8Array, room);
  lib.view(choice).set([low.place, flags.place, indices.place, scores.place, k]);

  function shrink(given, marked) {
    const floats = given instanceof Float32Array;
    const taken = { ...photo, Kind: floats ? Float32Array : Uint8Array, length: 3 * pixels };
    lib.view(taken).set(given);
    lib.view(hole).set(marked);
    const row = 3 * side * taken.Kind.BYTES_PER_ELEMENT;
    lib.view(square).set([photo.place, hole.place, row, side, side, side, RGB,
                          floats ? F32 : U8, scale, 0, 0]);
    lib.call("shrink", square, 0, SIDE, layout, image, mask, scratch, room);
    lib.call("list", mask, flags, tokens, count);
    return taken;
  }

  function inputs(shape, values) {
    return Object.fromEntries(
      Object.entries(shape).map(([name, dims]) => [name, { data: values[name], dims }]),
    );
  }

  async function look() {
    const small = { image: lib.view(image).slice(), mask: lib.view(mask).slice() };
    const seen = await programs.low(inputs(shapes.low, small));
    lib.view(composite).set(seen.composite);
    lib.call("compose", composite, PLANES, low);
    const [found] = lib.view(count);
    for (let start = 0; start < found; [start] = lib.view(next)) {
      lib.call("part", tokens, found, start, budget, listed, rows, kept, next);
      const values = { ...seen, tokens: lib.view(listed).slice(),
                       rows: rows && lib.view(rows).slice() };
      const chosen = await programs.choose(inputs(shapes.choose, values));
      lib.view(made).set(chosen.low);
      lib.view(keys).set(chosen.indices);
      lib.view(theirs).set(chosen.scores);
      lib.call("keep", made, keys, theirs, listed, kept, budget, choice);
    }
    return found;
  }

  return async (given, marked) => {
    const begun = performance.now();
    const taken = shrink(given, marked);
    const ready = performance.now();
    const found = await look();
    const ran = performance.now();
    lib.call("fill", square, choice, tokens, found, 0, found, scratch, room);
    const filled = lib.view(taken).slice();
    const done = performance.now();
    return { parts: [ready - begun, ran - ready, done - ran], filled };
  };
}
