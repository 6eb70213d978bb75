# Runs a configuration file of gunicorn and writes what it sets to descriptor 3, as JSON:
#
#   {"values": [{"name", "line", "kind", "value", "text", "used", "imported"}, ...], "env": {...}, "unset": [...], "path": [...]}
#   {"error": "NameError: ...", "line": 3}
#
# kind is literal, computed, hook (something that can be called), class or other; value is there for the first two,
# text for the last two. env, unset and path are what the file has changed in os.environ, and added to sys.path: in
# gunicorn the workers are forked from the process that ran the file. Standard output and standard error are the
# file's own. Runs on Python 3.6 and later.
import ast
import json
import math
import os
import sys
import traceback
import types


def bindings(body, bound):
    """Fills bound: name -> (line, node of its value or None, imported). The last one counts."""
    for node in body:
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                simple = isinstance(target, ast.Name) and not isinstance(node, ast.AugAssign)
                for name in ast.walk(target):
                    if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                        bound[name.id] = (node.lineno, node.value if simple else None, False)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound[node.name] = (node.lineno, None, False)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:  # "*" stands for all names that are not bound otherwise
                bound[(alias.asname or alias.name).split(".")[0]] = (node.lineno, None, True)
        else:
            if isinstance(node, (ast.For, ast.With)):
                targets = [node.target] if isinstance(node, ast.For) else [i.optional_vars for i in node.items]
                for name in (name for target in targets if target for name in ast.walk(target)):
                    if isinstance(name, ast.Name):
                        bound[name.id] = (node.lineno, None, False)
            for part in ("body", "orelse", "handlers", "finalbody"):
                bindings(getattr(node, part, []), bound)


def is_literal(node):
    try:
        ast.literal_eval(node)
        return True
    except Exception:
        return False


def plain(value):
    """The value as JSON has it; TypeError for what JSON has not."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)  # of an enum, too: ssl.CERT_REQUIRED
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    raise TypeError


def describe(name, value, bound, used):
    line, node, imported = bound.get(name, bound.get("*", (0, None, True)))
    said = {"name": name, "line": line, "used": name in used, "imported": imported}
    if isinstance(value, type):
        said.update(kind="class", text="%s.%s" % (value.__module__, value.__qualname__))
    elif callable(value):
        said.update(kind="hook")
    else:
        try:
            said.update(kind="computed", value=plain(value))
            if node is not None and is_literal(node):
                said.update(kind="literal")
        except TypeError:
            said.update(kind="other", text=repr(value)[:200])
    return said


def run(path):
    with open(path, "rb") as file:
        source = file.read()
    tree = ast.parse(source, path)
    module = types.ModuleType("__config__")
    module.__file__ = path
    sys.modules["__config__"] = module
    sys.argv = ["gunicorn"]
    exec(compile(source, path, "exec"), vars(module))
    bound = {}
    bindings(tree.body, bound)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return [
        describe(name, value, bound, used)
        for name, value in list(vars(module).items())
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]


def main():
    os.set_inheritable(3, False)
    path = sys.argv[1]
    # As gunicorn has it: the working directory is first, then PYTHONPATH, which -I leaves out.
    extra = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    sys.path[:0] = [os.getcwd()] + extra
    cwd, environ, folders = os.getcwd(), dict(os.environ), {os.path.abspath(part) for part in sys.path}
    try:
        answer = {"values": run(path)}
        answer["env"] = {name: text for name, text in os.environ.items() if environ.get(name) != text}
        answer["unset"] = sorted(name for name in environ if name not in os.environ)
        added = [os.path.join(cwd, part) for part in sys.path if isinstance(part, str)]
        answer["path"] = [part for part in map(os.path.normpath, added) if part not in folders]
    except BaseException as error:
        line = 0
        if isinstance(error, SyntaxError) and error.filename == path:
            line = error.lineno or 0
        for frame, number in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename == path:
                line = number
        text = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()
        answer = {"error": text[-1] if text else "error", "line": line}
    with os.fdopen(3, "w") as out:
        json.dump(answer, out)


main()
