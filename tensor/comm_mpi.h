// What comm.cpp needs of MPI: one implementation with it (comm_mpi.cpp), one without
// (comm_none.cpp); the build picks.
#pragma once

#include <concord/tensor/comm.h>

namespace concord {

/// The world that mpirun started. `size` is what its environment says.
std::unique_ptr<Comm> connect_mpi(int size, std::chrono::milliseconds patience);

}  // namespace concord
