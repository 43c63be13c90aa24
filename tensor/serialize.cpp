#include <concord/tensor/serialize.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace concord {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors values are little-endian");

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMostHeader = 100'000'000;  // the reference implementation's cap
constexpr const char* kMetadata = "__metadata__";

constexpr std::array<std::pair<std::string_view, DType>, 5> kDTypes{{{"F32", DType::f32},
                                                                     {"F64", DType::f64},
                                                                     {"I64", DType::i64},
                                                                     {"U8", DType::u8},
                                                                     {"BF16", DType::bf16}}};

std::optional<DType> dtype_of_name(std::string_view name) {
  for (const auto& [n, t] : kDTypes)
    if (n == name) return t;
  return std::nullopt;
}

std::string_view name_of_dtype(DType t) {
  for (const auto& [n, d] : kDTypes)
    if (d == t) return n;
  return "?";
}

/// JSON's own quoting, so that control characters in a hostile name cannot garble an error text.
std::string quoted(const std::string& s) {
  constexpr std::size_t kMost = 80;
  return json(s.size() > kMost ? s.substr(0, kMost) + "..." : s)
      .dump(-1, ' ', true, json::error_handler_t::replace);
}

[[noreturn]] void bad(std::string_view file, std::uint64_t offset, const std::string& what,
                      const std::string& expected) {
  throw FileError(
      "safetensors: " + what,
      {{"file", std::string(file)}, {"offset", std::to_string(offset)}, {"expected", expected}});
}

/// One tensor as the header describes it: `begin` and `end` count from the start of the values.
struct Entry {
  std::string name;
  DType dtype;
  Shape shape;
  std::uint64_t begin, end;
};

struct Header {
  std::vector<Entry> entries;  // in file order
  std::map<std::string, std::string> metadata;
};

/// Checks the header's length against the cap and the file's size.
std::uint64_t header_length(std::span<const std::byte, kLengthBytes> first, std::uint64_t file_size,
                            std::string_view file) {
  std::uint64_t length = 0;
  std::memcpy(&length, first.data(), sizeof length);
  if (length > kMostHeader) {
    bad(file, 0, fmt::format("header of {} bytes", length),
        fmt::format("a header of at most {} bytes", kMostHeader));
  }
  if (length > file_size - kLengthBytes) {
    bad(file, 0, fmt::format("header of {} bytes in a file of {}", length, file_size),
        fmt::format("a header of at most {} bytes", file_size - kLengthBytes));
  }
  return length;
}

/// The parser keeps the last of two equal keys in silence: the callback sees both.
json parse_json(std::span<const std::byte> text, std::string_view file) {
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    constexpr int kDeepest = 3;  // {"name": {"shape": [
    if (depth > kDeepest)
      bad(file, kLengthBytes, "header nested too deeply", "at most three levels");
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) {
        bad(file, kLengthBytes, fmt::format("name {} twice", quoted(key)), "each name once");
      }
    }
    return true;
  };
  const char* first = reinterpret_cast<const char*>(text.data());
  try {
    return json::parse(first, first + text.size(), watch);
  } catch (const json::parse_error& e) {
    bad(file, kLengthBytes + (e.byte > 0 ? e.byte - 1 : 0), "header is not JSON", "a JSON object");
  } catch (const json::exception&) {  // a number beyond the range of double, for example
    bad(file, kLengthBytes, "header holds a value out of range", "a JSON object");
  }
}

std::uint64_t natural(const json& value, const std::string& what, std::string_view file) {
  if (!value.is_number_unsigned())
    bad(file, kLengthBytes, what + " is not a natural number", "0, 1, 2, ...");
  return value.get<std::uint64_t>();
}

