// Storage: one reference-counted block of memory. Allocator: recycles blocks by size class, so that
// a steady training step asks the system for nothing.
#pragma once

#include <concord/tensor/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace concord {

class Allocator;

/// A block and its count. The header is recycled together with its block, so handing out a block
/// needs no malloc of its own.
struct Storage {
  std::byte* data = nullptr;
  std::size_t capacity = 0;  ///< bytes usable at `data`
  std::atomic<std::int32_t> refs{0};
  std::int32_t size_class = -1;  ///< -1: memory owned by somebody else
  Allocator* allocator = nullptr;
  Device device;
};

/// Shared ownership of a Storage; 8 bytes, no control block.
class StoragePtr {
 public:
  StoragePtr() = default;
  explicit StoragePtr(Storage* s) : s_(s) { retain(); }
  StoragePtr(const StoragePtr& o) : s_(o.s_) { retain(); }
  StoragePtr(StoragePtr&& o) noexcept : s_(std::exchange(o.s_, nullptr)) {}
  StoragePtr& operator=(StoragePtr o) noexcept {
    std::swap(s_, o.s_);
    return *this;
  }
  ~StoragePtr() { release(); }
  Storage* operator->() const { return s_; }
  explicit operator bool() const { return s_ != nullptr; }
  bool unique() const { return s_ && s_->refs.load(std::memory_order_acquire) == 1; }
  friend bool operator==(const StoragePtr& a, const StoragePtr& b) { return a.s_ == b.s_; }

 private:
  void retain() {
    if (s_) s_->refs.fetch_add(1, std::memory_order_relaxed);
  }
  void release();
  Storage* s_ = nullptr;
};

/// Counts since the start of the process; bytes are those of whole blocks.
struct AllocatorStats {
  std::uint64_t requests = 0;         ///< blocks handed out
  std::uint64_t system_requests = 0;  ///< of these, how many had to come from the system
  std::size_t in_use = 0;             ///< bytes in blocks that tensors hold
  std::size_t peak = 0;               ///< highest in_use since the last reset_peak()
  std::size_t reserved = 0;           ///< bytes obtained from the system, in use or waiting
};

/// One per device, and one for page-locked host memory. Thread-safe. A device's blocks serve its
/// one stream: a block that is handed out again is written by work queued after its last reader.
///
/// Block sizes are powers of two split in four (waste below 25 %);
/// blocks are 64-byte aligned. With poison on, each block handed out is filled with NaN patterns,
/// so that a read of memory never written shows. Address-sanitised builds return every block at
/// once.
class Allocator {
 public:
  /// Throws DeviceError when there is no such device.
  static Allocator& of(Device device);
  /// Host memory that a device can read and write while the host goes on (Tensor::download).
  static Allocator& pinned();

  /// A block of at least `bytes` bytes with count 0. When there is no memory left, waiting blocks
  /// are given back and the request is repeated; then std::bad_alloc, or for a device DeviceError
  /// with the bytes asked for, in use, and waiting.
  Storage* allocate(std::size_t bytes);
  /// A Storage over memory that somebody else owns and keeps alive.
  static Storage* borrow(void* data, std::size_t bytes, Device device);
  void recycle(Storage* s);

  AllocatorStats stats() const;
  void reset_peak();
  void trim();  ///< give waiting blocks back to the system
  void poison(bool on) { poison_ = on; }

  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

 private:
  enum class Memory { host, pinned, device };
  Allocator(Memory memory, Device device) : memory_(memory), device_(device) {}
  ~Allocator() =
      delete;  // lives until the process ends: tensors of static storage may outlive main

  std::byte* obtain(std::size_t bytes) const;  // null: there is none left
  void give_back(std::byte* memory) const;

  Memory memory_;
  Device device_;
  mutable std::mutex mutex_;
  std::vector<std::vector<Storage*>> waiting_;  // by size class
  AllocatorStats stats_;
  std::atomic<bool> poison_{false};
};

}  // namespace concord
