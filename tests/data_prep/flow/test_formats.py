"""Flow in other tools' formats: each format byte by byte, damage, unknown values, the benchmark."""

import io
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest

from benchmarks import flow_storage
from data_prep.flow.formats import ENDINGS, read_flow, write_flow


def some_flow(height=3, width=5):
    """Different in each place and component, in steps of 1/64 px."""
    flow = np.arange(2 * height * width, dtype=np.float32).reshape(height, width, 2)
    return (flow - 7) * 1.015625


def png_by_hand(rows, bits=16, colour_type=2):
    """A PNG, written without any library for images, from rows of samples."""
    height, width = len(rows), len(rows[0]) // 3
    form = ">H" if bits == 16 else ">B"
    lines = b"".join(b"\0" + b"".join(struct.pack(form, sample) for sample in row) for row in rows)

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">2I5B", width, height, bits, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def npz_of(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy_of(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


# --- What the formats are -------------------------------------------------------------------------


def test_flo_byte_by_byte(tmp_path):
    path = tmp_path / "a.flo"
    numbers = (1.5, -2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
    path.write_bytes(struct.pack("<f2i12f", 202021.25, 3, 2, *numbers))
    flow = read_flow(path)
    assert flow.dtype == np.float32 and flow.shape == (2, 3, 2)
    np.testing.assert_array_equal(flow[0], [[1.5, -2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(flow[1, 2], [11, 12])
    np.testing.assert_array_equal(flow, cv2.readOpticalFlow(str(path)))


def test_written_flo_is_what_others_read(tmp_path):
    write_flow(tmp_path / "ours.flo", some_flow())
    assert cv2.writeOpticalFlow(str(tmp_path / "theirs.flo"), some_flow())
    assert (tmp_path / "ours.flo").read_bytes() == (tmp_path / "theirs.flo").read_bytes()


def test_kitti_byte_by_byte(tmp_path):
    # Red is u, green is v, blue tells where they are known.
    rows = [[32768 + 64, 32768 - 128, 1, 32768, 32769, 1], [0, 65535, 1, 5, 6, 0]]
    (tmp_path / "a.png").write_bytes(png_by_hand(rows))
    expected = [[[1, -2], [0, 1 / 64]], [[-512, 32767 / 64], [np.nan, np.nan]]]
    np.testing.assert_array_equal(read_flow(tmp_path / "a.png"), np.float32(expected))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("planes_first", [False, True])
def test_numpy_files_of_every_layout(tmp_path, dtype, planes_first):
    flow = np.arange(24).reshape(3, 4, 2)
    stored = (np.moveaxis(flow, -1, 0) if planes_first else flow).astype(dtype)
    (tmp_path / "a.npz").write_bytes(npz_of(flow=stored, other=np.zeros(3)))
    (tmp_path / "a.npy").write_bytes(npy_of(stored))
    for name in ("a.npz", "a.npy"):
        read = read_flow(tmp_path / name)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, flow)


@pytest.mark.parametrize("ending", ENDINGS)
def test_written_flow_is_read_back(tmp_path, ending):
    path = tmp_path / "new" / f"a{ending}"
    flow = some_flow()
    flow[1, 2] = np.nan
    flow[2, 3, 0] = np.nan  # half unknown is unknown
    write_flow(path, flow)
    flow[2, 3, 1] = np.nan
    np.testing.assert_array_equal(read_flow(path), flow)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_kitti_rounds_to_a_sixty_fourth(tmp_path):
    flow = np.random.default_rng(0).uniform(-500, 500, (20, 30, 2)).astype(np.float32)
    write_flow(tmp_path / "a.png", flow)
    error = np.abs(read_flow(tmp_path / "a.png") - flow).max()
    assert 0.9 / 128 < error <= 1 / 128


@pytest.mark.parametrize("value", [1.7e9, -1e10, np.inf, np.nan])
def test_marks_of_what_is_unknown(tmp_path, value):
    flow = some_flow()
    flow[0, 1, 1] = value
    data = struct.pack("<4s2i30f", b"PIEH", 5, 3, *flow.ravel())
    (tmp_path / "a.flo").write_bytes(data)
    (tmp_path / "a.npz").write_bytes(npz_of(flow=flow))
    (tmp_path / "a.npy").write_bytes(npy_of(flow.astype(np.float64) * 1e290))
    for name in ("a.flo", "a.npz"):
        unknown = np.isnan(read_flow(tmp_path / name))
        assert unknown[0, 1].all() and unknown.sum() == 2
    assert np.isnan(read_flow(tmp_path / "a.npy")[0, 1]).all()


def test_true_flow_of_middlebury(shared):
    flow = read_flow(shared / "refdata" / "flow" / "rubberwhale.npz")
    known = ~np.isnan(flow).any(axis=-1)
    assert 0.9 < known.mean() < 1
    # The error of no flow at all, as published.
    assert abs(np.linalg.norm(flow[known], axis=-1).mean() - 1.256) < 5e-4


# --- Damage ---------------------------------------------------------------------------------------

FLO = struct.pack("<4s2i12f", b"PIEH", 3, 2, *range(12))
NPZ = npz_of(flow=np.zeros((3, 4, 2)))
PNG = png_by_hand(np.random.default_rng(0).integers(0, 65536, (90, 300)))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.flo", b"", "begins with b''; a .flo file begins with b'PIEH'"),
        ("a.flo", b"JUNK" + FLO[4:], "begins with b'JUNK'"),
        ("a.flo", FLO[:9], "9 bytes; the header of a .flo file alone has 12"),
        ("a.flo", FLO[:-4], "56 bytes; a .flo file of 3x2 has 60: it is cut off or damaged"),
        ("a.flo", FLO + b"\0", "61 bytes; a .flo file of 3x2 has 60"),
        ("a.flo", struct.pack("<4s2i", b"PIEH", 3, -2), "states a size of 3x-2"),
        ("a.flo", struct.pack("<4s2i", b"PIEH", 0, 2), "states a size of 0x2"),
        (
            "a.flo",
            struct.pack("<4s2i", b"PIEH", 2**31 - 1, 2**31 - 1),
            "12 bytes; a .flo file of 2147483647x2147483647 has 36893488113059364884",
        ),
        ("a.png", b"", "not a readable PNG"),
        ("a.png", PNG[: len(PNG) // 2], "not a readable PNG"),
        (
            "a.png",
            png_by_hand([[40] * 30] * 9, bits=8),
            r"decodes to uint8 \(9, 10, 3\); KITTI flow is uint16 .* colours that show flow cannot",
        ),
        ("a.png", png_by_hand([[9, 9, 9]], colour_type=0), r"decodes to uint16 \(1, 1\); KITTI"),
        ("a.npz", b"", "begins with b''; an npz file is a zip"),
        ("a.npz", npy_of(np.zeros((3, 4, 2))), "begins with .*NUM.*; an npz file is a zip"),
        ("a.npz", NPZ[:-30], "not a readable npz file"),
        ("a.npz", NPZ.replace(b"\x93NUMPY", b"\x93NUMPX"), "a.npz: "),
        ("a.npz", npz_of(u=np.zeros(3), v=np.zeros(3)), r"holds arrays \['u', 'v'\]; expected one"),
        ("a.npz", npz_of(flow=np.zeros((3, 4, 2), np.int16)), "flow is int16; expected float16"),
        ("a.npz", npz_of(flow=np.zeros((3, 4, 3))), r"flow has shape \(3, 4, 3\); expected \[h"),
        ("a.npz", npz_of(flow=np.zeros((2, 2, 2, 2))), r"flow has shape \(2, 2, 2, 2\)"),
        ("a.npz", npz_of(flow=np.zeros((0, 4, 2))), r"flow has shape \(0, 4, 2\)"),
        ("a.npz", npz_of(flow=np.array([{}, {}])), "a.npz: Object arrays cannot be loaded"),
        ("a.npy", npy_of(np.array([{}, {}])), "a.npy: Object arrays cannot be loaded"),
        ("a.npy", npy_of(np.zeros((3, 4, 2)))[:-8], "a.npy: "),
        ("a.npy", npy_of(np.zeros((3, 4, 2), complex)), "flow is complex128; expected float16"),
        ("a.npy", b"", "a.npy: "),
        ("a.tif", b"", "no format for flow ends so; expected one of .flo .npz .npy .png"),
    ],
)
def test_damage_is_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        read_flow(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}: ")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="a.flo: no such file"):
        read_flow(tmp_path / "a.flo")


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_cannot_be_written_leaves_no_file(unchecked, tmp_path, ending):
    path = tmp_path / f"a{ending}"
    with pytest.raises(ValueError, match=rf"a{ending}: flow has shape \(3, 4\); expected"):
        write_flow(path, np.zeros((3, 4), np.float32))
    for value in (2e9, np.inf):
        with pytest.raises(ValueError, match=rf"a{ending}: .* would be read as unknown"):
            write_flow(path, np.full((3, 4, 2), value))
    assert not path.exists()


@pytest.mark.parametrize("value", [512, -512.02])
def test_kitti_refuses_what_it_cannot_hold(tmp_path, value):
    flow = some_flow()
    flow[0, 0, 0] = np.nan
    flow[1, 1, 1] = value
    with pytest.raises(ValueError, match="a.png: flow reaches 512.0 px; KITTI.* choose .flo"):
        write_flow(tmp_path / "a.png", flow)
    assert not list(tmp_path.iterdir())
    flow[1, 1, 1] = -512
    write_flow(tmp_path / "a.png", flow)
    np.testing.assert_array_equal(read_flow(tmp_path / "a.png")[1, 1], flow[1, 1])


# --- Benchmark ------------------------------------------------------------------------------------


def test_benchmark_of_storage(monkeypatch, capsys):
    arguments = ["flow_storage", "--size", "64", "48", "--fields", "2"]
    monkeypatch.setattr(sys, "argv", arguments)
    flow_storage.main()
    title, _, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith("2 fields of 64 x 48")
    assert [line[:22].strip() for line in lines] == list(flow_storage.STORES)
    errors = {line[:22].strip(): float(line.split()[-1]) for line in lines}
    assert errors[".flo"] == 0 and 0 < errors["record"] <= 1 / 32
