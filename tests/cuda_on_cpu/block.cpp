// How a grid runs: its blocks are independent and spread over the processors; the threads of a
// block take turns on one processor, each until it must wait for others.
//
// A thread needs a stack of its own only while it waits. So a "carrier" fiber calls the kernel for
// one thread after the other; the moment one of them waits at a barrier, the carrier becomes that
// thread's fiber and a new carrier goes on with the threads not yet begun. A kernel without
// barriers runs as a plain loop.
#include <concord/tests/cuda_on_cpu/block.h>
#include <concord/tests/cuda_on_cpu/fiber.h>
#include <concord/tests/cuda_on_cpu/sanitizers.h>
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

namespace cuda_on_cpu {
namespace {

std::string text(const dim3& d) {
  return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
}
std::string text(Place p) { return std::string(p.file) + ":" + std::to_string(p.line); }

/// SplitMix64, for the shuffled orders.
struct Random {
  std::uint64_t state;
  std::size_t below(std::size_t n) {
    std::uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return static_cast<std::size_t>((z ^ z >> 31) % n);
  }
  template <class Iterator>
  void shuffle(Iterator begin, std::size_t n) {
    for (; n > 1; --n) std::swap(begin[n - 1], begin[below(n)]);
  }
};

enum class State : std::uint8_t { fresh, running, ready, at_barrier, at_exchange, returned };

struct Thread {
  uint3 index;
  int number;  // within the block: x first, then y, then z; lane = number % 32
  State state;
  Fiber* fiber;
  Place place;  // where it waits
  // What it brings to an exchange between the lanes of its warp, and what it takes from it.
  Exchange exchange;
  unsigned mask;
  int source;
  std::uint64_t value, result;
};

/// Lanes by bit.
struct Warp {
  unsigned waiting, returned;  // at an exchange; returned, or never there in a last, partial warp
  unsigned exchanges;
};

/// Where the race check notes what a barrier orders. Two of each take turns: with one, a thread
/// that is already at the next barrier would order what it did since for those still leaving this
/// one. New ones for every block, since blocks are not ordered.
struct Orders {
  char barrier[2], warps[32][2];
};

class Block {
 public:
  /// The one whose threads this thread of the operating system runs.
  static Block& here() { return *here_; }

  void run(const Grid&, std::size_t number, Schedule);
  void barrier(Place);
  std::uint64_t exchange(Exchange, unsigned mask, std::uint64_t value, int source, Place);
  std::byte* array(const void* site, std::size_t bytes);
  std::byte* dynamic_shared();
  int lane() const { return current_->number % warpSize; }
  /// Frees what the race check wanted to be kept until the threads of all blocks have ended.
  void end_of_grid() { kept_.clear(); }

 private:
  struct Array {
    const void* site;
    std::byte* memory;
  };

  static inline constinit thread_local Block* here_ = nullptr;

  void begin(const Grid&, std::size_t number);
  [[noreturn]] static void carry();
  void run_fresh(Fiber&);
  Fiber& next();
  Fiber& spare();
  void leave(bool ends = false);
  void wake(Thread** threads, std::size_t count);
  [[noreturn]] void found(const std::string& what) const;
  void check_all_returned() const;
  int size() const { return static_cast<int>(threads_.size()); }

  const Grid* grid_ = nullptr;
  Schedule schedule_;
  Random random_{};
  std::vector<Thread> threads_;
  std::vector<int> order_;  // in which threads begin
  std::size_t fresh_ = 0;   // how many have begun
  Thread* current_ = nullptr;
  std::vector<Thread*> ready_;  // ring of those that may go on
  std::size_t first_ready_ = 0, ready_count_ = 0;
  std::vector<Thread*> arrived_;  // at the barrier, in the order of arrival
  std::size_t arrived_count_ = 0;
  unsigned barriers_ = 0;
  std::vector<Warp> warps_;
  std::exception_ptr error_;

  Fiber own_;            // of the operating system's thread
  Fiber* on_ = nullptr;  // the one that runs
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> spare_;
  std::size_t turn_ = 0;

