#include <concord/tensor/random.h>
#include <concord/tensor/serialize.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

using namespace concord;
using concord::testing::error_text;
using concord::testing::TemporaryFolder;

namespace {

/// A file's bytes: the header's length, the header, the values.
std::string file_of(const std::string& header, const std::string& values) {
  std::string s(8, '\0');
  const std::uint64_t n = header.size();
  std::memcpy(s.data(), &n, 8);
  return s + header + values;
}

TensorFile parse(const std::string& bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes.data(), bytes.size())), "x.safetensors");
}

std::string error_of(const std::string& header, const std::string& values) {
  return error_text<FileError>([&] { parse(file_of(header, values)); });
}

std::string text(const std::string& headline, const std::string& offset,
                 const std::string& expected) {
  return headline + "\n  file      x.safetensors\n  offset    " + offset + "\n  expected  " +
         expected;
}

std::string slurp(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TensorFile sample() {
  TensorFile f;
  f.tensors["conv1.weight"] = Tensor::from<float>({1, -2, 3.5, 4, 5, 6}, {3, 2});
  f.tensors["steps"] = Tensor::full({}, 1e15, DType::i64);
  f.tensors["image"] = Tensor::from<std::uint8_t>({7, 8, 255}, {3, 1});
  f.tensors["m"] = Tensor::from<double>({0.1, -1e300}, {2});
  f.tensors["rows"] = Tensor::from<float>({1.5f, -0.1f, 3e38f}, {1, 3}).to(DType::bf16);
  f.tensors["nothing"] = Tensor::zeros({0, 3});
  f.metadata = {{"format", "pt"}, {"quote", "\"\\\n\x01 ü"}};
  return f;
}

void check_equal(const TensorFile& a, const TensorFile& b) {
  CHECK(a.metadata == b.metadata);
  REQUIRE(a.tensors.size() == b.tensors.size());
  for (const auto& entry : a.tensors) {
    const std::string& name = entry.first;
    const Tensor& t = entry.second;
    CAPTURE(name);
    const Tensor& u = b.tensors.at(name);
    CHECK(t.shape() == u.shape());
    REQUIRE(t.dtype() == u.dtype());
    CHECK(std::memcmp(t.raw(), u.raw(), t.bytes()) == 0);
  }
}

}  // namespace

TEST_CASE("safetensors: what is written is read, and the file is aligned") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "a.safetensors";
  save_safetensors(path, sample());
  check_equal(load_safetensors(path), sample());
  check_equal(parse(slurp(path)), sample());
  const std::string bytes = slurp(path);
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  CHECK(header % 8 == 0);

  // Over an old file; no temporary file stays.
  TensorFile other;
  other.tensors["x"] = Tensor::full({5}, 2);
  save_safetensors(path, other);
  check_equal(load_safetensors(path), other);
  save_safetensors(path, TensorFile{});
  CHECK(load_safetensors(path).tensors.empty());
  int files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path()))
    ++files;
  CHECK(files == 1);
}

TEST_CASE("safetensors: a file as the reference implementation writes it") {
  const TensorFile f = parse(file_of(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
      R"("a":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]}}   )",
      std::string("\x2a\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\0\xc0", 16)));
  CHECK(f.tensors.at("b").item() == 42);
  CHECK(f.tensors.at("a").at({0, 0}) == 1);
  CHECK(f.tensors.at("a").at({0, 1}) == -2);
  CHECK(f.metadata.at("format") == "pt");
}

