"""What the README shows must run."""

import re
from pathlib import Path

import strategies
from strategies import registry
from strategies.plugins import load_file

README = Path(__file__).parents[1] / "README.md"


def test_the_plug_in_example_works(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "PARTS", dict(registry.PARTS))
    source = re.search(r"```python\n(# my_rule\.py\n.*?)```", README.read_text(), re.DOTALL)
    assert source
    plugin = tmp_path / "my_rule.py"
    plugin.write_text(source.group(1))
    load_file(plugin)
    assert strategies.parse("margin-threshold:threshold=0.3+dual-cache").unmask.threshold == 0.3


def test_every_named_spec_parses():
    """Each indented line that begins with a strategy names one that exists."""
    found = re.findall(r"^    ((?:confidence|entropy|learn2pd|fixed)\S*)", README.read_text(), re.MULTILINE)
    assert len(found) >= 4
    assert [strategies.parse(spec).spec for spec in found] == found


def test_the_tree_names_what_exists():
    tree = re.search(r"```text\n(.*?)```", README.read_text(), re.DOTALL)
    assert tree
    for line in tree.group(1).splitlines():
        path = line.split("  ")[0].strip()
        assert (README.parent / path).exists(), path
