# Language, warnings, sanitizers, linker and compiler cache.

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_LINK_DEPENDS_NO_SHARED ON)

# Warnings are errors with the compilers that the project is checked with; a newer one may know more warnings.
if((CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION MATCHES "^12\\.")
   OR (CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION MATCHES "^19\\."))
  set(werror_default ON)
else()
  set(werror_default OFF)
endif()
option(DOPPEL_WERROR "Warnings are errors" ${werror_default})
set(DOPPEL_SANITIZE "" CACHE STRING "Sanitizers to build with: address,undefined or thread")
option(DOPPEL_FUZZ "Build the libFuzzer targets instead of the tests (needs clang)" OFF)
option(DOPPEL_THREADED_DISPATCH "The interpreter's handlers tail-call each other; needs an optimizing compiler" OFF)

# Designated initializers leave out what has its default: that is what they are for.
add_compile_options(-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers)
if(DOPPEL_WERROR)
  add_compile_options(-Werror)
endif()
add_compile_options(-fno-omit-frame-pointer)
add_compile_definitions(DOPPEL_VERSION="${PROJECT_VERSION}")

# Guests choose addresses; wide accesses to guest memory at any alignment are ordinary on the hosts that Doppel knows.
set(sanitizers ${DOPPEL_SANITIZE})
if(DOPPEL_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(sanitizers)
  add_compile_options(-fsanitize=${sanitizers} -fno-sanitize=alignment)
  add_link_options(-fsanitize=${sanitizers})
  if(sanitizers MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
  # Sanitizers change what the optimizer can prove about initialization and bounds; these warnings are then noise.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-array-bounds)
    if(sanitizers MATCHES "thread")
      add_compile_options(-Wno-tsan)  # fences are not modelled: what relies on one needs an atomic beside it
    endif()
  endif()
endif()

include(CheckLinkerFlag)
foreach(linker mold lld)
  check_linker_flag(CXX -fuse-ld=${linker} DOPPEL_LINKER_${linker})
  if(DOPPEL_LINKER_${linker})
    add_link_options(-fuse-ld=${linker})
    break()
  endif()
endforeach()
add_link_options(-Wl,--as-needed)

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