Entry parse_entry(const std::string& name, const json& value, std::uint64_t payload,
                  std::string_view file) {
  const std::string tensor = "tensor " + quoted(name);
  const auto member = [&](const char* key, auto&& right, const char* expected) -> const json& {
    const auto found = value.find(key);
    if (found == value.end() || !right(*found)) {
      bad(file, kLengthBytes, fmt::format("{}: missing or bad \"{}\"", tensor, key), expected);
    }
    return *found;
  };
  if (!value.is_object()) bad(file, kLengthBytes, tensor + " is no object", "an object");
  for (const auto& item : value.items()) {
    const std::string& key = item.key();
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      bad(file, kLengthBytes, fmt::format("{}: unknown member {}", tensor, quoted(key)),
          "dtype, shape, data_offsets");
    }
  }

  const auto& type = member(
      "dtype", [](const json& j) { return j.is_string(); }, "a string");
  const auto dtype = dtype_of_name(type.get_ref<const std::string&>());
  if (!dtype) {
    bad(file, kLengthBytes,
        fmt::format("{} has elements of type {}", tensor, quoted(type.get<std::string>())),
        "F32, F64, I64, U8 or BF16");
  }

  const auto is_list = [](const json& j) { return j.is_array(); };
  const auto& extents = member("shape", is_list, "a list of extents");
  if (extents.size() > kMaxRank) {
    bad(file, kLengthBytes, fmt::format("{} has {} axes", tensor, extents.size()),
        fmt::format("at most {} axes", kMaxRank));
  }
  // Extents are bounded before they are multiplied; with a zero among them the others do not count.
  constexpr std::uint64_t kMost = std::uint64_t{1} << 62;
  std::vector<index_t> shape;
  std::uint64_t elements = 1;
  for (const json& extent : extents) {
    const std::uint64_t n = natural(extent, tensor + ": an extent", file);
    if (n > kMost || (n > 0 && elements > kMost / n)) {
      bad(file, kLengthBytes, tensor + ": too many elements", "at most 2^62 elements");
    }
    elements *= n;
    shape.push_back(static_cast<index_t>(n));
  }

  const auto is_pair = [](const json& j) { return j.is_array() && j.size() == 2; };
  const auto& offsets = member("data_offsets", is_pair, "[begin, end]");
  const std::uint64_t begin = natural(offsets[0], tensor + ": an offset", file);
  const std::uint64_t end = natural(offsets[1], tensor + ": an offset", file);
  if (begin > end || end > payload) {
    bad(file, kLengthBytes, fmt::format("{} lies at [{}, {})", tensor, begin, end),
        fmt::format("a range within the {} bytes of values", payload));
  }
  // end - begin <= the file's size, so the division cannot hide an overflow.
  const std::uint64_t size = size_of(*dtype);
  if ((end - begin) % size != 0 || (end - begin) / size != elements) {
    const Shape s{std::span<const index_t>(shape)};
    bad(file, kLengthBytes, fmt::format("{} has {} bytes", tensor, end - begin),
        fmt::format("{} elements of {} bytes, {}{}", elements, size, concord::name(*dtype),
                    to_string(s)));
  }
  return {name, *dtype, Shape(std::span<const index_t>(shape)), begin, end};
}

/// `payload`: bytes behind the header.
Header parse_header(std::span<const std::byte> text, std::uint64_t payload, std::string_view file) {
  const json root = parse_json(text, file);
  if (!root.is_object()) bad(file, kLengthBytes, "header is no object", "a JSON object");

  Header header;
  for (const auto& [name, value] : root.items()) {
    if (name != kMetadata) {
      header.entries.push_back(parse_entry(name, value, payload, file));
      continue;
    }
    if (!value.is_object()) bad(file, kLengthBytes, "__metadata__ is no object", "strings by name");
    for (const auto& [key, text_value] : value.items()) {
      if (!text_value.is_string()) {
        bad(file, kLengthBytes, fmt::format("__metadata__ {} is no string", quoted(key)),
            "a string");
      }
      header.metadata.emplace(key, text_value.get<std::string>());
    }
  }

  std::sort(header.entries.begin(), header.entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  // Side by side from the first byte to the last: no overlap, no gap, nothing behind.
  std::uint64_t at = 0;
  const std::uint64_t values = kLengthBytes + text.size();
  for (const Entry& e : header.entries) {
    if (e.begin != at) {
      bad(file, values + e.begin,
          fmt::format("tensor {} starts at {}, {}", quoted(e.name), e.begin,
                      e.begin < at ? "inside the one before it" : "behind a gap"),
          fmt::format("a start at {}", at));
    }
    at = e.end;
  }
  if (at != payload) {
    bad(file, values + at, fmt::format("{} bytes behind the last tensor", payload - at),
        "the end of the file");
  }
  return header;
}

/// A file descriptor that closes itself.
class File {
 public:
  File(const std::filesystem::path& path, int flags, mode_t mode = 0)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)), name_(path.string()) {
    if (fd_ < 0) fail("cannot open");
  }
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  [[noreturn]] void fail(std::string_view what) const {
    throw FileError(fmt::format("safetensors: {}: {}", what, std::strerror(errno)),
                    {{"file", name_}});
  }

  /// Size of a regular file; a pipe or a folder is refused.
  std::uint64_t size() const {
    struct stat s {};
    if (::fstat(fd_, &s) != 0) fail("cannot stat");
    if (!S_ISREG(s.st_mode)) throw FileError("safetensors: not a regular file", {{"file", name_}});
    return static_cast<std::uint64_t>(s.st_size);
  }

  void read(std::byte* to, std::size_t bytes, std::uint64_t offset) const {
    while (bytes > 0) {
      const ssize_t n = ::pread(fd_, to, bytes, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("cannot read");
      if (n == 0)
        bad(name_, offset, "the file became shorter while it was read",
            std::to_string(bytes) + " more bytes");
      to += n;
      bytes -= static_cast<std::size_t>(n);
      offset += static_cast<std::uint64_t>(n);
    }
  }

  void write(const void* from, std::size_t bytes) const {
    const char* p = static_cast<const char*>(from);
    while (bytes > 0) {
      const ssize_t n = ::write(fd_, p, bytes);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("cannot write");
      p += n;
      bytes -= static_cast<std::size_t>(n);
    }
  }

  void sync() const {
    if (::fsync(fd_) != 0) fail("cannot fsync");
  }

  /// close() may report a write that failed late.
  void close() {
    if (::close(std::exchange(fd_, -1)) != 0) fail("cannot close");
  }

 private:
  int fd_;
  std::string name_;
};

