#include <concord/data/loader.h>
#include <concord/tensor/device.h>

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace concord::data {

Loader::Loader(DatasetPtr dataset, LoaderOptions options)
    : dataset_(std::move(dataset)), options_(options) {
  if (options_.batch_size < 1 || options_.prefetch < 1 || options_.workers < 0) {
    throw ValueError(
        fmt::format("loader: batch size {}, prefetch {}, workers {}, expected at least 1, 1, 0",
                    options_.batch_size, options_.prefetch, options_.workers));
  }
  const index_t size = dataset_->size(), batch = options_.batch_size;
  batches_ = options_.last == LastBatch::keep ? (size + batch - 1) / batch : size / batch;
  if (batches_ == 0) {
    throw ValueError(fmt::format("loader: {} items make no batch of {}", size, batch));
  }
  slots_.resize(static_cast<std::size_t>(std::min<index_t>(options_.prefetch, batches_)));
  start();
}

Loader::~Loader() { stop(); }

void Loader::start() {
  taken_ = handed_;
  stopping_ = false;
  for (Slot& slot : slots_) {
    slot.ready = false;
    slot.error = nullptr;
  }
  for (int w = 0; w < options_.workers; ++w) workers_.emplace_back([this] { work(); });
}

void Loader::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  slot_free_.notify_all();
  for (std::thread& w : workers_) w.join();
  workers_.clear();
}

std::span<const index_t> Loader::items_of(index_t ticket) {
  const index_t epoch = ticket / batches_;
  Order& order = orders_[epoch % 2];
  if (order.epoch != epoch) {
    order.items.resize(static_cast<std::size_t>(dataset_->size()));
    if (options_.shuffle) {
      Rng(options_.seed)
          .fork("order")
          .fork(static_cast<std::uint64_t>(epoch))
          .permutation(order.items);
    } else {
      std::iota(order.items.begin(), order.items.end(), index_t{0});
    }
    order.epoch = epoch;
  }
  const index_t first = ticket % batches_ * options_.batch_size;
  const index_t count = std::min(options_.batch_size, dataset_->size() - first);
  return std::span<const index_t>(order.items).subspan(first, count);
}

Rng Loader::item_rng(index_t ticket) const {
  return Rng(options_.seed).fork("items").fork(static_cast<std::uint64_t>(ticket / batches_));
}

void Loader::work() {
  const auto slots = static_cast<index_t>(slots_.size());
  std::unique_lock lock(mutex_);
  for (;;) {
    slot_free_.wait(lock, [&] { return stopping_ || taken_ < handed_ + slots; });
    if (stopping_) return;
    const index_t ticket = taken_++;
    Slot& slot = slots_[ticket % slots];
    const auto items = items_of(ticket);
    lock.unlock();  // the slot and these items are this thread's until it says ready
    try {
      dataset_->read(items, item_rng(ticket), slot.batch);
    } catch (...) {
      slot.error = std::current_exception();
    }
    lock.lock();
    slot.ready = true;
    slot_ready_.notify_one();
  }
}

void Loader::next(Batch& out) {
  if (workers_.empty()) {
    dataset_->read(items_of(handed_), item_rng(handed_), out);
    ++handed_;
    return;
  }
  std::unique_lock lock(mutex_);
  Slot& slot = slots_[handed_ % static_cast<index_t>(slots_.size())];
  slot_ready_.wait(lock, [&] { return slot.ready; });
  if (slot.error) std::rethrow_exception(slot.error);
  std::swap(out, slot.batch);
  slot.ready = false;
  ++handed_;
  lock.unlock();
  slot_free_.notify_one();
}

void Loader::seek(Position position) {
  if (position.epoch < 0 || position.batch < 0 || position.batch >= batches_) {
    throw ValueError(fmt::format("loader: no batch {} in epoch {}, an epoch has {}", position.batch,
                                 position.epoch, batches_));
  }
  stop();
  handed_ = position.epoch * batches_ + position.batch;
  start();
}

void DeviceLoader::next(Batch& out) {
  if (device_ == kCpu) {
    loader_.next(out);
    return;
  }
  if (!sent_) send();
  await_uploads(device_);
  std::swap(out, ahead_);
  sent_ = false;
  send();  // before the step is queued: the upload waits for what is queued so far, not for it
}

void DeviceLoader::send() {
  loader_.next(host_);
  ahead_.size = host_.size;
  ahead_.input = upload_beside(host_.input, device_);
  ahead_.targets.resize(host_.targets.size());
  for (std::size_t t = 0; t < host_.targets.size(); ++t)
    ahead_.targets[t] = upload_beside(host_.targets[t], device_);
  sent_ = true;
}

void DeviceLoader::seek(Position position) {
  drop();
  loader_.seek(position);
}

/// Memory under way must not be handed out again before the upload has passed.
void DeviceLoader::drop() {
  if (sent_) await_uploads(device_);
  sent_ = false;
  ahead_ = {};
}

}  // namespace concord::data
