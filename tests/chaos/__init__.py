# SPDX-License-Identifier: MIT
"""What happens to requests when containers come and go, hosts stop and cables are cut."""
