// LiteRT for the web.
import { decode, encode } from "./bench.mjs";

export class LitertEngine {
  constructor(litert) {
    this.litert = litert;
  }

  async open(bytes, threads) {
    const cpuOptions = threads ? { numThreads: threads } : {};
    this.model = await this.litert.loadAndCompile(bytes, { accelerator: "wasm", cpuOptions });
  }

  specs() {
    const told = (all) => all.map(({ name, dtype, shape }) => ({ name, dtype, shape: Array.from(shape) }));
    return { inputs: told(this.model.getInputDetails()), outputs: told(this.model.getOutputDetails()) };
  }

  tensors(feeds) {
    const tensor = (value) => new this.litert.Tensor(decode(value), value.shape);
    return Object.fromEntries(feeds.map((value) => [value.name, tensor(value)]));
  }

  // The outputs are read as part of a run, as ONNX Runtime does it.
  async invoke(tensors) {
    const results = await this.model.run(tensors);
    return Object.entries(results).map(([name, tensor]) => {
      const { dtype, layout } = tensor.type;
      const data = tensor.toTypedArray();
      tensor.delete();
      return { name, dtype, shape: Array.from(layout.dimensions), data };
    });
  }

  values(outputs) {
    return outputs.map((output) => ({ ...output, data: encode(output.data) }));
  }

  release() {}
}
