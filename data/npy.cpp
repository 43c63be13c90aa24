#include <concord/data/npy.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>

namespace concord::data {
namespace {

static_assert(std::endian::native == std::endian::little, "values are copied as the file has them");

constexpr std::string_view kMagic("\x93NUMPY", 6);

struct ElementType {
  std::string_view descr;
  std::size_t size;
  DType dtype;
};
// The first entry of a DType is the one written.
constexpr std::array<ElementType, 6> kTypes{{{"<f4", 4, DType::f32},
                                             {"<f8", 8, DType::f64},
                                             {"<i8", 8, DType::i64},
                                             {"|u1", 1, DType::u8},
                                             {"<i4", 4, DType::i64},
                                             {"|b1", 1, DType::u8}}};

/// The header: a Python dictionary literal such as
/// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::string_view name, std::size_t offset)
      : text_(text), name_(name), offset_(offset) {}

  void parse() {
    expect('{');
    while (!accept('}')) {
      const std::string_view key = string();
      expect(':');
      if (key == "descr" && !has_descr_) {
        has_descr_ = true;
        descr = string();
      } else if (key == "fortran_order" && !has_order_) {
        has_order_ = true;
        order();
      } else if (key == "shape" && !has_shape_) {
        has_shape_ = true;
        tuple();
      } else {
        fail(fmt::format("header has an unexpected or repeated key '{}'", key));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_blank();
    if (at_ != text_.size()) fail("header has text after its dictionary");
    if (!has_descr_ || !has_order_ || !has_shape_)
      fail("header lacks descr, fortran_order or shape");
  }

  [[noreturn]] void fail(std::string_view what) const {
    throw_damaged("npy", name_, offset_ + at_, what);
  }

  std::string_view descr;
  std::array<index_t, kMaxRank> extents{};
  std::size_t rank = 0;

 private:
  void skip_blank() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t'))
      ++at_;
  }
  bool accept(char c) {
    skip_blank();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(fmt::format("header: expected '{}'", c));
  }
  std::string_view string() {
    if (!accept('\'')) fail("header: expected a quoted text");
    const std::size_t first = at_;
    while (at_ < text_.size() && text_[at_] != '\'') ++at_;
    const std::string_view value = text_.substr(first, at_ - first);
    expect('\'');
    return value;
  }
  void order() {
    skip_blank();
    const std::string_view rest = text_.substr(at_);
    if (rest.substr(0, 4) == "True") fail("values are in Fortran order, expected C order");
    if (rest.substr(0, 5) != "False") fail("header: expected True or False");
    at_ += 5;
  }
  void tuple() {
    expect('(');
    while (!accept(')')) {
      if (rank == kMaxRank) fail(fmt::format("has more than {} axes", kMaxRank));
      const char *first = text_.data() + at_, *last = text_.data() + text_.size();
      const auto [end, error] = std::from_chars(first, last, extents[rank]);
      if (error != std::errc() || extents[rank] < 0) fail("header: expected an extent");
      at_ += static_cast<std::size_t>(end - first);
      ++rank;
      if (!accept(',')) {
        expect(')');
        break;
      }
      skip_blank();
    }
  }

  std::string_view text_, name_;
  std::size_t offset_, at_ = 0;
  bool has_descr_ = false, has_order_ = false, has_shape_ = false;
};

std::size_t little_endian(Bytes bytes, std::size_t offset, std::size_t count) {
  std::size_t value = 0;
  for (std::size_t i = count; i-- > 0;)
    value = value << 8 | std::to_integer<std::size_t>(bytes[offset + i]);
  return value;
}

}  // namespace

Tensor parse_npy(Bytes bytes, std::string_view name) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.substr(0, kMagic.size()) != kMagic)
    throw_damaged("npy", name, 0, "does not begin with \\x93NUMPY");
  if (bytes.size() < 8) throw_damaged("npy", name, bytes.size(), "ends within the version");
  const auto major = std::to_integer<int>(bytes[6]), minor = std::to_integer<int>(bytes[7]);
  if (major < 1 || major > 3 || minor != 0) {
    throw_damaged("npy", name, 6,
                  fmt::format("version is {}.{}, expected 1.0, 2.0 or 3.0", major, minor));
  }
  const std::size_t width = major == 1 ? 2 : 4, start = 8 + width;
  if (bytes.size() < start)
    throw_damaged("npy", name, bytes.size(), "ends within the header's length");
  const std::size_t length = little_endian(bytes, 8, width);
  if (length > bytes.size() - start) {
    throw_damaged(
        "npy", name, 8,
        fmt::format("header declares {} bytes, {} are left", length, bytes.size() - start));
  }
  HeaderParser header(text.substr(start, length), name, start);
  header.parse();
  const auto type = std::find_if(kTypes.begin(), kTypes.end(),
                                 [&](const auto& t) { return t.descr == header.descr; });
  if (type == kTypes.end()) {
    throw_damaged(
        "npy", name, start,
        fmt::format("element type is '{}', expected <f4, <f8, <i8, <i4, |u1 or |b1", header.descr));
  }

  const std::span<const index_t> extents(header.extents.data(), header.rank);
  const std::size_t first = start + length, present = bytes.size() - first;
  std::size_t declared = type->size;
  bool fits = true;
  for (const index_t n : extents) {
    fits = fits && !__builtin_mul_overflow(declared, static_cast<std::size_t>(n), &declared);
  }
  if (!fits || declared != present) {
    throw_damaged("npy", name, first,
                  fmt::format("has {} bytes of values, shape [{}] of {} declares {}", present,
                              fmt::join(extents, ","), type->descr,
                              fits ? fmt::format("{}", declared) : "more than 2^64"));
  }
  const Tensor t = Tensor::empty(Shape(extents), type->dtype);
  if (type->descr == "<i4") {
    for (index_t i = 0; i < t.numel(); ++i) {
      std::int32_t value = 0;
      std::memcpy(&value, bytes.data() + first + 4 * static_cast<std::size_t>(i), 4);
      t.data<std::int64_t>()[i] = value;
    }
    return t;
  }
  if (type->descr == "|b1") {
    for (std::size_t i = 0; i < present; ++i) {
      if (bytes[first + i] > std::byte{1})
        throw_damaged("npy", name, first + i, "truth value is neither 0 nor 1");
    }
  }
  if (present > 0) std::memcpy(t.raw(), bytes.data() + first, present);
  return t;
}

