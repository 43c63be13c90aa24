#include <concord/tensor/check.h>
#include <concord/tensor/storage.h>

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
  if (device.type != DeviceType::cpu)
    throw DeviceError("device: " + name(device) + " is not in this build");
  static Allocator* cpu = [] {
    auto* allocator = new Allocator(kCpu);
#ifdef CONCORD_POISON
    allocator->poison(true);
#endif
    return allocator;
  }();
  return *cpu;
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
    void* p = ::operator new (size, std::align_val_t{kAlignment});
    s = new Storage;
    s->data = static_cast<std::byte*>(p);
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
  if (poison_) std::memset(s->data, 0xff, s->capacity);  // all ones is a NaN in f32 and f64
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
    ::operator delete (s->data, std::align_val_t{kAlignment});
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
      ::operator delete (s->data, std::align_val_t{kAlignment});
      delete s;
    }
    list.clear();
  }
}

}  // namespace concord
