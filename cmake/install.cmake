# One library from the rooms' objects; cmake --install puts it, its headers, a CMake package and a
# pkg-config file in place. tests/project/consumer is built against the result.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The target `concord` is the program; consumers see the library as concord::concord.
add_library(concord_library)
add_library(concord::concord ALIAS concord_library)
set_target_properties(concord_library PROPERTIES
  OUTPUT_NAME concord EXPORT_NAME concord VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
foreach(room ${CONCORD_ROOMS} device)
  if(TARGET concord_${room})
    target_sources(concord_library PRIVATE $<TARGET_OBJECTS:concord_${room}>)
  endif()
  if(EXISTS ${PROJECT_SOURCE_DIR}/${room})
    install(DIRECTORY ${PROJECT_SOURCE_DIR}/${room}
      DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/concord FILES_MATCHING PATTERN "*.h" PATTERN "cpu" EXCLUDE)
  endif()
endforeach()
target_compile_features(concord_library PUBLIC cxx_std_20)
target_include_directories(concord_library PUBLIC
  $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(concord_library PRIVATE OpenMP::OpenMP_CXX concord::openblas ZLIB::ZLIB fmt::fmt)
if(CONCORD_WITH_MPI)
  target_link_libraries(concord_library PRIVATE MPI::MPI_CXX)
  list(JOIN MPI_CXX_LIBRARIES " " CONCORD_MPI_LIBRARIES)
endif()

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/concord)
install(TARGETS concord_library EXPORT concordTargets)
install(EXPORT concordTargets NAMESPACE concord:: DESTINATION ${package_folder})
configure_package_config_file(cmake/concordConfig.cmake.in ${PROJECT_BINARY_DIR}/concordConfig.cmake
  INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/concordConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/concordConfig.cmake ${PROJECT_BINARY_DIR}/concordConfigVersion.cmake
  cmake/FindOpenBLASOpenMP.cmake DESTINATION ${package_folder})

# Paths relative to the file itself: the installed tree may be moved.
file(RELATIVE_PATH CONCORD_PREFIX_FROM_PC
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
cmake_path(GET CONCORD_OPENBLAS PARENT_PATH CONCORD_OPENBLAS_FOLDER)
configure_file(cmake/concord.pc.in ${PROJECT_BINARY_DIR}/concord.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/concord.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
