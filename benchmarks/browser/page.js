// Fills photos with an artifact, or a pair, at the server's word: each answer is the next request.

import { pair } from "/pair.js";
import * as runtimes from "/runtimes.js";

const milliseconds = () => performance.now();

async function bytes(path) {
  return new Uint8Array(await (await fetch(path)).arrayBuffer());
}

// The name of the scene that the server wants filled next, in exchange for the last answer.
async function turn(answer) {
  return (await fetch("/turn", { method: "POST", body: answer })).text();
}

// One fill by a whole artifact: times of its parts, the network's output, and the filled photo.
async function fill(run, { photo, hole }, target, shapes) {
  const pixels = hole.length;
  // How far apart channels and pixels lie in the artifact's images: NHWC in TFLite, else NCHW.
  const [channel, pixel] = target === "tflite" ? [1, 3] : [pixels, 1];
  const begun = milliseconds();
  const image = new Float32Array(3 * pixels);
  for (let i = 0; i < pixels; i++) {
    for (let c = 0; c < 3; c++) image[c * channel + i * pixel] = photo[3 * i + c] / 255;
  }
  const mask = new Float32Array(hole);
  const ready = milliseconds();
  const { output } = await run({
    image: { data: image, dims: shapes.image },
    mask: { data: mask, dims: shapes.mask },
  });
  const ran = milliseconds();
  const filled = new Uint8ClampedArray(photo); // which clamps, and rounds half to even
  for (let i = 0; i < pixels; i++) {
    if (!hole[i]) continue;
    for (let c = 0; c < 3; c++) {
      filled[3 * i + c] = Math.fround(255 * output[c * channel + i * pixel]);
    }
  }
  const done = milliseconds();
  return { parts: [ready - begun, ran - ready, done - ran], answer: new Blob([output, filled]) };
}

async function main() {
  // An answer without end: that it breaks off tells the server of this page's.
  fetch("/alive").then((answer) => answer.text());
  if (!crossOriginIsolated) throw new Error("the page is not isolated, so threads are not allowed");
  const { target, accelerator, shapes, threads, settings } = await (await fetch("/job")).json();
  const adapter = accelerator === "webgpu" ? await gpu() : "";
  const begun = milliseconds();
  const programs = {};
  for (const name of Object.keys(shapes)) {
    programs[name] = await runtimes[target](await bytes(`/programs/${name}`), accelerator, threads);
  }
  const filling = settings
    ? await paired(programs, shapes, settings)
    : (scene) => fill(programs.whole, scene, target, shapes.whole);
  const load = milliseconds() - begun;
  const scenes = {};
  for (const name of ["noise", "photo"]) {
    const photo = await bytes(`/${name}/photo`);
    // What a pair is compared by is a photo of floats.
    const floats = settings && name === "photo";
    const pixels = floats ? new Float32Array(photo.buffer) : photo;
    scenes[name] = { photo: pixels, hole: await bytes(`/${name}/hole`) };
  }
  let scene = await turn(JSON.stringify({ load, agent: navigator.userAgent, adapter }));
  for (;;) {
    const { parts, answer } = await filling(scenes[scene]);
    scene = await turn(scene === "noise" ? JSON.stringify(parts) : answer);
  }
}

// The same by a pair; its answer is the filled photo alone.
async function paired(programs, shapes, settings) {
  const run = await pair(programs, shapes, settings);
  return async ({ photo, hole }) => {
    const { parts, filled } = await run(photo, hole);
    return { parts, answer: new Blob([filled]) };
  };
}

// What the browser calls its GPU; a stand-in that computes on the CPU is said to be one.
async function gpu() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Lacking("the browser has no WebGPU adapter");
  const { vendor, architecture, isFallbackAdapter } = adapter.info;
  return [vendor, architecture, isFallbackAdapter ? "in software" : ""].filter(Boolean).join(" ");
}

class Lacking extends Error {}

function failed(error) {
  const where = error instanceof Lacking ? "/lacking" : "/failed";
  fetch(where, { method: "POST", body: String(error?.message ?? error) });
}

addEventListener("error", (event) => failed(event.error ?? event.message)); // as of a thread
main().catch(failed);
