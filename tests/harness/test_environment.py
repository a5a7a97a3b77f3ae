"""The environment record places a run's figures and names nobody's machine."""

import json
import platform

from harness.environment import describe


def test_versions_and_hardware_without_the_hosts_name():
    facts = describe("cpu")
    assert {"python", "torch", "transformers", "lm-eval"} <= facts["versions"].keys()
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 0
    assert facts["gpu"] is None
    node = platform.node()
    assert not node or f'"{node}"' not in json.dumps(facts)
