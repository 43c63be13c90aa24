// Readers: what they read, and the exact text of what they refuse.
#include <concord/data/cifar.h>
#include <concord/data/csv.h>
#include <concord/data/gzip.h>
#include <concord/data/idx.h>
#include <concord/data/image.h>
#include <concord/data/image_folder.h>
#include <concord/data/mnist.h>
#include <concord/data/npy.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>

#include <unistd.h>

using namespace concord;
using namespace concord::data;
using namespace std::string_literals;
namespace fs = std::filesystem;

namespace {

Bytes bytes_of(const std::string& s) { return std::as_bytes(std::span(s)); }

std::string corpus(const std::string& file) {
  const auto bytes = read_file(std::string(CONCORD_TEST_FILES) + "/data/corpus/" + file);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class E = FileError>
std::string error(auto&& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "nothing thrown";
}

std::string damaged(const std::string& headline, std::size_t offset,
                    const std::string& file = "dir/f") {
  return headline + "\n  file    " + file + "\n  offset  " + std::to_string(offset);
}

std::string idx_error(const std::string& s) {
  return error([&] { parse_idx(bytes_of(s), "dir/f", 3); });
}
std::string npy_error(const std::string& s) {
  return error([&] { parse_npy(bytes_of(s), "dir/f"); });
}
std::string csv_error(const std::string& s, CsvOptions options = {}) {
  return error([&] { parse_csv(bytes_of(s), "dir/f", options); });
}

/// A file of version 1.0 with this header and these values.
std::string npy(const std::string& header, const std::string& values) {
  return "\x93NUMPY\x01\x00"s + static_cast<char>(header.size()) + '\0' + header + values;
}

/// An empty folder of this test's own, removed at the end.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("concord_data_" + std::to_string(::getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  void put(const fs::path& file, const std::string& content) const {
    fs::create_directories((path / file).parent_path());
    write_file(path / file, bytes_of(content));
  }
};

const std::string kIdx =
    "\0\0\x08\x03\0\0\0\x01\0\0\0\x02\0\0\0\x03"
    "abcdef"s;

}  // namespace

TEST_CASE("idx: plain and gzip'd") {
  const Tensor plain = parse_idx(bytes_of(kIdx), "f", 3);
  CHECK(plain.shape() == Shape{1, 2, 3});
  CHECK(plain.at({0, 1, 2}) == 'f');
  const Tensor packed = parse_idx(bytes_of(corpus("idx_gz/images")), "f", 3);
  const Tensor unpacked = parse_idx(bytes_of(corpus("idx/images")), "f", 3);
  CHECK(packed.shape() == Shape{3, 4, 5});
  CHECK(std::ranges::equal(packed.values<std::uint8_t>(), unpacked.values<std::uint8_t>()));
  CHECK(parse_idx(bytes_of(corpus("idx/empty")), "f", 3).shape() == Shape{0, 4, 5});
}

TEST_CASE("idx: what is refused") {
  std::string s = kIdx;
  s[3] = 2;
  CHECK(idx_error(s) ==
        damaged("idx: f: magic number is 0x00000802, expected 0x00000803 (3 axes of bytes)", 0));
  CHECK(idx_error("") == damaged("idx: f: ends after 0 bytes, expected a header of 16", 0));
  CHECK(idx_error(kIdx.substr(0, 15)) ==
        damaged("idx: f: ends after 15 bytes, expected a header of 16", 15));
  CHECK(idx_error(kIdx.substr(0, 20)) ==
        damaged("idx: f: has 4 bytes of values, its header declares [1,2,3]", 20));
  CHECK(idx_error(kIdx + "gh") ==
        damaged("idx: f: has 8 bytes of values, its header declares [1,2,3]", 22));
  s = kIdx;
  std::fill(s.begin() + 4, s.begin() + 16, '\xff');  // a product beyond 64 bits
  CHECK(idx_error(s) == damaged("idx: f: has 6 bytes of values, its header declares "
                                "[4294967295,4294967295,4294967295]",
                                22));
}

TEST_CASE("gzip: what is refused") {
  const std::string s = corpus("idx_gz/images");
  CHECK(idx_error(s.substr(0, s.size() - 3)) ==
        damaged("gzip: f: ends within the compressed stream", s.size() - 3));
  CHECK(idx_error(s + "ab") ==
        damaged("gzip: f: 2 bytes follow the stream, expected its end", s.size()));
  std::string bad = s;
  bad[s.size() - 8] ^= 1;
  CHECK(idx_error(bad) == damaged("gzip: f: damaged stream (incorrect data check)", s.size() - 4));
  // How far the decompressor has read ahead by then is its own affair: no offset.
  const std::string text = error([&] { gunzip(bytes_of(s), "dir/f", 75); });
  CHECK(text.rfind("gzip: f: content exceeds 75 bytes\n  file    dir/f\n", 0) == 0);
  CHECK(gunzip(bytes_of(s), "f", 76).size() == 76);
}

