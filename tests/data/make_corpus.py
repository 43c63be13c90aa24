"""Writes corpus/: one folder per reader, tiny valid files from which fuzz_readers and the tests start.

Needs numpy and Pillow. The files are committed; this says how they came about.
"""
import gzip, io, os, struct
import numpy as np
from PIL import Image

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
rng = np.random.default_rng(1)


def put(reader, name, data):
    os.makedirs(os.path.join(here, reader), exist_ok=True)
    with open(os.path.join(here, reader, name), "wb") as f:
        f.write(data)


def idx(array):
    return struct.pack(">I", 0x800 + array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


images = rng.integers(0, 256, (3, 4, 5), dtype=np.uint8)
empty = np.zeros((0, 4, 5), dtype=np.uint8)
for reader, pack in ("idx", lambda b: b), ("idx_gz", lambda b: gzip.compress(b, mtime=0)):
    put(reader, "images", pack(idx(images)))
    put(reader, "empty", pack(idx(empty)))
    put(reader, "flat", pack(idx(np.zeros((6, 7, 8), dtype=np.uint8))))

pixels = np.repeat(np.arange(3, dtype=np.uint8), 1024) * 100 + np.tile(np.arange(1024) // 32, 3).astype(np.uint8)
put("cifar10", "one.bin", bytes([7]) + pixels.tobytes())
put("cifar100", "one.bin", bytes([19, 99]) + pixels.tobytes())

put("csv", "numbers.csv", b"1,2.5,-3e-2\r\n4,5,6\r\n nan ,inf,+0.125\r\n")
put("csv", "names.csv", b'name,"a ""quoted"" text"\n"two\nlines",3\n')
put("csv", "empty_fields.csv", b'\xef\xbb\xbf,,\n"",x,\n')
put("csv", "no_end.csv", b"1;2\n3;4")

for name, array in {
    "f4": np.array([[1.5, -2], [3, 4], [5, 6]], "<f4"),
    "f8": np.array(2.25, "<f8"),
    "i8": np.arange(6, dtype="<i8").reshape(1, 2, 3),
    "i4": np.array([-7, 8], "<i4"),
    "u1": np.arange(5, dtype="u1"),
    "b1": np.array([True, False, True]),
    "empty": np.zeros((0, 3), "<f4"),
}.items():
    out = io.BytesIO()
    np.save(out, array)
    put("npy", name + ".npy", out.getvalue())
for version in (2, 0), (3, 0):
    out = io.BytesIO()
    np.lib.format.write_array(out, np.arange(4, dtype="<f8"), version=version)
    put("npy", f"version{version[0]}.npy", out.getvalue())

y, x = np.mgrid[0:13, 0:17]
colour = np.stack([x * 15, y * 19, (x + y) * 8], -1).astype(np.uint8)


def image(reader, name, picture, **options):
    out = io.BytesIO()
    picture.save(out, **options)
    put(reader, name, out.getvalue())


rgb = Image.fromarray(colour)
image("png", "rgb.png", rgb, format="PNG")
image("png", "grey.png", rgb.convert("L"), format="PNG")
image("png", "rgba.png", rgb.convert("RGBA"), format="PNG")
image("png", "palette.png", rgb.quantize(7), format="PNG")
image("png", "bits.png", rgb.convert("1"), format="PNG")
image("png", "deep.png", Image.fromarray((colour[..., 0].astype(np.uint16) * 257)), format="PNG")
image("jpeg", "rgb.jpg", rgb, format="JPEG", quality=80)
image("jpeg", "grey.jpg", rgb.convert("L"), format="JPEG", quality=60)
image("jpeg", "progressive.jpg", rgb, format="JPEG", quality=70, progressive=True)
image("jpeg", "full_chroma.jpg", rgb, format="JPEG", quality=90, subsampling=0)
image("jpeg", "restarts.jpg", rgb.resize((40, 24)), format="JPEG", quality=40, restart_marker_blocks=2)
