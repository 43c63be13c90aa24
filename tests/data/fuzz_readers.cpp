// Feeds damaged files to the readers: each must parse or throw concord::Error, and ask for little
// memory.
//
//   fuzz_readers READER CASES SEED     e.g. fuzz_readers png 1000000 1
//
// A case is a function of (seed, case number): a file of corpus/READER with one to eight mutations,
// mostly few.
#include <concord/data/cifar.h>
#include <concord/data/csv.h>
#include <concord/data/idx.h>
#include <concord/data/image.h>
#include <concord/data/npy.h>
#include <concord/tensor/random.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

// Memory: any one request above this is a finding. The inputs have a few kilobytes.
static constexpr std::size_t kMostPerRequest = std::size_t{64} << 20;

static void* checked(void* p, std::size_t bytes) {
  if (bytes > kMostPerRequest) {
    std::fprintf(stderr, "finding: a reader asked for %zu bytes\n", bytes);
    std::abort();
  }
  if (!p) throw std::bad_alloc();
  return p;
}
void* operator new(std::size_t n) {
  return checked(n > kMostPerRequest ? nullptr : std::malloc(n ? n : 1), n);
}
void* operator new(std::size_t n, std::align_val_t align) {
  const auto a = static_cast<std::size_t>(align);
  return checked(n > kMostPerRequest ? nullptr : std::aligned_alloc(a, (n + a - 1) / a * a), n);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace {

using namespace concord;
using namespace concord::data;
using File = std::vector<std::byte>;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "finding: %s\n", what);
  std::abort();
}

void read_npy(Bytes bytes) {
  const Tensor t = parse_npy(bytes, "fuzz");
  const Tensor again = parse_npy(to_npy(t), "fuzz");
  require(again.shape() == t.shape() && again.dtype() == t.dtype() &&
              (t.numel() == 0 || std::memcmp(again.raw(), t.raw(), t.bytes()) == 0),
          "an array does not survive being written and read");
}

void read_csv_text(Bytes bytes) {
  const CsvText table = parse_csv_text(bytes, "fuzz");
  const std::string text = to_csv(table);
  require(parse_csv_text(std::as_bytes(std::span(text)), "fuzz").rows == table.rows,
          "a table does not survive being written and read");
}

struct Reader {
  const char* name;
  const char* corpus;
  void (*read)(Bytes);
};
constexpr std::array<Reader, 9> kReaders{{
    {"idx", "idx", [](Bytes b) { parse_idx(b, "fuzz", 3, 1 << 22); }},
    {"idx_gz", "idx_gz", [](Bytes b) { parse_idx(b, "fuzz", 3, 1 << 22); }},
    {"cifar10", "cifar10", [](Bytes b) { parse_cifar(b, "fuzz", Cifar::ten); }},
    {"cifar100", "cifar100", [](Bytes b) { parse_cifar(b, "fuzz", Cifar::hundred); }},
    {"csv", "csv", [](Bytes b) { parse_csv(b, "fuzz"); }},
    {"csv_text", "csv", read_csv_text},
    {"npy", "npy", read_npy},
    {"png", "png", [](Bytes b) { decode_image(b, "fuzz"); }},
    {"jpeg", "jpeg", [](Bytes b) { decode_image(b, "fuzz", 3); }},
}};

