#include <concord/tensor/check.h>
#include <concord/tensor/kernels/cuda/cuda.h>
#include <concord/tensor/storage.h>

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define CONCORD_BYPASS_CACHE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CONCORD_BYPASS_CACHE 1
#endif
#endif

namespace concord {
namespace {

constexpr std::size_t kAlignment = 64;
#ifdef CONCORD_BYPASS_CACHE
constexpr bool kBypassCache = true;
#else
constexpr bool kBypassCache = false;
#endif

// Size classes: 64, 80, 96, 112, 128, 160, ... : four steps between powers of two.
constexpr std::size_t kSmallest = 64;
constexpr int kClasses = 4 * 48;

int class_of(std::size_t bytes) {
  bytes = std::max(bytes, kSmallest);
  const int power =
      std::bit_width(bytes - 1) - 1;  // 2^power < bytes <= 2^(power+1), or bytes = 2^k
  const std::size_t base = std::size_t{1} << power;
  if (bytes <= kSmallest) return 0;
  const std::size_t quarter = base / 4;
  const int step = static_cast<int>((bytes - base + quarter - 1) / quarter);  // 1..4
  return 4 * (power - 6) + step;
}

std::size_t size_of_class(int c) {
  const std::size_t base = kSmallest << (c / 4);
  return base + base / 4 * (c % 4);
}

}  // namespace

void StoragePtr::release() {
  if (s_ && s_->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    if (s_->allocator)
      s_->allocator->recycle(s_);
    else
      delete s_;
  }
}

Allocator& Allocator::of(Device device) {
  const auto make = [](Memory memory, Device where) {
    auto* allocator = new Allocator(memory, where);
#ifdef CONCORD_POISON
    allocator->poison(true);
#endif
    return allocator;
  };
  static Allocator* const cpu = make(Memory::host, kCpu);
  if (device.type == DeviceType::cpu) return *cpu;
  static const std::vector<Allocator*>& cuda = [&]() -> auto& {
    auto& all = *new std::vector<Allocator*>;  // outlives main, as they do
    for (int i = 0; i < cuda::device_count(); ++i)
      all.push_back(make(Memory::device, {DeviceType::cuda, i}));
    return all;
  }
  ();
  if (device.index < 0 || device.index >= static_cast<int>(cuda.size()))
    cuda::synchronize(device.index);  // throws what is missing
  return *cuda[static_cast<std::size_t>(device.index)];
}

Allocator& Allocator::pinned() {
  static auto* const allocator = new Allocator(Memory::pinned, kCpu);
  return *allocator;
}

std::byte* Allocator::obtain(std::size_t bytes) const {
  switch (memory_) {
    case Memory::host:
      return static_cast<std::byte*>(
          ::operator new (bytes, std::align_val_t{kAlignment}, std::nothrow));
    case Memory::pinned:
      return cuda::allocate_pinned(bytes);
    case Memory::device:
      return cuda::allocate(device_.index, bytes);
  }
  return nullptr;
}

void Allocator::give_back(std::byte* memory) const {
  switch (memory_) {
    case Memory::host:
      return ::operator delete (memory, std::align_val_t{kAlignment});
    case Memory::pinned:
      return cuda::release_pinned(memory);
    case Memory::device:
      return cuda::release(device_.index, memory);
  }
}

Storage* Allocator::allocate(std::size_t bytes) {
  const int c = class_of(bytes);
  if (c >= kClasses) throw std::bad_alloc();
  // Under the address sanitizer blocks have the exact size, so that one byte too far is seen.
  const std::size_t size = kBypassCache ? std::max<std::size_t>(bytes, 1) : size_of_class(c);
  Storage* s = nullptr;
  {
    std::lock_guard lock(mutex_);
    ++stats_.requests;
    if (waiting_.empty()) waiting_.resize(kClasses);
    if (!waiting_[c].empty()) {
      s = waiting_[c].back();
      waiting_[c].pop_back();
    } else {
      ++stats_.system_requests;
    }
  }
  if (!s) {
    std::byte* memory = obtain(size);
    if (!memory) {
      trim();
      memory = obtain(size);
    }
    if (!memory) {
      if (memory_ != Memory::device) throw std::bad_alloc();
      const AllocatorStats now = stats();
      throw DeviceError(fmt::format("device: {} has no {} bytes left", name(device_), size),
                        {{"in use", fmt::format("{} bytes", now.in_use)},
                         {"highest", fmt::format("{} bytes", now.peak)},
                         {"reserved", fmt::format("{} bytes", now.reserved)},
                         {"blocks", fmt::format("{} from the device for {} requests",
                                                now.system_requests, now.requests)}});
    }
    s = new Storage;
    s->data = memory;
    s->capacity = size;
    s->size_class = c;
    s->allocator = this;
    s->device = device_;
    std::lock_guard lock(mutex_);
    stats_.reserved += size;
  }
  {
    std::lock_guard lock(mutex_);
    stats_.in_use += s->capacity;
    stats_.peak = std::max(stats_.peak, stats_.in_use);
  }
  if (poison_) {  // all ones is a NaN in f32 and f64
    if (memory_ == Memory::device)
      cuda::set_bytes(device_.index, s->data, 0xff, s->capacity);
    else
      std::memset(s->data, 0xff, s->capacity);
  }
  return s;
}

Storage* Allocator::borrow(void* data, std::size_t bytes, Device device) {
  auto* s = new Storage;
  s->data = static_cast<std::byte*>(data);
  s->capacity = bytes;
  s->device = device;
  return s;
}

void Allocator::recycle(Storage* s) {
  std::lock_guard lock(mutex_);
  stats_.in_use -= s->capacity;
  if (kBypassCache) {
    stats_.reserved -= s->capacity;
    give_back(s->data);
    delete s;
  } else {
    waiting_[s->size_class].push_back(s);
  }
}

AllocatorStats Allocator::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

void Allocator::reset_peak() {
  std::lock_guard lock(mutex_);
  stats_.peak = stats_.in_use;
}

void Allocator::trim() {
  std::lock_guard lock(mutex_);
  for (auto& list : waiting_) {
    for (Storage* s : list) {
      stats_.reserved -= s->capacity;
      give_back(s->data);
      delete s;
    }
    list.clear();
  }
}

}  // namespace concord
