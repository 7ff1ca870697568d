"""`--target web` and `--target node`: the engines of the web, in headless Chromium and in Node.

packages.py   npm's packages, pinned by checksum; the set-up and its removal
bench.mjs     load, run and time a model; the same in a page and in Node
ort.mjs       onnxruntime-web and onnxruntime-node; litert.mjs: LiteRT for the web
page.html     the page; server.py gives it, the engines and the model to the browser
node.mjs      the program of Node
chromium.py   Chromium by its devtools protocol; node.py: Node by lines of JSON
process.py    what /proc tells of the process that computes
worker.py     the worker of edgedl.worker, which passes the requests on
target.py     the targets
"""
