# SPDX-License-Identifier: MIT
# The link over real sockets, and the shared page. Peers that misbehave speak ZeroMQ by
# themselves.
add_unit_test(protocol/test_link LIBS protocol PkgConfig::ZMQ)
add_unit_test(protocol/test_link_endpoint LIBS protocol)
add_unit_test(protocol/test_link_lines LIBS protocol)
add_unit_test(protocol/test_link_monitor LIBS protocol)
add_unit_test(protocol/test_addresses LIBS protocol)
add_unit_test(protocol/test_link_guard LIBS protocol)
add_unit_test(protocol/test_page LIBS protocol)
