# Run by cpack over the files that go into a package: compressed pages, modes,
# and one time for all where SOURCE_DATE_EPOCH gives it.
file(GLOB_RECURSE pages ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/*.[1-8])
list(FILTER pages INCLUDE REGEX "/man/man[1-8]/")
foreach(page ${pages})
    execute_process(COMMAND gzip -9nf ${page} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
file(GLOB_RECURSE files LIST_DIRECTORIES true
    ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/*)
foreach(file ${files})
    if(IS_DIRECTORY ${file} AND NOT IS_SYMLINK ${file})
        execute_process(COMMAND chmod 0755 ${file} COMMAND_ERROR_IS_FATAL ANY)
    endif()
endforeach()
if(DEFINED ENV{SOURCE_DATE_EPOCH})
    execute_process(
        COMMAND touch -h -d @$ENV{SOURCE_DATE_EPOCH} ${files}
            ${CPACK_TEMPORARY_INSTALL_DIRECTORY}
        COMMAND_ERROR_IS_FATAL ANY)
endif()