Tensor load_npy(const std::filesystem::path& path) {
  return parse_npy(read_file(path), path.string());
}

std::vector<std::byte> to_npy(const Tensor& t) {
  const auto type = std::find_if(kTypes.begin(), kTypes.end(),
                                 [&](const auto& e) { return e.dtype == t.dtype(); });
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", type->descr,
                  fmt::join(std::span<const index_t>(t.shape().begin(), t.shape().end()), ", "),
                  t.rank() == 1 ? "," : "");
  constexpr std::size_t kFixed = 10, kAlignment = 64;
  header.append(kAlignment - 1 - (kFixed + header.size()) % kAlignment, ' ');
  header += '\n';
  std::vector<std::byte> bytes(kFixed + header.size() + t.bytes());
  std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
  bytes[6] = std::byte{1};
  bytes[8] = static_cast<std::byte>(header.size() & 0xff);
  bytes[9] = static_cast<std::byte>(header.size() >> 8);
  std::memcpy(bytes.data() + kFixed, header.data(), header.size());
  if (t.numel() > 0) std::memcpy(bytes.data() + kFixed + header.size(), t.raw(), t.bytes());
  return bytes;
}

void save_npy(const std::filesystem::path& path, const Tensor& t) { write_file(path, to_npy(t)); }

}  // namespace concord::data