TEST_CASE("mnist: a folder must hold matching files") {
  const Folder folder;
  CHECK(error([&] { load_fashion_mnist(Part::train, folder.path); }) ==
        "mnist: train-images-idx3-ubyte is missing, plain and with .gz\n  folder  " +
            folder.path.string() + "\n  hint    Debian: apt-get install dataset-fashion-mnist");
  const std::string images =
      "\0\0\x08\x03\0\0\0\x02\0\0\0\x1c\0\0\0\x1c"s + std::string(2 * 28 * 28, 'x');
  const auto labels_file = (folder.path / "t10k-labels-idx1-ubyte").string();
  folder.put("t10k-images-idx3-ubyte", images);
  folder.put("t10k-labels-idx1-ubyte", "\0\0\x08\x01\0\0\0\x03\x01\x02\x03"s);
  CHECK(error([&] { load_mnist(folder.path, Part::test); }) ==
        damaged("mnist: t10k-labels-idx1-ubyte: 3 labels, expected 2 as there are images", 4,
                labels_file));
  folder.put("t10k-labels-idx1-ubyte", "\0\0\x08\x01\0\0\0\x02\x09\x0a"s);
  CHECK(error([&] { load_mnist(folder.path, Part::test); }) ==
        damaged("mnist: t10k-labels-idx1-ubyte: label 1 is 10, expected 0 to 9", 9, labels_file));
  folder.put("t10k-labels-idx1-ubyte", "\0\0\x08\x01\0\0\0\x02\x09\x03"s);
  const ImageSetPtr set = load_mnist(folder.path, Part::test);
  CHECK(set->size() == 2);
  CHECK(set->label(1) == 3);
  folder.put("t10k-images-idx3-ubyte", kIdx);
  CHECK(error([&] { load_mnist(folder.path, Part::test); }) ==
        damaged("mnist: t10k-images-idx3-ubyte: images are 2x3, expected 28x28", 8,
                (folder.path / "t10k-images-idx3-ubyte").string()));
}

TEST_CASE("cifar: records of both kinds") {
  const std::string one = corpus("cifar100/one.bin");
  const CifarRecords hundred = parse_cifar(bytes_of(one), "f", Cifar::hundred);
  CHECK(hundred.labels.at({0, 0}) == 99);
  CHECK(hundred.labels.at({1, 0}) == 19);
  CHECK(hundred.images.at({0, 2, 31, 5}) == 231);  // channel * 100 + row
  const std::string two = corpus("cifar10/one.bin") + corpus("cifar10/one.bin");
  const CifarRecords ten = parse_cifar(bytes_of(two), "f", Cifar::ten);
  CHECK(ten.images.shape() == Shape{2, 3, 32, 32});
  CHECK(ten.images.at({1, 1, 4, 0}) == 104);
  CHECK(ten.labels.at({0, 1}) == 7);

  const auto cifar_error = [](const std::string& s, Cifar kind) {
    return error([&] { parse_cifar(bytes_of(s), "dir/f", kind); });
  };
  CHECK(cifar_error(two.substr(0, 6000), Cifar::ten) ==
        damaged("cifar: f: has 6000 bytes, expected a multiple of 3073", 3073));
  std::string bad = two;
  bad[3073] = 10;
  CHECK(cifar_error(bad, Cifar::ten) ==
        damaged("cifar: f: class label of image 1 is 10, expected 0 to 9", 3073));
  bad = one;
  bad[0] = 20;
  CHECK(cifar_error(bad, Cifar::hundred) ==
        damaged("cifar: f: coarse label of image 0 is 20, expected 0 to 19", 0));
  CHECK(error([] { load_cifar10("nowhere", Part::test); }) ==
        "file: does not exist\n  file  nowhere/test_batch.bin");
}

