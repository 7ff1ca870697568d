// The program of Node: one request a line on standard input, one reply a line on standard output.
//   {"do": "load", ...} -> {"value": ...} or {"error": "..."}
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { Bench } from "./bench.mjs";
import { OrtEngine } from "./ort.mjs";

const [folder, model] = process.argv.slice(2);
let bench, threads;

const answers = {
  engine(request) {
    threads = request.threads;
    const ort = createRequire(`${folder}/`)("onnxruntime-node");
    bench = new Bench(new OrtEngine(ort, (count) => (count ? { intraOpNumThreads: count, interOpNumThreads: 1 } : {})));
    return {};
  },
  load: async () => bench.load(new Uint8Array(await readFile(model)), threads),
  run: ({ feeds }) => bench.run(feeds),
  feed: ({ sets }) => bench.feed(sets),
  measure: ({ runs, seconds }) => bench.measure(runs, seconds),
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let reply;
  try {
    reply = { value: (await answers[request.do](request)) ?? null };
  } catch (error) {
    reply = { error: String(error?.message ?? error) };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
