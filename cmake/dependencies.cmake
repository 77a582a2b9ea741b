# The libraries that Doppel stands on, all of them Debian packages (see dependencies.txt). What a module may use is said
# here and nowhere else: DOPPEL_LIBRARIES_<module>.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(zydis REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(uring REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(zlib REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(seccomp REQUIRED IMPORTED_TARGET libseccomp)
# Not by its .pc file: that wants GLib's headers, which libslirp's own do not include.
find_path(SLIRP_INCLUDE slirp/libslirp.h REQUIRED)
find_library(SLIRP_LIBRARY slirp REQUIRED)

set(DOPPEL_LIBRARIES_base fmt::fmt spdlog::spdlog Threads::Threads)
set(DOPPEL_LIBRARIES_isa Zydis::Zydis)
set(DOPPEL_LIBRARIES_disk PkgConfig::uring PkgConfig::zstd PkgConfig::zlib)
set(DOPPEL_LIBRARIES_engine PkgConfig::seccomp)
set(DOPPEL_LIBRARIES_migrate PkgConfig::zstd)
set(DOPPEL_LIBRARIES_sandbox PkgConfig::seccomp)
set(DOPPEL_LIBRARIES_container PkgConfig::seccomp)
set(DOPPEL_LIBRARIES_network ${SLIRP_LIBRARY} PkgConfig::seccomp)
# Header-only, found on the ordinary include path: xbyak (engine), nlohmann/json (api), CLI11 (cli).
