"""Files that people give for photos and that no decoder here takes, by their first bytes."""

import re

_SAVE = "save it as a PNG"
#: How they begin, what they are, and what to do.
_MARKS: tuple[tuple[bytes, str], ...] = (
    (rb"version https://git-lfs", "is a Git LFS pointer, not the file; run: git lfs pull"),
    (
        rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>)?\s*(<!--.*?-->)?\s*<svg",
        f"is an SVG drawing; {_SAVE}",
    ),
    (
        rb"(\xef\xbb\xbf)?\s*<(!doctype|!DOCTYPE|html|HTML|head|body|\?xml)",
        "is a web page or XML, not a photo; download the file itself",
    ),
    (rb"....ftyp(hei|hev|mif|msf)", f"is a HEIC photo, which is not read; {_SAVE}"),
    (
        rb"....ftypcrx|.{8}CR\x02\0|FUJIFILMCCD-RAW|IIRO|IIU\0",
        "is a camera's raw file; develop it, and save it as a 16-bit PNG or TIFF",
    ),
    (rb"....ftyp(isom|mp4|qt|M4V)", "is a video; save the frame as a PNG"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", f"is a JPEG XL, which is not read; {_SAVE}"),
    (rb"v/1\x01|#\?R", "holds floating-point colours (EXR or HDR); save it with 8 or 16 bits"),
    (rb"II[*+]\0|MM\0[*+]", f"is an unusual kind of TIFF; {_SAVE}"),
    (rb"P[7Ff]\s", f"is an unusual kind of PNM; {_SAVE}"),
    (
        rb"\x89PNG|\xff\xd8|RIFF....WEBP|GIF8|BM",
        "is damaged or cut short at its very beginning; save or copy it again",
    ),
    (
        rb"%PDF|%!PS|\xc5\xd0\xd3\xc6",
        "is a document (PDF or PostScript); save the picture in it as a PNG",
    ),
    (
        rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ",
        "is an archive; unpack it and give the picture inside",
    ),
    (rb"\x93NUMPY", f"is a NumPy array; {_SAVE}"),
    (rb"\0{64}", "begins with zeros, as a download that broke off; copy it again"),
)
_KNOWN = tuple((re.compile(mark, re.DOTALL), what) for mark, what in _MARKS)


def unreadable(data: bytes) -> str:
    """What a file is that is no photo, and what to do; both in one line that follows its name."""
    for mark, what in _KNOWN:
        if mark.match(data):
            return what
    return "is not a readable image; give a PNG, JPEG, WebP, TIFF or BMP"
