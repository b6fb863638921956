"""The judge and the judged share no code: neither crate depends on, includes or repeats the other."""

import pathlib
import re

SERVICE = "Independence of emulator and operator"

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPERATOR, EMULATOR = ROOT / "src", ROOT / "emulator" / "src"
#: Lines in a row that two people do not write alike by chance.
RUN = 6


def sources(folder):
    found = sorted(folder.rglob("*.rs"))
    assert found, f"no Rust sources under {folder}"
    return found


def dependencies(manifest):
    """Names and values of every dependency table of a manifest, development and build ones included."""
    table, found = "", {}
    for line in manifest.read_text().splitlines():
        line = line.split("#", 1)[0].strip()
        if line.startswith("["):
            table = line.strip("[]")
            inline = re.fullmatch(r"(?:.*\.)?(?:dev-|build-)?dependencies\.(.+)", table)
            if inline:
                found[inline.group(1).strip('"')] = ""
        elif "=" in line and re.search(r"(?:^|[.-])dependencies$", table):
            name, value = line.split("=", 1)
            found[name.strip().split(".")[0].strip('"')] = value
    return found


def test_neither_crate_depends_on_the_other():
    operator, emulator = dependencies(ROOT / "Cargo.toml"), dependencies(ROOT / "emulator" / "Cargo.toml")
    assert operator and emulator
    assert "ramtrail-emulator" not in operator
    assert "ramtrail" not in emulator
    for manifest in (operator, emulator):
        for name, value in manifest.items():
            assert 'package = "ramtrail' not in value, f"{name} renames a crate of this workspace"
    paths = {re.search(r'path\s*=\s*"([^"]+)"', value).group(1) for value in emulator.values() if "path" in value}
    assert paths == set(), f"the emulator has path dependencies: {paths}"


def test_no_source_file_reaches_into_the_other_crate():
    for folder in (OPERATOR, EMULATOR):
        for file in sources(folder):
            text = file.read_text()
            for target in re.findall(r"#\s*!?\[\s*path\s*=\s*\"([^\"]+)\"", text):
                assert folder in (file.parent / target).resolve().parents, f"{file} takes a module from {target}"
            for kind, target in re.findall(r"include(_str|_bytes)?!\s*\(\s*\"([^\"]+)\"", text):
                included = (file.parent / target).resolve()
                own = ROOT / "emulator" if folder == EMULATOR else ROOT
                assert own in included.parents, f"{file} includes {target}"
                other = OPERATOR if folder == EMULATOR else ROOT / "emulator"
                assert other not in included.parents, f"{file} includes {target} ({kind})"
            assert not re.search(r"\binclude!\s*\(", text), f"{file} includes source text"


def test_the_emulator_names_no_item_of_the_operator_nor_the_other_way_round():
    for file in sources(EMULATOR):
        assert not re.search(r"\bramtrail::", file.read_text()), file
    for file in sources(OPERATOR):
        assert not re.search(r"\bramtrail_emulator::", file.read_text()), file


def test_no_file_is_a_link():
    for folder in (OPERATOR, EMULATOR):
        assert [file for file in folder.rglob("*") if file.is_symlink()] == []


def normalised(file):
    """Lines that say something, with their numbers, white space aside."""
    lines = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        text = re.sub(r"\s+", " ", re.sub(r"//.*", "", line)).strip()
        # Closing brackets, attributes and imports are the same in every crate; a name alone on its line
        # (a field in a pattern, an item of a list) is the API's.
        if len(text) > 3 and not re.match(r"#!?\[|use |pub use |mod |pub mod |extern |\"?[\w.]+\"?,$", text):
            lines.append((number, text))
    return lines


def runs(folder):
    found = {}
    for file in sources(folder):
        lines = normalised(file)
        for start in range(len(lines) - RUN + 1):
            window = lines[start:start + RUN]
            found.setdefault(tuple(text for _, text in window), (file, window[0][0]))
    return found


def test_no_six_lines_in_a_row_are_the_same():
    operator, emulator = runs(OPERATOR), runs(EMULATOR)
    assert operator and emulator
    shared = operator.keys() & emulator.keys()
    places = [
        f"{operator[run][0].relative_to(ROOT)}:{operator[run][1]} and "
        f"{emulator[run][0].relative_to(ROOT)}:{emulator[run][1]}: {run[0]}"
        for run in shared
    ]
    assert places == []


def test_the_comparison_finds_a_copy(tmp_path):
    """The judge of the judge: a copied function is seen even when it is indented and commented anew."""
    body = [f"let value_{n} = step_{n}(value_{n}); // note {n}" for n in range(RUN)]
    original, copy = tmp_path / "a", tmp_path / "b"
    for folder, text in ((original, body), (copy, [f"        {line.split(' //')[0]}" for line in body])):
        folder.mkdir()
        (folder / "file.rs").write_text("\n".join(text))
    assert runs(original).keys() & runs(copy).keys()