/// True when the input was accepted. Anything thrown but concord::Error ends the program.
bool accepts(const Reader& reader, Bytes bytes) {
  try {
    reader.read(bytes);
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// The random numbers of one case, in the order they are asked for.
class Draws {
 public:
  explicit Draws(const Rng& rng) : rng_(rng) {}
  std::size_t below(std::size_t n) {
    return static_cast<std::size_t>(rng_.below(next_++, static_cast<index_t>(n)));
  }
  std::byte byte() { return static_cast<std::byte>(below(256)); }

 private:
  Rng rng_;
  std::uint64_t next_ = 0;
};

void mutate(File& file, const std::vector<File>& corpus, Draws& draw) {
  constexpr std::size_t kLongest = 1 << 14;
  constexpr std::array<unsigned char, 8> kEdges{0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff, '"', ','};
  constexpr std::array<const char*, 12> kTokens{"\"", "\"\"",  "\r\n",     "\r",
                                                ",,", "1e999", "nan",      "-",
                                                "(",  "True",  "'shape':", "99999999999999999999"};
  const auto place = [&] {
    return file.begin() + static_cast<std::ptrdiff_t>(draw.below(file.size() + 1));
  };
  const auto length = [&](auto at) {
    return draw.below(std::min<std::size_t>(64, file.end() - at) + 1);
  };
  if (file.empty()) file.push_back(draw.byte());
  const std::size_t at = draw.below(file.size());
  switch (draw.below(10)) {
    case 0:
      file[at] ^= static_cast<std::byte>(1u << draw.below(8));
      break;
    case 1:
      file[at] = draw.byte();
      break;
    case 2:
      file[at] = static_cast<std::byte>(kEdges[draw.below(kEdges.size())]);
      break;
    case 3:  // a run of one edge value: lengths and extents
      std::fill_n(file.begin() + static_cast<std::ptrdiff_t>(at),
                  std::min(draw.below(8) + 1, file.size() - at),
                  static_cast<std::byte>(kEdges[draw.below(kEdges.size())]));
      break;
    case 4:
      file.resize(at);
      break;
    case 5: {
      const auto first = place();
      file.erase(first, first + static_cast<std::ptrdiff_t>(length(first)));
      break;
    }
    case 6: {
      const auto first = place();
      const File piece(first, first + static_cast<std::ptrdiff_t>(length(first)));
      file.insert(place(), piece.begin(), piece.end());
      break;
    }
    case 7: {
      File noise(draw.below(16));
      for (std::byte& b : noise) b = draw.byte();
      file.insert(place(), noise.begin(), noise.end());
      break;
    }
    case 8: {
      const auto token =
          std::as_bytes(std::span(std::string_view(kTokens[draw.below(kTokens.size())])));
      file.insert(place(), token.begin(), token.end());
      break;
    }
    case 9: {  // go on as another file does
      const File& other = corpus[draw.below(corpus.size())];
      file.resize(at);
      file.insert(file.end(),
                  other.begin() + static_cast<std::ptrdiff_t>(draw.below(other.size() + 1)),
                  other.end());
      break;
    }
  }
  if (file.size() > kLongest) file.resize(kLongest);
}

std::uint32_t crc32(Bytes bytes) {
  std::uint32_t crc = ~0u;
  for (const std::byte b : bytes) {
    crc ^= std::to_integer<std::uint32_t>(b);
    for (int k = 0; k < 8; ++k) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

/// A valid gzip file of one stored block, so that damage within reaches the reader behind gzip.
File stored_gzip(Bytes content) {
  File gz;
  const auto put = [&](std::uint32_t value, int bytes) {
    for (; bytes > 0; --bytes, value >>= 8) gz.push_back(static_cast<std::byte>(value & 0xff));
  };
  const auto size = static_cast<std::uint32_t>(content.size());
  put(0x00088b1f, 4);  // magic, deflate, no flags
  put(0, 4);           // time
  put(0xff00, 2);      // no extra flags, unknown system
  put(1, 1);           // final stored block
  put(size, 2);
  put(~size, 2);
  gz.insert(gz.end(), content.begin(), content.end());
  put(crc32(content), 4);
  put(size, 4);
  return gz;
}

std::vector<File> load_corpus(const std::string& name) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(CONCORD_CORPUS) + "/" + name)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<File> files;
  for (const auto& path : paths) files.push_back(read_file(path));
  return files;
}

}  // namespace

int main(int argc, char** argv) {
  const Reader* reader =
      argc == 4 ? std::find_if(kReaders.begin(), kReaders.end(),
                               [&](const Reader& r) { return std::strcmp(r.name, argv[1]) == 0; })
                : kReaders.end();
  if (reader == kReaders.end()) {
    std::fprintf(stderr, "usage: fuzz_readers READER CASES SEED, where READER is one of");
    for (const Reader& r : kReaders) std::fprintf(stderr, " %s", r.name);
    std::fprintf(stderr, "\n");
    return 2;
  }
  const auto cases = std::strtoull(argv[2], nullptr, 10),
             seed = std::strtoull(argv[3], nullptr, 10);
  const std::vector<File> corpus = load_corpus(reader->corpus);
  // Behind gzip lies IDX: every other case is damaged there and wrapped whole.
  const bool wrapped = std::strcmp(reader->name, "idx_gz") == 0;
  const std::vector<File> inner = wrapped ? load_corpus("idx") : std::vector<File>();

  unsigned long long accepted = 0;
  for (unsigned long long k = 0; k < cases; ++k) {
    Draws draw(Rng(seed).fork(reader->name).fork(k));
    const bool wrap = wrapped && k % 2 == 1;
    const std::vector<File>& from = wrap ? inner : corpus;
    File file = from[draw.below(from.size())];
    for (std::size_t m = draw.below(draw.below(8) + 1) + 1; m > 0; --m) mutate(file, from, draw);
    // An exact copy on the heap: the address sanitizer sees one byte too far.
    if (wrap) file = stored_gzip(file);
    const File exact(file.begin(), file.end());
    accepted += accepts(*reader, exact);
  }
  std::printf("%s: %llu cases, %llu parsed, %llu refused\n", reader->name, cases, accepted,
              cases - accepted);
  return 0;
}
