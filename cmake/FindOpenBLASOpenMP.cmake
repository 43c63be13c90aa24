# The OpenMP build of OpenBLAS, as the target concord::openblas.
#
# A pthread OpenBLAS alternated with OpenMP loops fights over the processors (3.4x slower than its parts;
# the OpenMP build 1.01x), so this module takes no other. Debian keeps the builds side by side: naming
# the folder means that the alternative selected system-wide does not decide. Elsewhere, set
# CONCORD_OPENBLAS (the library) and CONCORD_OPENBLAS_INCLUDE (the folder of cblas.h).
find_library(CONCORD_OPENBLAS openblas NO_DEFAULT_PATH
  PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp)
find_path(CONCORD_OPENBLAS_INCLUDE cblas.h NO_DEFAULT_PATH
  PATHS /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp)
mark_as_advanced(CONCORD_OPENBLAS CONCORD_OPENBLAS_INCLUDE)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OpenBLASOpenMP
  REQUIRED_VARS CONCORD_OPENBLAS CONCORD_OPENBLAS_INCLUDE
  REASON_FAILURE_MESSAGE "Debian: apt-get install libopenblas-openmp-dev. Elsewhere: set CONCORD_OPENBLAS and CONCORD_OPENBLAS_INCLUDE.")

if(OpenBLASOpenMP_FOUND AND NOT TARGET concord::openblas)
  add_library(concord::openblas UNKNOWN IMPORTED)
  set_target_properties(concord::openblas PROPERTIES
    IMPORTED_LOCATION ${CONCORD_OPENBLAS}
    INTERFACE_INCLUDE_DIRECTORIES ${CONCORD_OPENBLAS_INCLUDE})
endif()
