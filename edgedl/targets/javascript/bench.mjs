// One model under measurement. An engine has open(), specs(), tensors(), invoke() and values(); see ort.mjs and litert.mjs.
// Values travel as {dtype, shape, data}, data being the base64 of their bytes.

const CHUNK = 1 << 15;
const TICKS_PER_SAMPLE = 100; // a sample is long enough that one tick of the clock is 1 % of it

export const VIEWS = {
  float32: Float32Array, float64: Float64Array, int8: Int8Array, uint8: Uint8Array, bool: Uint8Array, int16: Int16Array,
  uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array,
  float16: globalThis.Float16Array ?? Uint16Array,
};

export function decode({ dtype, data }) {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  return new VIEWS[dtype](bytes.buffer);
}

export function encode(view) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += CHUNK) text += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return btoa(text);
}

export class Bench {
  constructor(engine) {
    this.engine = engine;
    this.turn = this.block = 0; // no block yet: the first burst is the model's first run, alone
  }

  async load(bytes, threads) {
    await this.engine.open(bytes, threads);
    return this.engine.specs();
  }

  async run(feeds) {
    return this.engine.values(await this.engine.invoke(this.engine.tensors(feeds)));
  }

  feed(sets) {
    this.sets = sets.map((feeds) => this.engine.tensors(feeds));
  }

  // Milliseconds of each sample, which is the mean of `block` runs. resolution: one tick of the clock.
  async measure(runs, seconds) {
    const first = this.block === 0;
    if (first) this.block = 1;
    else if (!this.resolution) await this.calibrate();
    const samples = [], begun = performance.now();
    let now = begun, outputs;
    while (samples.length < runs || now - begun < 1000 * seconds) {
      const start = performance.now();
      outputs = await this.burst(this.block);
      now = performance.now();
      samples.push((now - start) / this.block);
    }
    const nan = this.engine.values(outputs).find((value) => hasNaN(value));
    return { samples, elapsed: now - begun, block: this.block, resolution: this.resolution ?? tick(), nan: nan?.name ?? null };
  }

  async burst(count) {
    let outputs;
    for (let n = 0; n < count; n++) {
      if (outputs) this.engine.release(outputs);
      outputs = await this.engine.invoke(this.sets[this.turn++ % this.sets.length]);
    }
    return outputs;
  }

  // How many runs a sample needs, from the clock's tick and a trial that is long enough to be told by it.
  async calibrate() {
    this.resolution = tick();
    for (let count = 1; ; count *= 2) {
      const start = performance.now();
      this.engine.release(await this.burst(count));
      const spent = performance.now() - start;
      if (spent >= TICKS_PER_SAMPLE * this.resolution) {
        this.block = Math.max(1, Math.ceil((TICKS_PER_SAMPLE * this.resolution * count) / spent));
        return;
      }
    }
  }
}

// The smallest step of performance.now() that was seen in 50 steps.
function tick() {
  let smallest = Infinity;
  for (let n = 0; n < 50; n++) {
    const start = performance.now();
    let next = start;
    while (next === start) next = performance.now();
    smallest = Math.min(smallest, next - start);
  }
  return smallest;
}

function hasNaN({ dtype, data }) {
  return dtype.startsWith("float") && decode({ dtype, data }).some(Number.isNaN);
}
