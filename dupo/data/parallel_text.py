"""Sentences with their translations: line-parallel files, or two columns of a data set."""

from pathlib import Path

from dupo.data.columns import (
    LeftOut,
    RowError,
    column_names,
    column_text,
    usual_columns,
)
from dupo.data.contents import LONGEST_NAME, missing_header, shown_names
from dupo.data.files import column_without_name, read_lines
from dupo.data.folders import data_files
from dupo.data.json_rows import parse_json
from dupo.data.rows import Row
from dupo.data.sources import read_rows
from dupo.errors import UserError
from dupo.progress import telling
from dupo.records import Problem
from dupo.user_files import NOTHING, is_file, is_folder, list_folder, path_kind

_PAIRS = "translation"  # a column of objects: {"en": ..., "de": ...}


def read_sentences(
    dataset: str, src: str, tgt: str, option: str = "dataset"
) -> tuple[list[Problem], list[str]]:
    """Reads sentences of `src`, with translations into `tgt` as gold where the data set has translations.

    Args:
        dataset: a folder with <name>.<src> and, if there are references, <name>.<tgt>, line by line; or such
            a path with or without the ending, folder/name; or what `read_rows` reads, with a column `src` and
            perhaps a column `tgt`, by themselves or inside a column `translation`.
        src: code of the source language.
        tgt: code of the target language.
        option: that names the data set, for messages.

    Returns:
        The sentences, and a line for the user on each kind of rows that were left out.

    Raises:
        UserError: no data set stands there, or it cannot be read.
    """
    path = Path(dataset)
    if is_folder(path) and _stems(path, src):
        return _read_parallel_files(_only_stem(path, src, option), src, tgt, option)
    if path_kind(path) == NOTHING and is_file(_file_of(path, src)):
        return _read_parallel_files(path, src, tgt, option)
    if is_file(path) and path.suffix == f".{src}":
        return _read_parallel_files(path.with_suffix(""), src, tgt, option)
    if is_folder(path) and not data_files(path):
        raise UserError(
            f"{option}: expected a file that ends in .{src} in {dataset}, or one of rows, got none"
        )
    return _read_columns(dataset, src, tgt, option)


def _read_columns(dataset: str, src: str, tgt: str, option: str) -> tuple[list[Problem], list[str]]:
    rows, notes = read_rows(dataset, option)
    left_out, untranslated, whole = LeftOut(), LeftOut("translations not read"), list[Row]()
    for row in telling("rows", rows):
        try:
            _open_cell(row)
            whole.append(row)
        except RowError as error:
            left_out.add(error)
    left_out.check_rest(whole)
    usual = [src, f"translation.{src}", *column_without_name(whole)]
    source = usual_columns(whole, usual)
    if not source:
        expected = f"a column {src} or translation.{src} in {Path(dataset).name}"
        got = shown_names(column_names(whole)) or "no column"
        how = f"rename the columns to the codes of the languages, {src} and {tgt}"
        advice = missing_header(column_names(whole)) or f": {how}, or choose others by --src and --tgt"
        raise UserError(f"src: expected {expected}, got {got}{advice}")
    target = usual_columns(whole, [tgt, f"translation.{tgt}"])
    problems = []
    for row in telling("rows", whole):
        try:
            text = column_text(row, source[0], required=True) or ""
        except RowError as error:
            left_out.add(error)
            continue
        gold = None
        try:
            gold = column_text(row, target[0], required=True) if target else None
        except RowError as error:  # training needs no translation
            untranslated.add(error)
        problems.append(_problem(row.id, text, gold, row))
    left_out.check_rest(problems)
    return problems, notes + left_out.notes() + untranslated.notes()


def _open_cell(row: Row) -> None:
    """Puts an object in the place of its JSON, as a cell of a table holds `translation`.

    Raises:
        RowError: the cell holds no JSON object.
    """
    cell = row.get(_PAIRS)
    if not isinstance(cell, str) or not cell.strip().startswith("{"):
        return
    try:
        row[_PAIRS] = parse_json(cell)
    except (ValueError, RecursionError):
        expected = f"an object as JSON in {_PAIRS!r} (write the rows as JSON lines)"
        raise RowError(row, expected, cell[:LONGEST_NAME]) from None


def _read_parallel_files(stem: Path, src: str, tgt: str, option: str) -> tuple[list[Problem], list[str]]:
    source_file, target_file = _file_of(stem, src), _file_of(stem, tgt)
    sources = read_lines(source_file)
    # Anything but a missing file is read, or refused: a pipe of that name holds no translations.
    has_targets = path_kind(target_file) != NOTHING
    targets = read_lines(target_file) if has_targets else [""] * len(sources)
    if len(targets) != len(sources):
        expected = f"as many lines in {source_file.name} as in {target_file.name}"
        raise UserError(f"{option}: expected {expected}, got {len(sources):,} and {len(targets):,}")
    # Blank lines are left out here and not before: they keep the lines of both files side by side.
    problems, left_out, untranslated = [], LeftOut(), LeftOut("translations not read")
    for number, (text, gold) in enumerate(zip(sources, targets, strict=True), start=1):
        row = Row({}, source_file.name, number)
        if text.strip():
            problems.append(_problem(row.id, text, gold))
        elif gold.strip():  # a line that is blank in both files only parts paragraphs
            left_out.add(RowError(row, f"text beside a line of {target_file.name}", "a blank line"))
        if text.strip() and has_targets and not gold.strip():
            untranslated.add(RowError(row, f"text in {target_file.name}", "a blank line"))
    return problems, left_out.notes() + untranslated.notes()


def _problem(id: str, text: str, gold: str | None, row: Row | None = None) -> Problem:
    return Problem(id, _tidy(text), _tidy(gold or "") or None, row or {})


def _tidy(text: str) -> str:
    """Lines with text on them, words one space apart. The task joins lines, unless it takes paragraphs."""
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def _file_of(stem: Path, language: str) -> Path:
    return stem.parent / f"{stem.name}.{language}"


def _stems(folder: Path, src: str) -> list[Path]:
    ending = f".{src}"
    files = [file for file in list_folder(folder) if file.name.endswith(ending) and is_file(file)]
    return [folder / file.name.removesuffix(ending) for file in files]


def _only_stem(folder: Path, src: str, option: str) -> Path:
    """The only path without ending for which folder/<name>.<src> exists."""
    stems = _stems(folder, src)
    if len(stems) > 1:
        names = ", ".join(f"{stem.name}.{src}" for stem in stems)
        expected = f"one file that ends in .{src} in {folder}, or a name such as {stems[0]}"
        raise UserError(f"{option}: expected {expected}, got {names}")
    return stems[0]
