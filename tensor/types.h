// The element types and devices a tensor can have.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace concord {

using index_t = std::int64_t;

/// Tensors have at most this many axes.
inline constexpr int kMaxRank = 6;

/// f32 trains, f64 checks; i64 holds labels and indices, u8 images; bf16 keeps gradient rows in
/// half the memory. Kernels compute in f32 and f64.
enum class DType : std::uint8_t { f32, f64, i64, u8, bf16 };

/// bfloat16: the upper half of a float's bits, i.e. its range with 8 bits of precision. Conversions
/// are constexpr so that device code may call them.
struct BFloat16 {
  std::uint16_t bits = 0;

  BFloat16() = default;
  /// To the nearest, ties to even; what overflows becomes infinite, NaN stays NaN.
  constexpr explicit BFloat16(float x) {
    const auto b = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t rounded = (b + 0x7fff + (b >> 16 & 1)) >> 16;
    bits = static_cast<std::uint16_t>(x == x ? rounded : (b >> 16 | 0x40));
  }
  constexpr explicit BFloat16(double x) : BFloat16(static_cast<float>(x)) {}
  constexpr explicit operator float() const {
    return std::bit_cast<float>(std::uint32_t{bits} << 16);
  }
  constexpr explicit operator double() const { return static_cast<float>(*this); }
};

constexpr std::size_t size_of(DType t) {
  switch (t) {
    case DType::f32:
      return 4;
    case DType::f64:
      return 8;
    case DType::i64:
      return 8;
    case DType::u8:
      return 1;
    case DType::bf16:
      return 2;
  }
  return 0;
}

constexpr std::string_view name(DType t) {
  switch (t) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::i64:
      return "i64";
    case DType::u8:
      return "u8";
    case DType::bf16:
      return "bf16";
  }
  return "?";
}

/// The DType of a C++ type: dtype_of<float> == DType::f32.
template <class T>
inline constexpr DType dtype_of = [] {
  static_assert(sizeof(T) == 0, "no such element type");
  return DType::f32;
}();
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<double> = DType::f64;
template <>
inline constexpr DType dtype_of<std::int64_t> = DType::i64;
template <>
inline constexpr DType dtype_of<std::uint8_t> = DType::u8;
template <>
inline constexpr DType dtype_of<BFloat16> = DType::bf16;

enum class DeviceType : std::uint8_t { cpu, cuda };

struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;
  friend bool operator==(const Device&, const Device&) = default;
};

inline constexpr Device kCpu{};

/// "cpu", "cuda:0".
inline std::string name(Device d) {
  return d.type == DeviceType::cpu ? "cpu" : "cuda:" + std::to_string(d.index);
}

}  // namespace concord