TEST_CASE("safetensors: hostile files, each with its error") {
  const std::string eight(8, '\0');
  CHECK(error_text<FileError>([] { parse("abc"); }) ==
        text("safetensors: file of 3 bytes", "0", "8 bytes with the header's length"));
  CHECK(error_text<FileError>([] {
          parse(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10));
        }) == text("safetensors: header of 18446744073709551615 bytes", "0",
                   "a header of at most 100000000 bytes"));
  CHECK(error_text<FileError>([] { parse(std::string("\x09\0\0\0\0\0\0\0{}", 10)); }) ==
        text("safetensors: header of 9 bytes in a file of 10", "0", "a header of at most 2 bytes"));
  CHECK(error_of("{\"a\":}", "") == text("safetensors: header is not JSON", "13", "a JSON object"));
  CHECK(error_of("", "") == text("safetensors: header is not JSON", "8", "a JSON object"));
  CHECK(error_of("[1]", "") == text("safetensors: header is no object", "8", "a JSON object"));
  CHECK(error_of(R"({"a":{"shape":[[[[[)", "") ==
        text("safetensors: header nested too deeply", "8", "at most three levels"));
  CHECK(error_of(R"({"a":[1e999]})", "") ==
        text("safetensors: header holds a value out of range", "8", "a JSON object"));
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                 R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                 eight) == text("safetensors: name \"a\" twice", "8", "each name once"));
  CHECK(error_of(R"({"a":{"dtype":"F32","dtype":"F64"}})", "") ==
        text("safetensors: name \"dtype\" twice", "8", "each name once"));
  CHECK(error_of(R"({"a":3})", "") ==
        text("safetensors: tensor \"a\" is no object", "8", "an object"));
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2]}})", eight) ==
        text("safetensors: tensor \"a\": missing or bad \"data_offsets\"", "8", "[begin, end]"));
  CHECK(error_of(R"({"a":{"dtype":7,"shape":[2],"data_offsets":[0,8]}})", eight) ==
        text("safetensors: tensor \"a\": missing or bad \"dtype\"", "8", "a string"));
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", eight) ==
        text("safetensors: tensor \"a\": unknown member \"x\"", "8", "dtype, shape, data_offsets"));
  CHECK(error_of(R"({"a":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}})", eight) ==
        text("safetensors: tensor \"a\" has elements of type \"F16\"", "8",
             "F32, F64, I64, U8 or BF16"));
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", eight) ==
        text("safetensors: tensor \"a\": an extent is not a natural number", "8", "0, 1, 2, ..."));
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0.5,8]}})", eight) ==
        text("safetensors: tensor \"a\": an offset is not a natural number", "8", "0, 1, 2, ..."));
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,2],"data_offsets":[0,8]}})", eight) ==
        text("safetensors: tensor \"a\" has 7 axes", "8", "at most 6 axes"));
  // 2^32 * 2^32 wraps to 0 in 64 bits; 2^62 + 1 elements of 4 bytes wrap to 4.
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
                 "") ==
        text("safetensors: tensor \"a\": too many elements", "8", "at most 2^62 elements"));
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}})",
                 "1234") ==
        text("safetensors: tensor \"a\": too many elements", "8", "at most 2^62 elements"));
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})",
                 "") == text("safetensors: tensor \"a\" has 0 bytes", "8",
                             "4611686018427387904 elements of 4 bytes, f32[4611686018427387904]"));
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}})",
                 "") ==
        text("safetensors: tensor \"a\": too many elements", "8", "at most 2^62 elements"));
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", eight) ==
        text("safetensors: tensor \"a\" has 8 bytes", "8", "3 elements of 4 bytes, f32[3]"));
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", eight) ==
        text("safetensors: tensor \"a\" lies at [8, 0)", "8",
             "a range within the 8 bytes of values"));
  CHECK(error_of(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}})", eight) ==
        text("safetensors: tensor \"a\" lies at [0, 12)", "8",
             "a range within the 8 bytes of values"));
  const std::string two =
      R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},"b":{"dtype":"U8",)";
  CHECK(error_of(two + R"("shape":[4],"data_offsets":[4,8]}})", eight) ==
        text("safetensors: tensor \"b\" starts at 4, inside the one before it", "117",
             "a start at 5"));
  CHECK(error_of(two + R"("shape":[2],"data_offsets":[6,8]}})", eight) ==
        text("safetensors: tensor \"b\" starts at 6, behind a gap", "119", "a start at 5"));
  CHECK(error_of(R"({"a":{"dtype":"U8","shape":[7],"data_offsets":[0,7]}})", eight) ==
        text("safetensors: 1 bytes behind the last tensor", "68", "the end of the file"));
  CHECK(error_of(R"({"__metadata__":{"a":1}})", "") ==
        text("safetensors: __metadata__ \"a\" is no string", "8", "a string"));
  CHECK(error_of(R"({"__metadata__":[]})", "") ==
        text("safetensors: __metadata__ is no object", "8", "strings by name"));
}

TEST_CASE("safetensors: every truncation of a good file is an error") {
  const TemporaryFolder folder;
  save_safetensors(folder.path() / "a", sample());
  const std::string bytes = slurp(folder.path() / "a");
  for (std::size_t n = 0; n < bytes.size(); ++n)
    CHECK_THROWS_AS(parse(bytes.substr(0, n)), FileError);
  CHECK_THROWS_AS(parse(bytes + '\0'), FileError);
}

