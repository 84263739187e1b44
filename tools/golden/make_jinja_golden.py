"""Golden data of the template engine: what Jinja2, configured as chat templates expect it, renders.

Python 3.11, jinja2 3.1.6. Reads tests/golden/jinja/*.cases.json (lists of template sources with the
name of their context) and templates/*.jinja, writes tests/golden/jinja/*.golden.json. A case that
Jinja2 refuses is kept as an error: it must be refused, with a message of our own.

Usage: make_jinja_golden.py <project root>
"""
import datetime
import json
import pathlib
import sys

import jinja2
from jinja2 import ext, nodes, sandbox, utils

NOW = 1732190400  # 2024-11-21 12:00 UTC


class Generation(ext.Extension):
    """{% generation %}...{% endgeneration %}: a body with its own scope."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


class Dict:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)


class Namespace(utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            Namespace.check(name)
        utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        Namespace.check(name)
        utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def strftime_now(text):
    return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(text)


def environment():
    env = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals.update(raise_exception=raise_exception, strftime_now=strftime_now, dict=Dict(),
                       namespace=Namespace)
    return env


def render(env, source, context):
    try:
        return {"output": env.from_string(source).render(**context)}
    except Exception:  # Whatever Python raises is a refusal.
        return {"error": True}


def write(path, document):
    path.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":"), indent=0) + "\n")


def main():
    folder = pathlib.Path(sys.argv[1]) / "tests" / "golden" / "jinja"
    env = environment()
    for path in sorted(folder.glob("*.cases.json")):
        given = json.loads(path.read_text())
        cases = [{"template": source, **render(env, source, given["context"])}
                 for source in given["templates"]]
        write(folder / path.name.replace(".cases.", ".golden."),
              {"context": given["context"], "cases": cases})
    conversations = json.loads((folder / "conversations.json").read_text())
    cases = []
    for path in sorted((folder / "templates").glob("*.jinja")):
        for name, context in conversations.items():
            cases.append({"template": path.stem, "context": name,
                          **render(env, path.read_text(), context)})
    write(folder / "families.golden.json", {"cases": cases})


main()
