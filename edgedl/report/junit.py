"""Gates as a JUnit file, which continuous integration shows: https://github.com/testmoapp/junitxml."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from edgedl.measure.gates import Gate
from edgedl.report.table import printable


def render(gates: Sequence[Gate]) -> bytes:
    """One test case per gate; what could not be told from noise is skipped, with its sentence."""
    failed = sum(gate.state == "failed" for gate in gates)
    unclear = sum(gate.state == "unclear" for gate in gates)
    counts = {"tests": len(gates), "failures": failed, "skipped": unclear, "errors": 0}
    suite = ElementTree.Element("testsuite", {"name": "edgedl check", **{key: str(n) for key, n in counts.items()}})
    for gate in gates:
        case = ElementTree.SubElement(suite, "testcase", classname=printable(gate.subject), name=gate.name, time="0")
        said = printable(gate.sentence)
        if gate.state == "passed":
            ElementTree.SubElement(case, "system-out").text = said
        else:
            ElementTree.SubElement(case, "failure" if gate.state == "failed" else "skipped", message=said)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, "unicode", xml_declaration=True).encode() + b"\n"
