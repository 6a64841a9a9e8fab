# SPDX-License-Identifier: MIT
# The pure HTTP files, and the corpus they share with integration and fuzzers.
add_library(http_case STATIC support/http_case.c)
target_link_libraries(http_case PUBLIC base)
target_compile_definitions(http_case PRIVATE TESTS_DIR="${CMAKE_CURRENT_SOURCE_DIR}")

add_unit_test(proxy/http/test_chars LIBS proxy_http)
add_unit_test(proxy/http/test_parse LIBS proxy_http http_case)
add_unit_test(proxy/http/test_cases LIBS proxy_http http_case)
add_unit_test(proxy/http/test_body LIBS proxy_http)
add_unit_test(proxy/http/test_rules LIBS proxy_http)
add_unit_test(proxy/http/test_hop LIBS proxy_http)
add_unit_test(proxy/http/test_respond LIBS proxy_http)
add_unit_test(proxy/http/test_respond_pages LIBS proxy_http)
add_unit_test(proxy/http/test_status LIBS proxy_http)
add_unit_test(proxy/http/test_utf8 LIBS proxy_http)
add_unit_test(proxy/http/test_ws_frame LIBS proxy_http)
add_unit_test(proxy/http/test_ws_deflate LIBS proxy_http)
add_unit_test(proxy/http/test_ws_handshake LIBS proxy_http)
add_unit_test(proxy/http/test_trailers LIBS proxy_http)

# Our parser beside two others; skipped where neither is installed.
add_executable(http_verdict support/http_verdict.c)
target_link_libraries(http_verdict PRIVATE proxy_http)
set_target_properties(http_verdict PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
add_test(NAME proxy/http/compare_parsers
  COMMAND "${BANYAN_PYTHON}" "${CMAKE_CURRENT_SOURCE_DIR}/unit/proxy/http/compare_parsers.py"
  $<TARGET_FILE:http_verdict>)
set_tests_properties(proxy/http/compare_parsers PROPERTIES
  LABELS unit TIMEOUT 300 SKIP_RETURN_CODE 77)
