import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from boundaryloss.files.errors import UserError
from boundaryloss.files.read import read_image, read_labels, read_raw

LOSSLESS = (None, "zlib", "lzw", "packbits", "zstd")


def picture(shape=(9, 12), dtype=np.uint8, top=None):
    limit = np.iinfo(dtype).max if top is None else top
    return np.random.default_rng(0).integers(0, limit, shape, dtype, endpoint=True)


def png(path, array, **chunks):
    """A PNG file of any depth, with further chunks before its pixels."""
    path.write_bytes(imagecodecs.png_encode(array))
    for name, content in chunks.items():
        insert(path, name.encode(), content)
    return path


def insert(path, name, content):
    whole, at = path.read_bytes(), 33  # behind the header
    chunk = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    path.write_bytes(whole[:at] + chunk + whole[at:])


def pack(values, bits):
    planes = (values[..., None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(planes.reshape(len(values), -1).astype(np.uint8), axis=1)


def few_bits(path, bits, values, kind=0):
    """A PNG file of 1, 2 or 4 bits, as libpng packs them."""
    height, width = values.shape
    rows = pack(values, bits)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    content = b"\x89PNG\r\n\x1a\n"
    for name, part in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)),
        (b"IDAT", packed),
        (b"IEND", b""),
    ):
        content += struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
    path.write_bytes(content)
    return path


