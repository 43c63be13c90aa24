# Writes OUTPUT, the source file that knows the commit: the last entry of git's own log of HEAD (LOG, may
# be empty), so that no git program is needed and the file changes only when HEAD moves.
set(revision unknown)
if(LOG AND EXISTS ${LOG})
  file(STRINGS ${LOG} entries)
  list(GET entries -1 entry)
  if(entry MATCHES "^[0-9a-f]+ ([0-9a-f]+)")
    string(SUBSTRING ${CMAKE_MATCH_1} 0 12 revision)
  endif()
endif()
file(WRITE ${OUTPUT} "#include <concord/experiments/revision.h>

std::string_view concord::experiments::revision() { return \"${revision}\"; }
")