void check_longer_than_length(std::uint64_t file_size, std::string_view file) {
  if (file_size < kLengthBytes) {
    bad(file, 0, fmt::format("file of {} bytes", file_size), "8 bytes with the header's length");
  }
}

/// `read(to, bytes, offset)` fetches bytes of the file.
template <class Read>
TensorFile load(std::uint64_t file_size, std::string_view file, Read&& read) {
  check_longer_than_length(file_size, file);
  std::array<std::byte, kLengthBytes> first{};
  read(first.data(), first.size(), std::uint64_t{0});
  const std::uint64_t length = header_length(first, file_size, file);
  std::vector<std::byte> text(length);
  read(text.data(), text.size(), kLengthBytes);

  const std::uint64_t values = kLengthBytes + length;
  Header header = parse_header(text, file_size - values, file);
  TensorFile result;
  for (const Entry& e : header.entries) {
    const Tensor t = Tensor::empty(e.shape, e.dtype);
    read(t.raw(), t.bytes(), values + e.begin);
    result.tensors.emplace(e.name, t);
  }
  result.metadata = std::move(header.metadata);
  return result;
}

/// The header of `file`, padded to a multiple of 8, and its tensors in the order of their values.
std::pair<std::string, std::vector<const Tensor*>> compose_header(const TensorFile& file) {
  std::vector<std::pair<std::string, const Tensor*>> order;
  for (const auto& [name, tensor] : file.tensors) {
    if (name == kMetadata) throw ValueError("safetensors: no tensor may be named __metadata__");
    if (!tensor.defined())
      throw ValueError("safetensors: tensor " + quoted(name) + " has no values");
    if (!(tensor.device() == kCpu)) {
      throw DeviceError("safetensors: tensor " + quoted(name) + " is not in the CPU's memory",
                        {{"tensor", describe(tensor)}});
    }
    order.emplace_back(name, &tensor);
  }
  // Wide elements first: each value then lies at a multiple of its size.
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return size_of(a.second->dtype()) > size_of(b.second->dtype());
  });

  json root = json::object();
  if (!file.metadata.empty()) root[kMetadata] = file.metadata;
  std::uint64_t at = 0;
  std::vector<const Tensor*> tensors;
  for (const auto& [name, tensor] : order) {
    root[name] = {{"dtype", name_of_dtype(tensor->dtype())},
                  {"shape", std::vector<index_t>(tensor->shape().begin(), tensor->shape().end())},
                  {"data_offsets", {at, at + tensor->bytes()}}};
    at += tensor->bytes();
    tensors.push_back(tensor);
  }
  std::string text;
  try {
    text = root.dump();
  } catch (const json::type_error&) {
    throw ValueError("safetensors: a name or a metadata text is not UTF-8");
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > kMostHeader)
    throw ValueError(fmt::format("safetensors: header of {} bytes, at most {} are possible",
                                 text.size(), kMostHeader));
  return {std::move(text), std::move(tensors)};
}

}  // namespace

TensorFile load_safetensors(const std::filesystem::path& path) {
  const File in(path, O_RDONLY);
  return load(
      in.size(), path.string(),
      [&](std::byte* to, std::size_t bytes, std::uint64_t offset) { in.read(to, bytes, offset); });
}

TensorFile parse_safetensors(std::span<const std::byte> bytes, std::string_view file) {
  return load(bytes.size(), file, [&](std::byte* to, std::size_t count, std::uint64_t offset) {
    std::copy_n(bytes.data() + offset, count, to);
  });
}

void save_safetensors(const std::filesystem::path& path, const TensorFile& file) {
  const auto [header, tensors] = compose_header(file);
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  const std::filesystem::path temporary =
      folder / fmt::format(".{}.{}.tmp", path.filename().string(), ::getpid());
  File out(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  try {
    const std::uint64_t length = header.size();
    out.write(&length, sizeof length);
    out.write(header.data(), header.size());
    for (const Tensor* t : tensors) out.write(t->to(kCpu).raw(), t->bytes());
    out.sync();
    out.close();
    if (std::rename(temporary.c_str(), path.c_str()) != 0) {
      throw FileError(fmt::format("safetensors: cannot rename: {}", std::strerror(errno)),
                      {{"from", temporary.string()}, {"to", path.string()}});
    }
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  File(folder, O_RDONLY | O_DIRECTORY).sync();
}

}  // namespace concord
