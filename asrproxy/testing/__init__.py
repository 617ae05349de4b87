"""For the tests of providers and of users' applications: tone speech, a sidecar to run, the conformance kit."""
