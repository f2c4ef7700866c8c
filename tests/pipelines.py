"Folders of sentence-transformers, written for the tests"
import json
import shutil

T, P, D, N = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"), ("Normalize", "3_Normalize")


def pipeline(folder, source, modules, **files):
    "Write a sentence-transformers folder around an encoder: modules are (type, path), files are path__to = content"
    folder.mkdir()
    at = folder/dict(modules)["Transformer"]
    shutil.copytree(source, at, dirs_exist_ok=True)
    listed = [{"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{k}"} for i, (k, p) in enumerate(modules)]
    (folder/"modules.json").write_text(json.dumps(listed), encoding="utf-8")
    for path, content in files.items():
        path = folder/path.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".json").write_text(json.dumps(content), encoding="utf-8")
    return folder
