"""The browser and Node as targets, with an engine that is made up: a package of a few lines in the place of ONNX Runtime's."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed, InvalidInput, Unavailable, UnknownName, Unsupported
from edgedl.isolated import IsolatedSession
from edgedl.measure import InputChoice, Plan, Subject
from edgedl.reference import TaskReference
from edgedl.targets import find, kind_of
from edgedl.targets.javascript import chromium, node, packages, process
from edgedl.targets.javascript import target as targets
from edgedl.targets.javascript.chromium import Chromium
from edgedl.targets.javascript.packages import Package, Store
from edgedl.targets.javascript.server import serve
from edgedl.targets.javascript.target import Script, ScriptTarget
from edgedl.targets.javascript.worker import ScriptWorker, decoded, encoded
from edgedl.targets.target import Status

SUM = Path(str(files("edgedl") / "models" / "sum.onnx"))
QUICK = Plan(runs=6, seconds=0.0, rounds=6, warmup_runs=1, warmup_seconds=0.0)
FEEDS = {"a": np.array([1], np.float32), "b": np.array([2], np.float32)}
MADE_UP = """
class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
const meta = (name) => ({ name, type: "float32", shape: [1] });
const ort = {
  Tensor,
  env: { wasm: {} },
  InferenceSession: {
    async create(bytes) {
      const model = new TextDecoder().decode(bytes);
      if (model === "throw") throw new Error("no kernel for Odd\\n at some place");
      if (model === "hang") await new Promise(() => setInterval(() => 0, 1000));
      if (model === "abort") process.abort();
      return {
        inputMetadata: [meta("a"), model === "text" ? { ...meta("b"), type: "string" } : meta("b")],
        outputMetadata: [meta("sum")],
        run: async ({ a, b }) => ({ sum: new Tensor("float32", Float32Array.of(model === "nan" ? NaN : a.data[0] + b.data[0]), [1]) }),
      };
    },
  },
};
"""
needs_node = pytest.mark.skipif(not node.program(), reason="node is not installed")
needs_chromium = pytest.mark.skipif(not chromium.program(), reason="chromium is not installed")
_mkdtemp = tempfile.mkdtemp
KINDS = [pytest.param("node", marks=needs_node), pytest.param("web", marks=needs_chromium)]


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages, as a set-up makes it."""
    folder = tmp_path_factory.mktemp("made-up") / "node_modules"
    for name, text in {
        "onnxruntime-node/index.js": f"{MADE_UP}module.exports = ort;",
        "onnxruntime-web/dist/ort.wasm.min.mjs": f"{MADE_UP}const {{ env, InferenceSession }} = ort;\n"
        "export { env, InferenceSession, Tensor };",
        "contents.json": json.dumps({"onnxruntime-node": "1.0 sha512-x", "onnxruntime-web": "1.0 sha512-x"}),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def profile() -> Iterator[Path]:
    """A folder with a short name."""
    with targets._scratch() as folder:
        yield Path(folder)


def model(tmp_path: Path, text: str) -> Artifact:
    path = tmp_path / "made-up.onnx"
    path.write_text(text)
    return Artifact(path)


def session(kind: str, made_up: Path, source: Artifact, **more: Any) -> IsolatedSession:
    return IsolatedSession(source, threads=1, place=Script(kind, packages=made_up), **more)


@pytest.mark.parametrize("kind", KINDS)
def test_it_runs_and_is_timed_there(kind: str, made_up: Path) -> None:
    with session(kind, made_up, Artifact(SUM)) as running:
        assert running.run(FEEDS)["sum"].tolist() == [3.0]
        with pytest.raises(InvalidInput, match=r"input 'a' has shape \(2,\)"):
            running.run({**FEEDS, "a": np.zeros(2, np.float32)})
        assert running.engine.startswith(f"onnxruntime-{kind} 1.0 in {'Node' if kind == 'node' else 'Chrome'} ")
        running.ask("feed", {f"0/{name}": values for name, values in FEEDS.items()}, sets=1)
        first, _ = running.ask("measure", runs=1, seconds=0)
        told, tensors = running.ask("measure", runs=20, seconds=0)
        assert first["block"] == 1
        assert told["block"] > (1 if kind == "web" else 0)
        assert len(tensors["wall_ns"]) == 20
        assert 0 < told["resolution"] <= 1e5
        assert running.ask("memory")[0]["run"] > 10e6


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_tells_mean_parity_and_clock(kind: str, made_up: Path) -> None:
    target = ScriptTarget(Script(kind, packages=made_up))
    subjects = [Subject("sum", Artifact(SUM))]
    (found,) = target.measure(subjects, InputChoice(subjects), QUICK, lambda *_: None).subjects
    assert found.failure is None
    assert [(figure.name, figure.how) for figure in found.figures] == [("mean", "measured")]
    assert found.parity
    assert found.parity.exact
    assert found.notes[0].startswith(f"sum on {kind}: performance.now() ticks every ")
    assert (found.target, len(found.rounds)) == (kind, 6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "said"),
    [("throw", "no kernel for Odd"), ("text", "tensor 'b' is a string: edgedl carries tensors of")],
)
def test_a_model_that_is_refused_is_one_sentence(
    kind: str, text: str, said: str, made_up: Path, tmp_path: Path
) -> None:
    with pytest.raises((EngineFailed, InvalidInput), match=said) as refusal:
        session(kind, made_up, model(tmp_path, text))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_is_a_failure(kind: str, made_up: Path, tmp_path: Path) -> None:
    subjects = [Subject("odd", model(tmp_path, "nan"))]
    target = ScriptTarget(Script(kind, packages=made_up))
    (found,) = target.measure(subjects, InputChoice(subjects), QUICK, lambda *_: None).subjects
    assert found.failure
    assert found.failure.message == "the engine gave NaN in the output 'sum'"


