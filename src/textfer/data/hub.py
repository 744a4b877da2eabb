"""Data sets of the Hugging Face hub, as the Parquet files they are kept in. Nothing that comes with them is run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from textfer.errors import DataError, MachineError, SplitError, nearest

CONVERTED = "refs/convert/parquet"
"""The branch where the hub keeps `<config>/<split>/0000.parquet` of whatever was uploaded."""
SHARD = re.compile(r"^(?P<split>.+?)(-(?P<number>\d+))?(-of-(?P<total>\d+))?\.(parquet|jsonl|csv|tsv|txt)(\.gz)?$")


def hub_files(name: str, config: str, split: str) -> list[Path]:
    """The Parquet files of one split, downloaded into the hub's own cache; from there when they are there already.

    The converted branch is asked first, then the files as uploaded. **Errors**: DataError where there is no such data
    set, config or split; MachineError where the hub cannot be reached.
    """
    seen: set[str] = set()
    problem = ""
    for revision in (CONVERTED, "main"):
        patterns = [f"{config}/{split}/*.parquet"] if revision == CONVERTED else _uploaded(config, split)
        folder, problem_here = _snapshot(name, revision, patterns)
        problem = problem or problem_here
        if folder is None:
            continue
        for pattern in patterns:
            if files := sorted(folder.glob(pattern)):
                check_whole(files, f"{name}/{config}/{split}")
                return files
        seen.update(_splits(_listing(name, revision, folder), config))
    if problem and not seen:
        raise MachineError(
            f"{name}: the hub cannot be reached ({problem}). Pass --data DIR, or set TEXTFER_DATA, "
            f"with {name}/{config}/{split}.parquet in the folder."
        )
    raise SplitError(f"{name}/{config}: no split '{split}'.{nearest(split, seen)}")


def check_whole(files: Iterable[Path], where: str) -> None:
    """Raises a DataError when files named `…-00000-of-00010` are not all there."""
    found = [match for file in files if (match := SHARD.match(file.name)) and match["total"]]
    for match in found:
        if len(found) != int(match["total"]):
            raise DataError(f"{where}: {len(found)} of {int(match['total'])} files are here. Copy the others too.")


def _uploaded(config: str, split: str) -> list[str]:
    folders = [f"{config}/", *(["data/", ""] if config == "default" else [])]
    return [f"{folder}{split}{rest}.parquet" for folder in folders for rest in ("-[0-9]*", "")]


def _snapshot(name: str, revision: str, patterns: list[str]) -> tuple[Path | None, str]:
    """The folder with the files that match, or None and why."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    try:
        folder = hub.snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=patterns)
        return Path(folder), ""
    except errors.GatedRepoError:
        raise DataError(
            f"{name}: its owners ask for consent. Accept on the data set's page, then: hf auth login"
        ) from None
    except errors.RevisionNotFoundError:
        return None, ""
    except errors.RepositoryNotFoundError:
        raise DataError(f"{name}: the hub has no such data set (or it is private). Check the name.") from None
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        return None, lines[0].rstrip(".")[:120]


def _listing(name: str, revision: str, folder: Path) -> list[str]:
    import huggingface_hub as hub
    from huggingface_hub import errors

    try:
        return list(hub.HfApi().list_repo_files(name, repo_type="dataset", revision=revision))
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError):
        return [str(file.relative_to(folder)) for file in folder.rglob("*.parquet")]


def _splits(listing: Iterable[str], config: str) -> set[str]:
    splits = set()
    for path in listing:
        *folders, file = path.split("/")
        if folders[:1] == [config] and len(folders) == 2:
            splits.add(folders[1])
        elif folders in ([config], ["data"], []) and (match := SHARD.match(file)):
            splits.add(match["split"])
    return splits
