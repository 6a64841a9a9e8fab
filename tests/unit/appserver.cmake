# SPDX-License-Identifier: MIT
if(BUILD_APPSERVER)
  # A core with C handlers, and a proxy made of a link and the codec.
  add_library(core_harness STATIC unit/appserver/core/harness.c)
  target_link_libraries(core_harness PUBLIC app_core PkgConfig::CMOCKA)
  foreach(noun body core credit inbox limit loop loop_stream loop_watch outbox peer request route
      sleeper worker ws ws_close)
    add_unit_test(appserver/core/test_${noun} LIBS core_harness)
    set_tests_properties(appserver/core/test_${noun} PROPERTIES ENVIRONMENT
      "TSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/support/tsan.supp")
  endforeach()
  add_executable(bench_core EXCLUDE_FROM_ALL bench/micro/bench_core.c)
  target_link_libraries(bench_core PRIVATE app_core)
  set_target_properties(bench_core PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bench")
endif()
if(BUILD_APPSERVER)
  # The Python side over a scripted request instead of a core, in an embedded interpreter. The
  # functions of request.h and loop.h are found here first, so none come from app_core.
  add_library(python_harness STATIC support/fake_loop.c support/fake_request.c support/python.c)
  target_compile_definitions(python_harness PRIVATE TESTS_DIR="${CMAKE_CURRENT_SOURCE_DIR}")
  target_link_libraries(python_harness PUBLIC protocol PkgConfig::CMOCKA Python3::Python)
  function(add_python_test path)
    add_unit_test(${path} LIBS python_harness app_python python_harness Python3::Python)
    if(SANITIZE) # so that it sees Python's objects, too
      set_tests_properties(${path} PROPERTIES ENVIRONMENT "PYTHONMALLOC=malloc")
    endif()
  endfunction()
  add_python_test(appserver/asgi/test_http)
  add_python_test(appserver/asgi/test_lifespan)
  add_python_test(appserver/asgi/test_operation)
  add_python_test(appserver/asgi/test_scope)
  add_python_test(appserver/asgi/test_server)
  add_python_test(appserver/asgi/test_websocket)
  add_python_test(appserver/interp/test_loader)
  add_python_test(appserver/interp/test_answer)
  add_python_test(appserver/wsgi/test_call)
  add_python_test(appserver/wsgi/test_environ)
  add_python_test(appserver/wsgi/test_errors)
  add_python_test(appserver/wsgi/test_file_wrapper)
  add_python_test(appserver/wsgi/test_input)
  add_python_test(appserver/wsgi/test_start_response)
endif()
