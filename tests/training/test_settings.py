"""Settings: what a TOML file may hold, and the line said about anything else."""

from pathlib import Path

import pytest

from rethined_export.models.rethined.training.settings import TrainingError, load_settings

GOOD = """
seed = 3
[[stages]]
part = "coarse"
side = 64
batch = 4
steps = 10
rate = 1e-3
"""
SHIPPED = Path(__file__).parents[2] / "models" / "weights" / "rethined-mobile.toml"


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text)
    return path


def test_reads_stages_and_keeps_defaults(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD))
    assert settings.seed == 3
    assert settings.stages[0].side == 64
    assert settings.preset == "mobile"
    assert settings.steps == 10
    assert settings.config.coarse_inputs == 4


def test_the_settings_without_photographs_can_be_read() -> None:
    settings = load_settings(SHIPPED.with_name("rethined-mobile-procedural.toml"))
    assert settings.images > 0
    assert {stage.part for stage in settings.stages} == {"coarse", "attention"}


def test_a_coherence_layer_is_not_trained_as_part_of_the_whole(tmp_path: Path) -> None:
    whole = GOOD.replace('"coarse"\nside = 64', '"whole"\nside = 512')
    load_settings(write(tmp_path, whole))
    with pytest.raises(TrainingError, match="a whole stage needs it off"):
        load_settings(write(tmp_path, "coherence = true\n" + whole))


def test_photographs_are_weighed_by_name(tmp_path: Path) -> None:
    weighed = '[[photos]]\nfiles = "reef-*"\nweight = 4.0\n'
    settings = load_settings(write(tmp_path, GOOD.replace("[[stages]]", weighed + "[[stages]]")))
    assert [(entry.files, entry.weight) for entry in settings.photos] == [("reef-*", 4.0)]


@pytest.mark.parametrize(
    "name",
    ["rethined-mobile-photographs.toml", "rethined-mobile-judged.toml", "rethined-mobile.toml"],
)
def test_the_settings_of_the_runs_on_photographs_can_be_read(name: str) -> None:
    settings = load_settings(SHIPPED.with_name(name))
    assert any(stage.part == "whole" and stage.has_critic for stage in settings.stages)
    assert 0 < settings.procedural < 1


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("seed = 3", "sead = 3", "unknown sead"),
        ("seed = 3", "seed = -1", "seed = -1; use a positive whole number"),
        ("seed = 3", "seed = true", "seed = True"),
        ("seed = 3", 'preset = "tiny"', "preset = 'tiny'; use mobile or paper"),
        ("seed = 3", "coherence = 1", "use true or false"),
        ("side = 64", "side = 96", "side = 96; use a power of two"),
        ("side = 64", "side = 1024", "32 to 512"),
        ('"coarse"', '"attention"', "attention is trained at side = 512"),
        ("steps = 10", "steps = 0", "steps = 0; use a positive"),
        ("steps = 10", "steps = 1.5", "use a positive whole number"),
        ("rate = 1e-3", "", "rate missing"),
        ("[[stages]]", "[stages]", "no [[stages]]"),
        ("seed = 3", "seed = ", "is not TOML"),
        ("seed = 3", "procedural = 1.0", "procedural = 1.0; use 0 to less than 1"),
        ("seed = 3", "average = -0.5", "average = -0.5; use a positive number, or 0"),
        ("seed = 3", "average = nan", "average = nan; use a positive number, or 0"),
        ("seed = 3", 'photos = "reef-*"', "photos is no list of tables"),
        ("seed = 3", '[[photos]]\nfiles = "reef-*"', "photos: weight missing"),
        ("seed = 3", "[[photos]]\nfiles = 3\nweight = 1", "files = 3; use text"),
        ("seed = 3", '[[photos]]\nfiles = "a"\nweight = 0', "weight = 0; use a positive number"),
        ("side = 64", 'side = 64\ncritic = "on"', "critic = 'on'; use a positive number, or 0"),
        ('"coarse"\nside = 64', '"whole"\nside = 256', "attention is trained at side = 512"),
        (
            '"coarse"\nside = 64',
            '"attention"\nside = 512\nfeatures = 1',
            "features and critics judge images; use part = whole",
        ),
    ],
)
def test_one_line_about_what_is_wrong(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert before in GOOD
    path = write(tmp_path, GOOD.replace(before, after, 1))
    with pytest.raises(TrainingError) as refused:
        load_settings(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot read settings"):
        load_settings(tmp_path / "absent.toml")
