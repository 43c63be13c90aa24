// What the CPU kernels share: compiler vector types, sums in a fixed order, functions that
// vectorise.
//
// Everything here is portable C++ plus the vector extension of GCC and clang; the width is the
// target's. A sum depends on the width, never on alignment, threads or neighbouring rows.
#pragma once

#include <concord/tensor/types.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace concord::kernels::cpu {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

/// As many doubles as one register holds; a vector of floats of that many lanes beside it.
inline constexpr int kDoubles = kVectorBytes / 8;
typedef double Doubles __attribute__((vector_size(kVectorBytes)));
typedef float Floats __attribute__((vector_size(kVectorBytes / 2)));

inline Doubles load_doubles(const double* p) {
  Doubles v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline Doubles load_doubles(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, Doubles);
}

inline Doubles load_doubles(const BFloat16* p) {
  typedef std::uint16_t Halves __attribute__((vector_size(kVectorBytes / 4)));
  typedef std::uint32_t Words __attribute__((vector_size(kVectorBytes / 2)));
  Halves v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(std::bit_cast<Floats>(__builtin_convertvector(v, Words) << 16),
                                 Doubles);
}

/// A register of T, filled from memory of T or of bfloat16.
template <class T>
struct Register {
  typedef T Vector __attribute__((vector_size(kVectorBytes)));
  static constexpr index_t kLanes = kVectorBytes / static_cast<index_t>(sizeof(T));

  static Vector load(const T* p) {
    Vector v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static Vector load(const BFloat16* p) {
    if constexpr (sizeof(T) == 8) {
      return load_doubles(p);
    } else {
      typedef std::uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));
      typedef std::uint32_t Words __attribute__((vector_size(kVectorBytes)));
      Halves v;
      std::memcpy(&v, p, sizeof v);
      return std::bit_cast<Vector>(__builtin_convertvector(v, Words) << 16);
    }
  }
};

inline double sum_of_lanes(Doubles v) {
  double total = 0;
  for (int l = 0; l < kDoubles; ++l) total += v[l];
  return total;
}

/// sum over i < n of term(x[i]...), where term is a generic lambda of doubles: exact products of
/// floats, 4 registers of partial sums, combined in one fixed order.
template <class Term, class... X>
double sum_terms(index_t n, Term term, const X*... x) {
  Doubles s0{}, s1{}, s2{}, s3{};
  index_t i = 0;
  for (; i + 4 * kDoubles <= n; i += 4 * kDoubles) {
    s0 += term(load_doubles(x + i)...);
    s1 += term(load_doubles(x + i + kDoubles)...);
    s2 += term(load_doubles(x + i + 2 * kDoubles)...);
    s3 += term(load_doubles(x + i + 3 * kDoubles)...);
  }
  for (; i + kDoubles <= n; i += kDoubles) s0 += term(load_doubles(x + i)...);
  double total = sum_of_lanes((s0 + s1) + (s2 + s3));
  for (; i < n; ++i) total += term(static_cast<double>(x[i])...);
  return total;
}

template <class T>
double sum_of(index_t n, const T* x) {
  return sum_terms(
      n, [](auto v) { return v; }, x);
}

/// e^x. For float: x = k ln 2 + r with |r| <= ln 2 / 2, a polynomial (Cephes' expf) for e^r and k
/// added to the exponent in two halves, so that overflow gives infinity and underflow gives
/// subnormals and zero; NaN stays NaN. At most 2 ulp off (tests/kernels/softmax_test.cpp);
/// branch-free, so that loops over it vectorise. For double: libm's.
inline double exp_of(double x) { return std::exp(x); }
inline float exp_of(float x) {
  const float bounded = x < -105.0f ? -105.0f : x > 89.0f ? 89.0f : x;
  // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
  constexpr float kRound = 12582912.0f;
  const float shifted = bounded * 1.44269504088896341f + kRound;
  const float k = shifted - kRound;
  const float r = (bounded - k * 0.693145751953125f) - k * 1.42860682030941723e-6f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const std::int32_t whole = std::bit_cast<std::int32_t>(shifted) - 0x4B400000;
  const std::int32_t half = whole >> 1;
  const float scale_a = std::bit_cast<float>((half + 127) << 23);
  const float scale_b = std::bit_cast<float>((whole - half + 127) << 23);
  return p * scale_a * scale_b;
}

/// 1 / (1 + e^-x) the same way: 1 / (1 + e) or e / (1 + e) with e = e^-|x|, at most 3 ulp off.
inline float sigmoid_of(float x) {
  const float e = exp_of(-std::abs(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/// tanh x, the same way, at most 2 ulp off (tests/kernels/elementwise_test.cpp). For |x| below 5/8
/// a polynomial (Cephes' tanhf), since the other form, 1 - 2 / (e^(2|x|) + 1), would cancel there.
/// The sign is put back last, so that -0 stays -0.
inline float tanh_of(float x) {
  const float a = std::abs(x), z = a * a;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float near_zero = p * z * a + a;
  const float elsewhere = 1.0f - 2.0f / (exp_of(2.0f * a) + 1.0f);
  return std::copysign(a < 0.625f ? near_zero : elsewhere, x);
}

}  // namespace concord::kernels::cpu
