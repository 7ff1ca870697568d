// ONNX Runtime in the web's own language: onnxruntime-web in a page, onnxruntime-node in Node.
import { decode, encode } from "./bench.mjs";

export class OrtEngine {
  constructor(ort, options) {
    this.ort = ort;
    this.options = options; // of the session, from the number of threads (null: the engine's own choice)
  }

  async open(bytes, threads) {
    this.session = await this.ort.InferenceSession.create(bytes, this.options(threads));
  }

  specs() {
    const told = (all) => all.map(({ name, type, shape }) => ({ name, dtype: type, shape }));
    return { inputs: told(this.session.inputMetadata), outputs: told(this.session.outputMetadata) };
  }

  tensors(feeds) {
    const tensor = (value) => new this.ort.Tensor(value.dtype, decode(value), value.shape);
    return Object.fromEntries(feeds.map((value) => [value.name, tensor(value)]));
  }

  invoke(tensors) {
    return this.session.run(tensors);
  }

  values(outputs) {
    return Object.entries(outputs).map(([name, { type, dims, data }]) => ({ name, dtype: type, shape: dims, data: encode(data) }));
  }

  release() {} // outputs are JavaScript's own
}
