# Every folder src/<module> is a static library doppel_<module> (or an interface library while it has headers only).
# A module links the modules below it, which tools/check-layering also checks of the includes.

# Files of one kind below a folder.
function(doppel_find out folder)
  list(TRANSFORM ARGN PREPEND ${CMAKE_SOURCE_DIR}/${folder}/ OUTPUT_VARIABLE patterns)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS ${patterns})
  list(SORT files)
  set(${out} ${files} PARENT_SCOPE)
endfunction()

set(DOPPEL_MODULES "")
function(doppel_module name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "USES")
  doppel_find(headers src/${name} *.h)
  doppel_find(sources src/${name} *.cc *.S)
  list(FILTER sources EXCLUDE REGEX "_(test|fuzz|bench)\\.cc$")
  list(TRANSFORM arg_USES PREPEND doppel_)
  set(links ${arg_USES} ${DOPPEL_LIBRARIES_${name}})

  # A module that does not exist yet is an empty interface library, so that what is above it need not know.
  if(sources)
    add_library(doppel_${name} STATIC ${sources})
    target_include_directories(doppel_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(doppel_${name} PUBLIC ${links})
  else()
    add_library(doppel_${name} INTERFACE)
    target_include_directories(doppel_${name} INTERFACE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(doppel_${name} INTERFACE ${links})
  endif()
  set(DOPPEL_MODULES ${DOPPEL_MODULES} ${name} PARENT_SCOPE)
endfunction()

# The interpreter's handlers end in tail calls and read guest memory as any type: its flags hold in every preset.
doppel_find(interpreter_sources src/engine/interpreter *.cc)
list(FILTER interpreter_sources EXCLUDE REGEX "_(test|fuzz|bench)\\.cc$")
set_source_files_properties(${interpreter_sources} PROPERTIES COMPILE_OPTIONS
  "-O2;-foptimize-sibling-calls;-fno-strict-aliasing;-DDOPPEL_THREADED_DISPATCH=$<BOOL:${DOPPEL_THREADED_DISPATCH}>")

doppel_module(base)
doppel_module(state USES base)
doppel_module(memory USES state)
doppel_module(isa USES memory)
doppel_module(image USES base)
doppel_module(disk USES memory)
doppel_module(network USES memory)
doppel_module(device USES isa disk network)
doppel_module(engine USES isa disk network)
doppel_module(firmware USES device)
doppel_module(board USES device engine firmware)
doppel_module(machine USES board)
doppel_module(sandbox USES machine)
doppel_module(container USES sandbox)
doppel_module(migrate USES machine)
doppel_module(api USES migrate container sandbox)
doppel_module(cli USES api image)

file(GLOB module_folders CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/src/*)
foreach(folder IN LISTS module_folders)
  if(IS_DIRECTORY ${CMAKE_SOURCE_DIR}/src/${folder} AND NOT folder IN_LIST DOPPEL_MODULES AND NOT folder STREQUAL "apps")
    message(FATAL_ERROR "src/${folder} is in no layer: give it a line in cmake/modules.cmake and tools/check-layering")
  endif()
endforeach()