TEST_CASE("csv: texts and numbers") {
  const CsvText names = parse_csv_text(bytes_of(corpus("csv/names.csv")), "f", {.header = true});
  CHECK(names.header == std::vector<std::string>{"name", "a \"quoted\" text"});
  CHECK(names.rows == std::vector<std::vector<std::string>>{{"two\nlines", "3"}});
  CHECK(parse_csv_text(bytes_of(to_csv(names)), "f", {.header = true}).rows == names.rows);
  CHECK(parse_csv_text(bytes_of(corpus("csv/empty_fields.csv")), "f").rows ==
        std::vector<std::vector<std::string>>{{"", "", ""}, {"", "x", ""}});
  CHECK(parse_csv_text(bytes_of("a,"s), "f").rows ==
        std::vector<std::vector<std::string>>{{"a", ""}});
  CHECK(parse_csv_text({}, "f").rows.empty());

  const CsvMatrix numbers = parse_csv(bytes_of(corpus("csv/numbers.csv")), "f");
  CHECK(numbers.values.shape() == Shape{3, 3});
  CHECK(numbers.values.at({0, 2}) == -3e-2);
  CHECK(std::isnan(numbers.values.at({2, 0})));
  CHECK(numbers.values.at({2, 2}) == 0.125);
  CHECK(parse_csv(bytes_of(corpus("csv/no_end.csv")), "f", {.delimiter = ';'}).values.at({1, 0}) ==
        3);
  const Tensor awkward = Tensor::from<double>({0.1, 1e-300, -5e-324, 1.0 / 3, 1e22, -0.0}, {2, 3});
  const CsvMatrix again =
      parse_csv(bytes_of(to_csv(CsvMatrix{{"a", "b,c", "d"}, awkward})), "f", {.header = true});
  CHECK(again.header == std::vector<std::string>{"a", "b,c", "d"});
  CHECK(std::ranges::equal(again.values.values<double>(), awkward.values<double>()));
  CHECK(parse_csv(bytes_of("1.5\n"s), "f", {}, DType::f32).values.dtype() == DType::f32);
}

TEST_CASE("csv: what is refused") {
  CHECK(csv_error("1,2\n3,x4\n") == damaged("csv: f: line 2, column 2: 'x4' is not a number", 6));
  CHECK(csv_error("1,2\r\n3,\r\n") ==
        damaged("csv: f: line 2, column 2: field is empty, expected a number", 7));
  CHECK(csv_error("1,1e999\n") ==
        damaged("csv: f: line 1, column 2: '1e999' is out of the range of f64", 2));
  CHECK(csv_error("1,2\n3\n") ==
        damaged("csv: f: line 2, column 1: row has 1 fields, expected 2", 4));
  CHECK(csv_error("1\n\"2\n\"\n\"3") ==
        damaged("csv: f: line 2, column 1: '2\n' is not a number", 2));
  CHECK(csv_error("1\n2,\"3") ==
        damaged("csv: f: line 2, column 2: quoted field is never closed", 4));
  CHECK(csv_error("\"1\"2\n") ==
        damaged("csv: f: line 1, column 1: text follows a closing quote, expected a "
                "delimiter or the end of the line",
                3));
  CHECK(csv_error("1,2\"\n") ==
        damaged("csv: f: line 1, column 2: quote within a field that does not begin with one", 3));
  CHECK(csv_error("1\r2\n") ==
        damaged("csv: f: line 1, column 1: carriage return without a line feed", 1));
  CHECK(error([] { parse_csv(bytes_of("1e300\n"s), "dir/f", {}, DType::f32); }) ==
        damaged("csv: f: line 1, column 1: '1e300' is out of the range of f32", 0));
}

TEST_CASE("npy: NumPy's files, and our own read back") {
  const auto parse = [](const std::string& file) {
    return parse_npy(bytes_of(corpus("npy/" + file)), file);
  };
  CHECK(parse("f4.npy").shape() == Shape{3, 2});
  CHECK(parse("f4.npy").at({0, 1}) == -2);
  CHECK(parse("f8.npy").shape() == Shape{});
  CHECK(parse("f8.npy").item() == 2.25);
  CHECK(parse("i8.npy").at({0, 1, 2}) == 5);
  CHECK(parse("i4.npy").dtype() == DType::i64);
  CHECK(parse("i4.npy").at({0}) == -7);
  CHECK(parse("u1.npy").at({4}) == 4);
  CHECK(parse("b1.npy").at({1}) == 0);
  CHECK(parse("empty.npy").shape() == Shape{0, 3});
  CHECK(parse("version2.npy").at({3}) == 3);
  CHECK(parse("version3.npy").at({3}) == 3);
  // Ours are NumPy's byte for byte.
  for (const char* file : {"f4.npy", "f8.npy", "i8.npy", "u1.npy", "empty.npy"}) {
    const std::string original = corpus("npy/"s + file);
    CHECK(std::ranges::equal(to_npy(parse(file)), bytes_of(original)));
  }
  const Folder folder;
  save_npy(folder.path / "a.npy", parse("f4.npy"));
  CHECK(load_npy(folder.path / "a.npy").at({2, 0}) == 5);
}