def refused(path, words, *, images=True):
    for read in (read_labels, read_raw) if images else (read_labels,):
        with pytest.raises(UserError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_read_raw_png_keeps_every_bit_and_channel(tmp_path, dtype, channels):
    array = picture((9, 12, channels), dtype)
    image, spacing = read_raw(png(tmp_path / "a.png", array.squeeze()))
    assert (image.dtype, spacing) == (dtype, (1.0, 1.0))
    np.testing.assert_array_equal(image, np.moveaxis(array, -1, 0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_read_labels_png_takes_grey_however_it_is_stored(tmp_path, dtype):
    labels = picture(dtype=dtype, top=3)
    opaque = np.full_like(labels, np.iinfo(dtype).max)
    for channels in ([labels], [labels, opaque], [labels] * 3, [*[labels] * 3, opaque]):
        array = np.stack(channels, -1).squeeze()
        np.testing.assert_array_equal(read_labels(png(tmp_path / "a.png", array)), labels)
    for channels in (
        [labels, labels[::-1]],
        [labels, labels, opaque],
        [labels] * 2 + [labels.T.reshape(9, 12)],
    ):
        array = np.stack(channels, -1)
        refused(png(tmp_path / "a.png", array), "colour picture, or one with transparency", images=False)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_read_png_palette_is_indices_in_masks_and_colours_in_images(tmp_path, bits):
    indices = picture(top=2**bits - 1)
    colours = picture((2**bits, 3))
    image = Image.fromarray(indices, "L").convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette(colours.ravel().tolist())
    image.save(tmp_path / "a.png", bits=bits)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), indices)
    read, _ = read_raw(tmp_path / "a.png")
    np.testing.assert_array_equal(read, np.moveaxis(colours[indices], -1, 0))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_read_png_of_few_bits_is_light_in_images(tmp_path, bits):
    values = picture(top=2**bits - 1)
    path = few_bits(tmp_path / "a.png", bits, values)
    image, _ = read_image(path)
    np.testing.assert_allclose(image[0], values / (2**bits - 1), atol=1e-6)
    if bits == 1:
        np.testing.assert_array_equal(read_labels(path), values)
    else:
        refused(path, f"grey picture of {bits} bits.*save it with 8", images=False)


def test_read_png_refuses_several_frames(tmp_path):
    frames = [Image.fromarray(picture(top=top)) for top in (1, 9)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    refused(tmp_path / "a.png", "holds 2 pictures")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_read_refuses_an_orientation(tmp_path, name, orientation):
    path, image = tmp_path / name, Image.fromarray(picture(top=1))
    exif = Image.Exif()
    exif[274] = orientation
    if name == "a.tif":
        image.save(path, tiffinfo={274: orientation})
    else:
        image.save(path, exif=exif)
    if orientation == 1:
        assert read_raw(path)[0].shape == (1, 9, 12)
    else:
        refused(path, rf"Orientation tag \({orientation}\)", images=True) if name != "a.jpg" else None
        with pytest.raises(UserError, match=rf"Orientation tag \({orientation}\)"):
            read_raw(path)


@pytest.mark.parametrize("flip", range(60, 80))
def test_read_png_looks_at_its_checksums(tmp_path, flip):
    content = bytearray(png(tmp_path / "a.png", picture()).read_bytes())
    content[flip] ^= 4
    (tmp_path / "a.png").write_bytes(content)
    refused(tmp_path / "a.png", "cannot be read")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize("part", [0, 3, 20, 60, 120])
def test_read_refuses_the_beginning_of_a_file(tmp_path, name, part):
    path = tmp_path / name
    Image.fromarray(picture((40, 50))).save(path)
    path.write_bytes(path.read_bytes()[:part])
    refused(path, r"cannot be read|missing|JPEG")
    with pytest.raises(UserError, match=r"cannot be read|missing"):
        read_raw(path)


def test_read_goes_by_the_content_not_the_name(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.jpg")
    for name in ("a.png", "a.tif"):
        (tmp_path / name).write_bytes((tmp_path / "a.jpg").read_bytes())
        refused(tmp_path / name, "cannot be read")


@pytest.mark.parametrize("channels", [1, 3])
def test_read_jpeg_is_an_image_and_never_a_mask(tmp_path, channels):
    array = np.zeros((16, 24, channels), np.uint8) + 100
    for name in ("a.jpg", "b.JPEG"):
        Image.fromarray(array.squeeze()).save(tmp_path / name, format="JPEG")
        image, _ = read_image(tmp_path / name)
        assert image.shape == (channels, 16, 24)
        np.testing.assert_allclose(image, 100 / 255, atol=0.01)
        refused(tmp_path / name, "JPEG changes the values of labels", images=False)


def test_read_jpeg_refuses_cmyk(tmp_path):
    Image.fromarray(picture((9, 12, 4)), "CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="CMYK; save it as RGB"):
        read_raw(tmp_path / "a.jpg")


@pytest.mark.parametrize("compression", LOSSLESS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_read_tiff_is_the_same_in_every_compression(tmp_path, compression, dtype):
    array = picture((3, 40, 50), np.uint8, 3).astype(dtype)
    planes = {"planarconfig": "separate", "photometric": "rgb"}
    for options in (
        {"predictor": compression not in (None, "packbits")},
        {"tile": (16, 32)},
        {"rowsperstrip": 7, "byteorder": ">"},
    ):
        path, how = tmp_path / "a.tif", {"compression": compression, **options}
        tifffile.imwrite(path, array[0], **how)
        np.testing.assert_array_equal(read_labels(path), array[0])
        np.testing.assert_array_equal(read_raw(path)[0], array[:1])
        for stored, kind in (
            (np.moveaxis(array, 0, -1), {"photometric": "rgb"}),
            (array, planes),
            (array, {"photometric": "minisblack", "metadata": {"axes": "CYX"}}),
        ):
            tifffile.imwrite(path, stored, **how, **kind)
            image, _ = read_raw(path)
            assert image.dtype == dtype
            np.testing.assert_array_equal(image, array)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_read_tiff_refuses_a_stack(tmp_path, compression):
    pages = [Image.fromarray(picture(top=1 + top)) for top in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression=compression)
    refused(tmp_path / "a.tif", "stack of shape|compression can change")
    sizes = [Image.fromarray(picture((9 + size, 12))) for size in range(2)]
    sizes[0].save(tmp_path / "a.tif", save_all=True, append_images=sizes[1:], compression=compression)
    refused(tmp_path / "a.tif", "holds 2 pictures")


def test_read_tiff_passes_over_a_thumbnail(tmp_path):
    array = picture()
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(array)
        file.write(array[::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(read_raw(tmp_path / "a.tif")[0][0], array)


def test_read_tiff_refuses_a_stack_of_palettes(tmp_path):
    palette = picture((3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", picture((3, 9, 12)), colormap=palette, metadata={"axes": "CYX"})
    with pytest.raises(UserError, match="stack of shape"):
        read_raw(tmp_path / "a.tif")


def test_read_tiff_palette_is_indices_in_masks_and_colours_in_images(tmp_path):
    indices, palette = picture(), picture((3, 256)).astype(np.uint16) * 257
    for compression in LOSSLESS:
        tifffile.imwrite(tmp_path / "a.tif", indices, colormap=palette, compression=compression)
        np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), indices)
        np.testing.assert_array_equal(read_raw(tmp_path / "a.tif")[0], palette[:, indices] >> 8)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_read_tiff_of_few_bits_is_light_in_images(tmp_path, bits):
    values, path = picture((9, 16), top=2**bits - 1), tmp_path / "a.tif"
    tifffile.imwrite(path, pack(values, bits), metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages[0].tags
        tags["ImageWidth"].overwrite(values.shape[1])
        tags["BitsPerSample"].overwrite(bits)
    np.testing.assert_allclose(read_image(path)[0][0], values / (2**bits - 1), atol=1e-6)
    if bits == 1:
        np.testing.assert_array_equal(read_labels(path), values)
    else:
        refused(path, f"grey picture of {bits} bits", images=False)


@pytest.mark.parametrize("imagej", [True, False])
def test_read_tiff_takes_min_is_white_as_stored_from_who_means_it_so(tmp_path, imagej):
    values = picture(top=1) if imagej else picture(top=1).astype(bool)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite", imagej=imagej)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), values)
    np.testing.assert_array_equal(read_raw(tmp_path / "a.tif")[0][0], values)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_read_tiff_refuses_colours_that_are_none_of_ours(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture(), photometric="miniswhite", compression=compression, metadata=None)
    refused(path, "MinIsWhite")
    for kind in ("separated", "cielab"):
        channels = 4 if kind == "separated" else 3
        tifffile.imwrite(path, picture((9, 12, channels)), photometric=kind, compression=compression)
        refused(path, f"colours are {kind.upper()}")


def test_read_tiff_of_jpeg_is_an_image_and_never_a_mask(tmp_path):
    array = np.full((16, 16, 3), 100, np.uint8)
    for stored in (array, array[..., 0]):  # YCbCr and grey
        Image.fromarray(stored).save(tmp_path / "a.tif", compression="jpeg")
        image, _ = read_raw(tmp_path / "a.tif")
        assert np.abs(image.astype(int) - 100).max() <= 2
        refused(tmp_path / "a.tif", "JPEG compression", images=False)


@pytest.mark.parametrize("compression", LOSSLESS)
def test_read_tiff_refuses_a_missing_strip(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture((40, 50)), rowsperstrip=8, compression=compression)
    with tifffile.TiffFile(path, mode="r+") as file:
        counts = list(file.pages[0].databytecounts)
        file.pages[0].tags["StripByteCounts"].overwrite([*counts[:-1], 0])
    refused(path, "pixels is missing|cannot be read")
    tifffile.imwrite(path, picture((40, 50)), rowsperstrip=8, compression=compression)
    path.write_bytes(path.read_bytes()[:-5])
    refused(path, "pixels is missing|cannot be read")
