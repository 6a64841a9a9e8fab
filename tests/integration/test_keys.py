# SPDX-License-Identifier: MIT
"""Keys on tcp://: who is let in, who is not, and how that is changed while it runs."""