TEST_CASE("safetensors: files that cannot be opened or written") {
  const TemporaryFolder folder;
  const std::string missing = (folder.path() / "missing").string();
  CHECK(error_text<FileError>([&] { load_safetensors(missing); }) ==
        "safetensors: cannot open: No such file or directory\n  file  " + missing);
  CHECK(error_text<FileError>([&] { load_safetensors(folder.path()); }) ==
        "safetensors: not a regular file\n  file  " + folder.path().string());
  CHECK_THROWS_AS(save_safetensors(folder.path() / "no" / "a", sample()), FileError);
  // The target is a folder: the rename fails and the temporary file goes.
  std::filesystem::create_directories(folder.path() / "a" / "b");
  CHECK_THROWS_AS(save_safetensors(folder.path() / "a", sample()), FileError);
  int files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path()))
    ++files;
  CHECK(files == 1);

  TensorFile f;
  f.tensors["__metadata__"] = Tensor::zeros({1});
  CHECK(error_text<ValueError>([&] { save_safetensors(folder.path() / "x", f); }) ==
        "safetensors: no tensor may be named __metadata__");
  f.tensors.clear();
  f.tensors["a\xff"] = Tensor::zeros({1});
  CHECK(error_text<ValueError>([&] { save_safetensors(folder.path() / "x", f); }) ==
        "safetensors: a name or a metadata text is not UTF-8");
  f.tensors.clear();
  f.tensors["a"] = Tensor();
  CHECK(error_text<ValueError>([&] { save_safetensors(folder.path() / "x", f); }) ==
        "safetensors: tensor \"a\" has no values");
}

// Mutations of good files: each must be read whole or refused with FileError, never anything else.
// CONCORD_FUZZ_CASES sets the number; 10^6 and more belong under the address sanitizer.
TEST_CASE("safetensors: mutated files") {
  const char* wanted = std::getenv("CONCORD_FUZZ_CASES");
  const std::uint64_t cases = wanted ? std::strtoull(wanted, nullptr, 10) : 4000;

  const TemporaryFolder folder;
  save_safetensors(folder.path() / "a", sample());
  const std::vector<std::string> corpus{
      slurp(folder.path() / "a"), file_of("{}", ""),
      file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", std::string(8, '\0')),
      file_of(R"({"__metadata__":{"k":"v"},"w":{"dtype":"U8","shape":[1,3],"data_offsets":[0,3]},)"
              R"("v":{"dtype":"I64","shape":[],"data_offsets":[3,11]}})",
              std::string(11, '\7'))};
  const std::vector<std::string> words{"\"dtype\":",
                                       "\"shape\":",
                                       "[",
                                       "]",
                                       "{",
                                       "}",
                                       ",",
                                       "null",
                                       "-1",
                                       "0",
                                       "18446744073709551615",
                                       "18446744073709551616",
                                       "9223372036854775808",
                                       "4294967296",
                                       "1e5",
                                       "1.5",
                                       "\"F64\"",
                                       "\"__metadata__\":",
                                       "[0,0]",
                                       "\"\\u0000\"",
                                       "\"\\ud800\"",
                                       "true",
                                       "\"a\":{}",
                                       "\xff"};

  std::uint64_t read = 0;
  for (std::uint64_t i = 0; i < cases; ++i) {
    const Rng rng = Rng(2026).fork(i);
    std::uint64_t draw = 0;
    const auto below = [&](std::size_t n) {
      return static_cast<std::size_t>(rng.below(draw++, static_cast<index_t>(n)));
    };
    std::string bytes = corpus[below(corpus.size())];
    bool keep_length = false;
    for (std::size_t m = 1 + below(4); m > 0 && !bytes.empty(); --m) {
      const std::size_t at = below(bytes.size());
      const std::string& word = words[below(words.size())];
      switch (below(6)) {
        case 0:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
          break;
        case 1:
          bytes[at] = static_cast<char>(below(256));
          break;
        case 2:
          bytes.resize(at);
          break;
        case 3:
          bytes.erase(at, 1 + below(9));
          break;
        case 4:
          bytes.insert(at, word);
          break;
        default:
          bytes.replace(at, std::min(word.size(), bytes.size() - at), word);
          break;
      }
      keep_length |= at < 8;
    }
    // Half of the files get a length that fits their header again, so that the JSON is reached.
    if (!keep_length && bytes.size() > 8 && below(2) == 0) {
      const std::size_t end = bytes.rfind('}');
      if (end != std::string::npos && end >= 8) {
        const std::uint64_t length = end + 1 - 8;
        std::memcpy(bytes.data(), &length, 8);
      }
    }
    try {
      const TensorFile f = parse(bytes);
      std::size_t total = 0;
      for (const auto& [name, t] : f.tensors) total += t.bytes();
      REQUIRE(total < bytes.size());
      ++read;
    } catch (const FileError&) {
    }
  }
  MESSAGE(cases << " mutated files, " << read << " still good");
  CHECK(read > 0);
  CHECK(read < cases);
}
