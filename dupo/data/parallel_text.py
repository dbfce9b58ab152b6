"""Sentences with their translations: line-parallel files, or two columns of a JSON-lines file."""

from pathlib import Path

from dupo.data.files import JsonRow, choose_column, column_names, column_text, read_jsonl, read_lines
from dupo.errors import UserError
from dupo.records import Problem
from dupo.user_files import NOTHING, is_file, is_folder, list_folder, path_kind


def read_sentences(dataset: str, src: str, tgt: str) -> list[Problem]:
    """Reads sentences of `src`, with translations into `tgt` as gold where the data set has translations.

    Args:
        dataset: a folder with <name>.<src> and, if there are references, <name>.<tgt>, line by line; or such
            a path without the ending, folder/name; or a JSON-lines file with a column `src` and perhaps one
            `tgt`.
        src: code of the source language.
        tgt: code of the target language.

    Raises:
        UserError: no data set stands there, or it cannot be read.
    """
    path = Path(dataset)
    if is_folder(path):
        return _read_parallel_files(_only_stem(path, src), src, tgt)
    if path_kind(path) == NOTHING and is_file(_file_of(path, src)):
        return _read_parallel_files(path, src, tgt)
    return _read_columns(path, src, tgt)


def _read_columns(path: Path, src: str, tgt: str) -> list[Problem]:
    rows = read_jsonl(path)
    source_column = choose_column(rows, path, src, (), "src")
    has_translations = tgt in column_names(rows)
    problems = []
    for row in rows:
        text = column_text(row, source_column, required=True) or ""
        gold = column_text(row, tgt, required=False) if has_translations else None
        problems.append(_problem(row.id, text, gold, row))
    return problems


def _read_parallel_files(stem: Path, src: str, tgt: str) -> list[Problem]:
    source_file, target_file = _file_of(stem, src), _file_of(stem, tgt)
    sources = read_lines(source_file)
    # Anything but a missing file is read, or refused: a pipe of that name holds no translations.
    has_targets = path_kind(target_file) != NOTHING
    targets = read_lines(target_file) if has_targets else [""] * len(sources)
    if len(targets) != len(sources):
        expected = f"as many lines in {source_file.name} as in {target_file.name}"
        raise UserError(f"dataset: expected {expected}, got {len(sources):,} and {len(targets):,}")
    # Blank lines are left out here and not before: they keep the lines of both files side by side.
    return [
        _problem(f"{source_file.name}:{number}", text, gold)
        for number, (text, gold) in enumerate(zip(sources, targets, strict=True), start=1)
        if text.strip()
    ]


def _problem(id: str, text: str, gold: str | None, row: JsonRow | None = None) -> Problem:
    return Problem(id, _tidy(text), _tidy(gold or "") or None, row or {})


def _tidy(text: str) -> str:
    """Lines with text on them, words one space apart. The task joins lines, unless it takes paragraphs."""
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def _file_of(stem: Path, language: str) -> Path:
    return stem.parent / f"{stem.name}.{language}"


def _only_stem(folder: Path, src: str) -> Path:
    """The only path without ending for which folder/<name>.<src> exists."""
    ending = f".{src}"
    files = [file for file in list_folder(folder) if file.name.endswith(ending) and is_file(file)]
    if not files:
        raise UserError(f"dataset: expected a file that ends in {ending} in {folder}, got none")
    stem = folder / files[0].name.removesuffix(ending)
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        expected = f"one file that ends in {ending} in {folder}, or a name such as {stem}"
        raise UserError(f"dataset: expected {expected}, got {names}")
    return stem