@needs_node
def test_node_that_dies_is_told(made_up: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match=r"node crashed \(exit code -6\)"):
        session("node", made_up, model(tmp_path, "abort"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_hangs_is_ended_and_nothing_stays(
    kind: str, made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(targets.tempfile, "mkdtemp", lambda **how: made.append(_mkdtemp(**how)) or made[-1])
    with pytest.raises(EngineFailed, match="it took more than 4 s"):
        session(kind, made_up, model(tmp_path, "hang"), timeout=4)
    assert len(made) == 1
    assert not Path(made[0]).exists()


@needs_chromium
def test_too_long_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="is too long a name for chromium's sockets: set TMPDIR"):
        Chromium(tmp_path / ("x" * 60), 1.0)


@needs_chromium
def test_a_page_that_crashes_is_told(made_up: Path, profile: Path) -> None:
    browser = Chromium(profile, 2.0)
    try:
        browser.open(f"{serve(made_up, SUM)}/page.html")
        with pytest.raises(EngineFailed, match="the page crashed"):
            browser.page("Page.crash")
    finally:
        browser.close()


@needs_chromium
def test_a_browser_that_ends_is_told(profile: Path) -> None:
    browser = Chromium(profile, 1.0)
    browser._process.kill()
    with pytest.raises(EngineFailed, match="chromium ended with exit code"):
        browser.ask("Browser.getVersion")
    browser.close()


def test_arrays_travel_as_they_are() -> None:
    feeds = {
        "x": np.arange(6, dtype=np.int64).reshape(2, 3).T,
        "flag": np.array(True),
        "none": np.zeros((0, 2), np.float32),
    }
    back = decoded(encoded(feeds))
    assert all(np.array_equal(back[name], feeds[name]) and back[name].dtype == feeds[name].dtype for name in feeds)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"runtime": "openvino"}, "runtime 'openvino' is not here: a .onnx file runs in ort"),
        ({"device": "cuda"}, "device 'cuda' is not here"),
        ({"options": {"spinning": "0"}}, "option 'spinning' is none of the web's engines"),
    ],
)
def test_what_is_not_there_is_not_replaced(request_: dict[str, Any], said: str) -> None:
    asked = {"source": str(SUM), "runtime": "auto", "device": "cpu", "threads": 1, "options": {}, **request_}
    reply, _ = ScriptWorker({}).answer({"do": "load", **asked}, {})
    assert said in reply["message"]


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("web:throtle=4", UnknownName, "did you mean 'throttle'"),
        ("web:throttle=1", InvalidInput, "expected a whole number from 2 to 100"),
        ("web:throttle=x", InvalidInput, "expected a whole number from 2 to 100"),
        ("node:18", InvalidInput, "expected node alone"),
    ],
)
def test_a_detail_that_means_nothing_is_refused(text: str, error: type[InvalidInput], said: str) -> None:
    with pytest.raises(error, match=said):
        find(text)


def test_sources_that_do_not_run_there_are_refused(made_up: Path) -> None:
    with pytest.raises(Unsupported, match=r"node runs onnx files, and sum.tflite is none: try --target web"):
        session("node", made_up, Artifact(SUM.with_suffix(".tflite")))
    with pytest.raises(Unsupported, match="zoo:digits, which runs in PyTorch"):
        IsolatedSession(TaskReference("zoo:digits"), place=Script("web", packages=made_up))


@pytest.mark.parametrize("name", ["web", "node"])
def test_the_status_leads_to_the_next_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDL_TARGETS", str(tmp_path))
    kind, _ = kind_of(name)
    monkeypatch.setattr(type(kind), "found", lambda self: None)
    assert kind.status().state == "impossible"
    assert kind.status().detail.endswith(f"(apt-get install {'chromium' if name == 'web' else 'nodejs'})")
    with pytest.raises(Unavailable, match="is not possible here: it needs"):
        kind.setup("", {}, lambda _: None)
    monkeypatch.setattr(type(kind), "found", lambda self: "/usr/bin/x")
    monkeypatch.setattr("edgedl.targets.javascript.target.shutil.which", lambda _: None)
    assert kind.status() == Status("impossible", "its set-up needs npm (apt-get install npm)")
    monkeypatch.setattr("edgedl.targets.javascript.target.shutil.which", lambda _: "/usr/bin/npm")
    assert kind.status() == Status("set-up", f"edgedl target setup {name}")
    with pytest.raises(Unavailable, match=f"target '{name}' is not set up: edgedl target setup {name}"):
        find(name).session(Artifact(SUM))