  Orders* orders_ = nullptr;
  std::vector<Array> arrays_;
  std::vector<std::unique_ptr<std::byte[]>> kept_;  // shared memory and orders
};

void Block::run(const Grid& grid, std::size_t number, Schedule schedule) {
  here_ = this;
  schedule_ = schedule;
  begin(grid, number);
  on_ = &own_;
  leave();
  if (error_) {
    acquire(grid.end());
    // The other threads' fibers stay where they are; their stacks are used again from the start.
    spare_.clear();
    for (const auto& fiber : fibers_) spare_.push_back(fiber.get());
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
  check_all_returned();
}

void Block::begin(const Grid& grid, std::size_t number) {
  grid_ = &grid;
  gridDim = grid.blocks;
  blockDim = grid.threads;
  blockIdx.x = static_cast<unsigned>(number % gridDim.x);
  blockIdx.y = static_cast<unsigned>(number / gridDim.x % gridDim.y);
  blockIdx.z = static_cast<unsigned>(number / gridDim.x / gridDim.y);

  const std::size_t n = std::size_t{blockDim.x} * blockDim.y * blockDim.z;
  threads_.resize(n);
  Thread* t = threads_.data();
  int place = 0;
  for (unsigned z = 0; z < blockDim.z; ++z)
    for (unsigned y = 0; y < blockDim.y; ++y)
      for (unsigned x = 0; x < blockDim.x; ++x, ++t) {
        t->index = {x, y, z};
        t->number = place++;
        t->state = State::fresh;
      }
  order_.resize(n);
  std::iota(order_.begin(), order_.end(), 0);
  random_.state = schedule_.seed + number;
  if (schedule_.order == Order::descending)
    std::reverse(order_.begin(), order_.end());
  else if (schedule_.order != Order::ascending)
    random_.shuffle(order_.begin(), n);

  warps_.assign((n + warpSize - 1) / warpSize, {});
  if (n % warpSize) warps_.back().returned = ~0u << n % warpSize;
  ready_.resize(n);
  arrived_.resize(n);
  fresh_ = first_ready_ = ready_count_ = arrived_count_ = 0;
  barriers_ = 0;
  arrays_.clear();
  if (!kRaceCheck) {
    kept_.clear();
    return;
  }
  kept_.push_back(std::make_unique<std::byte[]>(sizeof(Orders)));
  orders_ = reinterpret_cast<Orders*>(kept_.back().get());
  kept_.reserve(kept_.size() + 64);  // nothing of the machine's own may grow inside a CUDA thread
  arrays_.reserve(64);
  // One fiber for each thread, made while no CUDA thread runs. Two blocks in a row use different
  // ones, since what one fiber does is ordered.
  while (fibers_.size() < 2 * n)
    fibers_.push_back(std::make_unique<Fiber>(static_cast<int>(fibers_.size())));
  turn_ ^= 1;
  spare_.clear();
  for (std::size_t i = 0; i < n; ++i) {
    Fiber& fiber = *fibers_[2 * i + turn_];
    fiber.prepare(&Block::carry);
    spare_.push_back(&fiber);
  }
}

// --- Who runs next -------------------------------------------------------------------------------

/// A carrier's life: threads that have not begun, one after the other.
void Block::carry() {
  Block& block = here();
  Fiber& own = *block.on_;
  do {
    block.run_fresh(own);
  } while (!kRaceCheck && block.fresh_ < block.threads_.size() &&
           (block.schedule_.order != Order::lifo || block.ready_count_ == 0));
  block.leave(true);
  __builtin_unreachable();
}

void Block::run_fresh(Fiber& own) {
  Thread& t = threads_[static_cast<std::size_t>(order_[fresh_++])];
  current_ = &t;
  t.fiber = &own;
  t.state = State::running;
  threadIdx = t.index;
  acquire(grid_->start());
  try {
    grid_->thread();
  } catch (...) {
    error_ = std::current_exception();
    release(grid_->end());
    Fiber::go(own, own_, true);
  }
  // Another thread may have run meanwhile: `t` went on last, and is current again.
  t.state = State::returned;
  warps_[static_cast<std::size_t>(t.number / warpSize)].returned |= 1u << t.number % warpSize;
}

/// The fiber that goes on now: the operating system's when no thread can.
Fiber& Block::next() {
  const bool newest = schedule_.order == Order::lifo, fresh = fresh_ < threads_.size();
  if (ready_count_ > 0 && (newest || !fresh)) {
    --ready_count_;
    std::size_t at = newest ? first_ready_ + ready_count_ : first_ready_++;
    if (first_ready_ == ready_.size()) first_ready_ = 0;
    if (at >= ready_.size()) at -= ready_.size();
    current_ = ready_[at];
    current_->state = State::running;
    threadIdx = current_->index;
    return *current_->fiber;
  }
  return fresh ? spare() : own_;
}

/// A carrier that is about to begin.
Fiber& Block::spare() {
  if (spare_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(static_cast<int>(fibers_.size())));
    spare_.push_back(fibers_.back().get());
  }
  Fiber& fiber = *spare_.back();
  spare_.pop_back();
  if (!kRaceCheck) fiber.prepare(&Block::carry);
  return fiber;
}

/// Lets another thread go on; returns when the one that calls may.
void Block::leave(bool ends) {
  release(grid_->end());  // also of a thread that will be given up
  Fiber& from = *on_;
  Fiber& to = next();
  if (&to == &from) return;
  if (ends && !kRaceCheck) spare_.push_back(&from);
  on_ = &to;
  Fiber::go(from, to, ends);
}

void Block::wake(Thread** threads, std::size_t count) {
  if (schedule_.order == Order::fifo || schedule_.order == Order::lifo)
    random_.shuffle(threads, count);
  for (std::size_t i = 0; i < count; ++i) {
    threads[i]->state = State::ready;
    std::size_t at = first_ready_ + ready_count_++;
    if (at >= ready_.size()) at -= ready_.size();
    ready_[at] = threads[i];
  }
}

// --- Meeting -------------------------------------------------------------------------------------

void Block::barrier(Place place) {
  Thread& me = *current_;
  me.place = place;
  me.state = State::at_barrier;
  if (arrived_count_ > 0 && !(arrived_[0]->place == place)) {
    found("divergent barriers: thread " + text(me.index) + " waits at " + text(place) +
          ", thread " + text(arrived_[0]->index) + " at " + text(arrived_[0]->place));
  }
  char* const order = kRaceCheck ? &orders_->barrier[barriers_ % 2] : nullptr;
  release(order);
  arrived_[arrived_count_++] = &me;
  if (arrived_count_ == threads_.size()) {
    ++barriers_;
    arrived_count_ = 0;
    wake(arrived_.data(), threads_.size());
  }
  leave();
  acquire(order);
}

std::uint64_t Block::exchange(Exchange exchange, unsigned mask, std::uint64_t value, int source,
                              Place place) {
  Thread& me = *current_;
  const auto number = static_cast<std::size_t>(me.number / warpSize);
  Warp& warp = warps_[number];
  Thread* const lanes = &threads_[number * warpSize];
  const unsigned own = 1u << lane();
  const auto complain = [&](const std::string& what) {
    found("thread " + text(me.index) + " at " + text(place) + ": " + what);
  };
  if (!(mask & own)) complain("calls a warp function with a mask that lacks its own lane");
  if (mask & warp.returned)
    complain("the mask names lane " + std::to_string(__builtin_ctz(mask & warp.returned)) +
             ", which has returned or was never there");
  if (const unsigned others = mask & warp.waiting) {
    const Thread& other = lanes[__builtin_ctz(others)];
    if (other.mask != mask || other.exchange != exchange || !(other.place == place))
      complain("lane " + std::to_string(other.number % warpSize) +
               " waits with another mask or function at " + text(other.place));
  }
  me.exchange = exchange;
  me.mask = mask;
  me.value = value;
  me.source = source;
  me.place = place;
  me.state = State::at_exchange;
  warp.waiting |= own;

  // Only __syncwarp orders memory; a shuffle used as a fence is a race.
  const bool fence = kRaceCheck && exchange == Exchange::sync;
  char* const order = fence ? &orders_->warps[number][warp.exchanges % 2] : nullptr;
  if (fence) release(order);
  if ((warp.waiting & mask) == mask) {
    Thread* woken[warpSize];
    std::size_t count = 0;
    std::uint64_t ballot = 0;
    for (unsigned rest = mask; rest; rest &= rest - 1) {
      Thread& t = lanes[__builtin_ctz(rest)];
      ballot |= std::uint64_t{t.value != 0} << t.number % warpSize;
      woken[count++] = &t;
    }
    for (std::size_t i = 0; i < count; ++i) {
      Thread& t = *woken[i];
      t.result = exchange == Exchange::ballot   ? ballot
                 : mask >> (t.source & 31) & 1u ? lanes[t.source & 31].value
                                                : ~std::uint64_t{0};
    }
    warp.waiting &= ~mask;
    ++warp.exchanges;
    wake(woken, count);
  }
  leave();
  if (fence) acquire(order);
  return me.result;
}

void Block::found(const std::string& what) const {
  throw Finding("kernel " + grid_->name + ", block " + text(blockIdx) + ": " + what);
}

/// Nothing can go on: every thread has returned, or some wait for what will not come.
void Block::check_all_returned() const {
  std::size_t returned = 0, at_barrier = 0;
  const Thread *barrier = nullptr, *exchange = nullptr;
  for (const Thread& t : threads_) {
    returned += t.state == State::returned;
    at_barrier += t.state == State::at_barrier;
    if (t.state == State::at_barrier) barrier = &t;
    if (t.state == State::at_exchange) exchange = &t;
  }
  if (returned == threads_.size()) return;
  std::string what = "deadlock: " + std::to_string(returned) + " of " + std::to_string(size()) +
                     " threads have returned";
  if (barrier)
    what += ", " + std::to_string(at_barrier) + " wait in __syncthreads at " + text(barrier->place);
  if (exchange)
    what += ", thread " + text(exchange->index) + " waits for its warp at " + text(exchange->place);
  found(what);
}

// --- Shared memory -------------------------------------------------------------------------------

std::byte* Block::array(const void* site, std::size_t bytes) {
  for (const Array& a : arrays_)
    if (a.site == site) return a.memory;
  const Unwatched unwatched;
  kept_.emplace_back(new std::byte[bytes]);  // from the heap: overruns show under a sanitiser
  std::fill_n(kept_.back().get(), bytes, std::byte{0xff});  // NaN as float and double, -1 as int
  arrays_.push_back({site, kept_.back().get()});
  return kept_.back().get();
}

std::byte* Block::dynamic_shared() {
  if (grid_->dynamic_shared == 0) found("uses dynamic shared memory, launched with none");
  static const char kSite = 0;
  return array(&kSite, grid_->dynamic_shared);
}

Schedule from_environment() {
  const char* set = std::getenv("CUDA_ON_CPU_ORDER");
  if (!set) return {};
  const std::string value = set, name = value.substr(0, value.find(':'));
  Schedule s;
  if (name.size() < value.size()) s.seed = std::stoull(value.substr(name.size() + 1));
  if (name == "descending")
    s.order = Order::descending;
  else if (name == "fifo")
    s.order = Order::fifo;
  else if (name == "lifo")
    s.order = Order::lifo;
  else if (name != "ascending")
    throw std::invalid_argument("CUDA_ON_CPU_ORDER: ascending, descending, fifo:SEED, lifo:SEED");
  return s;
}

Schedule& chosen() {
  static Schedule schedule = from_environment();
  return schedule;
}

}  // namespace

void set_schedule(Schedule s) { chosen() = s; }
Schedule schedule() { return chosen(); }

void run(const Grid& grid) {
  const Schedule schedule = chosen();
  const std::size_t blocks = std::size_t{grid.blocks.x} * grid.blocks.y * grid.blocks.z;
  const std::size_t threads = std::size_t{grid.threads.x} * grid.threads.y * grid.threads.z;
  std::atomic<std::size_t> taken{0};
  std::exception_ptr error;
  std::mutex mutex;
  release(grid.start());
#pragma omp parallel if (blocks > 1 && blocks * threads > 1024)
  {
    acquire(grid.start());
    static thread_local Block block;
    for (std::size_t i; (i = taken++) < blocks;) {
      try {
        block.run(grid, schedule.order == Order::ascending ? i : blocks - 1 - i, schedule);
      } catch (...) {
        taken = blocks;
        std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
      }
    }
#pragma omp barrier
    acquire(grid.end());
    block.end_of_grid();
  }
  acquire(grid.end());
  if (error) std::rethrow_exception(error);
}

void barrier(Place place) { Block::here().barrier(place); }
std::uint64_t exchange(Exchange kind, unsigned mask, std::uint64_t value, int source, Place place) {
  return Block::here().exchange(kind, mask, value, source, place);
}
int lane() { return Block::here().lane(); }
std::byte* shared_array(const void* site, std::size_t bytes) {
  return Block::here().array(site, bytes);
}
std::byte* dynamic_shared() { return Block::here().dynamic_shared(); }

void fence() {
  // The race check knows no fences: one order for all of them. A counter that tells the last block
  // is read between two fences, so what the others wrote before theirs comes before its reads.
  static char order;
  release(&order);
  acquire(&order);
}

}  // namespace cuda_on_cpu
