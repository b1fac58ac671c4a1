"""Lists as users bring them: of any system, and no text at all."""

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dystab_jax.data.text_files import number_lines, read_lines, read_text

LINES = ["bear", "my dog", "größe", "#hashtag"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_list_reads_alike_in_every_encoding(tmp_path, mark, encoding, newline):
    text = newline.join(["bear  ", "", "# a remark", "\tmy dog", "größe", "#", "#hashtag", ""])
    (tmp_path / "list.txt").write_bytes(mark + text.encode(encoding))
    assert read_lines(tmp_path / "list.txt") == LINES
    assert number_lines(tmp_path / "list.txt")[:2] == [(1, "bear"), (4, "my dog")]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"b\xe4r\n", "list.txt: not text in UTF-8 .* at byte 1.; save it as UTF-8"),
        ("bear".encode("utf-16-le"), "list.txt: not text: it holds a zero byte at 1"),
        (codecs.BOM_UTF16_LE + b"\0\xd8a", "list.txt: not text in UTF-16 "),
        (b"\x89PNG\r\n\x1a\n\0\0", "list.txt: not text"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, data, said):
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(ValueError, match=said):
        read_lines(tmp_path / "list.txt")


def test_single_characters_may_be_replaced(tmp_path):
    (tmp_path / "a.dat").write_bytes(b"Gr\xfc\xdfe\n")
    assert read_text(tmp_path / "a.dat", errors="replace") == "Gr\ufffd\ufffde\n"


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF32_BE]),
    st.binary(max_size=60),
)
def test_any_bytes_are_a_list_or_an_error_that_names_the_file(mark, data):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "list.txt")
        path.write_bytes(mark + data)
        try:
            lines = read_lines(path)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert all(line and line == line.strip() for line in lines)
