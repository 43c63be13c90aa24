// Loader: batches of a data set, epoch after epoch, prepared ahead by worker threads.
#pragma once

#include <concord/data/dataset.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

namespace concord::data {

enum class LastBatch {
  keep,  ///< the last batch of an epoch has what is left
  drop   ///< an epoch ends with its last full batch
};

struct LoaderOptions {
  index_t batch_size = 256;
  bool shuffle = true;  ///< off: the items in their own order, every epoch
  LastBatch last = LastBatch::keep;
  int workers = 0;   ///< threads; 0: next() prepares the batch itself
  int prefetch = 4;  ///< batches prepared ahead, at most (with workers)
  std::uint64_t seed = 0;
};

/// The next batch to be handed out. Epochs and batches count from 0.
struct Position {
  index_t epoch = 0, batch = 0;
  friend bool operator==(const Position&, const Position&) = default;
};

/// An endless stream of batches; an epoch is the next batches_per_epoch() of them. The order of an
/// epoch is a function of (seed, epoch), the random numbers of an item of (seed, epoch, item), so
/// that neither workers nor prefetch nor an interruption change a bit of any batch. One thread at a
/// time may call its members.
class Loader {
 public:
  /// Throws ValueError for a batch size or prefetch below 1, workers below 0, or an epoch of no
  /// batches.
  Loader(DatasetPtr dataset, LoaderOptions options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  index_t batches_per_epoch() const { return batches_; }
  const Dataset& dataset() const { return *dataset_; }
  const LoaderOptions& options() const { return options_; }

  /// Hands out the next batch; what `out` held before is recycled unless somebody else holds its
  /// tensors. Rethrows what the data set threw for this batch, as often as it is asked, until
  /// seek().
  void next(Batch& out);

  Position position() const { return {handed_ / batches_, handed_ % batches_}; }
  /// Continues at `position`, e.g. that of a checkpoint. Throws ValueError outside the epoch.
  void seek(Position position);

 private:
  struct Slot {
    Batch batch;
    std::exception_ptr error;
    bool ready = false;
  };

  void start();
  void stop();
  void work();
  /// The items of batch `ticket` (epoch = ticket / batches_), valid while the ticket is in flight.
  std::span<const index_t> items_of(index_t ticket);
  Rng item_rng(index_t ticket) const;

  DatasetPtr dataset_;
  LoaderOptions options_;
  index_t batches_ = 0;

  // A ticket numbers a batch over all epochs and is prepared in slot ticket % slots. Tickets in
  // flight span less than an epoch, so the orders of two epochs, even and odd, are all that is ever
  // needed.
  struct Order {
    index_t epoch = -1;
    std::vector<index_t> items;
  };
  Order orders_[2];
  std::vector<Slot> slots_;
  index_t handed_ = 0;  // tickets handed out by next()
  index_t taken_ = 0;   // tickets taken by workers; handed_ <= taken_ <= handed_ + slots
  bool stopping_ = false;
  std::mutex mutex_;  // guards everything above from here on while workers run
  std::condition_variable slot_free_, slot_ready_;
  std::vector<std::thread> workers_;
};

/// A loader's batches on a device: while a step works on one, the next is on its way, through
/// page-locked memory and beside the computation. On the CPU the loader's own batches.
class DeviceLoader {
 public:
  /// The loader must outlive it, and is one batch ahead of it on a device.
  DeviceLoader(Loader& loader, Device device) : loader_(loader), device_(device) {}
  ~DeviceLoader() { drop(); }
  DeviceLoader(const DeviceLoader&) = delete;
  DeviceLoader& operator=(const DeviceLoader&) = delete;

  /// As Loader::next().
  void next(Batch& out);
  void seek(Position position);

 private:
  void send();
  void drop();

  Loader& loader_;
  Device device_;
  Batch host_, ahead_;  // ahead_: on the device, or on its way there
  bool sent_ = false;
};

}  // namespace concord::data