TEST_CASE("npy: what is refused") {
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n";
  CHECK(npy_error("PK") == damaged("npy: f: does not begin with \\x93NUMPY", 0));
  CHECK(npy_error("\x93NUMPY"s) == damaged("npy: f: ends within the version", 6));
  CHECK(npy_error("\x93NUMPY\x04\x00\x01\x00"s) ==
        damaged("npy: f: version is 4.0, expected 1.0, 2.0 or 3.0", 6));
  CHECK(npy_error("\x93NUMPY\x02\x00\x01\x00"s) ==
        damaged("npy: f: ends within the header's length", 10));
  CHECK(npy_error("\x93NUMPY\x01\x00\xff\x00{}"s) ==
        damaged("npy: f: header declares 255 bytes, 2 are left", 8));
  CHECK(npy_error(npy(good, "123")) ==
        damaged("npy: f: has 3 bytes of values, shape [1] of <f4 declares 4", 10 + good.size()));
  CHECK(npy_error(npy(good, "12345")) ==
        damaged("npy: f: has 5 bytes of values, shape [1] of <f4 declares 4", 10 + good.size()));
  const std::string huge =
      "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }\n";
  CHECK(npy_error(npy(huge, "")) ==
        damaged("npy: f: has 0 bytes of values, shape [4294967296,4294967296] of <f4 declares more "
                "than 2^64",
                10 + huge.size()));
  CHECK(npy_error(npy("{'descr': '>f4', 'fortran_order': False, 'shape': ()}", "1234")) ==
        damaged("npy: f: element type is '>f4', expected <f4, <f8, <i8, <i4, |u1 or |b1", 10));
  CHECK(npy_error(npy("{'descr': '<f4', 'fortran_order': True, 'shape': ()}", "1234")) ==
        damaged("npy: f: values are in Fortran order, expected C order", 44));
  CHECK(npy_error(npy("{'descr': '<f4', 'shape': ()}", "1234")) ==
        damaged("npy: f: header lacks descr, fortran_order or shape", 39));
  CHECK(npy_error(npy("{'shape': (1,), 'shape': (2,)}", "1234")) ==
        damaged("npy: f: header has an unexpected or repeated key 'shape'", 34));
  CHECK(npy_error(npy("{'shape': (1, x)}", "")) ==
        damaged("npy: f: header: expected an extent", 24));
  CHECK(npy_error(npy("{'shape': (1,1,1,1,1,1,1)}", "")) ==
        damaged("npy: f: has more than 6 axes", 33));
  CHECK(npy_error(npy("{'descr': '|b1', 'fortran_order': False, 'shape': (2,)}", "\1\2")) ==
        damaged("npy: f: truth value is neither 0 nor 1", 66));
}

TEST_CASE("images: decoded as they were drawn") {
  // The corpus' picture: red 15 x, green 19 y, blue 8 (x + y), 17 wide and 13 high.
  const Tensor png = decode_image(bytes_of(corpus("png/rgb.png")), "f");
  REQUIRE(png.shape() == Shape{3, 13, 17});
  CHECK(png.at({0, 2, 16}) == 240);
  CHECK(png.at({1, 12, 3}) == 228);
  CHECK(png.at({2, 5, 7}) == 96);
  CHECK(decode_image(bytes_of(corpus("png/grey.png")), "f").shape() == Shape{1, 13, 17});
  CHECK(decode_image(bytes_of(corpus("png/rgba.png")), "f").shape() == Shape{4, 13, 17});
  CHECK(decode_image(bytes_of(corpus("png/deep.png")), "f").at({0, 0, 10}) == 150);
  CHECK(decode_image(bytes_of(corpus("png/grey.png")), "f", 3).shape() == Shape{3, 13, 17});
  const Tensor jpeg = decode_image(bytes_of(corpus("jpeg/full_chroma.jpg")), "f");
  REQUIRE(jpeg.shape() == Shape{3, 13, 17});
  double worst = 0;
  for (index_t i = 0; i < jpeg.numel(); ++i) {
    worst = std::max(
        worst, std::abs(double{1} * jpeg.data<std::uint8_t>()[i] - png.data<std::uint8_t>()[i]));
  }
  CHECK(worst < 16);  // lossy: quality 90
  const auto again = encode_png(png);
  CHECK(std::ranges::equal(decode_image(again, "f").values<std::uint8_t>(),
                           png.values<std::uint8_t>()));
}

