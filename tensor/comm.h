// Comm: ranks (processes, perhaps on several machines) that exchange values. The only door to other
// machines.
//
// A program asks connect() for its Comm. Started by itself it is the one rank of one; started by
// `mpirun -n 4` it is one of four.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace concord {

/// Bytes for another rank. `tag` (0 to 32767) tells apart messages between the same two ranks.
struct Outgoing {
  int to = 0, tag = 0;
  std::span<const std::byte> bytes;
};
/// Room for a message of another rank; it must have exactly this size.
struct Incoming {
  int from = 0, tag = 0;
  std::span<std::byte> bytes;
};

class Comm {
 public:
  virtual ~Comm() = default;
  Comm(const Comm&) = delete;
  Comm& operator=(const Comm&) = delete;

  int rank() const { return rank_; }  ///< 0 to size-1
  int size() const { return size_; }

  /// Sends and receives all of these at once, in whatever order they come: no order of calls on the
  /// ranks can deadlock, as long as every message has its counterpart. Returns when all are
  /// through. Throws ValueError for a peer that does not exist (a rank has no messages for itself),
  /// CommError, naming the peer, when a message has another size or nothing came for a while.
  virtual void exchange(std::span<const Outgoing> send, std::span<const Incoming> receive) = 0;

  /// Ends all ranks with status 1, after a line on stderr: "rank 2 of 4: <why>". An error of one
  /// rank would leave the others waiting.
  [[noreturn]] virtual void abort(std::string_view why) = 0;

 protected:
  Comm(int rank, int size) : rank_(rank), size_(size) {}

 private:
  int rank_, size_;
};

/// All ranks of this program's start; call it once, on every rank, and keep it until nothing more
/// is exchanged. `patience` is how long exchange() waits for a silent rank. Destroyed by an
/// exception, it ends all ranks. Throws UsageError when the program was started as one of several
/// ranks but built without MPI, or when called twice under MPI.
std::unique_ptr<Comm> connect(std::chrono::milliseconds patience = std::chrono::minutes(1));

/// "Open MPI v4.1.4 ...", or that this build has none and how to get it.
std::string comm_library();

/// Rank 0's bytes on all ranks.
void broadcast(Comm& comm, std::span<std::byte> bytes);
/// Rank 0's text on all ranks.
std::string broadcast(Comm& comm, std::string text);
/// Whether `here` is true on any rank.
bool any(Comm& comm, bool here);

}  // namespace concord
