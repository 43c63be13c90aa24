#include <concord/data/files.h>

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace concord::data {

namespace fs = std::filesystem;

std::vector<std::byte> read_file(const fs::path& path, std::size_t limit) {
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (!fs::exists(status)) throw FileError("file: does not exist", {{"file", path.string()}});
  if (!fs::is_regular_file(status))
    throw FileError("file: is not a plain file", {{"file", path.string()}});
  const std::uintmax_t size = fs::file_size(path, code);
  if (code) throw FileError("file: cannot be read: " + code.message(), {{"file", path.string()}});
  if (size > limit) {
    throw FileError(fmt::format("file: has {} bytes, at most {} are accepted", size, limit),
                    {{"file", path.string()}});
  }
  std::vector<std::byte> bytes(size);
  std::ifstream in(path, std::ios::binary);
  if (!in || !in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size))) {
    throw FileError(fmt::format("file: cannot be read: {}", std::strerror(errno)),
                    {{"file", path.string()}});
  }
  return bytes;
}

void write_file(const fs::path& path, Bytes bytes) {
  const fs::path part = path.string() + ".part";
  std::ofstream out(part, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  out.close();
  std::error_code code;
  if (out) fs::rename(part, path, code);
  if (!out || code) {
    const std::string why = code ? code.message() : std::strerror(errno);
    fs::remove(part, code);
    throw FileError("file: cannot be written: " + why, {{"file", path.string()}});
  }
}

void throw_damaged(std::string_view format, std::string_view name, std::size_t offset,
                   std::string_view what) {
  throw FileError(fmt::format("{}: {}: {}", format, fs::path(name).filename().string(), what),
                  {{"file", std::string(name)}, {"offset", std::to_string(offset)}});
}

}  // namespace concord::data
