// The one place where stb_image and stb_image_write are compiled, with what hostile files need:
//  - memory comes zeroed and bounded: version 2.27 (Debian 12) reads tables and coefficients that a
//    damaged JPEG never defined, and sizes buffers by what the file declares;
//  - its assertions, which damaged files can trip, do not end the process. image.cpp refuses the
//    Huffman tables that would make them matter.
// CMakeLists.txt says which sanitizer checks are off for this file, and why.
#include <concord/data/image.h>

#include <cstdlib>

namespace {

void* limited_malloc(std::size_t bytes) {
  return bytes > concord::data::kMaxImageBytes ? nullptr : std::calloc(1, bytes);
}
void* limited_realloc(void* p, std::size_t bytes) {
  return bytes > concord::data::kMaxImageBytes ? nullptr : std::realloc(p, bytes);
}

}  // namespace

#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS concord::data::kMaxImageSide
#define STBI_ASSERT(condition) ((void)0)
#define STBI_MALLOC(bytes) limited_malloc(bytes)
#define STBI_REALLOC(p, bytes) limited_realloc(p, bytes)
#define STBI_FREE(p) std::free(p)
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>
