// Each loads an artifact from its bytes and gives a function of image and mask, in the artifact's
// own layouts, to its output. What such a call copies in and out counts as inference, as it does on
// other devices.

export async function onnx(bytes, [height, width], threads) {
  const ort = await import("onnxruntime-web");
  ort.env.wasm.wasmPaths = "/packages/onnxruntime-web/dist/";
  ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  return async (image, mask) => {
    const { output } = await session.run({
      image: new ort.Tensor(image, [1, 3, height, width]),
      mask: new ort.Tensor(mask, [1, 1, height, width]),
    });
    return output.data;
  };
}

export async function tflite(bytes, [height, width], threads) {
  const { loadAndCompile, loadLiteRt, Tensor } = await import("@litertjs/core");
  await loadLiteRt("/packages/@litertjs/core/wasm/", { threads: true });
  const model = await loadAndCompile(bytes, {
    accelerator: "wasm",
    cpuOptions: { numThreads: threads },
  });
  return async (image, mask) => {
    const inputs = {
      image: new Tensor(image, [1, height, width, 3]),
      mask: new Tensor(mask, [1, height, width, 1]),
    };
    const outputs = await model.run(inputs);
    const output = outputs.output.toTypedArray();
    for (const tensor of [...Object.values(inputs), ...Object.values(outputs)]) {
      tensor.delete(); // they lie outside what the browser collects
    }
    return output;
  };
}
