# SPDX-License-Identifier: MIT
add_fuzzer(fuzz_http_parse LIBS proxy_http)
add_fuzzer(fuzz_http_body LIBS proxy_http)
add_fuzzer(fuzz_ws_frame LIBS proxy_http)

# As in protocol.cmake: a short run over the seeds is a test.
foreach(reader parse body)
  set(seeds "${CMAKE_CURRENT_BINARY_DIR}/seeds/http_${reader}")
  add_test(NAME fuzz/http_${reader}_seeds
    COMMAND "${BANYAN_PYTHON}" "${CMAKE_CURRENT_SOURCE_DIR}/fuzz/make_seeds.py"
    http_${reader} "${seeds}")
  add_test(NAME fuzz/http_${reader}
    COMMAND fuzz_http_${reader} -runs=20000 -max_len=8192
    "-dict=${CMAKE_CURRENT_SOURCE_DIR}/fuzz/http.dict" "${seeds}")
  set_tests_properties(fuzz/http_${reader}_seeds PROPERTIES
    LABELS fuzz FIXTURES_SETUP http_${reader}_seeds)
  set_tests_properties(fuzz/http_${reader} PROPERTIES
    LABELS fuzz FIXTURES_REQUIRED http_${reader}_seeds TIMEOUT 120)
endforeach()

set(seeds "${CMAKE_CURRENT_BINARY_DIR}/seeds/ws_frame")
add_test(NAME fuzz/ws_frame_seeds
  COMMAND "${BANYAN_PYTHON}" "${CMAKE_CURRENT_SOURCE_DIR}/fuzz/make_seeds.py"
  ws_frame "${seeds}")
add_test(NAME fuzz/ws_frame
  COMMAND fuzz_ws_frame -runs=20000 -max_len=8192 "${seeds}")
set_tests_properties(fuzz/ws_frame_seeds PROPERTIES
  LABELS fuzz FIXTURES_SETUP ws_frame_seeds)
set_tests_properties(fuzz/ws_frame PROPERTIES
  LABELS fuzz FIXTURES_REQUIRED ws_frame_seeds TIMEOUT 120)
