"""Shapes of register tiles: their names, and the race that chooses among them."""

from __future__ import annotations

import json
import math

import pytest

from fastvi.kernels import shape_race
from fastvi.kernels.shapes import CANDIDATES, COLUMNS, TILES, RegisterTile, RegisterTiles, name_of, tiles_of

KIND = "avx2"


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Where the choice is kept."""
    monkeypatch.setattr(shape_race, "_file", lambda cpu, features: tmp_path / "new" / "tiles.json")
    return tmp_path / "new"


def race_won_by(*tiles, rate=10.0):
    return lambda kind, raced, cpu, features: [rate if tile in tiles else 1.0 for tile in raced]


def test_every_tile_is_as_wide_as_the_others():
    assert CANDIDATES.keys() == TILES.keys()
    for name, tiles in TILES.items():
        raced = [*tiles, *(tile for others in CANDIDATES[name] for tile in others)]
        assert {tile.vectors * tile.lanes for tile in raced} == {COLUMNS}


def test_names_of_tiles():
    for tiles in TILES.values():
        assert tiles_of(name_of(tiles)) == tiles
    assert tiles_of("6x2x4,8x1x8,2x4x2").matmul_64 == RegisterTile(2, 4, 2)


@pytest.mark.parametrize("text", ["", "6x2x4", "6x2x4,8x1x8,6x2x2", "0x1x8,8x1x8,8x1x8", "6x2x4,8x1x8,a"])
def test_what_names_no_tiles_is_refused(text):
    with pytest.raises((ValueError, TypeError)):
        tiles_of(text)


@pytest.mark.parametrize("kind", RegisterTiles._fields)
def test_rates_of_this_machine(kind):
    """What generic code does: numbers a second of each tile, in the order of the tiles."""
    found = shape_race.rates(kind, [RegisterTile(2, 4, 2), RegisterTile(1, 4, 2)], "generic", "")
    assert len(found) == 2
    assert all(math.isfinite(rate) and rate > 0.0 for rate in found)


@pytest.mark.parametrize(("rate", "wins"), [(1.0, False), (2.0, True)])
def test_the_fastest_wins_by_a_margin(monkeypatch, rate, wins):
    usual, other = TILES[KIND].product_64, CANDIDATES[KIND][0][1]
    monkeypatch.setattr(shape_race, "rates", race_won_by(other, rate=rate))
    assert shape_race.fastest(KIND, "", "").product_64 == (other if wins else usual)


def test_rows_that_pad_a_panel_are_counted(monkeypatch):
    """Of 64 rows, 12 at a time are 72: one eighth of the work is for nothing."""
    wide = RegisterTile(12, 1, 8)
    assert wide in CANDIDATES[KIND][1]
    monkeypatch.setattr(shape_race, "rates", race_won_by(wide, rate=1.1))
    assert shape_race.fastest(KIND, "", "").product_32 == TILES[KIND].product_32


def test_the_choice_is_kept(monkeypatch, folder):
    winner = CANDIDATES[KIND][0][1]
    monkeypatch.setattr(shape_race, "rates", race_won_by(winner))
    found = shape_race.kept_or_fastest(KIND, "", "")
    assert found.product_64 == winner
    monkeypatch.delattr(shape_race, "rates")  # nothing is timed again
    assert shape_race.kept_or_fastest(KIND, "", "") == found
    assert [path.name for path in folder.iterdir()] == ["tiles.json"]


@pytest.mark.parametrize("content", ["", "[[1, 2]]", "{}", "[[6,2,4],[8,1,8],[64,1,8]]", "5"])
def test_a_damaged_choice_is_made_again(monkeypatch, folder, content):
    folder.mkdir()
    (folder / "tiles.json").write_text(content)
    monkeypatch.setattr(shape_race, "rates", race_won_by(CANDIDATES[KIND][2][0]))
    found = shape_race.kept_or_fastest(KIND, "", "")
    assert found.matmul_64 == CANDIDATES[KIND][2][0]
    assert json.loads((folder / "tiles.json").read_text()) == [list(tile) for tile in found]


def test_of_two_processes_the_first_one_chooses(monkeypatch, folder):
    first, second = CANDIDATES[KIND][0][:2]

    def race(*arguments):
        (folder / "tiles.json").write_text(json.dumps(TILES[KIND]._replace(product_64=first)))
        return race_won_by(second)(*arguments)

    monkeypatch.setattr(shape_race, "rates", race)
    assert shape_race.kept_or_fastest(KIND, "", "").product_64 == first


def test_without_a_folder_nothing_is_timed(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(shape_race, "_file", lambda cpu, features: tmp_path / "file" / "tiles.json")
    monkeypatch.delattr(shape_race, "rates")
    assert shape_race.kept_or_fastest(KIND, "", "") == TILES[KIND]