@pytest.fixture
def served(tmp_path: Path) -> str:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "a.mjs").write_text("export {};")
    (tmp_path / "secret").write_text("secret")
    return serve(tmp_path / "packages", SUM)


def test_the_server_isolates_the_page(served: str) -> None:
    with urllib.request.urlopen(f"{served}/packages/a.mjs") as reply:
        assert reply.headers["Content-Type"] == "text/javascript"
        assert reply.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert reply.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    with urllib.request.urlopen(f"{served}/model") as reply:
        assert reply.read() == SUM.read_bytes()
    assert served.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "path", ["packages/../secret", "packages/%2e%2e/secret", "../secret", "packages//etc/passwd", "no"]
)
def test_the_server_gives_nothing_else(served: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{served}/{path}")


def archive(folder: Path, package: str, files: dict[str, str]) -> tuple[Path, str]:
    """An npm archive and its checksum."""
    path = folder / f"{package}-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as members:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            members.addfile(member, io.BytesIO(text.encode()))
    return path, base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of one package, and an npm that copies its archive; `asked` grows with each download."""
    monkeypatch.setenv("EDGEDL_TARGETS", str(tmp_path / "targets"))
    names = {
        "package/dist/a.js": "a",
        "package/../../evil.js": "x",
        "package/other.js": "b",
        "package/dist/../../e.js": "y",
    }
    path, digest = archive(tmp_path, "engine", names)
    asked: list[str] = []

    def npm(command: Sequence[str], folder: Path, otherwise: str) -> str:
        asked.append(command[2])
        (Path(command[command.index("--pack-destination") + 1]) / path.name).write_bytes(path.read_bytes())
        return ""

    monkeypatch.setattr(packages, "run", npm)
    store = Store("made-up", (Package("engine", "1.0.0", digest, ("dist/a",)),))
    store.__dict__["asked"] = asked
    return store


def quiet(_: Any) -> None:
    """Nobody watches, and everything computes."""


def test_a_set_up_unpacks_what_is_kept_and_no_more(shop: Store, tmp_path: Path) -> None:
    shop.setup({}, quiet, quiet)
    assert shop.there()
    found = {str(path.relative_to(shop.folder)) for path in shop.folder.rglob("*") if path.is_file()}
    assert found == {"node_modules/engine/dist/a.js", "node_modules/contents.json"}
    assert not list(tmp_path.rglob("e.js"))
    shop.setup({}, quiet, quiet)
    assert shop.__dict__["asked"] == ["engine@1.0.0"]
    shop.remove()
    assert not shop.folder.exists()


def test_a_set_up_that_does_not_compute_leaves_its_downloads_alone(shop: Store) -> None:
    def odd(_: Path) -> None:
        raise EngineFailed("it computes 4")

    with pytest.raises(EngineFailed):
        shop.setup({}, quiet, odd)
    assert [path.name for path in shop.folder.iterdir()] == ["downloads"]
    shop.setup({}, quiet, quiet)
    assert shop.there()
    assert shop.__dict__["asked"] == ["engine@1.0.0"]


def test_another_checksum_is_refused(shop: Store) -> None:
    other = Store("made-up", (Package("engine", "1.0.0", "AAAA", ("dist/",)),))
    with pytest.raises(Unavailable, match=r"engine-1.0.0.tgz is not what was tried: sha512-"):
        other.setup({}, quiet, quiet)
    assert not other.there()


def test_the_registry_is_passed_on(shop: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Sequence[str]] = []

    def npm(command: Sequence[str], folder: Path, otherwise: str) -> str:
        commands.append(command)
        raise Unavailable(otherwise)

    monkeypatch.setattr(packages, "run", npm)
    with pytest.raises(Unavailable, match=r"npm cannot download engine 1.0.0"):
        shop.setup({"registry": "http://mirror.example"}, quiet, quiet)
    assert "--registry=http://mirror.example" in commands[0]
    assert not shop.folder.exists()


def test_what_is_known_of_a_process() -> None:
    assert process.peak_memory(os.getpid()) > 1e6
    assert process.cpu_seconds(os.getpid()) > 0
    assert process.peak_memory(2**22 + 1) == 0
    assert process.cpu_seconds(2**22 + 1) == 0
    ready, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (ready.set(), done.wait()))
    thread.start()
    ready.wait()
    assert len(process.threads(os.getpid())) >= 2
    done.set()
    thread.join()


def test_a_scratch_folder_goes_although_it_is_written_into() -> None:
    with targets._scratch() as text:
        folder, stop = Path(text), time.monotonic() + 0.1

        def write() -> None:
            while time.monotonic() < stop:
                if folder.exists():
                    (folder / "late").write_text("")

        writer = threading.Thread(target=lambda: _tolerant(write))
        writer.start()
    writer.join()
    assert not folder.exists()


def _tolerant(work: Any) -> None:
    try:
        work()
    except OSError:
        return
