"""An export into a repository of the Hub, through `huggingface_hub`."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

from xtremedistil_ner.errors import ResourceError, UsageError, first_line
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.run_folder.files import student_folders
from xtremedistil_ner.tagging.export_reader import verify_export

STAGE = "export"
_NO_RIGHT = (401, 403)
_WHAT_TO_DO = "Give `owner/name`, and log in with `hf auth login` or set HF_TOKEN."


def push_export(folder: Path, repository: str, *, private: bool, tell: Reporter) -> None:
    """Upload a verified export as one commit, into a repository that is made if it is not there.

    Exports per language go there as they lie, each in its folder. Files that the repository has besides stay.

    Raises: ModelError when a file is not what was exported; UsageError when the id is none or the right to write is
    missing; ResourceError when the Hub cannot be reached.
    """
    for export in student_folders(folder).values():
        verify_export(export)
    try:
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Upload an export of xner", ignore_patterns=".*"
        )
    except (HFValidationError, LocalTokenNotFoundError) as error:
        raise UsageError(f"--push-to-hub {repository}: {first_line(error)} {_WHAT_TO_DO}") from error
    except Exception as error:  # a dozen classes of three libraries, for all that can go wrong between here and there
        if isinstance(error, HfHubHTTPError) and error.response.status_code in _NO_RIGHT:
            raise UsageError(f"--push-to-hub {repository}: not allowed ({first_line(error)}). {_WHAT_TO_DO}") from error
        raise ResourceError(
            f"--push-to-hub {repository}: the Hub cannot be reached ({first_line(error)}). The export is in {folder}; "
            "give the same command again with network and without HF_HUB_OFFLINE."
        ) from error
    tell(Event(STAGE, f"uploaded to {commit.commit_url}"))
