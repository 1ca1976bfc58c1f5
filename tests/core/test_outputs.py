"""No command writes over what it reads, nor over what it does not own."""

from __future__ import annotations

from pathlib import Path

import pytest

from koopstep.core.errors import UsageError
from koopstep.core.outputs import check_not_input, check_output


def test_new_files_and_folders_are_free(tmp_path: Path) -> None:
    check_output(tmp_path / "new")
    check_output(tmp_path / "new" / "deep", folder=True)
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty", folder=True)


@pytest.mark.parametrize("folder", [False, True])
def test_what_is_there_is_kept_unless_it_is_meant(tmp_path: Path, folder: bool) -> None:
    place = tmp_path / "a"
    if folder:
        place.mkdir()
        (place / "mine").write_text("")
    else:
        place.write_text("")
    with pytest.raises(UsageError, match="add --overwrite"):
        check_output(place, folder=folder)
    check_output(place, folder=folder, overwrite=True)
    with pytest.raises(UsageError, match="name a f"):
        check_output(place, folder=not folder, overwrite=True)


def test_a_link_that_leads_nowhere_is_something(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists already"):
        check_output(tmp_path / "link")


def test_an_input_by_any_name_is_never_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "w.pth"
    source.write_text("weights")
    (tmp_path / "soft").symlink_to(source)
    (tmp_path / "hard").hardlink_to(source)
    (tmp_path / "folder").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("w.pth", "soft", "hard", "folder/w.pth", "../" + tmp_path.name + "/w.pth"):
        with pytest.raises(UsageError, match=r"is what this command reads \(.*w\.pth\)"):
            check_output(Path(name), inputs=[tmp_path / "other", source], overwrite=True)
    check_not_input(Path("other"), [source])
