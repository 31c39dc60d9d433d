"""Tests of the pages in Chromium, a package so that all its modules share one browser and one Berth."""
