# SPDX-License-Identifier: Apache-2.0
"""Emulated gateways for tests and for playing: see network.py for what a test uses."""
