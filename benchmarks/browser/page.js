// Fills 8-bit photos with one artifact, at the server's word: each answer is the next request.

import * as runtimes from "/runtimes.js";

const milliseconds = () => performance.now();

async function bytes(path) {
  return new Uint8Array(await (await fetch(path)).arrayBuffer());
}

// The name of the scene that the server wants filled next, in exchange for the last answer.
async function turn(answer) {
  return (await fetch("/turn", { method: "POST", body: answer })).text();
}

// One fill: times of its parts, the network's output, and the filled photo.
async function fill(run, { photo, hole }, target) {
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
  const output = await run(image, mask);
  const ran = milliseconds();
  const filled = new Uint8ClampedArray(photo); // which clamps, and rounds half to even
  for (let i = 0; i < pixels; i++) {
    if (!hole[i]) continue;
    for (let c = 0; c < 3; c++) {
      filled[3 * i + c] = Math.fround(255 * output[c * channel + i * pixel]);
    }
  }
  const done = milliseconds();
  return { parts: [ready - begun, ran - ready, done - ran], output, filled };
}

async function main() {
  // An answer without end: that it breaks off tells the server of this page's.
  fetch("/alive").then((answer) => answer.text());
  if (!crossOriginIsolated) throw new Error("the page is not isolated, so threads are not allowed");
  const { target, window, threads } = await (await fetch("/job")).json();
  const begun = milliseconds();
  const run = await runtimes[target](await bytes("/artifact"), window, threads);
  const load = milliseconds() - begun;
  const scenes = {};
  for (const name of ["noise", "photo"]) {
    scenes[name] = { photo: await bytes(`/${name}/photo`), hole: await bytes(`/${name}/hole`) };
  }
  let scene = await turn(JSON.stringify({ load, agent: navigator.userAgent }));
  for (;;) {
    const { parts, output, filled } = await fill(run, scenes[scene], target);
    scene = await turn(scene === "noise" ? JSON.stringify(parts) : new Blob([output, filled]));
  }
}

function failed(error) {
  fetch("/failed", { method: "POST", body: String(error?.message ?? error) });
}

addEventListener("error", (event) => failed(event.error ?? event.message)); // as of a thread
main().catch(failed);
