#include <concord/tensor/storage.h>
#include <concord/tensor/tensor.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <thread>
#include <vector>

using namespace concord;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kRecycles = false;  // every block goes back to the system at once (storage.h)
#else
constexpr bool kRecycles = true;
#endif

TEST_CASE("storage: blocks are aligned, large enough and waste less than a quarter") {
  for (std::size_t bytes = 1; bytes < 70'000; bytes = bytes * 9 / 8 + 1) {
    const StoragePtr s(Allocator::of(kCpu).allocate(bytes));
    CAPTURE(bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(s->data) % 64 == 0);
    CHECK(s->capacity >= bytes);
    if (kRecycles && bytes > 64) CHECK(s->capacity < bytes + bytes / 4 + 1);
  }
}

TEST_CASE("storage: a size that is its own class wastes nothing") {
  for (const std::size_t bytes : {64u, 80u, 96u, 112u, 128u, 160u, 4096u, 5120u, 65536u}) {
    const StoragePtr s(Allocator::of(kCpu).allocate(bytes));
    CHECK(s->capacity == bytes);
  }
}

TEST_CASE(
    "storage: a freed block serves the next request of its class, none comes from the system") {
  if (!kRecycles) return;
  Allocator& a = Allocator::of(kCpu);
  a.trim();
  { const Tensor first = Tensor::empty({1000, 3}); }
  const AllocatorStats before = a.stats();
  const std::byte* address = nullptr;
  for (int step = 0; step < 5; ++step) {
    const Tensor t = Tensor::empty({999, 3});
    if (address) CHECK(t.raw() == address);
    address = t.raw();
  }
  const AllocatorStats after = a.stats();
  CHECK(after.requests == before.requests + 5);
  CHECK(after.system_requests == before.system_requests);
  CHECK(after.reserved == before.reserved);
}

TEST_CASE("storage: bytes in use, peak and reserve") {
  Allocator& a = Allocator::of(kCpu);
  a.trim();
  const std::size_t start = a.stats().in_use;
  a.reset_peak();
  {
    const Tensor x = Tensor::empty({1 << 16});
    const Tensor y = x;
    CHECK(a.stats().in_use == start + (std::size_t{1} << 18));
    const Tensor z = Tensor::empty({1 << 10});
    CHECK(a.stats().peak == start + (std::size_t{1} << 18) + (std::size_t{1} << 12));
  }
  CHECK(a.stats().in_use == start);
  CHECK(a.stats().peak == start + (std::size_t{1} << 18) + (std::size_t{1} << 12));
  a.reset_peak();
  CHECK(a.stats().peak == start);
  const std::size_t reserved = a.stats().reserved;
  a.trim();
  if (kRecycles)
    CHECK(a.stats().reserved == reserved - (std::size_t{1} << 18) - (std::size_t{1} << 12));
  else
    CHECK(a.stats().reserved == reserved);
}

TEST_CASE("storage: poison makes unwritten memory NaN") {
  Allocator::of(kCpu).poison(true);
  const Tensor f = Tensor::empty({17});
  const Tensor d = Tensor::empty({5}, DType::f64);
  Allocator::of(kCpu).poison(false);
  for (const float v : f.values<float>()) CHECK(std::isnan(v));
  for (const double v : d.values<double>()) CHECK(std::isnan(v));
}

TEST_CASE("storage: ownership is shared and counted") {
  StoragePtr a(Allocator::of(kCpu).allocate(100));
  CHECK(a.unique());
  StoragePtr b = a;
  CHECK_FALSE(a.unique());
  const StoragePtr c = std::move(b);
  CHECK(a == c);
  CHECK_FALSE(static_cast<bool>(b));
  a = StoragePtr();
  CHECK(c.unique());
}

TEST_CASE("storage: several threads may allocate and free") {
  std::vector<std::thread> threads;
  const std::size_t start = Allocator::of(kCpu).stats().in_use;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([t] {
      for (int i = 1; i < 400; ++i) {
        const Tensor x = Tensor::full({i % 37 + 1, t + 2}, i);
        const Tensor y = x.clone();
        if (y.at({0, 1}) != i) std::abort();
      }
    });
  }
  for (auto& t : threads) t.join();
  CHECK(Allocator::of(kCpu).stats().in_use == start);
}
