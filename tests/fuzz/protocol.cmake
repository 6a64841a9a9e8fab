# SPDX-License-Identifier: MIT
add_fuzzer(fuzz_frame_unpack LIBS protocol PkgConfig::MSGPACK)

# A short run over the seeds is a test; a long one is started by hand.
set(frame_seeds "${CMAKE_CURRENT_BINARY_DIR}/seeds/frames")
add_test(NAME fuzz/frame_seeds
  COMMAND "${BANYAN_PYTHON}" "${CMAKE_CURRENT_SOURCE_DIR}/fuzz/make_seeds.py" frames "${frame_seeds}")
add_test(NAME fuzz/frame_unpack
  COMMAND fuzz_frame_unpack -runs=20000 -max_len=8192 "${frame_seeds}")
set_tests_properties(fuzz/frame_seeds PROPERTIES LABELS fuzz FIXTURES_SETUP frame_seeds)
set_tests_properties(fuzz/frame_unpack PROPERTIES LABELS fuzz FIXTURES_REQUIRED frame_seeds TIMEOUT 120)
