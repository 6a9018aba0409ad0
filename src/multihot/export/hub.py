"""Pushes a folder to the Hugging Face hub in one commit, and never over what others have put there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, ModelInfo, constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from multihot.errors import InputError, first_line, list_first
from multihot.export.card import TAG
from multihot.network import answers

HTTPError = HfHubHTTPError.__mro__[1]  # of the client that huggingface_hub has: httpx2, httpx or requests
LOGIN = "log in with `hf auth login`, or set HF_TOKEN, with a token that may write"
KEPT = "; out=<folder> writes meanwhile what would be pushed"
LICENSES = (
    "apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc0-1.0",
    "openrail", "gpl-3.0", "agpl-3.0", "other", "unknown",
)  # fmt: skip


def check_repo(repo: str) -> None:
    """Raises InputError unless a name is one that the hub takes.

    >>> check_repo("someone/photos-vit")
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise InputError(f"repo={repo}: {error}") from error
    if "/" not in repo:
        raise InputError(f"repo={repo}: expected <user or organization>/<name>")


def check_license(name: str | None) -> None:
    """Raises InputError unless a license is given: nobody else can know it, and a guess would be a promise."""
    if name is None:
        raise InputError(
            "license= is missing: say under which license others may use the model. It also depends on the data and on "
            f"the weights that the training began with. Often used: {', '.join(LICENSES)}"
        )


def push(folder: Path, repo: str, *, private: bool, overwrite: bool) -> str:
    """Returns the address of the one commit that adds all files of a folder to a model on the hub, made if need be.

    Files of other names that are there stay as they are.

    Args:
        private: of a new one; a public one that is there is refused.
        overwrite: replace files of the same names that were not pushed from here.

    Raises:
        InputError: the hub cannot be reached or refuses, or files of others would be replaced.
    """
    api, paths = HfApi(), sorted(path for path in folder.iterdir() if path.is_file())
    with explain_push_errors(repo):
        try:
            there = api.model_info(repo)
        except RepositoryNotFoundError:
            api.create_repo(repo, private=private, exist_ok=True)
            there = api.model_info(repo)
        check_target(there, [path.name for path in paths], private=private, overwrite=overwrite)
        commit = api.create_commit(
            repo,
            [CommitOperationAdd(path.name, path) for path in paths],
            commit_message=f"Push {repo.rpartition('/')[2]} with multihot",
            parent_commit=there.sha,
        )
    return commit.commit_url


def check_target(there: ModelInfo, names: list[str], *, private: bool, overwrite: bool) -> None:
    """Raises InputError if files of others would be replaced, or if a private model would become public."""
    if private and there.private is False:
        raise InputError(f"{there.id} is public and private=true: private=false pushes it for all to see")
    is_ours = TAG in (there.tags or [])
    taken = sorted({file.rfilename for file in there.siblings or []} & set(names))
    if taken and not is_ours and not overwrite:
        raise InputError(
            f"{there.id} has files that were not pushed from here and that this would replace: give another repo=, or "
            f"overwrite=true (the hub's history keeps them)\n{list_first(taken)}"
        )


@contextmanager
def explain_push_errors(repo: str) -> Iterator[None]:
    """Turns what pushing raises into an InputError with the way out."""
    if not constants.HF_HUB_OFFLINE and not answers(constants.ENDPOINT):
        raise InputError(f"{constants.ENDPOINT} does not answer: try again with a network{KEPT}")
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise InputError(f"HF_HUB_OFFLINE is set, so nothing is pushed: unset it{KEPT}") from error
    except LocalTokenNotFoundError as error:
        raise InputError(f"{constants.ENDPOINT} knows nobody without a token: {LOGIN}") from error
    except HfHubHTTPError as error:
        raise InputError(explain_status(error, repo)) from error
    except (HTTPError, OSError, RuntimeError) as error:  # of huggingface_hub and hf_xet, about an upload
        raise InputError(f"the push to {repo} broke off ({first_line(error)}): the same command tries again") from error


def explain_status(error: HfHubHTTPError, repo: str) -> str:
    """Returns what an answer of the hub means and what to do."""
    status = error.response.status_code
    said = f" ({error.server_message})" if error.server_message else ""
    if status == 401:
        return f"{constants.ENDPOINT} refused the token{said}: {LOGIN}"
    if status == 403:
        return f"the token may not write {repo}{said}: {LOGIN}, or give a repo= of your own"
    if status in (409, 412):
        return f"{repo} was changed meanwhile{said}: the same command tries again"
    if status == 429 or status >= 500:
        return f"{constants.ENDPOINT} cannot take it now, status {status}{said}: try again later{KEPT}"
    return f"{constants.ENDPOINT} refused the push to {repo}, status {status}{said or ': ' + first_line(error)}"
