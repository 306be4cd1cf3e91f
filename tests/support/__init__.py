"""What tests need besides the code: services, processes, data sets, faults."""
