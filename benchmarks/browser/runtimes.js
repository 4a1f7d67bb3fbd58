// Each loads a program from its bytes and gives a function of its inputs, by name with data and
// dims in the program's own layouts, to its outputs' data by name. What such a call copies in and
// out counts as inference, as it does on other devices.

export async function onnx(bytes, threads) {
  const ort = await import("onnxruntime-web");
  ort.env.wasm.wasmPaths = "/packages/onnxruntime-web/dist/";
  ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  return async (inputs) => {
    const tensors = mapped(inputs, ({ data, dims }) => new ort.Tensor(data, dims));
    return mapped(await session.run(tensors), (tensor) => tensor.data);
  };
}

let started; // LiteRT is loaded once, however many programs there are

export async function tflite(bytes, threads) {
  const { loadAndCompile, loadLiteRt, Tensor } = await import("@litertjs/core");
  started ??= loadLiteRt("/packages/@litertjs/core/wasm/", { threads: true });
  await started;
  const model = await loadAndCompile(bytes, {
    accelerator: "wasm",
    cpuOptions: { numThreads: threads },
  });
  return async (inputs) => {
    const tensors = mapped(inputs, ({ data, dims }) => new Tensor(data, dims));
    const outputs = await model.run(tensors);
    const made = mapped(outputs, (tensor) => tensor.toTypedArray());
    for (const tensor of [...Object.values(tensors), ...Object.values(outputs)]) {
      tensor.delete(); // they lie outside what the browser collects
    }
    return made;
  };
}

function mapped(values, change) {
  return Object.fromEntries(Object.entries(values).map(([name, one]) => [name, change(one)]));
}