TEST_CASE("images: what is refused") {
  const auto image_error = [](const std::string& s) {
    return error([&] { decode_image(bytes_of(s), "dir/f"); });
  };
  CHECK(image_error("") == damaged("image: f: not a JPEG or PNG with sides up to 16384", 0));
  CHECK(image_error("GIF89a") == damaged("image: f: not a JPEG or PNG with sides up to 16384", 0));
  const std::string png = corpus("png/rgb.png"), jpeg = corpus("jpeg/rgb.jpg");
  std::string s = png;
  s[16] = s[20] = 0;
  s[18] = s[22] = 0x3f;  // 0x3f11 x 0x3f0d
  CHECK(image_error(s) ==
        damaged("image: f: declares 16145x16141 pixels, too many for 88 bytes", 0));
  s[16] = 1;
  CHECK(image_error(s) == damaged("image: f: not a JPEG or PNG with sides up to 16384", 0));
  CHECK(image_error(png.substr(0, 60)) == damaged("image: f: cannot be decoded (outofdata)", 0));
  for (const std::size_t cut : {std::size_t{2}, jpeg.size() / 2, jpeg.size() - 2}) {
    const std::string text = image_error(jpeg.substr(0, cut));
    CHECK(text.rfind("image: f: JPEG ", 0) == 0);
  }
  CHECK(image_error(jpeg.substr(0, jpeg.size() - 2)) ==
        damaged("image: f: JPEG ends before its end-of-image marker", jpeg.size() - 2));
  s = jpeg;
  const std::size_t table = s.find("\xff\xc4") + 4;
  s[table + 16] = '\xff';  // codes of 16 bits
  CHECK(image_error(s) ==
        damaged("image: f: JPEG Huffman table is larger than its segment or 255 codes", table));
  CHECK(error<ValueError>([&] { decode_image(bytes_of(png), "f", 2); }) ==
        "image: 2 channels, expected 0 (as stored), 1, 3 or 4");
  CHECK(error<ShapeError>([&] {
          encode_png(Tensor::zeros({5, 2, 3}, DType::u8));
        }) ==
        "png: image is [5,2,3], expected 1 to 4 channels and sides of 1 to 16384\n  image  "
        "u8[5,2,3]  cpu");
}

TEST_CASE("image folder: classes and files in the order of their names") {
  const Folder folder;
  folder.put("b/2.PNG", corpus("png/rgb.png"));
  folder.put("b/1.jpg", corpus("jpeg/full_chroma.jpg"));
  folder.put("b/notes.txt", "x");
  folder.put("a/x.png", corpus("png/grey.png"));
  const ImageFolder set(
      folder.path, {.height = 13, .width = 13, .channels = 3, .normalisation = {{0.5}, {0.25}}});
  CHECK(set.classes() == std::vector<std::string>{"a", "b"});
  REQUIRE(set.size() == 3);
  CHECK(set.file(1).filename() == "1.jpg");
  CHECK(set.label(0) == 0);
  CHECK(set.label(2) == 1);
  Batch batch;
  const index_t items[] = {2};
  set.read(items, Rng(), batch);
  // The middle 13 of 17 columns: column 3 here is column 5 there.
  CHECK(batch.input.at({0, 0, 4, 3}) == doctest::Approx((75.0 / 255 - 0.5) / 0.25));

  folder.put("c/readme.txt", "no image");
  CHECK(error([&] { ImageFolder{folder.path}; }) ==
        "image folder: class has no .jpg, .jpeg or .png file\n  folder  " +
            (folder.path / "c").string());
  CHECK(error([&] { ImageFolder{folder.path / "a"}; }) ==
        "image folder: has no folders, expected one per class\n  folder  " +
            (folder.path / "a").string());
  CHECK(error([&] { ImageFolder{folder.path / "none"}; }) ==
        "image folder: cannot be read: No such file or directory\n  folder  " +
            (folder.path / "none").string());
}

TEST_CASE("files: missing, too large, a folder") {
  const Folder folder;
  folder.put("f", "12345");
  CHECK(error([&] { read_file(folder.path / "g"); }) ==
        "file: does not exist\n  file  " + (folder.path / "g").string());
  CHECK(error([&] { read_file(folder.path); }) ==
        "file: is not a plain file\n  file  " + folder.path.string());
  CHECK(error([&] { read_file(folder.path / "f", 4); }) ==
        "file: has 5 bytes, at most 4 are accepted\n  file  " + (folder.path / "f").string());
  CHECK(error([&] { write_file(folder.path / "no" / "f", {}); }) ==
        "file: cannot be written: No such file or directory\n  file  " +
            (folder.path / "no" / "f").string());
}
