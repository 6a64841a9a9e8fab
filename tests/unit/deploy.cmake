# SPDX-License-Identifier: MIT
# What the masters and supervisors are made of.
add_unit_test(protocol/base/test_process LIBS base)
add_unit_test(protocol/base/test_program LIBS base)
if(BUILD_APPSERVER)
  add_unit_test(appserver/test_endpoint LIBS app_master)
  add_unit_test(appserver/test_launch LIBS app_master)
  add_unit_test(appserver/test_master LIBS app_master)
  add_unit_test(appserver/test_master_roll LIBS app_master)
  add_unit_test(appserver/test_options LIBS app_master)
  add_unit_test(appserver/test_slot LIBS app_master)
endif()
add_unit_test(deploy/banyan/test_child LIBS banyan_command)
add_unit_test(deploy/banyan/test_rundir LIBS banyan_command)
add_unit_test(deploy/banyan/test_proxies LIBS banyan_command)
if(BUILD_APPSERVER)
  add_unit_test(deploy/banyan/test_serve_options
                LIBS banyan_command app_master proxy_options)
endif()
