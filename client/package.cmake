# What an installation has besides programs and library, and the Debian
# package.  Included by the CMakeLists.txt above.

# For builds of others: pkg-config and find_package(belay).
set(PC_DIR ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH PC_TO_PREFIX /p/${PC_DIR} /p)
configure_file(client/libbelay.pc.in libbelay.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/libbelay.pc DESTINATION ${PC_DIR})
include(CMakePackageConfigHelpers)
set(PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/belay)
set_target_properties(libbelay PROPERTIES EXPORT_NAME belay)
configure_package_config_file(client/belay-config.cmake.in belay-config.cmake
    INSTALL_DESTINATION ${PACKAGE_DIR})
write_basic_package_version_file(belay-config-version.cmake
    COMPATIBILITY SameMinorVersion)
install(EXPORT belay-targets NAMESPACE belay:: DESTINATION ${PACKAGE_DIR})
install(FILES ${CMAKE_BINARY_DIR}/belay-config.cmake
    ${CMAKE_BINARY_DIR}/belay-config-version.cmake
    DESTINATION ${PACKAGE_DIR})

# For people.
install(FILES client/belay.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES client/libbelay.3 DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
install(FILES client/belay.7 DESTINATION ${CMAKE_INSTALL_MANDIR}/man7)
install(FILES server/belayd.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
install(FILES client/completion/belay.bash
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
    RENAME belay)
install(FILES client/completion/_belay
    DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES client/completion/belay.fish
    DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
file(GLOB UNITS CONFIGURE_DEPENDS server/*.service server/*.socket)
install(FILES ${UNITS} DESTINATION lib/systemd/system)

# cpack -G DEB.  With SOURCE_DATE_EPOCH the same sources give the same bytes.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME belay)
set(CPACK_PACKAGE_CONTACT "The Belay authors <belay@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY ${PROJECT_DESCRIPTION})
set(CPACK_PACKAGE_DESCRIPTION
    "belay downloads large files over links that break: what was received\nsurvives resets, kills and power cuts, and every byte is verified.\nbelayd serves a directory.  The library libbelay is included.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_SOURCE_DIR}/client/prepack.cmake)
include(CPack)
