// Each loads a program from its bytes for an accelerator, "wasm" or "webgpu", and gives a function of
// its inputs, by name with data and dims in the program's own layouts, to its outputs' data by name.
// What such a call copies in and out counts as inference, as it does on other devices.

export async function onnx(bytes, accelerator, threads) {
  const ort = await import(accelerator === "webgpu" ? "onnxruntime-web/webgpu" : "onnxruntime-web");
  ort.env.wasm.wasmPaths = "/packages/onnxruntime-web/dist/";
  ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(bytes, { executionProviders: [accelerator] });
  return async (inputs) => {
    const tensors = mapped(inputs, ({ data, dims }) => new ort.Tensor(data, dims));
    return mapped(await session.run(tensors), (tensor) => tensor.data);
  };
}

let started; // LiteRT is loaded once, however many programs there are

export async function tflite(bytes, accelerator, threads) {
  const { loadAndCompile, loadLiteRt, Tensor } = await import("@litertjs/core");
  const gpu = accelerator === "webgpu";
  // What a GPU does not take runs in WebAssembly meanwhile, which only the build for JSPI can do.
  started ??= loadLiteRt("/packages/@litertjs/core/wasm/", gpu ? { jspi: true } : { threads: true });
  await started;
  const cpuOptions = gpu ? undefined : { numThreads: threads };
  const model = await loadAndCompile(bytes, { accelerator, cpuOptions });
  if (model.options.accelerator !== accelerator) throw new Error("LiteRT.js runs none of it on WebGPU");
  return async (inputs) => {
    const tensors = mapped(inputs, ({ data, dims }) => new Tensor(data, dims));
    const outputs = await model.run(tensors);
    const made = {};
    for (const [name, tensor] of Object.entries(outputs)) made[name] = await tensor.data();
    for (const tensor of [...Object.values(tensors), ...Object.values(outputs)]) {
      tensor.delete(); // they lie outside what the browser collects
    }
    return made;
  };
}

function mapped(values, change) {
  return Object.fromEntries(Object.entries(values).map(([name, one]) => [name, change(one)]));
}
